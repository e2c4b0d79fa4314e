# SPDX-License-Identifier: GPL-3.0-or-later
"""Between display-referred colours, in which avatars are trained and blended, and Blender's scene-linear ones."""

from __future__ import annotations

import bpy
import numpy as np


def compose(premultiplied: np.ndarray, alpha: np.ndarray, background: np.ndarray | None) -> np.ndarray:
    """Display-referred premultiplied colour -> scene-linear RGBA [H,W,4] float32, premultiplied.

    Over a background (linear RGB) the blend happens in display values, as in training, so that the view transform
    "Standard" gives the trained picture back; a transparent film keeps straight colours right.
    """
    if background is not None:
        shown = premultiplied + (1 - alpha) * linear_to_srgb(background)
        return np.concatenate([srgb_to_linear(shown), np.ones_like(alpha)], -1).astype(np.float32)
    straight = premultiplied / np.maximum(alpha, 1e-6)
    return np.concatenate([srgb_to_linear(straight) * alpha, alpha], -1).astype(np.float32)


def srgb_to_linear(value: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1; values above 1 follow the curve on."""
    value = np.maximum(value, 0)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    """The inverse of srgb_to_linear."""
    value = np.maximum(value, 0)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def film(scene: bpy.types.Scene) -> np.ndarray | None:
    """The colour behind everything (linear RGB); None: the film is transparent."""
    return None if scene.render.film_transparent else world_color(scene)


def world_color(scene: bpy.types.Scene) -> np.ndarray:
    """The world's colour (linear RGB): its Background node's when it is a plain one, else its viewport colour."""
    world = scene.world
    if world is None:
        return np.zeros(3)
    node = _background(world)
    if node is None or node.inputs["Color"].is_linked:
        return np.array(world.color)
    return np.array(node.inputs["Color"].default_value[:3]) * node.inputs["Strength"].default_value


def world_is_plain(scene: bpy.types.Scene) -> bool:
    """Whether ``world_color`` is all there is to see of the world."""
    node = _background(scene.world) if scene.world is not None else None
    return node is None or not (node.inputs["Color"].is_linked or node.inputs["Strength"].is_linked)


def _background(world: bpy.types.World) -> bpy.types.Node | None:
    nodes = world.node_tree.nodes if world.node_tree is not None else ()
    return next((node for node in nodes if node.type == "BACKGROUND"), None)

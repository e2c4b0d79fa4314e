# SPDX-License-Identifier: GPL-3.0-or-later
"""An avatar whose performance was baked: a carrier of its own whose shape keys play it, keyed frame by frame.

It plays in any Blender, without engine, avatar file and add-on, as long as its head does what it did.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import avatar_rig, carrier_mesh, keyframes, learned_keys, linked
from .carrier_mesh import FULL

_BAKED = "blendsplat_baked"
_RANGE = 2.0  # of the sliders: twice what the performance reaches


class BakeError(Exception):
    """What was baked cannot be added; the text is a sentence for the artist."""


@dataclass
class Shapes:
    """What the engine's job "bake" sent: arrays of the mean (with corners, barycentrics, weights [M,K]) and of K
    shapes."""

    mean: dict[str, np.ndarray]
    shapes: list[dict[str, np.ndarray]]
    frames: list[int]  # of the timeline, M
    figures: dict[str, Any]  # of the job's result


def build(context: bpy.types.Context, carrier: bpy.types.Object, baked: Shapes) -> bpy.types.Object:
    """Add the baked avatar beside ``carrier``, which is hidden: in views and in renders. Raises BakeError."""
    name = f"{carrier.name} Baked"
    mesh = _mesh(carrier, baked, name)
    made = carrier.copy()  # in its place, with what the artist put on it
    made.name, made.data = name, mesh
    linked.tie(made)
    avatar_rig.fit_nodes(made)
    made.blendsplat.live, made.blendsplat.avatar_path, made.blendsplat.remark = False, "", ""
    for collection in linked.collections_for(carrier, context.scene):
        collection.objects.link(made)
    _add_keys(made, baked)
    mesh[_BAKED] = _noted(carrier.name, baked)
    made.hide_render = made.hide_viewport = False
    carrier.hide_render = True
    context.view_layer.update()  # from 5.0 on a new object is not in the view layer before
    with contextlib.suppress(RuntimeError):  # in a collection that this view layer excludes
        carrier.hide_set(True)
        made.hide_set(False)
    return made


def is_baked(carrier: bpy.types.Object) -> bool:
    """Whether the avatar was made by ``build``."""
    return carrier.data is not None and _BAKED in carrier.data


def line_of(carrier: bpy.types.Object) -> str:
    """What was baked and how near it is, in one sentence for panels; "" for other avatars."""
    if not is_baked(carrier):
        return ""
    told = carrier.data[_BAKED]
    start, end = told["start"], told["end"]
    frames = f"frames {start} to {end}" if end > start else f"frame {start}"
    return (
        f"Baked {frames} as {told['keys']} keys: {told['error']:.1%} of the movement is left out; "
        f"{told['psnr']:.1f} dB beside the networks, {told['lowest_psnr']:.1f} dB in frame {told['lowest']}."
    )


def hidden_original(made: bpy.types.Object) -> str:
    """Where the avatar went that was baked, while it is hidden; "" else."""
    told = made.data[_BAKED] if is_baked(made) else {}
    source = bpy.data.objects.get(told.get("source", ""))
    if source is None or not source.hide_render:
        return ""
    return f"{source.name}, which was baked, is hidden: its eye and camera in the outliner bring it back."


def _mesh(carrier: bpy.types.Object, baked: Shapes, name: str) -> bpy.types.Mesh:
    places = carrier_mesh.places_of(carrier.data)
    if not np.array_equal(places.corners, baked.mean["corners"]):
        raise BakeError(
            f"The file of {carrier.name!r} has been trained anew since the avatar was added: press Add Avatar once "
            "more, then bake."
        )
    places.barycentrics = baked.mean["barycentrics"]
    mesh = carrier_mesh.new_mesh(name, FULL, _gaussians(baked.mean), places)
    for material in carrier.data.materials:
        mesh.materials.append(material)
    return mesh


def _gaussians(arrays: dict[str, np.ndarray]) -> carrier_mesh.Gaussians:
    return carrier_mesh.Gaussians(
        *(arrays[name] for name in ("positions", "log_scales", "quats", "opacities", "colors"))
    )


def _add_keys(made: bpy.types.Object, baked: Shapes) -> None:
    mesh, weights = made.data, baked.mean["weights"]
    made.shape_key_add(name="Basis", from_mix=False)
    base = FULL.join(_gaussians(baked.mean))
    curves = []
    for index, shape in enumerate(baked.shapes):
        key = made.shape_key_add(name=f"Baked {index:02d}", from_mix=False)
        key.slider_min, key.slider_max = -_RANGE, _RANGE
        key.value = 0.0  # Blender 5.0 and later start at 1
        key.data.foreach_set("co", (base + FULL.join(_gaussians(shape))).ravel())
        path = learned_keys.value_path(key)
        curves.append(keyframes.Curve(path, 0, np.array(baked.frames), weights[:, index]))
    made.active_shape_key_index = min(1, len(baked.shapes))
    keyframes.write(mesh.shape_keys, curves, f"{made.name} performance")


def _noted(source: str, baked: Shapes) -> dict[str, Any]:
    told = baked.figures
    frames = baked.frames
    return {
        "source": source, "start": frames[0], "end": frames[-1], "keys": len(baked.shapes),
        "error": float(told["error"]), "psnr": float(told["psnr"]), "lowest_psnr": float(told["lowest_psnr"]),
        "lowest": frames[int(told["lowest_frame"])],
    }  # fmt: skip

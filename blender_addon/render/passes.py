# SPDX-License-Identifier: GPL-3.0-or-later
"""The passes of a frame, and those that are splatted as colours: where each avatar is, which way surfaces look, how
they move. Splatting mixes colours by what is seen of each Gaussian, and takes none below zero: values that may be are
moved up, and back afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..space import quat_to_matrix
from . import gather
from .camera import View

DEPTH, NORMAL, VECTOR, ALPHA, MATTE = "Depth", "Normal", "Vector", "Alpha", "Matte "
NO_HIT = 1e10  # Blender's depth where nothing is
SEEN = 0.01  # alpha from which a pixel has a depth, a normal and a motion


@dataclass(frozen=True)
class Pass:
    """As Blender registers it: its name, the channels' letters, what they are."""

    name: str
    channels: str
    kind: str


def wanted(view_layer: bpy.types.ViewLayer, avatars: list[str]) -> list[Pass]:
    """The passes that are switched on, Combined first; ``avatars``: the names of those that may be seen."""
    own, blender = view_layer.blendsplat, []
    found = [Pass(gather.COMBINED, "RGBA", "COLOR")]
    for name, channels, kind, on in (
        (DEPTH, "Z", "VALUE", view_layer.use_pass_z), (NORMAL, "XYZ", "VECTOR", view_layer.use_pass_normal),
        (VECTOR, "XYZW", "VECTOR", view_layer.use_pass_vector), (ALPHA, "X", "VALUE", own.use_pass_alpha),
        (gather.BASE, "RGBA", "COLOR", own.use_pass_base), (gather.RESIDUAL, "RGBA", "COLOR", own.use_pass_residual),
    ):  # fmt: skip
        if on:
            blender.append(Pass(name, channels, kind))
    mattes = [Pass(matte_name(name), "X", "VALUE") for name in avatars] if own.use_pass_mattes else []
    return found + blender + mattes


def matte_name(avatar: str) -> str:
    """Of an avatar's matte; Blender ends a pass's name after 63 bytes."""
    return (MATTE + avatar).encode()[:63].decode(errors="ignore")


def normal_colors(gaussians: gather.Gaussians, view: View) -> np.ndarray:
    """A Gaussian's shortest axis in the world, towards the camera, from -1..1 moved to 0..1 [N,3]."""
    axes = quat_to_matrix(gaussians.quats.astype(float))
    shortest = np.take_along_axis(axes, gaussians.scales.argmin(1)[:, None, None], 2)[..., 0]
    if view.back:
        towards = np.broadcast_to(-view.viewmat[2, :3], shortest.shape)
    else:
        towards = -view.viewmat[:3, :3].T @ view.viewmat[:3, 3] - gaussians.means
    away = (shortest * towards).sum(1) < 0
    return (np.where(away[:, None], -shortest, shortest) + 1) / 2


def normals(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """What was splatted of ``normal_colors`` [H,W,3] -> unit normals in the world, 0 where nothing is."""
    vectors = image / np.maximum(alpha, 1e-6) * 2 - 1
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(alpha > SEEN, vectors / np.maximum(length, 1e-6), 0).astype(np.float32)


def expected_depth(depth: np.ndarray, alpha: np.ndarray, back: float = 0.0) -> np.ndarray:
    """Premultiplied depth -> distance along the view axis, Blender's far value where hardly anything is; ``back``: what
    an orthographic view has stepped back."""
    return np.where(alpha > SEEN, depth / np.maximum(alpha, 1e-6) - back, NO_HIT).astype(np.float32)


def motion(earlier: np.ndarray, now: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Pixels [N,2] (y downwards) at the frames before, now and after -> Blender's Vector pass of each [N,4], y upwards:
    to where it was, and from where it will be (as Cycles writes them)."""
    up = np.array([1.0, -1.0])
    return np.concatenate([(earlier - now) * up, (now - later) * up], 1)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Avatars whose file holds networks beside the sliders (DipGuava): Blender moves the sliders, the engine asks the
networks. What panels say of them is kept on the carrier's mesh, so that it is known without the file; and what the
engine has to know of the head is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..formats import AvatarFile
from ..space import TO_BLENDER, matrix_to_rotvec
from . import head_rig, packed_avatar

SYSTEM = "dipguava"
SLIDERS, FULL, BASE, RESIDUAL = "SLIDERS", "FULL", "BASE", "RESIDUAL"  # what of it is shown
_MARK = "blendsplat_networks"
_FIGURES = ("psnr", "sliders_psnr")


class NetworksError(Exception):
    """The networks cannot be asked; the text is a sentence for the artist."""


def mark(mesh: bpy.types.Mesh, avatar: AvatarFile) -> None:
    """Note on a new carrier's mesh whether its file holds networks, and how they scored beside the sliders."""
    if avatar.system == SYSTEM:
        figures = avatar.figures
        mesh[_MARK] = {name: float(figures[name]) for name in _FIGURES if name in figures}


def drawn_by_networks(carrier: bpy.types.Object) -> bool:
    """Whether the avatar's file holds networks."""
    return carrier.data is not None and _MARK in carrier.data


def shown_of(carrier: bpy.types.Object) -> str:
    """What renders show of the avatar."""
    return str(carrier.blendsplat.shown) if drawn_by_networks(carrier) else SLIDERS


def cost_of(carrier: bpy.types.Object) -> str:
    """What the sliders cost, in one line; "" where its training did not say."""
    return cost_line(carrier.data.get(_MARK, {}))


def cost_line(figures: Mapping[str, Any]) -> str:
    """The networks' and the sliders' PSNR on frames that training did not see, as far as they are known."""
    names = {"psnr": "networks", "sliders_psnr": "sliders"}
    known = {name: value for name in names if isinstance(value := figures.get(name), (int, float))}
    said = [f"{names[name]} {value:.1f} dB" for name, value in known.items()]
    return f"Held-out frames: {', '.join(said)}" if said else ""


def file_of(carrier: bpy.types.Object) -> Path | None:
    """The avatar's file, as this machine knows it, or as it was packed."""
    return packed_avatar.file_of(carrier)


def missing_file(carrier: bpy.types.Object) -> str:
    """Why the networks cannot be asked, or "": the file is not where the scene says."""
    path = file_of(carrier)
    if path is not None and path.is_file():
        return ""
    where = f"there is no file {path}" if path is not None else "no file is chosen for it"
    return f"The networks of {carrier.name!r} are in its avatar file, and {where}: {way_out()}"


def way_out() -> str:
    """What to do about networks that cannot be asked."""
    return "choose it in the panel 4 Avatar (Its File), or set Render to Sliders there."


def head_arrays(carrier: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> dict[str, np.ndarray]:
    """The carrier's evaluated head as ``avatar.drive`` takes it: its state and its vertices [1,V,3] in its own object's
    space, in the engine's axes. The vertices are those that carry the sliders, whatever else deforms the head.

    Raises NetworksError without a head, or when a modifier took vertices away.
    """
    head = carrier.blendsplat.head
    if head is None or head.data is None or head.data.shape_keys is None:
        raise NetworksError(f"The avatar {carrier.name!r} has no head that moves it: add the avatar again.")
    state = head_rig.head_state(head, depsgraph)
    mesh, count = head.evaluated_get(depsgraph).data, len(head.data.vertices)
    if len(mesh.vertices) < count:
        raise NetworksError(
            f"A modifier takes vertices away from {head.name!r} ({len(mesh.vertices)} are left of {count}): switch it "
            f"off, or show the sliders of {carrier.name!r}."
        )
    flat = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", flat)
    vertices = flat.reshape(-1, 3)[:count] @ TO_BLENDER  # modifiers add vertices behind the head's own
    arrays = {
        "expression": state.expression, "root_pose": matrix_to_rotvec(state.root),
        "neck_pose": matrix_to_rotvec(state.neck), "jaw_pose": matrix_to_rotvec(state.jaw),
        "eyes_pose": matrix_to_rotvec(state.eyes), "eyelids": state.eyelids, "translation": state.translation,
        "vertices": vertices[None],
    }  # fmt: skip
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}

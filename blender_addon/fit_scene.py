# SPDX-License-Identifier: GPL-3.0-or-later
"""Fitted photographs (the engine's fit-image folders) as scene objects: head with sliders, rig, cameras, texture.

Everything an operator or a script needs is here and takes plain folders and objects; nothing here is an operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy

from . import formats, head_rig, session


def bring_fits(context: bpy.types.Context, folders: Sequence[Path]) -> list[bpy.types.Object]:
    """Bring fitted photographs into the scene -> the head of each folder, in order (one head for one person's).

    Needs a connection to the engine (it asks ``head.rig``). The first photograph's camera becomes the scene's, and its
    head the active object. A fit that is in the scene already is updated; what the artist changed stays. Raises
    FileError, LinkError, EngineError.
    """
    return [bring_fit(context, folder) for folder in folders]


def bring_fit(context: bpy.types.Context, folder: Path) -> bpy.types.Object:
    """Bring one fitted photograph; see ``bring_fits``. Returns the head's mesh object."""
    performance = formats.read_performance(folder)
    result, arrays = session.call("head.rig", {"directory": session.engine_path(folder)})
    rig = formats.rig_from(result if isinstance(result, dict) else {}, arrays, folder)
    head = head_rig.find_head(context.scene, rig) or head_rig.build_head(context, rig, folder.name)
    head_rig.apply_performance(head, performance, context.scene.frame_current, 25.0)
    head_rig.add_camera(context, performance, head.users_collection[0], folder, context.scene.frame_current)
    return head


def fits_of(head: bpy.types.Object) -> list[Path]:
    """Folders of the photographs that this head was fitted to, in the order they were brought; [] for other heads."""
    return []


def cameras_of(head: bpy.types.Object) -> list[bpy.types.Object]:
    """The cameras of the head's photographs, in the order of ``fits_of``."""
    return [item for item in head.users_collection[0].objects if item.blendsplat.kind == "CAMERA"]


def look_through(scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    """Make it the scene's camera, at its photograph's size and frame: the head then lies on the photograph."""
    scene.camera = camera


def reset_sliders(head: bpy.types.Object) -> None:
    """Give sliders and bones the fitted numbers back (keyframes stay)."""


def write_state(head: bpy.types.Object, depsgraph: bpy.types.Depsgraph, path: Path) -> Path:
    """Write what sliders and bones say now as a tracking.npz of one frame at ``path``: the job ``export_head`` takes it
    as ``performance`` beside the fit's folder, so an export shows the artist's own changes."""
    return path

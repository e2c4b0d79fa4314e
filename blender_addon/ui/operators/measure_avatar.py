# SPDX-License-Identifier: GPL-3.0-or-later
"""After step 3: how good the avatar is where people look, and seen from the sides; with a picture of it all.

What was measured lies beside the avatar's file ("NAME measured") and counts until the avatar is trained again.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy

from ... import formats
from ...client import session
from . import common, editors, train

SUMMARY, SHEET = "summary.json", "sheet.png"


class MeasureAvatar(common.JobOperator, bpy.types.Operator):
    """Compare the avatar with frames that training did not see: mouth, eyes, steadiness, sides. Takes minutes"""

    bl_idname = "blendsplat.measure_avatar"
    bl_label = "Measure Avatar"
    kind = "evaluate"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        path = train.target(context.scene)
        if path is None or (not path.exists() and not session.remote()):
            return "Train the avatar first."
        return common.cannot_start(cls.kind, common.directory_of(context.scene))

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        path = train.target(context.scene)
        assert path is not None  # it is grey else
        return {
            "avatar": session.engine_path(path), "output": session.engine_path(folder_of(path)),
            "directory": session.engine_path(common.directory_of(context.scene)), "device": session.device(),
        }  # fmt: skip


class ShowMeasured(common.Grey, bpy.types.Operator):
    """The worst, the median and the best frame as source, mesh, avatar and error, and the sides with holes in red"""

    bl_idname = "blendsplat.show_measured"
    bl_label = "Show Worst, Median and Best"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if _sheet(context.scene) else "Measure the avatar first."

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = _sheet(context.scene)
        if path is None:
            return self.failed(context, "The picture is gone: measure the avatar again.")
        image = bpy.data.images.load(str(path), check_existing=True)
        image.reload()
        area = editors.editor(context, "IMAGE_EDITOR")
        if area is not None:
            area.spaces.active.image = image
        return self.solved(context)


def folder_of(avatar: Path) -> Path:
    """Where the files of an avatar's measurement lie."""
    return avatar.with_name(f"{avatar.name.removesuffix('.avatar.npz')} measured")


def measured(scene: bpy.types.Scene) -> dict[str, Any]:
    """What was measured of the scene's avatar as it is now; {} where nothing was. Panels ask this all the time."""
    path = train.target(scene)
    if path is None:
        return {}
    summary = folder_of(path) / SUMMARY
    when = train.changed(summary)
    return _read(summary, when) if when and when >= train.changed(path) else {}


def _sheet(scene: bpy.types.Scene) -> Path | None:
    path = train.target(scene)
    sheet = folder_of(path) / SHEET if path is not None else None
    return sheet if sheet is not None and measured(scene) and sheet.is_file() else None


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> dict[str, Any]:
    try:
        read = formats.read_json(path)
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def register() -> None:
    bpy.utils.register_class(MeasureAvatar)
    bpy.utils.register_class(ShowMeasured)


def unregister() -> None:
    bpy.utils.unregister_class(ShowMeasured)
    bpy.utils.unregister_class(MeasureAvatar)

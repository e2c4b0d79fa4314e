# SPDX-License-Identifier: GPL-3.0-or-later
"""What a head remembers of how its face is animated, and what is looked for in the Face panel."""

from __future__ import annotations

import json

import bpy
from bpy.props import BoolProperty, StringProperty

from ..scene import face_link


class BlendsplatFace(bpy.types.PropertyGroup):
    """A head's choices for its sliders; saved with it."""

    link: BoolProperty(
        name="Link Sides",
        description="What you move on one side moves on the other as well; both eyes look the same way. What keyframes "
        "and drivers do stays theirs, and nothing moves by switching this",
        update=face_link.toggled,
        override={"LIBRARY_OVERRIDABLE"},
    )
    favourites: StringProperty(
        name="Favourites",
        options={"HIDDEN"},
        description="The sliders that stand first in the Face panel",
        override={"LIBRARY_OVERRIDABLE"},
    )


def favourites(head: bpy.types.Object) -> list[str]:
    """The head's favourites by name, in the order they were chosen; also of sliders that are renamed or deleted."""
    try:
        names = json.loads(head.blendsplat.face.favourites or "[]")
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def set_favourite(head: bpy.types.Object, names: list[str], chosen: bool) -> None:
    """Make controls favourites, or no longer."""
    kept = [name for name in favourites(head) if name not in names]
    head.blendsplat.face.favourites = json.dumps([*kept, *names] if chosen else kept, ensure_ascii=False)


def register() -> None:
    bpy.utils.register_class(BlendsplatFace)
    bpy.types.WindowManager.blendsplat_search = StringProperty(
        name="Find a Slider",
        options={"TEXTEDIT_UPDATE", "SKIP_SAVE"},
        description="Show only the sliders that bear these words, as in: smile left",
    )


def unregister() -> None:
    del bpy.types.WindowManager.blendsplat_search
    bpy.utils.unregister_class(BlendsplatFace)

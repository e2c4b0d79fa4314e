# SPDX-License-Identifier: GPL-3.0-or-later
"""How a performance is played on an avatar: from neutral face to neutral face, smoothed, stronger or weaker by region.

It is taken when the performance is applied, and becomes keyframes; to change it, apply again.
"""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, FloatProperty

from ..scene import reenact

STRENGTHS = ("mouth", "eyes", "brows", "head")
_MOST = 2.0


def _strength(name: str, description: str) -> bpy.props.FloatProperty:
    return FloatProperty(
        name=name, default=1.0, min=0.0, max=_MOST, subtype="FACTOR",
        description=f"{description}. 0: none of it, 1: as it was performed, 2: twice as much",
    )  # fmt: skip


class BlendsplatActing(bpy.types.PropertyGroup):
    """A scene's choices for the performances that are applied in it."""

    relative: BoolProperty(
        name="Rest to Rest",
        default=True,
        description="Another person's resting face becomes this avatar's resting face, and only what the person does "
        "with it is carried over. Off: the face takes the tracked numbers as they are, the other's habits included",
    )
    smooth: FloatProperty(
        name="Smoothing",
        default=0.0,
        min=0.0,
        soft_max=1.0,
        max=5.0,
        unit="TIME_ABSOLUTE",
        subtype="TIME",
        description="Take trembling out: about how long a face at rest is averaged over, 0.2 seconds is usual. "
        "0: nothing is smoothed",
    )
    lively: FloatProperty(
        name="Liveliness",
        default=1.0,
        min=0.0,
        soft_max=3.0,
        max=20.0,
        description="How soon fast movement escapes the smoothing. Lower is calmer; at 0 blinks and words are smoothed "
        "away as well",
    )
    mouth: _strength("Mouth", "How strongly mouth, jaw and cheeks move")
    eyes: _strength("Eyes", "How strongly lids and gaze move")
    brows: _strength("Brows", "How strongly the brows move")
    head: _strength("Head", "How far the head turns and moves about where it is on average")


def chosen(scene: bpy.types.Scene) -> reenact.Acting:
    """What the scene says."""
    names = ("relative", "smooth", "lively", *STRENGTHS)
    return reenact.Acting(**{name: getattr(scene.blendsplat.acting, name) for name in names})


def draw(column: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    """The choices, in a column."""
    settings = scene.blendsplat.acting
    column.prop(settings, "relative")
    column.prop(settings, "smooth")
    row = column.row()
    row.active = settings.smooth > 0
    row.prop(settings, "lively")
    strengths = column.column(align=True)
    for name in STRENGTHS:
        strengths.prop(settings, name, slider=True)


register, unregister = bpy.utils.register_classes_factory((BlendsplatActing,))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose performance is played on an avatar and how: what of it, from neutral face to neutral face, smoothed, stronger
or weaker by region, with something added.

It is taken when the performance is applied, and becomes keyframes; to change it, apply again.
"""

from __future__ import annotations

import math

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, IntProperty, PointerProperty

from ..scene import acting_offsets, performance_parts, punch_in, reenact, rig_source

FILE, OBJECT = "FILE", "OBJECT"
STRENGTHS = ("mouth", "eyes", "brows", "head")
OFFSETS = ("mouth", "jaw", "lids", "brows")
_MOST = 2.0


def _strength(name: str, description: str) -> bpy.props.FloatProperty:
    return FloatProperty(
        name=name, default=1.0, min=0.0, max=_MOST, subtype="FACTOR",
        description=f"{description}. 0: none of it, 1: as it was performed, 2: twice as much",
    )  # fmt: skip


def _steady(name: str) -> bpy.props.FloatProperty:
    return FloatProperty(
        name=name, default=1.0, min=0.0, max=5.0, subtype="FACTOR",
        description=f"How much of the smoothing the {name.lower()} get: 0: none, 1: as said above, 2: twice as long",
    )  # fmt: skip


def _offset(name: str, description: str) -> bpy.props.FloatProperty:
    return FloatProperty(
        name=name, default=0.0, min=-1.0, max=1.0, subtype="FACTOR",
        description=f"Added to the whole performance: {description}",
    )  # fmt: skip


class BlendsplatActing(bpy.types.PropertyGroup):
    """A scene's choices for the performances that are applied in it."""

    source: EnumProperty(
        name="From",
        items=[
            (FILE, "File", "A tracked clip, a phone's face capture, ARKit's expressions as .csv or .json, or a folder "
             "of VHAP or metrical-tracker", "FILE", 0),
            (OBJECT, "Object", "What another object of the scene does: another avatar or its head, or any face whose "
             "shape keys have ARKit's names, animated by hand or by another tool", "OBJECT_DATA", 1),
        ],
        description="Where the performance comes from",
    )  # fmt: skip
    item: PointerProperty(
        name="Object",
        type=bpy.types.Object,
        poll=lambda _settings, item: rig_source.can_perform(item),
        description="The avatar, head or face whose animation is played, over the scene's frame range",
    )
    rate: FloatProperty(
        name="Frame Rate",
        default=0.0,
        min=0.0,
        max=1000.0,
        precision=2,
        description="Frames per second of a capture that does not say when its frames were taken; 0: 60, as phones "
        "record. Files that tell time keep it",
    )
    part: EnumProperty(
        name="Play",
        items=[
            (performance_parts.BOTH, "Face and Head", "All of the performance"),
            (performance_parts.FACE, "Face Only", "Expressions, jaw and gaze; the head moves as it is keyed already"),
            (performance_parts.HEAD, "Head Only", "How the head turns and moves; the face keeps its own keys"),
        ],
        description="What of the performance is played",
    )
    punch: BoolProperty(
        name="Only Between",
        description="Put the performance between two frames of the timeline alone: keys before and behind them stay",
    )
    punch_start: IntProperty(name="First Frame", default=1, description="Where the performance is let in")
    punch_end: IntProperty(name="Last Frame", default=50, description="Where what was keyed before goes on")
    punch_blend: IntProperty(
        name="Blend",
        default=5,
        min=0,
        soft_max=50,
        description="Frames at both ends in which the old glides into the new; 0: a cut",
    )
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
    steady_mouth: _steady("Mouth")
    steady_eyes: _steady("Eyes")
    steady_brows: _steady("Brows")
    steady_head: _steady("Head")
    offset_mouth: _offset("Smile", "a smile, or below 0 a frown")
    offset_jaw: _offset("Jaw", "the jaw further open, or below 0 less")
    offset_lids: _offset("Lids", "the lids further shut, or below 0 the eyes wider")
    offset_brows: _offset("Brows", "the brows higher, or below 0 lower")
    offset_head: FloatVectorProperty(
        name="Head Turn",
        size=3,
        default=(0.0, 0.0, 0.0),
        min=-math.pi / 2,
        max=math.pi / 2,
        subtype="EULER",
        unit="ROTATION",
        description="Added to the whole performance: the head turned down, to its left, and to its left shoulder",
    )


def chosen(scene: bpy.types.Scene) -> reenact.Acting:
    """What the scene says."""
    settings = scene.blendsplat.acting
    names = ("relative", "smooth", "lively", "part", *STRENGTHS, *(f"steady_{name}" for name in STRENGTHS))
    values = {name: getattr(settings, name) for name in names}
    offsets = {name: getattr(settings, f"offset_{name}") for name in OFFSETS}
    turned = acting_offsets.Offsets(**offsets, head=tuple(settings.offset_head))
    return reenact.Acting(**values, offsets=turned, window=_window(settings))


def _window(settings: BlendsplatActing) -> punch_in.Window | None:
    """The frames that alone are played; their order does not matter."""
    ends = sorted((settings.punch_start, settings.punch_end))
    return punch_in.Window(*ends, min(settings.punch_blend, (ends[1] - ends[0]) / 2)) if settings.punch else None


def draw(column: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    """The choices, in a column."""
    settings = scene.blendsplat.acting
    column.prop(settings, "part")
    column.prop(settings, "punch")
    if settings.punch:
        frames = column.column(align=True)
        for name in ("punch_start", "punch_end", "punch_blend"):
            frames.prop(settings, name)
    column.prop(settings, "relative")
    column.prop(settings, "smooth")
    row = column.row()
    row.active = settings.smooth > 0
    row.prop(settings, "lively")
    _sliders(column, settings, "Strength", STRENGTHS)
    if settings.smooth > 0:
        _sliders(column, settings, "Smoothing of", tuple(f"steady_{name}" for name in STRENGTHS))
    _sliders(column, settings, "Added", tuple(f"offset_{name}" for name in OFFSETS))
    column.column(align=True).prop(settings, "offset_head")


def _sliders(column: bpy.types.UILayout, settings: BlendsplatActing, title: str, names: tuple[str, ...]) -> None:
    """Sliders under a title."""
    part = column.column(align=True)
    part.label(text=title)
    for name in names:
        part.prop(settings, name, slider=True)


register, unregister = bpy.utils.register_classes_factory((BlendsplatActing,))

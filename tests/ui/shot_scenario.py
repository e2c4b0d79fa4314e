# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: a shot of ten seconds is animated by hand, through the panel alone, and
rendered. Every line of SHOT is what an artist does in one frame: expressions are buttons of the panel, numbers its
sliders; then the part's key button.

blender --factory-startup --python shot_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, camera_view, install, note, open_sidebar, run, screenshot, until, view

RATE, LAST = 24, 240
_BLINK = {"eyeBlinkLeft": 0.95}
_OPEN_EYES = {"eyeBlinkLeft": 0.0}
# frame, expression and its blend, sliders (one side: both are linked), turns of the head in degrees
SHOT: tuple[tuple[int, str, float, dict[str, float], dict[str, float]], ...] = (
    (1, "Neutral", 1.0, {}, {"head nod": 0, "head turn": 0, "head tilt": 0}),
    (14, "", 0, {"browOuterUpLeft": 0.0, **_OPEN_EYES}, {}),
    (20, "", 0, {"browOuterUpLeft": 0.45, "browInnerUp": 0.35}, {"head nod": -2}),
    (24, "sil", 1.0, {}, {}), (30, "E", 0.8, {}, {}), (36, "nn", 0.8, {}, {}), (42, "aa", 0.8, {}, {}),
    (46, "", 0, {"browOuterUpLeft": 0.1, "browInnerUp": 0.1, **_OPEN_EYES}, {"head nod": 3, "head turn": 2}),
    (49, "", 0, _BLINK, {}), (50, "PP", 0.9, {}, {}), (53, "", 0, _OPEN_EYES, {}),
    (58, "oh", 0.8, {}, {}), (66, "RR", 0.6, {}, {}), (74, "ih", 0.7, {}, {}), (82, "sil", 1.0, {}, {}),
    (88, "", 0, {}, {"head turn": -6, "head tilt": 3, "head nod": 1}),
    (96, "Smile", 0.8, {}, {}), (116, "Smile", 0.8, {}, {"head turn": -6, "head tilt": 3, "head nod": 1}),
    (120, "", 0, _OPEN_EYES, {}), (123, "", 0, _BLINK, {}), (127, "", 0, _OPEN_EYES, {}),
    (132, "Neutral", 1.0, {}, {"head turn": 5, "head tilt": -2, "head nod": 2}),
    (140, "ou", 0.8, {}, {}), (148, "aa", 0.7, {}, {}), (156, "FF", 0.8, {}, {}), (164, "oh", 0.7, {}, {}),
    (172, "sil", 1.0, {}, {"head turn": 5, "head tilt": -2, "head nod": 2}),
    (184, "Surprise", 0.6, {}, {"head turn": 0, "head tilt": 0, "head nod": -4}),
    (198, "Surprise", 0.6, {}, {"head nod": -4}),
    (212, "Joy", 0.7, {}, {"head nod": 3, "head tilt": 4}), (228, "Joy", 0.7, {}, {"head nod": 2, "head tilt": 4}),
    (240, "Neutral", 1.0, {}, {"head nod": 0, "head turn": 0, "head tilt": 0}),
)  # fmt: skip


def press(operator, *words: str, **values: object) -> None:  # type: ignore[no-untyped-def]
    with bpy.context.temp_override(**view()):
        operator(*words, **values)


def objects() -> tuple[bpy.types.Object, bpy.types.Object]:
    """The avatar and its head."""
    carrier = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")
    return carrier, carrier.blendsplat.head


def slide(head: bpy.types.Object, name: str, value: float) -> str:
    """Move a slider of the Face panel -> the part of the face that it stands in."""
    controls = sys.modules[f"{MODULE}.scene.face_controls"]
    control = controls.of(head)[name]
    struct, path = controls.place(head, control)
    if control.bone:
        getattr(struct, path)[control.index] = value
    else:
        setattr(struct, path, value)
    return control.group


def animate() -> Iterator[float]:
    carrier, head = objects()
    carrier.blendsplat.live = head.blendsplat.face.link = True
    scene = bpy.context.scene
    scene.blendsplat.posing.key = True
    for frame, expression, blend, sliders, turns in SHOT:
        scene.frame_set(frame)
        if expression:
            values = {"expression": expression, "strength": blend, "key": True}
            press(bpy.ops.blendsplat.apply_expression, "EXEC_DEFAULT", **values)
        for name, value in sliders.items():
            group = slide(head, name, value)
            yield 0.2  # the other side follows
            press(bpy.ops.blendsplat.face_key, group=group.upper())
        for name, degrees in turns.items():
            slide(head, name, degrees / 57.29578)
        if turns:
            press(bpy.ops.blendsplat.face_key, group="HEAD")
        yield 0.05
        if frame in (42, 96, 212):
            yield from screenshot(f"shot-{frame}")
    press(bpy.ops.blendsplat.bake_live, "EXEC_DEFAULT", frame_start=1, frame_end=LAST)
    note("baked", live=carrier.blendsplat.live)


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    scene = bpy.context.scene
    scene.blendsplat.avatar_file = OPTIONS["avatar"]
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "shot.blend"))
    press(bpy.ops.blendsplat.add_avatar)
    yield from until(lambda: any(item.blendsplat.kind == "AVATAR" for item in scene.objects), 60)
    scene.render.fps, scene.frame_start, scene.frame_end = RATE, 1, LAST
    open_sidebar()
    camera_view()
    yield 1.0
    yield from animate()
    press(bpy.ops.blendsplat.use_render_engine)
    scene.render.filepath = str(FOLDER / "frames" / "f")
    scene.render.resolution_percentage = 100
    bpy.ops.wm.save_mainfile()
    press(bpy.ops.render.render, animation=True)
    note("rendered", pictures=len(list((FOLDER / "frames").glob("*.png"))))


run(steps())

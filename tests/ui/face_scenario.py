# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: a face is animated by hand, through the Face panel and its handles.

blender --factory-startup --python face_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import MODULE, OPTIONS, install, note, open_sidebar, run, screenshot, until, view

_SLIDER = (1160, 223)  # where the first left slider is, below the panel's own rows, in a screen of 1600 x 1000


def press(operator, **words: object) -> None:  # type: ignore[no-untyped-def]
    with bpy.context.temp_override(**view()):
        operator(**words)


def head() -> bpy.types.Object:
    return next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "HEAD")


def value(name: str) -> float:
    return round(head().data.shape_keys.key_blocks[name].value, 4)


def drag(name: str, number: float) -> Iterator[float]:
    """What a hand on a slider does, and Blender's own turn after it."""
    head().data.shape_keys.key_blocks[name].value = number
    yield 0.4


def step(message: str) -> None:
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo_push(message=message)


def undo() -> Iterator[float]:
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 0.5


def front() -> None:
    """The head from before, near, with the room beside it for a board."""
    space = view()["area"].spaces.active
    space.region_3d.view_perspective = "ORTHO"
    space.region_3d.view_rotation = (0.7071068, 0.7071068, 0.0, 0.0)
    space.region_3d.view_location = (0.09, 0.0, -0.04)
    space.region_3d.view_distance = 0.95
    space.shading.type = "SOLID"
    space.overlay.show_floor = space.overlay.show_axis_x = space.overlay.show_axis_y = False


def steps() -> Iterator[float]:
    yield from install()
    bpy.context.preferences.addons[MODULE].preferences.engine_kind = "COMMAND"
    bpy.context.preferences.addons[MODULE].preferences.engine_command = OPTIONS["engine"]
    scene = bpy.context.scene
    scene.blendsplat.avatar_file = OPTIONS["avatar"]
    press(bpy.ops.blendsplat.add_avatar)
    yield from until(lambda: any(item.blendsplat.kind == "AVATAR" for item in scene.objects), 60)
    for panel in [name for name in dir(bpy.types) if name.startswith("BLENDSPLAT_PT_")]:
        if panel != "BLENDSPLAT_PT_face" and getattr(bpy.types, panel).bl_space_type == "VIEW_3D":
            bpy.utils.unregister_class(getattr(bpy.types, panel))  # the whole sidebar for the face
    avatar = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")
    avatar.hide_set(True)
    head().hide_set(False)
    front()
    open_sidebar()
    yield from by_sliders()
    yield from by_handles()


def by_mouse() -> Iterator[float]:
    """The left smile is dragged by a real mouse; Blender's own undo takes both sides back."""
    bpy.context.window_manager.blendsplat_search = "smile"  # the only row, so that its place is known
    step("Before")
    yield from screenshot("face-2-mouse")  # which draws the row
    mouse("mousemove", *_SLIDER)
    yield 0.4
    mouse("mousedown", 1)
    yield 0.4
    for pixels in range(2, 24, 2):
        mouse("mousemove", _SLIDER[0] + pixels, _SLIDER[1])
        yield 0.15
    mouse("mouseup", 1)
    yield 0.6
    note("dragged", left=value("mouthSmileLeft"), right=value("mouthSmileRight"))
    mouse("mousemove", 500, 600)
    yield 0.3
    mouse("key", "ctrl+z")
    yield 0.8
    note("drag undone", left=value("mouthSmileLeft"), right=value("mouthSmileRight"))
    bpy.context.window_manager.blendsplat_search = ""
    yield 0.3


def mouse(*words: object) -> None:
    subprocess.run(["xdotool", *map(str, words)], timeout=30, check=False)


def by_sliders() -> Iterator[float]:
    yield from screenshot("face-1-panel")
    head().blendsplat.face.link = True
    yield 0.3
    yield from by_mouse()
    yield from drag("mouthSmileLeft", 0.7)
    step("Smile")
    note("linked", left=value("mouthSmileLeft"), right=value("mouthSmileRight"))
    head().blendsplat.face.link = False
    yield from drag("mouthSmileRight", 0.1)
    yield from drag("browOuterUpLeft", 0.6)
    step("One side")
    press(bpy.ops.blendsplat.face_mirror)
    yield 0.3
    note("mirrored", left=value("mouthSmileLeft"), right=value("mouthSmileRight"), brow=value("browOuterUpRight"))
    step("Mirror")
    for name in ("mouthSmileLeft|mouthSmileRight", "jawOpen"):
        press(bpy.ops.blendsplat.face_favourite, name=name)
    press(bpy.ops.blendsplat.face_key, group="MOUTH")
    yield 0.3
    yield from screenshot("face-2-keyed")
    bpy.context.window_manager.blendsplat_search = "smile"
    yield 0.3
    yield from screenshot("face-3-search")
    bpy.context.window_manager.blendsplat_search = ""
    step("Keys")
    press(bpy.ops.blendsplat.face_reset)
    yield 0.3
    note("reset", left=value("mouthSmileLeft"), brow=value("browOuterUpRight"))
    step("Reset")
    yield from undo()
    note("undone", left=value("mouthSmileLeft"), brow=value("browOuterUpRight"))


def by_handles() -> Iterator[float]:
    press(bpy.ops.blendsplat.add_eye_target)
    press(bpy.ops.blendsplat.add_control_board)
    yield 0.5
    target = next(item for item in bpy.context.scene.objects if "Look" in item)
    board = next(item for item in bpy.context.scene.objects if "Board" in item.name)
    yield from screenshot("face-4-handles")
    target.pose.bones[0].location = (0.25, 0.1, 0)
    target["Look"] = 1.0
    target.update_tag()
    board.pose.bones["jaw"].location.y = -0.014
    board.pose.bones["mouth.L"].location = (0.004, 0.018, 0)
    board.pose.bones["mouth.R"].location = (-0.004, 0.018, 0)
    board.pose.bones["brow.L"].location.y = 0.02
    board.pose.bones["brow.R"].location.y = 0.02
    board.pose.bones["brow"].location.y = 0.015
    yield 0.6
    yield from screenshot("face-5-moved")
    keys = head().data.shape_keys.key_blocks
    note("board", smile=round(keys["board mouthSmileLeft"].value, 3), own=value("mouthSmileLeft"))
    step("Moved")
    space = view()["area"].spaces.active
    space.region_3d.view_rotation = (0.77, 0.45, 0.24, 0.38)
    yield 0.3
    press(bpy.ops.blendsplat.pose_face)
    yield 0.3
    note("posing", mode=bpy.context.mode, objects=len(bpy.context.objects_in_mode))
    yield from screenshot("face-6-from-the-side")
    press(bpy.ops.blendsplat.pose_face)
    press(bpy.ops.blendsplat.remove_control_board)
    press(bpy.ops.blendsplat.remove_eye_target)
    yield 0.5
    note("removed", left=[key.name for key in head().data.shape_keys.key_blocks if key.name.startswith("board")])
    step("Removed")
    yield from undo()
    note("back", keys=sum(key.name.startswith("board") for key in head().data.shape_keys.key_blocks))


run(steps())

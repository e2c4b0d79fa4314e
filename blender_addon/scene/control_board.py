# SPDX-License-Identifier: GPL-3.0-or-later
"""A board beside the head with handles for mouth and brows: an armature whose bones slide in frames.

Handles add to what plays. Each slider that they move gets a second shape key ("board mouthSmileLeft", a copy of its
shape) that plain drivers set from the handles, and the jaw's bone a constraint; nothing that is keyed is touched, a
performance may be applied before or after, and taking the board away leaves no trace. What reads the head's state
counts a slider and its board key as one (``added``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import bpy
import numpy as np

from . import arkit, bone_shapes, face_blend, face_controls, face_regions, handles
from .head_drivers import insert_before_joint, slider_bone

_NAME = "Control Board"
_DATA = "blendsplat_data"  # of a head: what head_rig keeps with it
_TRAVEL = 0.02  # metres from a frame's middle to its end
_FRAME = "Board"  # the bone that carries all
_BESIDE = 0.06  # metres beside the head
# Handle: where it rests and how far it goes, left, right, down, up, in travels. The board faces the artist: what is
# the person's left is on the right.
_HANDLES = {
    "brow.R": (-2.6, 1.6, 0, 0, 1, 1), "brow": (0.0, 1.6, 0, 0, 0, 1), "brow.L": (2.6, 1.6, 0, 0, 1, 1),
    "mouth.R": (-2.6, -1.2, 1, 1, 1, 1), "mouth.L": (2.6, -1.2, 1, 1, 1, 1), "jaw": (0.0, -1.8, 1, 1, 1, 0),
}  # fmt: skip
# (handle, axis, direction) -> ARKit's slider; with both directions of one axis also for heads of other sliders: a place
# of the face, its side, the movement in metres (x to the person's left, y backwards, z up)
_NAMED = {
    ("brow.L", "Y", 1): "browOuterUpLeft", ("brow.L", "Y", -1): "browDownLeft",
    ("brow.R", "Y", 1): "browOuterUpRight", ("brow.R", "Y", -1): "browDownRight",
    ("brow", "Y", 1): "browInnerUp",
    ("mouth.L", "Y", 1): "mouthSmileLeft", ("mouth.L", "Y", -1): "mouthFrownLeft",
    ("mouth.R", "Y", 1): "mouthSmileRight", ("mouth.R", "Y", -1): "mouthFrownRight",
    ("mouth.L", "X", 1): "mouthStretchLeft", ("mouth.R", "X", -1): "mouthStretchRight",
    ("mouth.L", "X", -1): "mouthPucker", ("mouth.R", "X", 1): "mouthPucker",
    ("jaw", "X", 1): "mouthLeft", ("jaw", "X", -1): "mouthRight", ("jaw", "Y", -1): "jawOpen",
}  # fmt: skip
_HALVES = {"mouthPucker": 0.5}  # what two handles move
_PLACES = {
    ("brow.L", "Y"): (("outer brow",), 1, (0, 0, 0.007)), ("brow.R", "Y"): (("outer brow",), -1, (0, 0, 0.007)),
    ("brow", "Y"): (("inner brow",), 0, (0, 0, 0.007)),
    ("mouth.L", "Y"): (("mouth corner",), 1, (0.001, 0, 0.007)),
    ("mouth.R", "Y"): (("mouth corner",), -1, (-0.001, 0, 0.007)),
    ("mouth.L", "X"): (("mouth corner",), 1, (0.007, 0.002, 0)),
    ("mouth.R", "X"): (("mouth corner",), -1, (0.007, -0.002, 0)),
    ("jaw", "X"): (("mouth corner", "upper lip", "lower lip"), 0, (0.006, 0, 0)),
}  # fmt: skip
_Part = tuple[str, str, int, float]  # (handle, axis, direction or 0 for both, value at the travel's end)


def board_of(head: bpy.types.Object) -> bpy.types.Object | None:
    """The head's board."""
    return handles.of(head, handles.BOARD)


def added(blocks: bpy.types.bpy_prop_collection, name: str) -> float:
    """What a board adds to a slider now."""
    key = blocks.get(face_controls.BOARD + name)
    return key.value if key is not None and not key.mute else 0.0


def is_there(head: bpy.types.Object) -> bool:
    """A board, or what is left of one whose armature was deleted."""
    return board_of(head) is not None or bool(keys_of(head))


def add(context: bpy.types.Context, head: bpy.types.Object) -> bpy.types.Object:
    """Add a board beside the head -> its armature, handles at rest: nothing moves yet. In Object or Pose Mode."""
    remove(head)
    board = _armature(context, head)
    for name, parts in _parts(head).items():
        _drive(_copied(head, name), board, parts)
    if (radians := _jaw_turn(head)) != 0.0:
        _turn_jaw(head.blendsplat.rig, board, radians)
    return board


def remove(head: bpy.types.Object) -> None:
    """Take the board away with all that it moved."""
    rig = head.blendsplat.rig
    for key in keys_of(head):
        key.driver_remove("value")
        head.shape_key_remove(key)
    jaw = rig.pose.bones.get("jaw") if rig is not None else None
    if jaw is not None and (con := jaw.constraints.get(_NAME)) is not None:
        jaw.constraints.remove(con)
    handles.remove(head, handles.BOARD)


def keys_of(head: bpy.types.Object) -> list[bpy.types.ShapeKey]:
    """The shape keys that the head has for its board."""
    keys = head.data.shape_keys
    return [key for key in keys.key_blocks if key.name.startswith(face_controls.BOARD)] if keys is not None else []


# --- what moves


def _parts(head: bpy.types.Object) -> dict[str, list[_Part]]:
    """Slider -> the handles that move it."""
    blocks = head.data.shape_keys.key_blocks
    found: dict[str, list[_Part]] = {}
    for (handle, axis, direction), name in _NAMED.items():
        if name in blocks and not (name == "jawOpen" and _jaw_turn(head)):
            found.setdefault(name, []).append((handle, axis, direction, _HALVES.get(name, 1.0)))
    if found:
        return found
    for handle, axis, name, amount in _mixtures(head):
        found.setdefault(name, []).append((handle, axis, 0, amount))
    return found


def _mixtures(head: bpy.types.Object) -> Iterator[tuple[str, str, str, float]]:
    """(handle, axis, slider, value at the travel's end) for a head of numbered sliders."""
    rig, blocks = head.blendsplat.rig, head.data.shape_keys.key_blocks
    names = [name for name in json.loads(head[_DATA]["expressions"]) if name in blocks]
    if rig is None or not names or any(eye not in rig.data.bones for eye in ("eye.L", "eye.R")):
        return
    points = face_controls.coordinates(blocks[0])
    places = face_regions.masks(points, np.array([rig.data.bones[eye].head_local for eye in ("eye.L", "eye.R")]))
    if not places:
        return
    moves = np.stack([face_controls.coordinates(blocks[name]) - points for name in names])
    face = np.any([mask for (group, _), mask in places.items() if group != "head"], 0)
    for (handle, axis), (words, side, wanted) in _PLACES.items():
        here = sum((mask for (_, place), mask in places.items() if place in words), np.zeros(len(points), bool))
        if side:
            here = here & (side * points[:, 0] > 0)
        for name, amount in zip(names, face_blend.mixture(moves, here, face, np.array(wanted)), strict=True):
            if amount:
                yield handle, axis, name, float(amount)


def _jaw_turn(head: bpy.types.Object) -> float:
    """How far the jaw's bone turns (radians) when its handle is at the end; 0 where the jaw is a shape, or is not."""
    rig = head.blendsplat.rig
    if rig is None or "jaw" not in rig.pose.bones:
        return 0.0
    is_shape = "jawOpen" in head.data.shape_keys.key_blocks and slider_bone("jaw") not in rig.pose.bones
    return 0.0 if is_shape else arkit.TURNS["jawOpen"][1][0]


def _copied(head: bpy.types.Object, name: str) -> bpy.types.ShapeKey:
    """A shape key that adds what the slider ``name`` does."""
    blocks = head.data.shape_keys.key_blocks
    base, own = face_controls.coordinates(blocks[0]), blocks[name]
    moves = face_controls.coordinates(own) - face_controls.coordinates(own.relative_key)
    key = head.shape_key_add(name=face_controls.BOARD + name, from_mix=False)
    key.value = 0.0  # Blender 5.0 and later start at 1
    key.slider_min, key.slider_max = min(-2.0, own.slider_min), max(2.0, own.slider_max)
    key.vertex_group, key.lock_shape = own.vertex_group, True
    key.data.foreach_set("co", (base + moves).astype(np.float32).ravel())
    return key


def _drive(key: bpy.types.ShapeKey, board: bpy.types.Object, parts: list[_Part]) -> None:
    driver = key.driver_add("value").driver
    driver.type = "SCRIPTED"
    words = []
    for letter, (handle, axis, direction, amount) in zip("abcdefghijkl", parts, strict=False):
        variable = driver.variables.new()
        variable.name, variable.type = letter, "TRANSFORMS"
        target = variable.targets[0]
        target.id, target.bone_target = board, handle
        target.transform_type, target.transform_space = f"LOC_{axis}", "LOCAL_SPACE"
        per_metre = amount / _TRAVEL
        sign = "-" if direction < 0 else ""
        words.append(f"{per_metre:+.3f}*" + (f"max({sign}{letter},0)" if direction else letter))
    driver.expression = "".join(words)


def _turn_jaw(rig: bpy.types.Object, board: bpy.types.Object, radians: float) -> None:
    con = insert_before_joint(rig.pose.bones["jaw"], "TRANSFORM")
    con.name, con.target, con.subtarget = _NAME, board, "jaw"
    con.owner_space = con.target_space = "LOCAL"
    con.map_from, con.map_to, con.map_to_x_from = "LOCATION", "ROTATION", "Y"
    con.from_min_y, con.from_max_y = -_TRAVEL, 0.0
    con.to_min_x_rot, con.to_max_x_rot = radians, 0.0
    con.mix_mode_rot = "BEFORE"


# --- what is seen


def _armature(context: bpy.types.Context, head: bpy.types.Object) -> bpy.types.Object:
    bones = {_FRAME: ((0.0, 0.0, 0.0), _TRAVEL, "")}
    for name, (x, y, *_) in _HANDLES.items():
        bones[name] = (x * _TRAVEL, 0.0, y * _TRAVEL), 0.5 * _TRAVEL, _FRAME
    board = handles.add(context, head, _NAME, handles.BOARD, _beside(head), bones)
    board.data.show_names = True
    _dress(board)
    return board


def _beside(head: bpy.types.Object) -> handles.Place:
    """Where the board stands, in the armature's space: to the person's left, as high as the face."""
    points = face_controls.coordinates(head.data.shape_keys.key_blocks[0])
    eye = head.blendsplat.rig.data.bones.get("eye.L") if head.blendsplat.rig is not None else None
    height = eye.head_local.z - 0.03 if eye is not None else float(points[:, 2].mean())
    return float(points[:, 0].max()) + _BESIDE + 3.6 * _TRAVEL, float(points[:, 1].min()), height


def _dress(board: bpy.types.Object) -> None:
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    bone_shapes.wear(board.pose.bones[_FRAME], bone_shapes.lines("board", *_frames()), zero, one, "THEME09")
    for name, (_, _, left, right, down, up) in _HANDLES.items():
        item = board.pose.bones[name]
        color = {"L": "THEME04", "R": "THEME01"}.get(name[-2:].removeprefix("."), "THEME03")
        bone_shapes.wear(item, bone_shapes.disc(), zero, (0.3 * _TRAVEL,) * 3, color)
        item.lock_rotation = item.lock_scale = (True, True, True)
        item.lock_location = (left + right == 0, False, True)
        limit = item.constraints.new("LIMIT_LOCATION")
        limit.owner_space, limit.use_transform_limit = "LOCAL", True
        ends = {"min_x": -left, "max_x": right, "min_y": -down, "max_y": up, "min_z": 0, "max_z": 0}
        for end, travels in ends.items():
            setattr(limit, end, travels * _TRAVEL)
            setattr(limit, f"use_{end}", True)


def _frames() -> tuple[list, list]:
    """The lines of all frames, and of a face between them, in the carrying bone's axes."""
    points: list[tuple[float, float, float]] = []
    edges: list[tuple[int, int]] = []

    def outline(corners: list[tuple[float, float]]) -> None:
        start = len(points)
        points.extend((x * _TRAVEL, y * _TRAVEL, 0.0) for x, y in corners)
        edges.extend((start + index, start + (index + 1) % len(corners)) for index in range(len(corners)))

    for x, y, left, right, down, up in _HANDLES.values():
        margin = 0.0 if left + right else 0.12
        outline([(x - left - margin, y - down), (x + right + margin, y - down), (x + right + margin, y + up),
                 (x - left - margin, y + up)])  # fmt: skip
    outline([(-4.2, -3.2), (4.2, -3.2), (4.2, 3.2), (-4.2, 3.2)])
    return points, edges

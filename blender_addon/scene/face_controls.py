# SPDX-License-Identifier: GPL-3.0-or-later
"""All that moves a face, as one list: sliders (shape keys), turns of the head's bones and handles of its board, each
with its part of the face and its other side. What is done with them (reset, mirror, keyframes) is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import face_regions, face_words, handles, keyframes
from .head_drivers import identity_key, key_path

BOARD = "board "  # begins the names of keys that only a control board drives
_HIDDEN = ("corrective ", BOARD, identity_key(""))  # nothing that a hand acts with
_TURN, _MOVE = "rotation_euler", "location"
# Name, bone, channel, axis, part of the face, words; the other side with the sign that a mirror gives it, and what
# moves along where sides are linked. A bone's X points to the person's left, Y up, Z out of the face.
_BONES = (
    ("jaw open", "jaw", _TURN, 0, "jaw", "Bone Open", ("jaw open", 1.0), ""),
    ("jaw aside", "jaw", _TURN, 1, "jaw", "Bone Aside", ("jaw aside", -1.0), ""),
    ("jaw tilt", "jaw", _TURN, 2, "jaw", "Bone Tilt", ("jaw tilt", -1.0), ""),
    ("gaze down L", "eye.L", _TURN, 0, "gaze", "Bone Down L", ("gaze down R", 1.0), "gaze down R"),
    ("gaze down R", "eye.R", _TURN, 0, "gaze", "Bone Down R", ("gaze down L", 1.0), "gaze down L"),
    ("gaze aside L", "eye.L", _TURN, 1, "gaze", "Bone Aside L", ("gaze aside R", -1.0), "gaze aside R"),
    ("gaze aside R", "eye.R", _TURN, 1, "gaze", "Bone Aside R", ("gaze aside L", -1.0), "gaze aside L"),
    ("head nod", "neck", _TURN, 0, "head", "Nod", ("head nod", 1.0), ""),
    ("head turn", "neck", _TURN, 1, "head", "Turn", ("head turn", -1.0), ""),
    ("head tilt", "neck", _TURN, 2, "head", "Tilt", ("head tilt", -1.0), ""),
    ("body lean", "root", _TURN, 0, "head", "Body Lean", ("body lean", 1.0), ""),
    ("body turn", "root", _TURN, 1, "head", "Body Turn", ("body turn", -1.0), ""),
    ("body tilt", "root", _TURN, 2, "head", "Body Tilt", ("body tilt", -1.0), ""),
    ("body aside", "root", _MOVE, 0, "head", "Body Aside", ("body aside", -1.0), ""),
    ("body up", "root", _MOVE, 1, "head", "Body Up", ("body up", 1.0), ""),
    ("body forward", "root", _MOVE, 2, "head", "Body Forward", ("body forward", 1.0), ""),
)  # fmt: skip


KEYS, RIG, BOARDS = "keys", "rig", "board"  # whose number it is: the shape keys', the armature's, the board's
_WORDS = ("Aside", "Up")  # what a handle does along its X and Y


@dataclass(frozen=True)
class Control:
    """One number of a head: of its shape keys, or of a ``bone`` of its armature or its board (``owner``).

    ``mirrored``: the name of what a mirror shows it as ("" where that is not there), with the sign; ``linked``: the
    name of what moves along, or "", with the sign.
    """

    name: str
    label: str
    full: str
    group: str
    owner: str
    path: str
    index: int
    bone: str
    mirrored: tuple[str, float]
    linked: tuple[str, float]


def of(head: bpy.types.Object) -> dict[str, Control]:
    """The head's controls by name, in the order in which they are shown; {} for what has no shape keys."""
    keys = head.data.shape_keys if head.type == "MESH" else None
    if keys is None:
        return {}
    names = [key.name for key in keys.key_blocks[1:] if not key.name.startswith(_HIDDEN)]
    places = _regions(head, names)
    found = [_slider(name, set(names), *places.get(name, ("", ""))) for name in names]
    found += _turns(head.blendsplat.rig, set(names))
    found += _handles(handles.of(head, handles.BOARD))
    order = {group: place for place, group in enumerate((*face_words.GROUPS, ""))}
    return {control.name: control for control in sorted(found, key=lambda control: order[control.group])}


def in_groups(controls: Iterable[Control]) -> dict[str, list[Control]]:
    """Controls by part of the face, parts without any left out."""
    grouped: dict[str, list[Control]] = {}
    for control in controls:
        grouped.setdefault(control.group, []).append(control)
    return grouped


def owners(head: bpy.types.Object) -> dict[str, bpy.types.ID]:
    """The data blocks that are keyed, as far as they are there: shape keys, armature object, board."""
    found = {
        KEYS: head.data.shape_keys, RIG: head.blendsplat.rig, BOARDS: handles.of(head, handles.BOARD),
    }  # fmt: skip
    return {name: owner for name, owner in found.items() if owner is not None}


def place(head: bpy.types.Object, control: Control) -> tuple[bpy.types.bpy_struct, str]:
    """(struct, its property) that hold the number: what a layout draws."""
    if control.bone:
        return owners(head)[control.owner].pose.bones[control.bone], control.path.rpartition(".")[2]
    return head.data.shape_keys.key_blocks[control.name], "value"


def value(head: bpy.types.Object, control: Control) -> float:
    """What it is now."""
    struct, name = place(head, control)
    number = getattr(struct, name)
    return float(number[control.index] if control.bone else number)


def put(head: bpy.types.Object, control: Control, number: float) -> None:
    """Set it; Blender keeps a slider within its ends."""
    struct, name = place(head, control)
    if control.bone:
        getattr(struct, name)[control.index] = number
    else:
        struct.value = number


def driven(head: bpy.types.Object) -> set[tuple[str, str, int]]:
    """(owner, data path, index) of what drivers set: no hand moves it."""
    return {
        (name, driver.data_path, driver.array_index)
        for name, owner in owners(head).items() if owner.animation_data is not None
        for driver in owner.animation_data.drivers
    }  # fmt: skip


def free(head: bpy.types.Object, controls: Iterable[Control]) -> list[Control]:
    """Those that no driver sets."""
    taken = driven(head)
    return [control for control in controls if (control.owner, control.path, control.index) not in taken]


def locked(head: bpy.types.Object) -> str:
    """Why nothing of the head can be moved here, or ""."""
    if head.type != "MESH" or head.data.shape_keys is None:
        return f"{head.name} has no sliders (shape keys) any more."
    for item in (head.data, *owners(head).values()):
        if item.library is not None:
            return f"{item.name} is linked from another file: make a library override, or move it in that file."
        if item.override_library is not None and item.override_library.is_system_override:
            return f"{item.name} is an override that may not be changed: Outliner > Library Override > Make > Selected."
    return ""


def fixed(head: bpy.types.Object) -> str:
    """Why the head can get no handles (keys, constraints) here, or "": an override takes values, not parts."""
    for item in (head, head.data, head.blendsplat.rig):
        if item is not None and item.override_library is not None:
            return f"{item.name} is a library override: add this in the file that it comes from."
    return locked(head)


def reset(head: bpy.types.Object, controls: Iterable[Control]) -> list[Control]:
    """Put controls to rest -> those that moved."""
    return _put_all(head, dict.fromkeys(free(head, controls), 0.0))


def mirror(head: bpy.types.Object, controls: dict[str, Control], chosen: Iterable[Control]) -> list[Control]:
    """Let the chosen controls show what a mirror would: left and right change places -> those that moved.

    ``controls``: all of the head's. One whose other side is not there, or is a driver's, stays.
    """
    movable = {control.name for control in free(head, controls.values())}
    wanted = {}
    for control in chosen:
        name, sign = control.mirrored
        if control.name in movable and name in movable:
            wanted[control] = sign * value(head, controls[name])
    return _put_all(head, wanted)


def insert_keys(head: bpy.types.Object, controls: Iterable[Control], frame: float) -> int:
    """Key the controls as they are now -> how many; what a driver sets is left."""
    count, data = 0, owners(head)
    for control in free(head, controls):
        index = control.index if control.bone else -1
        group = control.bone or face_words.TITLES[control.group]
        count += data[control.owner].keyframe_insert(control.path, index=index, frame=frame, group=group)
    return count


def keyed_at(head: bpy.types.Object, frame: float) -> Callable[[Control], str]:
    """A function that tells of a control: "" (no curve), "animated" or "keyed" (it has a key at the frame)."""
    states: dict[tuple[str, str, int], str] = {}
    for place, curve in curves(head).items():
        frames = keyframes.points(curve)[:, 0]
        here = len(frames) and np.abs(frames - frame).min() < 1e-3
        states[place] = "keyed" if here else "animated"
    return lambda control: states.get((control.owner, control.path, control.index), "")


def curves(head: bpy.types.Object) -> dict[tuple[str, str, int], Any]:
    """The F-curves of the head's actions by owner, data path and index."""
    return {
        (name, curve.data_path, curve.array_index): curve
        for name, owner in owners(head).items() for curve in keyframes.fcurves(owner)
    }  # fmt: skip


def _put_all(head: bpy.types.Object, wanted: dict[Control, float]) -> list[Control]:
    moved = [control for control, number in wanted.items() if value(head, control) != number]
    for control in moved:
        put(head, control, wanted[control])
    return moved


def _slider(name: str, names: set[str], group: str, part: str) -> Control:
    other = face_words.other_side(name)
    mirrored = (other, 1.0) if other in names else ("" if other else name, 1.0)
    linked = face_words.linked_to(name)
    return Control(
        name, face_words.label(name, part), face_words.label(name, part, short=False), group, KEYS, key_path(name), 0,
        "", mirrored, (linked if linked in names else "", 1.0),
    )  # fmt: skip


def _turns(rig: bpy.types.Object | None, taken: set[str]) -> list[Control]:
    if rig is None:
        return []
    found = []
    for name, bone, channel, axis, group, label, mirrored, linked in _BONES:
        item = rig.pose.bones.get(bone)
        turns = item is not None and (channel != _TURN or item.rotation_mode not in ("QUATERNION", "AXIS_ANGLE"))
        if turns and name not in taken:
            path = f'pose.bones["{bone}"].{channel}'
            found.append(Control(name, label, label, group, RIG, path, axis, bone, mirrored, (linked, 1.0)))
    return found


def _handles(board: bpy.types.Object | None) -> list[Control]:
    """The handles of a board: its left and right are the person's."""
    found = []
    for item in board.pose.bones if board is not None else ():
        stem, _, side = item.name.partition(".")
        other = face_words.other_side(item.name)
        for axis, word in enumerate(_WORDS):
            if item.lock_location[axis] or item.parent is None:
                continue
            name, sign = f"handle {item.name} {word}", -1.0 if axis == 0 else 1.0
            label = f"{stem.capitalize()} {word} {side}".rstrip()
            partner = f"handle {other} {word}" if other else ""
            path = f'pose.bones["{item.name}"].location'
            found.append(
                Control(name, label, label, "board", BOARDS, path, axis, item.name, (partner or name, sign),
                        (partner, sign))
            )  # fmt: skip
    return found


# What moves where is looked up once for a mesh and its names: {mesh: (names, {name: (group, place)})}
_seen: dict[int, tuple[tuple[str, ...], dict[str, tuple[str, str]]]] = {}


def _regions(head: bpy.types.Object, names: list[str]) -> dict[str, tuple[str, str]]:
    """Slider -> (part of the face, place in words, "" where its name says enough)."""
    known = {name: (group, "") for name in names if (group := face_words.group_of(name))}
    unknown = tuple(name for name in names if name not in known)
    if not unknown:
        return known
    uid = head.data.session_uid
    if uid not in _seen or _seen[uid][0] != unknown:
        _seen[uid] = unknown, _looked_at(head, unknown)
    return known | _seen[uid][1]


def _looked_at(head: bpy.types.Object, names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    rig, blocks = head.blendsplat.rig, head.data.shape_keys.key_blocks
    eyes = [rig.data.bones.get(name) for name in ("eye.L", "eye.R")] if rig is not None else [None]
    if None in eyes:
        return {}
    points = coordinates(blocks[0])
    places = face_regions.masks(points, np.array([bone.head_local for bone in eyes]))
    return {
        name: face_regions.place_of(coordinates(blocks[name]) - coordinates(blocks[name].relative_key), points, places)
        for name in names
    }


def coordinates(key: bpy.types.ShapeKey) -> np.ndarray:
    """A shape key's points [V,3]."""
    flat = np.empty(3 * len(key.data), np.float32)
    key.data.foreach_get("co", flat)
    return flat.reshape(-1, 3)

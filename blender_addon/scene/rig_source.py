# SPDX-License-Identifier: GPL-3.0-or-later
"""What another object of the scene does, as a performance: an avatar, a head of ours, or any face whose shape keys have
ARKit's names, whoever animates it.

Frames are read in a scene of their own that no window shows, so that drivers, constraints and NLA strips count and the
artist's frame does not move. Keys of a face that nothing but its own curves moves are read off these, which is quicker.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

from ..formats import FileError, Performance
from ..space import matrix_to_rotvec
from . import arkit, head_rig, keyframes
from .head_drivers import key_path
from .weight_network import HeadState

FEWEST = 5  # of ARKit's names
_NAME = ".Blendsplat reads a face"
_SIDES = {"_L": "Left", "_R": "Right", ".L": "Left", ".R": "Right"}


def head_behind(item: bpy.types.Object | None) -> bpy.types.Object | None:
    """The head of ours that an object is, or hangs on: a head, an avatar, or a head's bones; None for others."""
    if item is None or item.blendsplat.kind == "HEAD":
        return item
    if item.blendsplat.kind == "AVATAR":
        return item.blendsplat.head
    if item.blendsplat.kind == "RIG":
        return next((one for one in item.children if one.blendsplat.kind == "HEAD"), None)
    return None


def arkit_keys(item: bpy.types.Object) -> dict[str, str]:
    """ARKit's name -> the name of the shape key that an object has for it (eyeBlink_L counts as eyeBlinkLeft)."""
    keys = getattr(item.data, "shape_keys", None)
    known = {name.lower(): name for name in arkit.NAMES}
    found: dict[str, str] = {}
    for key in keys.key_blocks if keys is not None else ():
        name = key.name
        for end, side in _SIDES.items():
            name = name.removesuffix(end) + side if name.endswith(end) else name
        arkits = known.get("".join(letter for letter in name.lower() if letter.isalnum()))
        if arkits is not None:
            found.setdefault(arkits, key.name)
    return found


def can_perform(item: bpy.types.Object) -> bool:
    """Whether an object has a face of which a performance can be read."""
    return head_behind(item) is not None or (item.type == "MESH" and len(arkit_keys(item)) >= FEWEST)


def reason(item: bpy.types.Object | None, carrier: bpy.types.Object) -> str:
    """Why what this object does cannot be played on the avatar, or ""."""
    if item is None:
        return "Choose the object whose animation is played: an avatar, a head, or a face with ARKit's shape keys."
    if not item.users_scene:
        return f"{item.name} is no longer in the scene: choose another."
    theirs, ours = head_behind(item), carrier.blendsplat.head
    if ours is None:
        return f"{carrier.name} has no head: repair it first."
    if theirs == ours:
        return f"{item.name} is {carrier.name} itself: choose another."
    if theirs is None and len(arkit_keys(item)) < FEWEST:
        return f"{item.name} has no shape keys with ARKit's names (jawOpen, mouthSmileLeft, ...)."
    if theirs is None or not _same_model(theirs, ours):
        names = head_rig.expression_names(ours)
        if len(set(names) & set(arkit.NAMES)) < FEWEST:
            return (
                f"{ours.name}'s expressions have no names by which {item.name}'s could be told: both heads must be of "
                "one model, or the avatar's have ARKit's names."
            )
    return ""


def read(scene: bpy.types.Scene, item: bpy.types.Object, carrier: bpy.types.Object) -> Performance:
    """What an object does over the scene's frame range, as a performance of the avatar's head whose first frame is the
    range's. Raises FileError with reason()'s sentence."""
    if sentence := reason(item, carrier):
        raise FileError(sentence)
    frames = list(range(scene.frame_start, scene.frame_end + 1))
    theirs, ours = head_behind(item), carrier.blendsplat.head
    if theirs is None:
        arrays = _of_values(_face(item, frames), ours)
    elif _same_model(theirs, ours):
        arrays = _of_states(_walk(theirs, frames, lambda graph: head_rig.head_state(theirs, graph)))
    else:
        arrays = _of_another_head(theirs, frames, ours)
    fps = scene.render.fps / scene.render.fps_base
    arrays |= {
        "timestamps": (np.array(frames, float) - frames[0]) / fps, "valid": np.ones(len(frames), bool),
        "K": np.eye(3, dtype=np.float32), "viewmat": np.eye(4, dtype=np.float32),
        "shape": np.zeros(0, np.float32), "vertex_offsets": np.zeros((0, 3), np.float32),
    }  # fmt: skip
    meta = {
        "head": ours.name, "head_model": str(ours[head_rig.CUSTOM].get("model", "")), "width": 1, "height": 1,
        "expression_names": head_rig.expression_names(ours),
    }  # fmt: skip
    return Performance(Path(item.name), meta, arrays)


def _same_model(one: bpy.types.Object, other: bpy.types.Object) -> bool:
    mine, theirs = one[head_rig.CUSTOM], other[head_rig.CUSTOM]
    known = str(mine.get("model", "")), str(theirs.get("model", ""))
    return known[0] == known[1] if all(known) else head_rig.expression_names(one) == head_rig.expression_names(other)


def _face(item: bpy.types.Object, frames: list[int]) -> dict[str, np.ndarray]:
    """ARKit's name -> values [F] of a face's shape keys; muted ones count as 0."""
    keys, names = item.data.shape_keys, arkit_keys(item)
    data = keys.animation_data
    blocks = {arkits: keys.key_blocks[name] for arkits, name in names.items()}
    heard = {arkits: key for arkits, key in blocks.items() if not key.mute}
    if data is not None and (len(data.drivers) or len(data.nla_tracks)):
        found = list(heard)
        rows = np.array(
            _walk(item, frames, lambda graph: [keys.evaluated_get(graph).key_blocks[heard[one].name].value
                                              for one in found])
        )  # fmt: skip
        return {name: rows[:, column] for column, name in enumerate(found)}
    curves = {curve.data_path: curve for curve in keyframes.fcurves(keys) if not curve.mute}

    def values(key: bpy.types.ShapeKey) -> np.ndarray:
        curve = curves.get(key_path(key.name))
        told = [key.value] * len(frames) if curve is None else [curve.evaluate(frame) for frame in frames]
        return np.clip(told, key.slider_min, key.slider_max)

    return {name: values(key) for name, key in heard.items()}


def _of_values(values: dict[str, np.ndarray], ours: bpy.types.Object) -> dict[str, np.ndarray]:
    """The moving arrays of ARKit's coefficients on a head of ours with ARKit's names."""
    frames = len(next(iter(values.values())))
    expression = np.zeros((frames, len(names := head_rig.expression_names(ours))))
    for column, name in enumerate(names):
        theirs = [values[one] for one in (name, *(name + side for side in arkit.SIDES)) if one in values]
        whole = next((values[name.removesuffix(s)] for s in arkit.SIDES if name.removesuffix(s) in values), None)
        if theirs:
            expression[:, column] = np.mean(theirs, axis=0)
        elif whole is not None:
            expression[:, column] = whole
    arrays = _still(frames, expression)
    for name, (bone, turn) in arkit.TURNS.items():
        if name in values and name not in names:
            moved = np.outer(values[name], turn)
            if bone == "jaw":
                arrays["jaw_pose"] += moved
            else:
                arrays["eyes_pose"][:, int(bone == "eye.R")] += moved
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _of_another_head(theirs: bpy.types.Object, frames: list[int], ours: bpy.types.Object) -> dict[str, np.ndarray]:
    """Of a head of another model: its expressions by ARKit's names, and how it is held."""
    states = _of_states(_walk(theirs, frames, lambda graph: head_rig.head_state(theirs, graph)))
    names = head_rig.expression_names(theirs)
    values = {name: states["expression"][:, names.index(name)] for name in names}
    opened = arkit.TURNS["jawOpen"][1][0]
    values.setdefault("jawOpen", np.maximum(states["jaw_pose"][:, 0], 0) / opened)
    arrays = _of_values(values, ours)
    held = ("root_pose", "neck_pose", "translation", "eyes_pose")
    return arrays | {name: states[name] for name in held}


def _of_states(states: list[HeadState]) -> dict[str, np.ndarray]:
    def of(name: str) -> np.ndarray:
        return np.concatenate([getattr(state, name) for state in states])

    arrays = {
        "expression": of("expression"), "eyelids": of("eyelids"), "translation": of("translation"),
        **{f"{name}_pose": matrix_to_rotvec(of(name)) for name in ("root", "neck", "jaw", "eyes")},
    }  # fmt: skip
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _still(frames: int, expression: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "expression": expression,
        "eyelids": np.zeros((frames, 2)),
        "eyes_pose": np.zeros((frames, 2, 3)),
        **{name: np.zeros((frames, 3)) for name in ("root_pose", "neck_pose", "jaw_pose", "translation")},
    }


def _walk(item: bpy.types.Object, frames: list[int], take: Callable[[bpy.types.Depsgraph], object]) -> list:
    """What ``take`` gives of an object in frames that are evaluated out of sight."""
    scene, empty = bpy.data.scenes.new(_NAME), bpy.data.objects.new(_NAME, None)
    try:
        scene.collection.objects.link(empty)
        empty.constraints.new("SHRINKWRAP").target = item  # so that it is evaluated, hidden or not
        found = []
        for frame in frames:
            scene.frame_set(frame)
            found.append(take(scene.view_layers[0].depsgraph))
        return found
    finally:
        bpy.data.scenes.remove(scene)
        bpy.data.objects.remove(empty)

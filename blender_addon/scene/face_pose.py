# SPDX-License-Identifier: GPL-3.0-or-later
"""What a face does at one moment, apart from the head it was read from: sliders by their names, and how jaw and eyes
are turned. It goes through the clipboard as text, into assets, onto other heads, and through a mirror.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import bpy
from mathutils import Matrix, Quaternion, Vector

from .face_controls import BOARD
from .head_drivers import key_path
from .learned_keys import LIMIT
from .sides import counterpart, mirrored_turn

TURNED = ("jaw", "eye.L", "eye.R")  # the bones of a face; root and neck are the head's place
_MARK, _VERSION = "blendsplat_face", 1
# keys that bones drive, keys that make the person, keys of a control board
_NOT_THE_FACES = ("corrective ", "identity ", BOARD)
_LONGEST, _MOST_NAMES = 1_000_000, 5000
_NO_POSE = "The clipboard holds no face: copy one first (Copy Face)."

Turn = tuple[float, float, float]


class PoseError(ValueError):
    """A text or an asset is no face that this head can take; the text is a sentence."""


@dataclass(frozen=True)
class FacePose:
    """sliders: shape key's name -> value. turns: bone's name -> rotation vector about its own axes, radians."""

    sliders: dict[str, float] = field(default_factory=dict)
    turns: dict[str, Turn] = field(default_factory=dict)

    def mirrored(self) -> FacePose:
        """Seen in a mirror: left is right."""
        return FacePose(
            {counterpart(name): value for name, value in self.sliders.items()},
            {counterpart(bone): mirrored_turn(turn) for bone, turn in self.turns.items()},
        )

    def to_text(self) -> str:
        """As ``from_text`` reads it."""
        told = {
            _MARK: _VERSION,
            "sliders": {name: _exact(value) for name, value in self.sliders.items()},
            "turns": {bone: [_exact(number) for number in turn] for bone, turn in self.turns.items()},
        }
        return json.dumps(told, ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> FacePose:
        """What ``to_text`` wrote, whoever sent it here: numbers are finite and within what Blender can hold.

        Raises PoseError for anything else.
        """
        if len(text) > _LONGEST or _MARK not in text:
            raise PoseError(_NO_POSE)
        try:
            told = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PoseError("The face in the clipboard is damaged: copy it again.") from error
        if not isinstance(told, dict) or _MARK not in told:
            raise PoseError(_NO_POSE)
        if told[_MARK] != _VERSION:
            raise PoseError("The face in the clipboard is of a newer version of Blendsplat: update this one.")
        sliders, turns = told.get("sliders", {}), told.get("turns", {})
        if not isinstance(sliders, dict) or not isinstance(turns, dict) or len(sliders) > _MOST_NAMES:
            raise PoseError("The face in the clipboard is damaged: copy it again.")
        return cls(
            {name: _number(name, value, LIMIT) for name, value in sliders.items()},
            {bone: _turn(bone, turn) for bone, turn in turns.items() if bone in TURNED},
        )


def _exact(value: float) -> float:
    """All the digits that Blender's own numbers have, and no more."""
    return float(f"{value:.9g}")


def _number(name: str, value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= most:
        raise PoseError(f"The face in the clipboard has no usable number for {name[:60]!r}: copy it again.")
    return float(value)


def _turn(bone: str, turn: object) -> Turn:
    if not isinstance(turn, list) or len(turn) != 3:
        raise PoseError(f"The face in the clipboard has no usable turn of the bone {bone!r}: copy it again.")
    x, y, z = (_number(bone, number, 2 * math.pi) for number in turn)
    return x, y, z


# --- a head's own


def slider_names(head: bpy.types.Object) -> list[str]:
    """The shape keys that are the face's: expressions, lids, and what an artist added."""
    return [key.name for key in head.data.shape_keys.key_blocks[1:] if not key.name.startswith(_NOT_THE_FACES)]


def free_sliders(head: bpy.types.Object) -> list[str]:
    """Those of ``slider_names`` that can be set: neither muted nor moved by a driver."""
    keys, driven = head.data.shape_keys, driven_paths(head.data.shape_keys)
    return [
        name for name in slider_names(head) if not keys.key_blocks[name].mute and key_path(name) not in driven
    ]  # fmt: skip


def driven_paths(owner: bpy.types.ID) -> set[str]:
    """The data paths that drivers set, those that are muted aside."""
    data = owner.animation_data
    return {curve.data_path for curve in data.drivers if not curve.mute} if data is not None else set()


def read(head: bpy.types.Object) -> FacePose:
    """What the face does now; muted sliders do nothing and are left out."""
    blocks = head.data.shape_keys.key_blocks
    sliders = {name: float(blocks[name].value) for name in slider_names(head) if not blocks[name].mute}
    return FacePose(sliders, {bone: _turn_of(item) for bone, item in bones_of(head).items()})


def bones_of(head: bpy.types.Object) -> dict[str, bpy.types.PoseBone]:
    """The bones of the face that the head has."""
    rig = head.blendsplat.rig
    return {} if rig is None else {name: rig.pose.bones[name] for name in TURNED if name in rig.pose.bones}


def fits(head: bpy.types.Object, pose: FacePose) -> tuple[FacePose, list[str]]:
    """The part of a pose that this head has, and the names of the sliders that it lacks.

    Raises PoseError where the pose has sliders and none of them is one of the head's.
    """
    known = set(slider_names(head))
    sliders = {name: value for name, value in pose.sliders.items() if name in known}
    lacking = [name for name in pose.sliders if name not in known]
    if pose.sliders and not sliders:
        shown = ", ".join(lacking[:2])
        raise PoseError(
            f"That face is of another head: none of its sliders ({shown}, ...) is one of {head.name!r}. Use a face of "
            "a head with the same names, or carry a performance over (Apply Performance)."
        )
    bones = bones_of(head)
    return FacePose(sliders, {bone: turn for bone, turn in pose.turns.items() if bone in bones}), lacking


def apply(head: bpy.types.Object, pose: FacePose, strength: float = 1.0) -> FacePose:
    """Bring the face ``strength`` of the way from what it does to the pose, which has to fit -> what was set. Muted and
    driven sliders and locked axes of bones stay."""
    blocks, free, bones = head.data.shape_keys.key_blocks, set(free_sliders(head)), bones_of(head)
    set_to = FacePose()
    for name, value in pose.sliders.items():
        if name in free:
            key = blocks[name]
            wanted = min(LIMIT, max(-LIMIT, key.value + strength * (value - key.value)))
            key.slider_min, key.slider_max = min(key.slider_min, wanted), max(key.slider_max, wanted)
            key.value = set_to.sliders[name] = wanted
    for bone, turn in pose.turns.items():
        set_to.turns[bone] = _set_turn(bones[bone], _between(_turn_of(bones[bone]), turn, strength))
    return set_to


def _between(here: Turn, there: Turn, strength: float) -> Turn:
    turned = _quaternion(here).slerp(_quaternion(there), 1.0) if strength == 1.0 else None
    if turned is None:
        step = _quaternion(here).inverted() @ _quaternion(there)
        axis, angle = step.to_axis_angle()
        turned = _quaternion(here) @ Quaternion(axis, strength * (angle if angle <= math.pi else angle - 2 * math.pi))
    return _vector(turned)


def _quaternion(turn: Turn) -> Quaternion:
    vector = Vector(turn)
    return Quaternion(vector.normalized(), vector.length) if vector.length > 1e-12 else Quaternion()


def _vector(rotation: Quaternion) -> Turn:
    if rotation.w < 0:
        rotation = -rotation
    x, y, z = rotation.to_exponential_map()
    return x, y, z


def _turn_of(item: bpy.types.PoseBone) -> Turn:
    """How the bone itself is turned, whatever constraints add."""
    return _vector(item.matrix_basis.to_quaternion())


def _set_turn(item: bpy.types.PoseBone, turn: Turn) -> Turn:
    """Turn the bone in its own way of saying it; locked axes stay -> how it is turned now."""
    before = [tuple(item.rotation_euler), tuple(item.rotation_quaternion), tuple(item.rotation_axis_angle)]
    place, scale = item.location.copy(), item.scale.copy()
    item.matrix_basis = Matrix.LocRotScale(place, _quaternion(turn), scale)
    item.location, item.scale = place, scale
    locked = list(item.lock_rotation)
    if any(locked):
        if item.rotation_mode in ("QUATERNION", "AXIS_ANGLE"):
            item.rotation_quaternion, item.rotation_axis_angle = before[1], before[2]
        else:
            item.rotation_euler = [
                old if lock else new
                for old, new, lock in zip(before[0], item.rotation_euler, locked, strict=True)
            ]  # fmt: skip
    return _turn_of(item)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the clip that trained an avatar showed of its head: how far every slider and bone went, and from which sides the
camera saw it. Kept on the head's object as text, so that it is known without the avatar's file.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

import bpy
import numpy as np

from ..formats import AvatarFile
from ..space import matrix_to_rotvec
from . import arkit, head_rig
from .coverage import PITCHES, STEP, YAWS
from .head_drivers import BONES
from .weight_network import HeadState

_SEEN = "blendsplat_seen"
_SLACK = 0.05  # of a range, and
_LEAST = {"slider": 0.05, "turn": math.radians(2.0)}  # at least so much: beyond it something counts as never shown
_TOLERANCE = 7.5  # degrees: half a cell of the grid of views
_TURNED = BONES[2:]  # jaw and eyes; what the neck does is the view's business
Range = tuple[float, float]


def note(head: bpy.types.Object, avatar: AvatarFile) -> None:
    """Keep what the avatar's file tells, on the head that moves it; one that does not tell leaves what was known."""
    told = of_file(avatar)
    if told:
        head[_SEEN] = json.dumps(told)


def known(head: bpy.types.Object) -> bool:
    """Whether an avatar of this head told what its clip showed."""
    return bool(_of(head))


def seen_range(head: bpy.types.Object, name: str) -> Range | None:
    """From where to where the clip moved a slider of the head, leaving out the outermost hundredth of its frames; of
    the sliders that turn bones as well. None where nothing is known of it."""
    found = _of(head).get("sliders", {}).get(name)
    return (found[1], found[2]) if found else None


def words(head: bpy.types.Object, name: str) -> str:
    """How far the clip moved a slider, for a line beside it: "0.02 to 0.61"; "" where nothing is known of it."""
    found = seen_range(head, name)
    return f"{found[0]:.2f} to {found[1]:.2f}" if found is not None else ""


def is_beyond(head: bpy.types.Object, name: str, value: float) -> bool:
    """Whether the clip never moved a slider so far."""
    rows = _of(head).get("sliders", {}).get(name)
    return rows is not None and _farther(value, rows, _LEAST["slider"]) > 0


def seen_turn(head: bpy.types.Object, bone: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Lowest and highest rotation vector ([3] each, radians, the bone's own axes) of "jaw", "neck", "eye.L" or "eye.R"
    in the clip, leaving out the outermost hundredth of its frames. None where nothing is known of it."""
    found = _of(head).get("turns", {}).get(bone)
    return (np.array(found[1]), np.array(found[2])) if found else None


def beyond(head: bpy.types.Object, state: HeadState) -> list[str]:
    """What of the head goes farther than the clip ever did, by name: sliders, then bones; what goes farthest first."""
    told = _of(head)
    names = json.loads(head[head_rig.CUSTOM]["expressions"]) if told else []
    values = dict(zip([*names, *head_rig.EYELID_KEYS], [*state.expression[0], *state.eyelids[0]], strict=True))
    rotations = dict(zip(("jaw", "eye.L", "eye.R"), [state.jaw[0], *state.eyes[0]], strict=True))
    far: dict[str, float] = {}
    if told:
        for name, value in values.items():
            if name in told["sliders"]:
                far[name] = _farther(value, told["sliders"][name], _LEAST["slider"])
        for bone in _TURNED:
            turned = matrix_to_rotvec(rotations[bone])
            rows = np.array(told["turns"][bone])
            far[bone] = max(_farther(turned[axis], rows[:, axis], _LEAST["turn"]) for axis in range(3))
    return sorted((name for name, amount in far.items() if amount > 0), key=lambda name: -far[name])


def view_unseen(head: bpy.types.Object, yaw: float, pitch: float) -> bool:
    """Whether the clip's camera never saw the head from there (degrees, as coverage.angles). No where nothing is
    known."""
    told = _of(head)
    if not told:
        return False
    lines, columns = np.nonzero(np.array(told["views"]))
    if not len(lines):
        return False
    aside = _from_cells(yaw, STEP * (columns - YAWS // 2), STEP * (YAWS // 2))
    above = _from_cells(pitch, STEP * (PITCHES // 2 - lines), STEP * (PITCHES // 2))
    return bool(np.hypot(aside, above).min() > _TOLERANCE)


def of_file(avatar: AvatarFile) -> dict[str, Any]:
    """What an avatar's file tells: {"sliders": name -> [4], "turns": bone -> [4][3], "views": [PITCHES][YAWS]}, rows
    lowest, 1st and 99th percentile, highest; {} for an older file."""
    a = avatar.arrays
    if "seen.expression" not in a:
        return {}
    sliders = dict(zip(avatar.rig.expression_names, a["seen.expression"].T.tolist(), strict=True))
    sliders |= dict(zip(head_rig.EYELID_KEYS, a["seen.eyelids"].T.tolist(), strict=True))
    turns = {
        "neck": a["seen.neck_pose"], "jaw": a["seen.jaw_pose"], "eye.L": a["seen.eyes_pose"][:, 0],
        "eye.R": a["seen.eyes_pose"][:, 1],
    }  # fmt: skip
    for name in arkit.bone_sliders(avatar.rig.expression_names):
        bone, radians = arkit.TURNS[name]
        axis = int(np.argmax(np.abs(radians)))
        rows = turns[bone][:, axis] / radians[axis]
        sliders[name] = np.clip(rows if radians[axis] > 0 else rows[::-1], 0, None).tolist()
    return {
        "sliders": sliders, "turns": {bone: rows.tolist() for bone, rows in turns.items()},
        "views": np.round(a["seen.views"], 4).tolist(),
    }  # fmt: skip


def _of(head: bpy.types.Object) -> dict[str, Any]:
    text = head.get(_SEEN)
    return _read(text) if isinstance(text, str) else {}


@lru_cache(maxsize=16)
def _read(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) and {"sliders", "turns", "views"} <= read.keys() else {}


def _from_cells(angle: float, centres: np.ndarray, last: float) -> np.ndarray:
    """Degrees from an angle to cells [P] about ``centres``; the outermost reach as far as there is."""
    apart = np.maximum(np.abs(angle - centres) - STEP / 2, 0)
    return np.where((np.abs(centres) >= last) & (angle * np.sign(centres) > last), 0, apart)


def _farther(value: float, rows: Any, least: float) -> float:
    """How far a number lies beyond what was seen (rows [4]), with some slack; 0 within."""
    slack = max(_SLACK * (rows[3] - rows[0]), least)
    return max(0.0, value - rows[3] - slack, rows[0] - slack - value)

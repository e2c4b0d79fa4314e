# SPDX-License-Identifier: Apache-2.0
"""A take of the phone app Live Link Face as a performance: ARKit's coefficients frame by frame, without any picture.

Its CSV has a timecode h:m:s:frames, the number of values, ARKit's 52 coefficients (capitalised) and the angles of head
and eyes in radians. The eyes come from their coefficients, which also tell the signs of the angles (yaw to the person's
right, pitch down); the head's are read the same way.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from blendsplat.errors import FormatError
from blendsplat.heads.arkit import ARKIT, ARKIT_JOINTS, counterparts, joint_rotations
from blendsplat.heads.model import JOINTS, LEFT_EYE_JOINT, HeadModel
from blendsplat.heads.performance import Performance, shown_frames

SUFFIX = ".csv"
_TIME, _HEAD = "Timecode", ("HeadYaw", "HeadPitch", "HeadRoll")
_RATES = (30, 60)  # frames a second that timecodes count in
_DAY = 24 * 3600.0


def read_live_link(path: Path | str, head: HeadModel, head_source: str, K: np.ndarray, viewmat: np.ndarray,
                   size: tuple[int, int]) -> Performance:  # fmt: skip
    """The take as a performance of ``head``, which has ARKit's names, at the origin before a camera of ``size`` pixels
    (K [3,3], viewmat [4,4]). Frames without a face are not valid.

    Raises FormatError for a file that is none, that is damaged, or has no frame.
    """
    path = Path(path)
    times, values, valid = _read(path)
    frames = len(times)
    expression = np.zeros((frames, head.expression_count))
    for column, name in enumerate(head.expression_names):
        theirs = [values[other] for other in counterparts(name, tuple(values)) if other in ARKIT]
        if theirs:
            expression[:, column] = np.mean(theirs, axis=0)
    turns = {joint: np.zeros((frames, 3)) for joint in JOINTS}
    for name, (joint, rotation) in joint_rotations(head).items():
        turns[joint] += np.outer(values.get(name, np.zeros(frames)), rotation)
    yaw, pitch, roll = (values.get(name, np.zeros(frames)) for name in _HEAD)
    neck = Rotation.from_euler("YXZ", np.stack([-yaw, pitch, -roll], 1)).as_rotvec()
    zeros = np.zeros((frames, 3), np.float32)
    performance = Performance(
        head=head.name, head_source=head_source, width=size[0], height=size[1], timestamps=times, valid=valid,
        shape=np.zeros(head.shape_count, np.float32), vertex_offsets=np.zeros((head.vertex_count, 3), np.float32),
        expression=expression.astype(np.float32), root_pose=zeros, neck_pose=neck.astype(np.float32),
        jaw_pose=turns["jaw"].astype(np.float32),
        eyes_pose=np.stack([turns[joint] for joint in JOINTS[LEFT_EYE_JOINT:]], 1).astype(np.float32),
        eyelids=np.zeros((frames, 2), np.float32), translation=zeros.copy(), K=np.asarray(K, np.float32),
        viewmat=np.asarray(viewmat, np.float32), expression_names=head.expression_names, head_model=head.model_id,
        head_family=head.family, notes=("Captured by Live Link Face.",),
    )  # fmt: skip
    for name in ("expression", "neck_pose", "jaw_pose", "eyes_pose"):
        setattr(performance, name, getattr(performance, name)[shown_frames(performance)])
    return performance


def _read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Seconds from the first frame [F], ARKit's name or an angle's -> values [F], which frames show a face [F]."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} cannot be read as a take of Live Link Face.", repr(error)) from error
    names = [name.strip() for name in rows[0]] if rows else []
    known = {name.lower(): name for name in (*ARKIT, *_HEAD)}
    columns = {known[name.lower()]: index for index, name in enumerate(names) if name.lower() in known}
    if not names or names[0] != _TIME or not set(ARKIT) - set(ARKIT_JOINTS) <= columns.keys():
        raise FormatError(
            f"{path} is no take of Live Link Face: its first line does not name a {_TIME} and ARKit's expressions."
        )
    if len(rows) < 2:
        raise FormatError(f"{path} holds no frame; record the take again.")
    valid = np.array([len(row) == len(names) for row in rows[1:]])
    table = np.zeros((len(rows) - 1, len(names)))
    for index, row in enumerate(rows[1:]):
        if valid[index]:
            table[index] = _numbers(path, index + 2, row)
    values = {name: table[:, index] for name, index in columns.items()}
    return _seconds(path, [row[0] for row in rows[1:]]), values, valid


def _numbers(path: Path, line: int, row: list[str]) -> list[float]:
    """A line's values, 0 for its timecode. Raises FormatError that names the line."""
    try:
        numbers = [0.0, *(float(text) for text in row[1:])]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise FormatError(f"{path}: line {line} holds something that is no number; record the take again.")
    return numbers


def _seconds(path: Path, codes: list[str]) -> np.ndarray:
    """Timecodes h:m:s:frames as seconds from the first; past midnight they go on."""
    try:
        parts = np.array([[float(part) for part in code.split(":")] for code in codes]).reshape(len(codes), 4)
    except ValueError as error:
        raise FormatError(f"{path} has a timecode that is not hours:minutes:seconds:frames.", repr(error)) from error
    rate = next((rate for rate in _RATES if parts[:, 3].max() < rate), parts[:, 3].max() + 1)
    seconds = parts @ np.array([3600.0, 60.0, 1.0, 1 / rate])
    passed: np.ndarray = np.unwrap(seconds, period=_DAY)
    return passed - passed[0]

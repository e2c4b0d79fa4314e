# SPDX-License-Identifier: Apache-2.0
"""What face capture without pictures gives, whoever recorded it: ARKit's coefficients over time. And that as a
performance of a head that has ARKit's names.

A file a format reads into a Capture (live_link.py, arkit_csv.py, arkit_json.py); captures.py knows them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from blendsplat.errors import FormatError
from blendsplat.heads.arkit import ARKIT, counterparts, joint_rotations
from blendsplat.heads.model import JOINTS, LEFT_EYE_JOINT, HeadModel
from blendsplat.heads.performance import Performance, shown_frames

FPS = 60.0  # frames a second where a file says nothing of time: ARKit's own rate
_GAP = 1.5  # times the usual step: from here on frames are missing


@dataclass
class Capture:
    """F frames, float64. seconds [F] of any origin; valid [F]: which show a face; values: ARKit's name -> [F]; head
    [F,3]: yaw to the person's right, pitch down, roll to the person's right shoulder, in radians; eyes [F,2,2]: yaw and
    pitch of the left and the right eye in the same sense, for files that have angles instead of coefficients, else
    None. notes: what the user should know of how it was read."""

    made_by: str
    seconds: np.ndarray
    valid: np.ndarray
    values: dict[str, np.ndarray]
    head: np.ndarray
    eyes: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CaptureFormat:
    """detect(path): whether the file is of this format; read(path, fps): raises FormatError, fps is for files that say
    nothing of time (None: FPS)."""

    name: str
    marked_by: str  # for the sentence that refuses others
    detect: Callable[[Path], bool]
    read: Callable[[Path, float | None], Capture]


def checked(capture: Capture, path: Path) -> Capture:
    """The capture with times from 0 that rise: of rows with the same time the first is kept, missing frames are told.
    Raises FormatError where there is no frame, no face, or time runs backwards."""
    if not len(capture.seconds):
        raise FormatError(f"{path} holds no frame; record or export it again.")
    if not capture.valid.any():
        raise FormatError(f"{path} shows a face in none of its {len(capture.valid)} frames; record it again.")
    if not all(np.isfinite(each).all() for each in (capture.seconds, capture.head, *capture.values.values())):
        raise FormatError(f"{path} holds times or angles that are no numbers; export it again.")
    steps = np.diff(capture.seconds)
    if (steps < 0).any():
        raise FormatError(
            f"{path}: frame {int(np.flatnonzero(steps < 0)[0]) + 2} is earlier than the one before it; export it again."
        )
    rows = np.flatnonzero(np.concatenate([[True], steps > 0]))
    notes = list(capture.notes)
    if repeated := len(capture.seconds) - len(rows):
        notes.append(f"{repeated} rows have the time of the row before them and were left out.")
    seconds = capture.seconds[rows]
    if missing := missing_frames(seconds):
        notes.append(f"{missing} frames are missing in the capture; those that are there keep their time.")
    return replace(
        capture, seconds=seconds - seconds[0], valid=capture.valid[rows], head=capture.head[rows], notes=notes,
        values={name: values[rows] for name, values in capture.values.items()},
        eyes=None if capture.eyes is None else capture.eyes[rows],
    )  # fmt: skip


def missing_frames(seconds: np.ndarray) -> int:
    """How many frames of the usual step [F] are not there."""
    steps = np.diff(seconds)
    if len(steps) < 2:
        return 0
    usual = float(np.median(steps))
    wide = steps[steps > _GAP * usual]
    return int(np.round(wide / usual - 1).sum())


def to_performance(
    capture: Capture, head: HeadModel, head_source: str, K: np.ndarray, viewmat: np.ndarray, size: tuple[int, int]
) -> Performance:
    """The capture as a performance of ``head``, which has ARKit's names, at the origin before a camera of ``size``
    pixels (K [3,3], viewmat [4,4]). Frames without a face are not valid and hold their neighbour's values."""
    frames, values = len(capture.seconds), capture.values
    expression = np.zeros((frames, head.expression_count))
    for column, name in enumerate(head.expression_names):
        theirs = [values[other] for other in counterparts(name, tuple(values)) if other in ARKIT]
        if theirs:
            expression[:, column] = np.mean(theirs, axis=0)
    turns = {joint: np.zeros((frames, 3)) for joint in JOINTS}
    for name, (joint, rotation) in joint_rotations(head).items():
        turns[joint] += np.outer(values.get(name, np.zeros(frames)), rotation)
    eyes = np.zeros((frames, 2, 2)) if capture.eyes is None else capture.eyes
    for side, joint in enumerate(JOINTS[LEFT_EYE_JOINT:]):
        turns[joint][:, 0] += eyes[:, side, 1]
        turns[joint][:, 1] -= eyes[:, side, 0]
    yaw, pitch, roll = capture.head.T
    neck = Rotation.from_euler("YXZ", np.stack([-yaw, pitch, -roll], 1)).as_rotvec()
    zeros = np.zeros((frames, 3), np.float32)
    performance = Performance(
        head=head.name, head_source=head_source, width=size[0], height=size[1], timestamps=capture.seconds,
        valid=capture.valid, shape=np.zeros(head.shape_count, np.float32),
        vertex_offsets=np.zeros((head.vertex_count, 3), np.float32), expression=expression.astype(np.float32),
        root_pose=zeros, neck_pose=neck.astype(np.float32), jaw_pose=turns["jaw"].astype(np.float32),
        eyes_pose=np.stack([turns[joint] for joint in JOINTS[LEFT_EYE_JOINT:]], 1).astype(np.float32),
        eyelids=np.zeros((frames, 2), np.float32), translation=zeros.copy(), K=np.asarray(K, np.float32),
        viewmat=np.asarray(viewmat, np.float32), expression_names=head.expression_names, head_model=head.model_id,
        head_family=head.family, notes=(f"Captured by {capture.made_by}.", *capture.notes),
    )  # fmt: skip
    for name in ("expression", "neck_pose", "jaw_pose", "eyes_pose"):
        setattr(performance, name, getattr(performance, name)[shown_frames(performance)])
    return performance

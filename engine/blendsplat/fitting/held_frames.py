# SPDX-License-Identifier: Apache-2.0
"""From corrected frames to what the fit is to believe of them and of the frames around.

The corrected frame is held where the artist put it. A tracker that is wrong in one frame is mostly wrong in its
neighbours as well, so a correction's difference goes on to them, fading out. But if the frame stood out from its
neighbours' motion and the correction brings it back among them, they are right: as much of the difference as joins the
frame to its neighbours' path goes to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import EXPRESSION, EYELIDS, EYES, FIXED_PARAMETERS, JAW, NECK, TRANSLATION
from blendsplat.fitting.temporal import QUICK_WORDS

REACH = 0.4  # seconds to which a correction fades out: 12 frames of 30 a second
QUICK_REACH = 0.1  # of lids and blinks, which come and go within a few frames
SETTLING = 0.2  # seconds farther off that still move, so that the fit meets the untouched frames smoothly
_NEIGHBOURS = (-4, -3, -2, 2, 3, 4)  # frames whose path tells whether a frame stood out


@dataclass
class HeldFrames:
    """For F frames: where the fit starts, what it holds (as Problem.held and Problem.hold), and which frames move."""

    start: Tensor  # [F,P]
    held: Tensor  # [F,P]
    hold: Tensor  # [F,P]
    near: np.ndarray  # [F] bool


def hold_frames(
    present: Tensor, frames: np.ndarray, corrected: Tensor, moved: np.ndarray, segments: np.ndarray,
    timestamps: np.ndarray, expression_names: tuple[str, ...], tracked: np.ndarray,
) -> HeldFrames:  # fmt: skip
    """present [F,P]: the clip as it was fitted; of the N ``frames`` the artist's numbers ``corrected`` [N,P], of which
    he ``moved`` [N,P] some; segments [F] (-1: no face) and timestamps [F] seconds of the clip; tracked [N]: whether the
    frame had numbers of its own, so that a difference from them says something of its neighbours."""
    values, artists = present.double().numpy(), corrected.double().numpy()
    difference = np.where(moved, artists - values[frames], 0.0)
    sure, weak = _sigmas(values.shape[1], 0.3), _sigmas(values.shape[1], 10.0)
    reach = _reach(expression_names)
    start, held, hold = values.copy(), values.copy(), np.zeros_like(values)
    near = np.zeros(len(values), bool)
    for number, frame in enumerate(frames):
        shared = tracked[number] * (1 - _joining(values, frame, difference[number], segments, sure))  # [P]
        rows = np.flatnonzero(segments == segments[frame])
        away = timestamps[rows] - timestamps[frame]
        others = np.delete(frames, number)
        others = timestamps[others[segments[others] == segments[frame]]] - timestamps[frame]
        ends = [np.abs(others[side * others > 0]) for side in (-1, 1)]
        width = np.where(away[:, None] < 0, _shorter(reach, ends[0]), _shorter(reach, ends[1]))  # [R,P]
        part = np.minimum(np.abs(away)[:, None] / np.maximum(width, 1e-6), 1.0)
        fading = 0.5 * (1 + np.cos(np.pi * part))
        spread = fading * shared * difference[number]
        start[rows] += spread
        held[rows] += spread
        precision = np.where(moved[number], 1 / sure**2, 1 / weak**2)
        hold[rows] = np.maximum(hold[rows], fading**2 * (shared * precision))
        near[rows[np.abs(away) <= REACH + SETTLING]] = True
    start[frames] = np.where(moved, artists, start[frames])
    held[frames] = artists  # what he left as it was, he saw as well
    hold[frames] = np.where(moved, 1 / sure**2, 1 / weak**2)
    tensors = [torch.as_tensor(array, dtype=torch.float32) for array in (start, held, hold)]
    return HeldFrames(tensors[0], tensors[1], tensors[2], near)


def _sigmas(count: int, times: float) -> np.ndarray:
    """[P]: how far a number may be from what somebody says, as 1 is about what a frame's landmarks tell."""
    sigma = np.empty(count)
    sigma[NECK] = 0.003
    sigma[TRANSLATION] = [0.0003, 0.0003, 0.001]
    sigma[JAW] = 0.01
    sigma[EYES] = 0.01
    sigma[EYELIDS] = 0.03
    sigma[EXPRESSION] = 0.03
    return times * sigma


def _reach(expression_names: tuple[str, ...]) -> np.ndarray:
    """[P] seconds."""
    reach = np.full(FIXED_PARAMETERS + len(expression_names), REACH)
    reach[EYELIDS] = QUICK_REACH
    quick = [any(word in name.lower() for word in QUICK_WORDS) for name in expression_names]
    reach[EXPRESSION][quick] = QUICK_REACH
    return reach


def _shorter(reach: np.ndarray, next_ones: np.ndarray) -> np.ndarray:
    """The reach [P] to a side on which other corrections stand at distances ``next_ones``: to the first one, so that
    between two of them the difference goes over from one to the other."""
    return np.minimum(reach, next_ones.min()) if len(next_ones) else reach


def _joining(
    values: np.ndarray, frame: int, difference: np.ndarray, segments: np.ndarray, sigma: np.ndarray
) -> np.ndarray:
    """[P] 0 to 1: the part of a correction that does no more than join the frame to its neighbours' path."""
    offsets = np.array([o for o in _NEIGHBOURS if 0 <= frame + o < len(values)], int)
    offsets = offsets[segments[frame + offsets] == segments[frame]]
    joining = np.zeros(len(difference))
    if (offsets < 0).sum() < 2 or (offsets > 0).sum() < 2:
        return joining
    powers = np.vander(offsets.astype(float), 3, increasing=True)
    path = np.linalg.lstsq(powers, values[frame + offsets], rcond=None)[0][0]
    stands_out = (path - values[frame]) / sigma
    wanted = difference / sigma
    pose = slice(NECK.start, TRANSLATION.stop)
    for part in (pose, JAW, EYES, *(slice(p, p + 1) for p in range(EYELIDS.start, len(difference)))):
        size = wanted[part] @ wanted[part]
        if size > 0:
            joining[part] = np.clip(stands_out[part] @ wanted[part] / size, 0.0, 1.0)
    return joining

# SPDX-License-Identifier: Apache-2.0
"""The zoom of a lens from how large a fitted head looks.

A face's size alone cannot tell a zoom from a step towards the camera. What is assumed: the head stays about as far from
the camera as it usually is, so what changes its size slowly is the lens, and what is quicker is the head.
"""

from __future__ import annotations

import numpy as np
import torch

from blendsplat.fitting.landmark_model import DEPTH, landmark_positions, pack, restrict_to_landmarks
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts

QUICK = 0.25  # seconds: standard deviation of the window over which sizes are evened out, half a second from end to end
_REACH = 3.0  # windows' standard deviations that are looked at
_FEWEST = 3  # frames from which on a window may slope


def without_zoom(points: np.ndarray, zoom: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Points [F,L,2] in pixels as the clip's one lens would have seen them; zoom [F], centre [2]: the principal point.
    Where no frame zooms, the very same numbers."""
    if (zoom == 1).all():
        return points
    moved: np.ndarray = centre + (points - centre) / zoom[:, None, None]
    return moved


def apparent_zoom(head: HeadModel, tracking: Performance) -> np.ndarray:
    """[F]: how many times as large each frame's face looks as it would at the clip's usual distance, in its pose.

    The distance is the neck joint's, about which heads turn: a face that turns away is not farther from the lens.
    """
    person = head.personalise(torch.as_tensor(tracking.shape), torch.as_tensor(tracking.vertex_offsets))
    unknowns = pack(tracking.params()).clone()
    unknowns[:, DEPTH] -= float(tracking.viewmat[2, 3])
    points = landmark_positions(restrict_to_landmarks(person, 0), unknowns, torch.as_tensor(tracking.root_pose[0]))
    neck, face = -unknowns[:, DEPTH].numpy(), -points[:, list(pts.RIGID), 2].mean(1).numpy()
    usual = float(np.median(neck[tracking.valid]))
    return (usual + face - neck) / face


def slow_part(sizes: np.ndarray, valid: np.ndarray, timestamps: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """[F] float64: what of the sizes [F] changes slowly within each shot (numbers [F]), in which a line stays a line.

    Frames that are not ``valid`` tell nothing and get what their neighbours say; 1 in a shot that has no valid frame.
    """
    slow = np.ones(len(sizes))
    values = np.log(np.where(valid, sizes, 1.0))
    for shot in np.unique(shots):
        here = np.flatnonzero(shots == shot)
        told = here[valid[here]]
        if len(told):
            even = [_line_at(timestamps[told] - timestamps[frame], values[told]) for frame in told]
            slow[here] = np.exp(np.interp(timestamps[here], timestamps[told], even))
    return slow


def _line_at(seconds: np.ndarray, values: np.ndarray) -> float:
    """Value at second 0 of the weighted line through values [N]."""
    near = np.abs(seconds) < _REACH * QUICK
    seconds, values = seconds[near], values[near]
    weights = np.exp(-0.5 * (seconds / QUICK) ** 2)
    weights /= weights.sum()
    middle, mean = weights @ seconds, weights @ values
    spread = weights @ (seconds - middle) ** 2
    if len(values) < _FEWEST or spread < (0.2 * QUICK) ** 2:  # too short a time to see anything change slowly
        return float(mean)
    slope = weights @ ((seconds - middle) * (values - mean)) / spread
    return float(mean - slope * middle)

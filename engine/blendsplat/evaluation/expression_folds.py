# SPDX-License-Identifier: Apache-2.0
"""Which of a clip's frames to hold out: its last ones, and one kind of expression or pose after the other.

A preset that is chosen by a clip's last frames is chosen by what the person happened to do last. Where each cluster of
expressions and poses is held out in turn, everything that the person did was unseen once.
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

from blendsplat.avatars.retarget import head_rotations
from blendsplat.geometry import matrix_to_6d
from blendsplat.heads.performance import Performance
from blendsplat.training.tracked_clip import split_frames

LAST = "last"
_LEAST_SPREAD = 0.02  # of a part's values, below which it is noise
_LEAST_FRAMES = 4  # of a fold


def folds(tracking: Performance, share: float, clusters: int, seed: int = 0) -> dict[str, tuple[list[int], list[int]]]:
    """{fold: (training, held-out) frame numbers}: "last", the last ``share``, and "expression 1" and so on, the
    clusters of k-means over the valid frames' expression, jaw and head rotation, smallest first.

    Raises InputError where too few frames would be left to train on.
    """
    made = {LAST: split_frames(tracking.valid, share)}
    numbers = np.flatnonzero(tracking.valid)
    if clusters < 2 or len(numbers) < clusters * _LEAST_FRAMES:
        return made
    labels = kmeans2(descriptors(tracking), clusters, minit="++", seed=seed, iter=50)[1]
    groups = [numbers[labels == label] for label in range(clusters)]
    groups = sorted((group for group in groups if len(group) >= _LEAST_FRAMES), key=len)
    for place, group in enumerate(groups):
        held = set(group.tolist())
        made[f"expression {place + 1}"] = [n for n in numbers.tolist() if n not in held], group.tolist()
    return made


def descriptors(tracking: Performance) -> np.ndarray:
    """[V,D] of the valid frames: expression, jaw and head rotation, each part at a common spread of one."""
    params = tracking.params()
    count = tracking.frame_count
    parts = (params.expression, params.jaw_pose, matrix_to_6d(head_rotations(params)))
    columns = []
    for part in parts:
        values = part.expand(count, -1).double().numpy()[tracking.valid]
        centred = values - values.mean(0)
        columns.append(centred / max(float(np.sqrt((centred**2).sum(1).mean())), _LEAST_SPREAD))
    return np.concatenate(columns, 1)

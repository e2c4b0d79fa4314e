# SPDX-License-Identifier: Apache-2.0
"""Whether a tracked clip's face may be no human's: a look at a few of its frames, where the fit gives reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from blendsplat.errors import InputError
from blendsplat.fitting.likely_human import MAY_NOT_BE_HUMAN, may_not_be_human
from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.performance import Performance
from blendsplat.landmarks.detector import make_detector
from blendsplat.landmarks.turned_crops import agreed, detect_in_crops
from blendsplat.video import Clip

REASON = 0.025  # landmark error, of the distance between the eyes, from which the frames are looked at
SPREAD_OUT, LOOKED_AT = 20, 5  # frames over the clip; of them those that look most into the camera


def human_face_notes(
    clip: Clip, tracking: Performance, landmarks: np.ndarray, found: np.ndarray, bundle: Path | str | None = None
) -> list[str]:
    """The sentence, where most of the frames that were looked at say so; landmarks [F,478,2] in the clip's pixels,
    found [F] bool. Nothing is said without a detector's models, nor of a face that fits as well as people's do."""
    usable = np.flatnonzero(tracking.valid & found)
    if not len(usable) or np.median(tracking.landmark_errors[usable]) <= REASON:
        return []
    rows = np.unique(usable[np.linspace(0, len(usable) - 1, SPREAD_OUT).astype(int)])
    yaws = yaw_degrees(tracking)
    frontal = rows[np.argsort(np.abs(yaws[rows]))][:LOOKED_AT]
    try:
        detector = make_detector(bundle, moving=False)
    except InputError:
        return []
    odd = []
    with detector:
        for row in frontal:
            box = np.concatenate([landmarks[row].min(0), landmarks[row].max(0)])
            seen = detect_in_crops(clip.image(int(row)), box, detector)
            if len(seen) > 1:
                odd.append(may_not_be_human(agreed(seen)[1], float(tracking.landmark_errors[row]), float(yaws[row])))
    return [MAY_NOT_BE_HUMAN.format("overlay.mp4")] if odd and np.mean(odd) > 0.5 else []


def yaw_degrees(tracking: Performance) -> np.ndarray:
    """[F]: by how much the head is turned to a side before the camera."""
    params = tracking.params()
    view = torch.as_tensor(np.diag([1.0, -1.0, -1.0]) @ tracking.viewmat[:3, :3], dtype=torch.float32)
    turned = view @ rotvec_to_matrix(params.root_pose) @ rotvec_to_matrix(params.neck_pose)
    degrees: np.ndarray = torch.rad2deg(torch.atan2(turned[:, 0, 2], turned[:, 2, 2])).numpy()
    return degrees

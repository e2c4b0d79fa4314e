# SPDX-License-Identifier: Apache-2.0
"""Frames turned towards a profile: less trusted the farther they are turned, whatever the pictures confirm.

Beyond about 60 degrees the detector reads turns short and the pictures follow its landmarks, so a half profile that is
several degrees off is confirmed by its colours (docs/tracking.md, "What footage does").
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.performance import Performance

# Degrees as they are read. The truth is 4 degrees more at 56 and 8 at 59, so trust falls from about 55 to 75 true ones.
TURNED, PROFILE = 52.0, 64.0
LEAST = 0.2  # what is left of the trust in a profile: a clip may show nothing else


def in_profile(tracking: Performance) -> Performance:
    """``tracking`` with the confidence of frames and regions lowered by the head's turn from the camera; itself where
    no head is turned so far."""
    share = turn_trust(turns(tracking))
    lowered = tracking.valid & (share < 1)
    if not lowered.any():
        return tracking
    confidence, regions = tracking.confidence.copy(), tracking.region_confidence.copy()
    confidence[lowered] *= share[lowered].astype(np.float32)
    regions[lowered] *= share[lowered, None].astype(np.float32)
    figures = dict(tracking.figures)
    if "confidence" in figures:
        figures["confidence"] = float(confidence[tracking.valid].mean())
    return replace(tracking, confidence=confidence, region_confidence=regions, figures=figures)


def turns(tracking: Performance) -> np.ndarray:
    """[F] degrees, 0 to 180: between where the face looks and the camera, about the head's own upright axis."""
    params = tracking.params()
    view = torch.as_tensor(tracking.viewmat, dtype=torch.float32)
    head = rotvec_to_matrix(params.root_pose) @ rotvec_to_matrix(params.neck_pose)  # its axes in the world
    camera = -view[:3, :3].T @ view[:3, 3] - params.translation
    seen = (head.mT @ camera[..., None])[..., 0].double().numpy()
    angles: np.ndarray = np.degrees(np.abs(np.arctan2(seen[:, 0], seen[:, 2])))
    return angles


def turn_trust(degrees: np.ndarray) -> np.ndarray:
    """1 up to TURNED, LEAST from PROFILE on, smooth between; of any shape."""
    along = np.clip((PROFILE - degrees) / (PROFILE - TURNED), 0, 1)
    share: np.ndarray = LEAST + (1 - LEAST) * along * along * (3 - 2 * along)
    return share

# SPDX-License-Identifier: Apache-2.0
"""Frames of a tracked clip that are in a fade: kept where a face was found in them, and little trusted.

A picture on its way to black misses the head by little, because it shows little; so its confidence would be full.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from blendsplat.heads.performance import Performance

TRUST = 0.2  # of 1: below what a frame without a face must reach to be kept


def in_fades(tracking: Performance, faded: list[int], found: np.ndarray) -> Performance:
    """``tracking`` with a confidence of TRUST at most in the frames ``faded`` (clip.json), which are lost where
    found [F] says that no landmarks were."""
    rows = np.array([frame for frame in faded if 0 <= frame < tracking.frame_count], int)
    if not len(rows):
        return tracking
    valid, confidence, regions = tracking.valid.copy(), tracking.confidence.copy(), tracking.region_confidence.copy()
    followed = int((valid[rows] & ~found[rows]).sum())
    valid[rows] &= found[rows]
    confidence[rows] = np.where(valid[rows], np.minimum(confidence[rows], TRUST), 0.0)
    regions[rows] = np.where(valid[rows, None], np.minimum(regions[rows], TRUST), 0.0)
    faces = int(valid.sum())
    figures = tracking.figures | {"frames_with_face": faces, "frames_without_face": tracking.frame_count - faces}
    if "frames_followed" in figures:
        figures["frames_followed"] = float(figures["frames_followed"]) - followed
    if "confidence" in figures and faces:
        figures["confidence"] = float(confidence[valid].mean())
    return replace(tracking, valid=valid, confidence=confidence, region_confidence=regions, figures=figures)

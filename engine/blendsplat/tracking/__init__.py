# SPDX-License-Identifier: Apache-2.0
"""From a clip's folder to a performance: landmarks, the fit over the whole clip, the overlay, metrics."""

from blendsplat.tracking.correct import CorrectOptions, correct_clip
from blendsplat.tracking.metrics import evaluate_tracking
from blendsplat.tracking.pipeline import TrackOptions, track_clip

__all__ = ["CorrectOptions", "TrackOptions", "correct_clip", "evaluate_tracking", "track_clip"]

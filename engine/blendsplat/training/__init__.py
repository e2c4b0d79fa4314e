# SPDX-License-Identifier: Apache-2.0
"""Training avatars on tracked clips, and scoring them on frames they never saw."""

from blendsplat.training.evaluate import evaluate_avatar
from blendsplat.training.loop import TrainResult, train_avatar
from blendsplat.training.presets import Preset, list_presets, load_preset

__all__ = ["Preset", "TrainResult", "evaluate_avatar", "list_presets", "load_preset", "train_avatar"]

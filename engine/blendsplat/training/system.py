# SPDX-License-Identifier: Apache-2.0
"""What one avatar system is to the rest of the house: its file, its loader, its preset, its trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar, TrainingCamera
from blendsplat.avatars.file import FileSchema
from blendsplat.heads.model import HeadModel
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.presets import Preset
from blendsplat.training.trainer import Trainer


class MakeTrainer(Protocol):
    """Begins a training of one system."""

    def __call__(
        self, head: HeadModel, camera: TrainingCamera, data: FrameStore, preset: Any, name: str,
        device: torch.device | str = "cpu",
    ) -> Trainer[Any, Any]:  # fmt: skip
        """head: the person's own; data: filled with at least the first frames; preset: of the system's own model."""


Loader = Callable[[dict[str, Any], dict[str, np.ndarray], "torch.device | str"], Avatar]


@dataclass(frozen=True)
class AvatarSystem:
    """load: (header, arrays, device) of a checked file -> its avatar. preset: the model that validates its presets."""

    schema: FileSchema
    load: Loader
    preset: type[Preset]
    trainer: MakeTrainer

    @property
    def name(self) -> str:
        """What files and presets call it."""
        return self.schema.system

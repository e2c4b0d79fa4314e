# SPDX-License-Identifier: Apache-2.0
"""Small trainings of a DipGuava on the tiny clip, step by step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from blendsplat.progress import Progress
from blendsplat.systems import make_preset
from blendsplat.training.dipguava.preset import DipGuavaPreset
from blendsplat.training.dipguava.trainer import DipGuavaTrainer
from blendsplat.training.tracked_clip import TrackedClip
from tiny_dipguava import TINY

VALUES: dict[str, Any] = {
    "system": "dipguava", "image_size": 32, "images": 80, "stage_images": 40, "batch": 4, "decay_images": 0,
    "avatar": TINY, "lpips_weight": 0.0, "densify_every": 0, "blendshapes": 4,
    "rate": 5e-3, "residual_rate": 5e-3, "position_rate": 1e-2, "scale_rate": 1e-2, "rotation_rate": 5e-3,
}  # fmt: skip


GROWING = {
    "densify_every": 8,
    "densify_after": 8,
    "densify_until": 1.0,
    "densify_gradient": 1e-6,
    "most_gaussians": 400,
}


def dipguava(avatar: dict[str, Any] | None = None, **changes: Any) -> DipGuavaPreset:
    preset = make_preset(VALUES | {"avatar": TINY | (avatar or {})} | changes)
    assert isinstance(preset, DipGuavaPreset)
    return preset


def trainer_of(tracked: TrackedClip, preset: DipGuavaPreset, frames: int = 8) -> DipGuavaTrainer:
    data = tracked.load(list(range(frames)), 32, 32)
    return DipGuavaTrainer(tracked.head, tracked.camera(32), data, preset)


def values_of(trainer: DipGuavaTrainer) -> dict[str, Tensor]:
    """A copy of all that learns, by name."""
    return {name: value.detach().clone() for name, value in trainer.parameters.tensors()}


def steps(trainer: DipGuavaTrainer, count: int) -> list[float]:
    return [float(trainer.step().loss) for _ in range(count)]


class CancelAfter(Progress):
    """Cancels once the training has seen so many images."""

    def __init__(self, images: int, stage: str = "train") -> None:
        super().__init__()
        self.images, self.stage = images, stage

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        self.cancelled = self.cancelled or (stage == self.stage and done >= self.images)

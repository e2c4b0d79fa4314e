# SPDX-License-Identifier: Apache-2.0
"""A training that is to end after so many minutes: how fast this machine is, and what of the preset fits.

A throw-away trainer on a few of the clip's frames takes some steps in every part of the training and is
finished. What was measured makes one number, by which the preset is scaled; everything else is as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import torch

from blendsplat.errors import InputError
from blendsplat.progress import Progress
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.presets import Preset
from blendsplat.training.trainer import Trainer

PresetT = TypeVar("PresetT", bound=Preset)
FRAMES = 24  # of the clip, that are trained on while measuring: enough to show nearly every Gaussian that is ever seen
_SECONDS = 1.5  # measured in each part, after the same frames were shown once
_LEAST_STEPS = 3


@dataclass
class Pace:
    """What a preset takes on this machine. stages: (images, seconds for one) of its parts, one after the other;
    seconds: of what takes as long however many images there are."""

    stages: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def counted(self) -> float:
        """Seconds of all that the preset counts in images."""
        return sum(images * each for images, each in self.stages)


def fitting_factor(pace: Pace, seconds: float) -> float:
    """How many times as long a training of this pace may be (Preset.scaled), to end after ``seconds``.

    Raises InputError where they are over before anything is learned."""
    left = seconds - pace.seconds
    if left <= 0:
        raise InputError(
            f"What a training needs beside its images takes {pace.seconds:.0f} seconds here, and {max(seconds, 0):.0f} "
            "are left of the minutes it may take; give it more, or leave minutes out."
        )
    return left / pace.counted


def parts_of(preset: Preset) -> list[tuple[int, int]]:
    """[first, last) images of the parts in which a step costs the same."""
    inner = sorted({border for border in preset.borders() if 0 < border < preset.images})
    return list(zip([0, *inner], [*inner, preset.images], strict=True))


def measured_pace(
    make: Callable[[FrameStore, PresetT], Trainer[Any, Any]], data: FrameStore, preset: PresetT, progress: Progress
) -> Pace:
    """make: begins a training on some frames. What is measured is thrown away. Raises Cancelled."""
    rows = sorted({round(row) for row in np.linspace(0, len(data) - 1, FRAMES)})
    trainer, parts, pace = make(data.part(rows), preset), parts_of(preset), Pace()
    for place, (first, last) in enumerate(parts):
        _seconds_for_one(trainer, first, progress, images=len(rows))  # with what is made once, and once a frame
        middle = (first + last) // 2
        pace.stages.append((last - first, _seconds_for_one(trainer, middle, progress, _SECONDS)))
        progress.update("measure", place + 1, len(parts) + 1, "How fast this machine trains")
    begun = _now(trainer.device)
    trainer.finished_avatar()
    pace.seconds = _now(trainer.device) - begun
    progress.update("measure", len(parts) + 1, len(parts) + 1)
    return pace


def _seconds_for_one(
    trainer: Trainer[Any, Any], place: int, progress: Progress, seconds: float = 0.0, images: int = 0
) -> float:
    """Steps at one place of the training, for at least so many seconds and images: seconds for an image."""
    begun, done, steps, elapsed = _now(trainer.device), 0, 0, 0.0
    while steps < _LEAST_STEPS or done < images or elapsed < seconds:
        progress.check()
        trainer.stand_at(place)
        trainer.step()
        done, steps, elapsed = done + trainer.images - place, steps + 1, _now(trainer.device) - begun
    return elapsed / done


def _now(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return monotonic()

# SPDX-License-Identifier: Apache-2.0
"""RGBAvatar trainings of a second or two on the tiny clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blendsplat.systems import make_preset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.tracked_clip import TrackedClip

SMALL: dict[str, Any] = {
    "uv_resolution": 14, "image_size": 32, "images": 120, "batch": 4, "blendshapes": 4, "mlp_width": 16,
    "texel_scale": 0.7, "blendshapes_after": 8, "decay_images": 0, "rate_end_factor": 0.1, "color_init_images": 40,
}  # fmt: skip


def new_trainer(folder: Path, **changes: Any) -> RGBAvatarTrainer:
    tracked = TrackedClip.open(folder)
    preset = make_preset(SMALL | changes)
    return RGBAvatarTrainer(tracked.head, tracked.camera(32), tracked.load(list(range(11)), 32, 32), preset)


def trained(folder: Path, **changes: Any) -> RGBAvatarTrainer:
    trainer = new_trainer(folder, **changes)
    while not trainer.done:
        trainer.step()
    return trainer

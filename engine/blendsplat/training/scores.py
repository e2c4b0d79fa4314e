# SPDX-License-Identifier: Apache-2.0
"""An avatar's figures on frames, in the papers' protocol.

The full image on black at the resolution it was trained at, the render neither clamped nor quantised, metrics a frame.
What is not scored is black in both (scored_pixels.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from blendsplat.avatars.avatar import Avatar, TrainingCamera
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.image_metrics.psnr_ssim import psnr, ssim
from blendsplat.progress import Progress
from blendsplat.training.frame_store import FrameBatch, FrameStore

_BATCH = 4


class RenderedFrames(NamedTuple):
    """B frames of a store beside the avatar's renders of them: rows of the store, image [B,H,W,3] on black, neither
    clamped nor quantised, alpha [B,H,W,1], and the frames themselves."""

    rows: list[int]
    image: Tensor
    alpha: Tensor
    frames: FrameBatch


@torch.no_grad()
def rendered_frames(
    avatar: Avatar, frames: FrameStore, camera: TrainingCamera | None = None, progress: Progress | None = None
) -> Iterator[RenderedFrames]:
    """Every frame of the store beside its render, a few at a time; with the avatar's own camera, or another one whose
    pictures have the store's size."""
    progress, camera = progress or Progress(), camera or avatar.camera
    for start in range(0, len(frames), _BATCH):
        progress.check()
        index = list(range(start, min(start + _BATCH, len(frames))))
        batch = frames.batch(index)
        gaussians = avatar.drive(frames.params[torch.as_tensor(index, device=batch.alpha.device)])
        image, alpha, _ = render_gaussians(gaussians, camera.viewmat, camera.K, camera.width, camera.height)
        yield RenderedFrames(index, image, alpha, batch)


@torch.no_grad()
def score_frames(
    avatar: Avatar, frames: FrameStore, lpips: Lpips | None = None, progress: Progress | None = None
) -> list[dict[str, float]]:
    """One row per frame: {"frame", "psnr", "ssim", "lpips" (with a metric)}, with the avatar's own camera."""
    progress, rows = progress or Progress(), []
    for index, image, _, batch in rendered_frames(avatar, frames, progress=progress):
        target, valid = batch.premultiplied, batch.valid
        scores = {"psnr": psnr(image, target, valid), "ssim": ssim(image, target, valid)}
        if lpips is not None:
            scores["lpips"] = lpips((image * valid).clamp(0, 1), target * valid)
        for place, row in enumerate(index):
            rows.append({"frame": frames.numbers[row]} | {key: float(value[place]) for key, value in scores.items()})
        progress.update("evaluate", index[-1] + 1, len(frames), psnr=float(scores["psnr"].mean()))
    return rows

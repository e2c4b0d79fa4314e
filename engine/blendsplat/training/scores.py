# SPDX-License-Identifier: Apache-2.0
"""An avatar's figures on frames, in the papers' protocol.

The full image on black at the resolution it was trained at, the render neither clamped nor quantised, metrics a frame.
What is not scored is black in both (scored_pixels.py).
"""

from __future__ import annotations

import torch

from blendsplat.avatars.avatar import Avatar
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.image_metrics.psnr_ssim import psnr, ssim
from blendsplat.progress import Progress
from blendsplat.training.frame_store import FrameStore

_BATCH = 4


@torch.no_grad()
def score_frames(
    avatar: Avatar, frames: FrameStore, lpips: Lpips | None = None, progress: Progress | None = None
) -> list[dict[str, float]]:
    """One row per frame: {"frame", "psnr", "ssim", "lpips" (with a metric)}, with the avatar's own camera."""
    progress, camera, rows = progress or Progress(), avatar.camera, []
    for start in range(0, len(frames), _BATCH):
        progress.check()
        index = list(range(start, min(start + _BATCH, len(frames))))
        batch = frames.batch(index)
        gaussians = avatar.drive(frames.params[torch.as_tensor(index, device=batch.alpha.device)])
        image = render_gaussians(gaussians, camera.viewmat, camera.K, camera.width, camera.height)[0]
        target, valid = batch.premultiplied, batch.valid
        scores = {"psnr": psnr(image, target, valid), "ssim": ssim(image, target, valid)}
        if lpips is not None:
            scores["lpips"] = lpips((image * valid).clamp(0, 1), target * valid)
        for place, row in enumerate(index):
            rows.append({"frame": frames.numbers[row]} | {key: float(value[place]) for key, value in scores.items()})
        progress.update("evaluate", index[-1] + 1, len(frames), psnr=float(scores["psnr"].mean()))
    return rows

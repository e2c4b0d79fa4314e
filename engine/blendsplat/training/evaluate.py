# SPDX-License-Identifier: Apache-2.0
"""How good an avatar is on frames it never saw, in the papers' protocol.

The full image on black at the resolution it was trained at, the render neither clamped nor quantised, metrics per frame
and averaged over frames. Pixels that tracking marked as not part of the head are ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar
from blendsplat.avatars.load import load_avatar
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.errors import InputError
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.image_metrics.psnr_ssim import psnr, ssim
from blendsplat.progress import Progress
from blendsplat.training.data import FrameSet, TrackedClip

_BATCH = 4


def evaluate_avatar(
    avatar_path: Path | str,
    directory: Path | str,
    lpips_weights: Path | str | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    holdout: float | None = None,
) -> dict[str, Any]:
    """Score an avatar on the held-out frames of a tracked clip.

    holdout: last share (below 1) or number of frames; the avatar's own split by default. Returns {"psnr", "ssim",
    "lpips" (with weights), "frames", "width", "height", "rows": [{"frame", "psnr", "ssim", ...}]}.
    """
    avatar = load_avatar(avatar_path, device)
    tracked = TrackedClip.open(directory)
    if avatar.head.name != tracked.tracking.head:
        raise InputError(
            f"{avatar_path} was trained on the head {avatar.head.name!r} but {directory} was tracked with "
            f"{tracked.tracking.head!r}; track the clip again with the avatar's head."
        )
    if holdout is None:
        holdout = float(getattr(avatar, "training_record", {}).get("holdout", 0.3))
    _, held_out = tracked.split(holdout)
    if not held_out:
        raise InputError(f"No frames of {directory} are held out (holdout = {holdout:g}); choose a larger holdout.")
    camera = avatar.camera
    frames = tracked.load(held_out, camera.width, camera.height, device)
    lpips = Lpips(lpips_weights).to(device) if lpips_weights else None
    rows = score_frames(avatar, frames, lpips, progress)
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "frame"}
    return {**means, "frames": len(rows), "width": camera.width, "height": camera.height, "rows": rows}


@torch.no_grad()
def score_frames(
    avatar: Avatar, frames: FrameSet, lpips: Lpips | None = None, progress: Progress | None = None
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

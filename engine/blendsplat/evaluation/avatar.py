# SPDX-License-Identifier: Apache-2.0
"""How good an avatar is on frames it never saw, in the papers' protocol.

The full image on black at the resolution it was trained at, the render neither clamped nor quantised, metrics per frame
and averaged over frames. Pixels that tracking marked as not part of the head are ignored.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar
from blendsplat.errors import InputError
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar
from blendsplat.training.scores import score_frames
from blendsplat.training.tracked_clip import TrackedClip


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
    avatar.check_performance(tracked.tracking)
    if holdout is None:
        holdout = _own_holdout(avatar)
    _, held_out = tracked.split(holdout)
    if not held_out:
        raise InputError(f"No frames of {directory} are held out (holdout = {holdout:g}); choose a larger holdout.")
    camera = avatar.camera
    frames = tracked.load(held_out, camera.width, camera.height, device)
    lpips = Lpips(lpips_weights).to(device) if lpips_weights else None
    rows = score_frames(avatar, frames, lpips, progress)
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "frame"}
    return {**means, "frames": len(rows), "width": camera.width, "height": camera.height, "rows": rows}


def _own_holdout(avatar: Avatar) -> float:
    """What the avatar's file says of its training; 0.3 where it says nothing that can be used."""
    holdout = avatar.training_record.get("holdout")
    return float(holdout) if isinstance(holdout, (int, float)) and 0 <= holdout < math.inf else 0.3

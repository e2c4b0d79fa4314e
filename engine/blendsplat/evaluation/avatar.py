# SPDX-License-Identifier: Apache-2.0
"""How good an avatar is on frames it never saw, in the papers' protocol.

The full image on black at the resolution it was trained at, the render neither clamped nor quantised, metrics per frame
and averaged over frames. Which pixels are scored depends on the clip alone (training/scored_pixels.py), so that avatars
on different heads compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar
from blendsplat.errors import InputError
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar
from blendsplat.training.scored_pixels import clip_weights, common_weights
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
    common: Sequence[Path | str] = (),
    own_cut: bool = False,
    show: str = "full",
) -> dict[str, Any]:
    """Score an avatar on the held-out frames of a tracked clip.

    holdout: last share (below 1) or number of frames; the avatar's own split by default. common: folders of the same
    clip tracked with other heads: scored are the pixels and frames that count in all of them. own_cut: those that count
    in this one, above its own head's neck, as does every clip without landmarks. show: which of the avatar's views.
    Returns {"psnr", "ssim", "lpips" and "lpips_network" ("squeeze" or "vgg") where there are weights, "frames",
    "width", "height", "pixels" ("clip", "common", "own"), "share" (of the picture that is scored), "rows": [{"frame",
    "psnr", "ssim", ...}]}. Raises InputError where nothing is held out or common.
    """
    avatar = load_avatar(avatar_path, device)
    avatar.show(show)
    tracked = TrackedClip.open(directory)
    avatar.check_performance(tracked.tracking)
    if holdout is None:
        holdout = _own_holdout(avatar)
    _, held_out = tracked.split(holdout)
    if not held_out:
        raise InputError(f"No frames of {directory} are held out (holdout = {holdout:g}); choose a larger holdout.")
    others = [TrackedClip.open(folder) for folder in common]
    pixels, weights = "own", None
    if others:
        pixels, weights = "common", common_weights(tracked.clip, [other.clip for other in others])
        held_out = [number for number in held_out if all(other.tracking.valid[number] for other in others)]
    elif not own_cut and (weights := clip_weights(tracked.clip)) is not None:
        pixels = "clip"
    if not held_out:
        raise InputError(f"No held-out frame of {directory} is tracked in all the clips that it is compared with.")
    camera = avatar.camera
    frames = tracked.load(held_out, camera.width, camera.height, device, weights=weights)
    lpips = Lpips(lpips_weights).to(device) if lpips_weights else None
    rows = score_frames(avatar, frames, lpips, progress)
    means: dict[str, Any] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "frame"}
    share = float(frames.valid.float().mean() / 255)
    if lpips is not None:
        means["lpips_network"] = lpips.network
    return {
        **means, "frames": len(rows), "width": camera.width, "height": camera.height, "pixels": pixels, "share": share,
        "rows": rows,
    }  # fmt: skip


def _own_holdout(avatar: Avatar) -> float:
    """What the avatar's file says of its training; 0.3 where it says nothing that can be used."""
    holdout = avatar.training_record.get("holdout")
    return float(holdout) if isinstance(holdout, (int, float)) and 0 <= holdout < math.inf else 0.3

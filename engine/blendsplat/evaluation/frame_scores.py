# SPDX-License-Identifier: Apache-2.0
"""Every frame's scores: of the picture, of mouth and eyes by themselves, and of the change from the frame before.

One walk over the frames in their order, of which nothing but the last two is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar, TrainingCamera
from blendsplat.evaluation.face_boxes import Boxes, score_boxes
from blendsplat.evaluation.steadiness import Steadiness
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.image_metrics.psnr_ssim import psnr, ssim_map, weighted_mean
from blendsplat.progress import Progress
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.scores import rendered_frames

Row = dict[str, Any]
PERCENTILES = (5, 25, 50, 75, 95)


@torch.no_grad()
def score_all(
    avatar: Avatar,
    frames: FrameStore,
    camera: TrainingCamera,
    lpips: Lpips | None = None,
    boxes: Callable[[int], Boxes] | None = None,
    steadiness: Steadiness | None = None,
    clamped: bool = True,
    progress: Progress | None = None,
) -> list[Row]:
    """One row a frame: {"frame", "psnr", "ssim", "l1", "lpips" (with a metric), the boxes' scores (face_boxes.py),
    "change", "video_change", "change_error" (steadiness.py)}; what a frame does not have is left out.

    clamped: LPIPS sees the render held to [0,1].
    """
    progress, rows = progress or Progress(), []
    for index, image, _, batch in rendered_frames(avatar, frames, camera, progress):
        target, valid = batch.premultiplied, batch.valid
        similarity = ssim_map(image * valid, target * valid)
        scores = {
            "psnr": psnr(image, target, valid), "ssim": weighted_mean(similarity, valid),
            "l1": weighted_mean((image - target).abs(), valid),
        }  # fmt: skip
        if lpips is not None:
            shown = image * valid
            scores["lpips"] = lpips(shown.clamp(0, 1) if clamped else shown, target * valid)
        for place, store_row in enumerate(index):
            number = frames.numbers[store_row]
            row: Row = {"frame": number} | {key: float(value[place]) for key, value in scores.items()}
            if boxes is not None:
                row |= score_boxes(image[place], target[place], valid[place], similarity[place], boxes(number), lpips)
            if steadiness is not None:
                counted = valid[place] * (batch.alpha[place] > 0.5)
                row |= steadiness.feed(number, image[place], target[place], counted)
            rows.append(row)
        progress.update("evaluate", index[-1] + 1, len(frames), psnr=float(scores["psnr"].mean()))
    return rows


def means(rows: Sequence[Row]) -> dict[str, float]:
    """The mean of every figure over the rows that have it."""
    return {key: float(values.mean()) for key, values in _columns(rows).items()}


def percentiles(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """{figure: {"5", "25", "50", "75", "95"}} over the rows that have it."""
    return {
        key: dict(zip(map(str, PERCENTILES), map(float, np.percentile(values, PERCENTILES)), strict=True))
        for key, values in _columns(rows).items()
    }


def chosen_frames(rows: Sequence[Row]) -> dict[str, int]:
    """{"worst", "median", "best"}: frame numbers by PSNR."""
    order = sorted(rows, key=lambda row: row["psnr"])
    places = {"worst": 0, "median": len(order) // 2, "best": len(order) - 1}
    return {name: int(order[place]["frame"]) for name, place in places.items()}


def _columns(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(key for row in rows for key in row if key != "frame")
    return {key: np.array([row[key] for row in rows if key in row], np.float64) for key in names}

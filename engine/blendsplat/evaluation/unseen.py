# SPDX-License-Identifier: Apache-2.0
"""What presets are worth on expressions and poses that they never saw, at equal training time.

Every preset is trained once a fold (expression_folds.py) and scored on the frames that were held out, beside its own
base without blendshapes and with what it looks like from the sides.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from blendsplat.avatars.avatar import Avatar, TrainingCamera
from blendsplat.evaluation.avatar import sides_of
from blendsplat.evaluation.expression_folds import folds
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.progress import Progress
from blendsplat.systems import load_preset, system_of
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.presets import Preset
from blendsplat.training.scored_pixels import clip_weights
from blendsplat.training.scores import score_frames
from blendsplat.training.time_budget import fitting_factor, measured_pace
from blendsplat.training.tracked_clip import TrackedClip

SCORED = 32  # held-out frames of a fold, spread over it


@dataclass
class UnseenFigures:
    """One preset on one fold. base_: of the avatar without its blendshapes; holes: per cent of the head's outline seen
    from 45 degrees to either side."""

    clip: str
    fold: str
    preset: str
    psnr: float
    ssim: float
    lpips: float | None
    base_psnr: float | None
    base_lpips: float | None
    holes: float
    images: int
    seconds: float


def benchmark_unseen(
    folders: Sequence[Path], presets: Sequence[str] = ("draft", "quality"), size: int = 256, clusters: int = 4,
    share: float = 0.3, lpips: Path | None = None, minutes: float | None = None, progress: Progress | None = None,
) -> list[UnseenFigures]:  # fmt: skip
    """Every preset on every fold of tracked clips, all trained and scored at pictures of ``size`` pixels.

    minutes: each training is scaled to so many (its pace is measured first); None: as the presets are. Raises
    InputError for an unknown preset and a clip that is not tracked.
    """
    progress = progress or Progress()
    loaded = [load_preset(name, {"image_size": size}) for name in presets]
    metric = Lpips(lpips) if lpips else None
    figures = []
    for folder in folders:
        tracked = TrackedClip.open(folder)
        camera = tracked.camera(size)
        for fold, (training, held) in folds(tracked.tracking, share, clusters).items():
            data = tracked.load(training, camera.width, camera.height, progress=progress)
            data.weigh(tracked.frame_weights(training))
            chosen = [held[round(place)] for place in np.linspace(0, len(held) - 1, min(SCORED, len(held)))]
            unseen = tracked.load(chosen, camera.width, camera.height, weights=clip_weights(tracked.clip))
            for preset in loaded:
                avatar, images, seconds = _trained(tracked, camera, data, preset, minutes, progress)
                row = _scored(avatar, unseen, metric, progress)
                holes = _holes(avatar, tracked)
                figures.append(UnseenFigures(folder.name, fold, preset.name, *row, holes, images, seconds))
    return figures


def _trained(
    tracked: TrackedClip, camera: TrainingCamera, data: FrameStore, preset: Preset, minutes: float | None,
    progress: Progress,
) -> tuple[Avatar, int, float]:  # fmt: skip
    """(avatar, images, seconds)"""
    make = system_of(preset.system).trainer
    if minutes is not None:
        pace = measured_pace(
            lambda frames, one: make(tracked.head, camera, frames, one, "measured"), data, preset, progress
        )  # fmt: skip
        preset = preset.scaled(fitting_factor(pace, 60 * minutes))
    begun = time.monotonic()
    trainer = make(tracked.head, camera, data, preset, "unseen")
    while not trainer.done:
        progress.check()
        trainer.step()
        if trainer.images % 200 < preset.batch:
            progress.update("train", trainer.images, preset.images)
    return trainer.finished_avatar(), trainer.images, time.monotonic() - begun


def _scored(
    avatar: Avatar, frames: FrameStore, lpips: Lpips | None, progress: Progress
) -> tuple[float, float, float | None, float | None, float | None]:
    """(PSNR, SSIM, LPIPS, the base's PSNR, the base's LPIPS)"""

    def means() -> dict[str, float]:
        rows = score_frames(avatar, frames, lpips, progress)
        return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}

    whole = means()
    if "base" not in avatar.views:
        return whole["psnr"], whole["ssim"], whole.get("lpips"), None, None
    shown = avatar.shown
    avatar.show("base")
    base = means()
    avatar.show(shown)
    return whole["psnr"], whole["ssim"], whole.get("lpips"), base["psnr"], base.get("lpips")


def _holes(avatar: Avatar, tracked: TrackedClip) -> float:
    """Per cent, the mean of the two sides."""
    views = sides_of(avatar, tracked, "cpu")[0]
    return 100 * float(np.mean([view.share_of_holes for view in views if view.name != "from_front"]))


def table(figures: Sequence[UnseenFigures]) -> Table:
    """One row each."""
    result = Table(*asdict(figures[0]), title="unseen expressions and poses")
    digits = {"psnr": 2, "ssim": 4, "lpips": 4, "base_psnr": 2, "base_lpips": 4, "holes": 1, "seconds": 0}
    for row in figures:
        values = asdict(row)
        cells = [
            "" if value is None else f"{value:.{digits[name]}f}" if name in digits else str(value)
            for name, value in values.items()
        ]
        result.add_row(*cells)
    return result

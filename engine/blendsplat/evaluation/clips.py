# SPDX-License-Identifier: Apache-2.0
"""Whole runs on videos: how fast and how well each is imported, tracked, trained on and reproduced."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.progress import Progress
from blendsplat.systems import load_preset, train_avatar
from blendsplat.tracking import track_clip
from blendsplat.video import ClipOptions, import_clip


@dataclass
class ClipFigures:
    """What one video reached; seconds are wall-clock, errors are percent of the distance between the eyes."""

    clip: str
    frames: int
    faces: int  # frames in which a face was found and tracked
    import_s: float
    track_s: float
    track_fps: float  # frames over import and tracking together: decode to overlay
    landmark_error: float
    jitter_px: float
    train_s: float
    psnr: float
    ssim: float
    lpips: float | None


def benchmark_clips(
    videos: list[Path], folder: Path, preset: str = "draft", lpips: Path | None = None, progress: Progress | None = None
) -> list[ClipFigures]:
    """Run import, track, train and evaluate on every video; work files stay in ``folder`` to be looked at."""
    return [_benchmark(video, folder / video.stem, preset, lpips, progress or Progress()) for video in videos]


def _benchmark(video: Path, folder: Path, preset: str, lpips: Path | None, progress: Progress) -> ClipFigures:
    start = time.perf_counter()
    clip = import_clip(video, folder, ClipOptions(overwrite=True), progress)
    imported = time.perf_counter()
    tracking = track_clip(folder, progress=progress)
    tracked = time.perf_counter()
    avatar = folder / f"{video.stem}.avatar.npz"
    train_avatar(folder, load_preset(preset), avatar, progress=progress)
    trained = time.perf_counter()
    quality = evaluate_avatar(avatar, folder, lpips_weights=lpips, progress=progress)
    return ClipFigures(
        clip=video.name,
        frames=clip.frame_count,
        faces=int(tracking.valid.sum()),
        import_s=imported - start,
        track_s=tracked - imported,
        track_fps=clip.frame_count / (tracked - start),
        landmark_error=100 * tracking.figures["landmark_error"],
        jitter_px=tracking.figures["jitter_px"],
        train_s=trained - tracked,
        psnr=quality["psnr"],
        ssim=quality["ssim"],
        lpips=quality.get("lpips"),
    )


def table(figures: list[ClipFigures]) -> Table:
    """One row a clip."""
    names = list(asdict(figures[0]))
    result = Table(*names, title="clips")
    for row in figures:
        result.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in asdict(row).values()))
    return result

# SPDX-License-Identifier: Apache-2.0
"""Whole runs on videos: how fast and how well each is imported, tracked each way, trained on and reproduced."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from blendsplat.errors import InputError
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.evaluation.sticking import evaluate_sticking
from blendsplat.evaluation.tracking import WAYS
from blendsplat.heads.load import load_head_of
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.systems import load_preset, train_avatar
from blendsplat.tracking import TrackOptions, track_clip
from blendsplat.video import Clip, ClipOptions, import_clip

SCORES = ("psnr", "ssim", "lpips")


@dataclass
class ClipFigures:
    """What one video reached, tracked one way; seconds are wall-clock, errors are percent of the distance between the
    eyes, uncovered and beyond percent of the bare head (tracking/coverage.py), stick_px and lag_frames as
    evaluation/sticking.py says. Scores are over the frames held out in every way."""

    clip: str
    way: str
    frames: int
    faces: int  # frames in which a face was found and tracked
    import_s: float  # once for all ways
    track_s: float
    track_fps: float  # frames over import and tracking together: decode to overlay
    landmark_error: float
    jitter_px: float
    stick_px: float | None
    lag_frames: float | None
    uncovered: float | None
    beyond: float | None
    train_s: float
    psnr: float
    ssim: float
    lpips: float | None
    lpips_network: str  # whose number that is: "squeeze" or "vgg"; "" without one


@dataclass
class _Run:
    """One way of tracking a video so far."""

    way: str
    folder: Path
    tracking: Performance
    track_s: float
    train_s: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    lpips_network: str = ""


def benchmark_clips(
    videos: list[Path],
    folder: Path,
    preset: str = "draft",
    lpips: Path | None = None,
    progress: Progress | None = None,
    ways: tuple[str, ...] = ("landmarks", "dense"),
) -> list[ClipFigures]:
    """Import every video once, then track, train and evaluate in all ``ways`` (of evaluation/tracking.py), the same
    preset each; work files stay in ``folder`` to be looked at. Raises InputError for a way that does not exist."""
    if unknown := [way for way in ways if way not in WAYS]:
        raise InputError(f"There is no way of tracking {unknown[0]!r}; choose of {', '.join(WAYS)}.")
    figures = []
    for video in videos:
        figures += _benchmark(video, folder, preset, lpips, ways, progress or Progress())
    return figures


def _benchmark(
    video: Path, folder: Path, preset: str, lpips: Path | None, ways: tuple[str, ...], progress: Progress
) -> list[ClipFigures]:
    start = time.perf_counter()
    clip = import_clip(video, folder / video.stem, ClipOptions(overwrite=True), progress)
    import_s = time.perf_counter() - start
    runs = []
    for way in ways:
        own = _copy_of(clip, folder / f"{video.stem}.{way}")
        start = time.perf_counter()
        tracking = track_clip(own, TrackOptions(**WAYS[way]), progress)  # type: ignore[arg-type]
        runs.append(_Run(way, own, tracking, time.perf_counter() - start))
    for run in runs:
        avatar = folder / f"{run.folder.name}.avatar.npz"
        start = time.perf_counter()
        train_avatar(run.folder, load_preset(preset), avatar, progress=progress)
        run.train_s = time.perf_counter() - start
        evaluated = evaluate_avatar(avatar, run.folder, lpips_weights=lpips, progress=progress)
        run.rows, run.lpips_network = evaluated["rows"], evaluated.get("lpips_network", "")
    scores = common_scores([run.rows for run in runs])
    return [_figures(video, clip, import_s, run, own, progress) for run, own in zip(runs, scores, strict=True)]


def _figures(
    video: Path, clip: Clip, import_s: float, run: _Run, scores: dict[str, float], progress: Progress
) -> ClipFigures:
    sticks = evaluate_sticking(clip, run.tracking, load_head_of(run.tracking), progress)
    return ClipFigures(
        clip=video.name,
        way=run.way,
        frames=clip.frame_count,
        faces=int(run.tracking.valid.sum()),
        import_s=import_s,
        track_s=run.track_s,
        track_fps=clip.frame_count / (import_s + run.track_s),
        landmark_error=100 * run.tracking.figures["landmark_error"],
        jitter_px=run.tracking.figures["jitter_px"],
        stick_px=None if np.isnan(sticks["stick_px"]) else sticks["stick_px"],
        lag_frames=None if np.isnan(sticks["lag_frames"]) else sticks["lag_frames"],
        uncovered=_percent(run.tracking, "uncovered"),
        beyond=_percent(run.tracking, "beyond"),
        train_s=run.train_s,
        psnr=scores["psnr"],
        ssim=scores["ssim"],
        lpips=scores.get("lpips"),
        lpips_network=run.lpips_network,
    )


def _percent(tracking: Performance, figure: str) -> float | None:
    return 100 * tracking.figures[figure] if figure in tracking.figures else None


def _copy_of(clip: Clip, directory: Path) -> Path:
    """The imported clip once more, not yet tracked. Pictures are shared on disk where that is possible: whoever writes
    one later puts a new file in its place."""

    def share(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    if directory.exists():
        Clip.open(directory)  # raises for what is no clip, and may be the user's
        shutil.rmtree(directory)
    shutil.copytree(clip.directory, directory, copy_function=share)
    return directory


def common_scores(rows: list[list[dict[str, Any]]]) -> list[dict[str, float]]:
    """The mean scores of several evaluations of one clip (lists of {"frame", "psnr", ...}), over the frames that all of
    them hold. Raises InputError where there is none."""
    shared = set.intersection(*({row["frame"] for row in one} for one in rows))
    if not shared:
        raise InputError("No frame is held out in all trackings: the clip is too short, or its face too rarely seen.")
    kept = [[row for row in one if row["frame"] in shared] for one in rows]
    return [{name: float(np.mean([row[name] for row in one])) for name in SCORES if name in one[0]} for one in kept]


def table(figures: list[ClipFigures]) -> Table:
    """One row a clip and way."""
    result = Table(*asdict(figures[0]), title="clips")
    for row in figures:
        values = asdict(row).values()
        result.add_row(*("" if v is None else f"{v:.3g}" if isinstance(v, float) else str(v) for v in values))
    return result

# SPDX-License-Identifier: Apache-2.0
"""How well clips are tracked, each way: generated people (known truth) and videos.

The people come in two sets that share nobody: what is tuned is tuned on one, what is published is from the other.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.table import Table

from blendsplat.errors import InputError
from blendsplat.evaluation.sticking import evaluate_sticking
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.synthetic.footage import VIEWS, make_footage
from blendsplat.tracking import TrackOptions, evaluate_tracking, track_clip
from blendsplat.video import Clip, ClipOptions, import_clip

SETS = {"tuning": 90_002, "test": 417_001}  # seeds; no training has seen these people
WAYS = {
    "landmarks": {"init": "landmarks", "refine": "none"},
    "dense": {"init": "landmarks", "refine": "dense"},
    "kaolrm": {"init": "kaolrm", "refine": "none"},
}
_GOLDEN = 0.61803  # any few neighbours' fields of view are spread over all of VIEWS


@dataclass
class TrackingFigures:
    """One clip tracked one way; None: unknown, or a real video, which has no truth. Millimetres are after each frame's
    rigid alignment; landmark_error: of the distance between the eyes, percent; stick_px, lag_frames: as
    evaluation/sticking.py says; seconds: tracking alone, wall-clock."""

    clip: str
    way: str
    frames: int
    tracked: int
    vertex_mm: float | None
    face_mm: float | None
    rotation_deg: float | None
    gaze_deg: float | None
    focal_percent: float | None
    landmark_error: float
    jitter_px: float
    truth_jitter_px: float | None
    stick_px: float | None
    lag_frames: float | None
    seconds: float


def benchmark_tracking(
    videos: list[Path],
    people: int,
    frames: int,
    folder: Path,
    ways: tuple[str, ...] = ("landmarks", "dense"),
    which: str = "test",
    weights: str = "auto",
    progress: Progress | None = None,
) -> list[TrackingFigures]:
    """Track ``people`` generated clips of ``frames`` frames, of the set ``which``, then ``videos``, all ``ways``.

    What is made stays in ``folder``, and generated clips that lie there are not made again. Raises InputError for a set
    or way that does not exist.
    """
    if which not in SETS:
        raise InputError(f"There is no set of people {which!r}; choose {' or '.join(SETS)}.")
    if unknown := [way for way in ways if way not in WAYS]:
        raise InputError(f"There is no way of tracking {unknown[0]!r}; choose of {', '.join(WAYS)}.")
    progress, head = progress or Progress(), load_head("human")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(people):
        clip, truth = person_clip(folder, head, frames, which, number, progress)
        rows += [_tracked(clip, head, way, weights, truth, progress) for way in ways]
    for video in videos:
        clip = import_clip(video, folder / video.stem, ClipOptions(overwrite=True), progress)
        rows += [_tracked(clip, head, way, weights, None, progress) for way in ways]
    return rows


def person_clip(
    folder: Path, head: HeadModel, frames: int, which: str, number: int, progress: Progress | None = None
) -> tuple[Clip, Performance]:
    """Person ``number`` of a set as a clip's folder inside ``folder``, made where it is not there yet, and the truth
    (truth.npz in the clip's folder)."""
    progress = progress or Progress()
    directory = folder / f"{which}{number + 1}_{frames}"
    if (directory / "truth.npz").exists():
        return Clip.open(directory), Performance.load(directory / "truth.npz")
    rng = np.random.default_rng([SETS[which], number])
    share = (np.random.default_rng(SETS[which]).random() + number * _GOLDEN) % 1
    video = folder / f"{directory.name}.mp4"
    truth = make_footage(video, head, frames, rng, progress, view=VIEWS[0] + share * (VIEWS[1] - VIEWS[0]))
    clip = import_clip(video, directory, ClipOptions(crop=(0, 0, truth.width), overwrite=True), progress)
    truth.save(directory / "truth.npz")
    return clip, truth


def _tracked(
    clip: Clip, head: HeadModel, way: str, weights: str, truth: Performance | None, progress: Progress
) -> TrackingFigures:
    options = TrackOptions(head_model=head, valid_maps=False, weights=weights, **WAYS[way])  # type: ignore[arg-type]
    begin = time.perf_counter()
    tracking = track_clip(clip.directory, options, progress)
    seconds = time.perf_counter() - begin
    for name in ("overlay.mp4", "tracking.npz"):
        made = clip.directory / name
        made.replace(made.with_stem(f"{made.stem}_{way}"))
    figures = evaluate_tracking(tracking, truth, head) if truth else {}
    sticks = evaluate_sticking(clip, tracking, head, progress)
    return TrackingFigures(
        clip.directory.name, way, tracking.frame_count, int(tracking.valid.sum()),
        figures.get("vertex_error_mm"), figures.get("face_error_mm"), figures.get("rotation_error_deg"),
        figures.get("gaze_error_deg"), figures.get("focal_error_percent"),
        100 * tracking.figures["landmark_error"], tracking.figures["jitter_px"],
        figures.get("truth_jitter_px"), _known(sticks["stick_px"]), _known(sticks["lag_frames"]), seconds,
    )  # fmt: skip


def means(rows: list[TrackingFigures]) -> list[TrackingFigures]:
    """One row a way: the mean over its clips, and the sums of frames."""
    return [_mean([row for row in rows if row.way == way]) for way in dict.fromkeys(row.way for row in rows)]


def _mean(rows: list[TrackingFigures]) -> TrackingFigures:
    values: dict[str, object] = {"clip": "mean", "way": rows[0].way}
    for name in (item.name for item in fields(TrackingFigures)):
        if name in ("clip", "way"):
            continue
        known = [value for row in rows if (value := getattr(row, name)) is not None]
        if name in ("frames", "tracked"):
            values[name] = sum(known)
        else:
            values[name] = float(np.mean(known)) if known else None
    return TrackingFigures(**values)  # type: ignore[arg-type]


def table(rows: list[TrackingFigures]) -> Table:
    """One row a clip and way, then the means."""
    result = Table(*asdict(rows[0]), title="tracking")
    shown = rows + (means(rows) if len({row.clip for row in rows}) > 1 else [])
    for row in shown:
        values = asdict(row).values()
        result.add_row(*("" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in values))
    return result


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value

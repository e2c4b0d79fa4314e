# SPDX-License-Identifier: Apache-2.0
"""What the tracker starts from, judged: landmarks against KaoLRM, on generated people (known truth) and on videos.

A generated person talks, blinks and turns as the demo's head does, with a face, hair, shirt and light of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.heads.render import render_views
from blendsplat.progress import Progress
from blendsplat.synthetic.backdrops import paint_backdrop
from blendsplat.synthetic.clip import FPS, SIZE, clip_camera, truth_of
from blendsplat.synthetic.people import Person, random_person
from blendsplat.synthetic.performance import talking_performance
from blendsplat.tracking import TrackOptions, evaluate_tracking, track_clip
from blendsplat.video import Clip, ClipOptions, import_clip, write_mp4

SEED = 90_002  # no training has seen these people


@dataclass
class TrackingFigures:
    """One clip tracked one way. Errors in mm are from the truth, after each frame's rigid alignment (None: a real
    video); landmark_error: of the distance between the eyes, percent; seconds: tracking alone, wall-clock."""

    clip: str
    init: str
    frames: int
    tracked: int
    vertex_mm: float | None
    face_mm: float | None
    landmark_error: float
    jitter_px: float
    truth_jitter_px: float | None
    seconds: float


def benchmark_tracking(
    videos: list[Path], people: int, frames: int, weights: str, folder: Path, progress: Progress | None = None
) -> list[TrackingFigures]:
    """Track ``people`` generated clips of ``frames`` frames, then ``videos``; what is made stays in ``folder``."""
    progress, head = progress or Progress(), load_head("human")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(people):
        video = folder / f"person{number + 1}.mp4"
        truth = make_person_clip(video, head, frames, number, progress)
        clip = import_clip(video, folder / video.stem, ClipOptions(crop=(0, 0, SIZE), overwrite=True), progress)
        rows += _tracked(clip, head, weights, truth, progress)
    for video in videos:
        clip = import_clip(video, folder / video.stem, ClipOptions(overwrite=True), progress)
        rows += _tracked(clip, head, weights, None, progress)
    return rows


def make_person_clip(path: Path, head: HeadModel, frames: int, number: int, progress: Progress) -> Performance:
    """Render and encode person ``number`` talking, as mp4. Returns the truth."""
    person = random_person(head, np.random.default_rng([SEED, number]))
    params = talking_performance(head, frames, FPS, seed=SEED + number)
    params.shape = person.params.shape
    write_mp4(path, _pictures(head, person, params, progress), FPS, crf=18)
    return truth_of(head, params, *clip_camera())


def _pictures(head: HeadModel, person: Person, params: HeadParams, progress: Progress) -> Iterator[np.ndarray]:
    """Finished frames [H,W,3] uint8; the hair turns with the head, the clothes stay."""
    K, viewmat = (torch.as_tensor(array)[None] for array in clip_camera())
    behind = paint_backdrop(person.place, person.light, SIZE)
    for frame in range(params.batch):
        progress.check()
        drawn, props = person.dressed.pose(params[[frame]])
        picture = render_views(
            head, drawn, person.texture, viewmat, K, SIZE, SIZE, person.light, props=props
        )[0].numpy()  # fmt: skip
        yield ((picture[..., :3] + behind * (1 - picture[..., 3:])).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        progress.update("person", frame + 1, params.batch)


def _tracked(
    clip: Clip, head: HeadModel, weights: str, truth: Performance | None, progress: Progress
) -> list[TrackingFigures]:
    rows = []
    for init in ("landmarks", "kaolrm"):
        options = TrackOptions(head_model=head, valid_maps=False, init=init, weights=weights)
        begin = time.perf_counter()
        tracking = track_clip(clip.directory, options, progress)
        seconds = time.perf_counter() - begin
        (clip.directory / "overlay.mp4").replace(clip.directory / f"overlay_{init}.mp4")
        figures = evaluate_tracking(tracking, truth, head) if truth else {}
        rows.append(
            TrackingFigures(
                clip.directory.name, init, tracking.frame_count, int(tracking.valid.sum()),
                figures.get("vertex_error_mm"), figures.get("face_error_mm"),
                100 * tracking.figures["landmark_error"], tracking.figures["jitter_px"],
                figures.get("truth_jitter_px"), seconds,
            )
        )  # fmt: skip
    return rows


def table(rows: list[TrackingFigures]) -> Table:
    """One row a clip and start."""
    result = Table(*asdict(rows[0]), title="tracking")
    for row in rows:
        values = asdict(row).values()
        result.add_row(*("" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in values))
    return result

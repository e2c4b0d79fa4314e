# SPDX-License-Identifier: Apache-2.0
"""``blendsplat bench live``: tracked clips shown to a live training frame by frame, under several ways to remember.

Everything but the pools is the same: frames, tracking, images, rates. The last part of each clip is held out, as ever.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.errors import InputError
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.live.learner import Learner, Lesson
from blendsplat.live.session import live_preset
from blendsplat.progress import Progress
from blendsplat.systems import load_preset
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.presets import Preset
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.sampler import OnlineSampler
from blendsplat.training.scored_pixels import clip_weights
from blendsplat.training.scores import score_frames
from blendsplat.training.tracked_clip import TrackedClip

# The paper's text has the newest frames favoured, its authors' code draws 70 % from the global pool once 750 frames
# have been seen; "at once": from the first frame on that the local pool does not hold.
VARIANTS: dict[str, dict[str, float]] = {
    "preset": {},
    "code": {"online_global_share": 0.7, "online_ramp": 599},
    "global favoured at once": {"online_global_share": 0.7, "online_ramp": 1},
    "recent favoured at once": {"online_global_share": 0.3, "online_ramp": 1},
    "without global": {"online_global_share": 0.0},
    "without local": {"online_local_pool": 1, "online_global_share": 1.0, "online_ramp": 1},
}
OFFLINE = "offline"


@dataclass
class ReplayRow:
    """clip, way; held-out psnr, ssim and lpips; psnr of each frame before it was trained on; images, seconds."""

    clip: str
    way: str
    psnr: float
    ssim: float
    lpips: float | None
    new_psnr: float | None
    images: int
    seconds: float

    @property
    def sentence(self) -> str:
        """What a long benchmark says of it meanwhile."""
        return f"{self.clip}, {self.way}: {self.psnr:.2f} dB, SSIM {self.ssim:.4f}, {self.seconds:.0f} s"


def benchmark_replays(
    folders: Sequence[Path], preset: str, lpips: Path | None, chosen: Sequence[str], changes: Mapping[str, Any],
    progress: Progress, device: str = "cpu",
) -> list[ReplayRow]:  # fmt: skip
    """A row a clip and way. chosen: some of VARIANTS and OFFLINE; none: all. Raises InputError for another."""
    known = [*VARIANTS, OFFLINE]
    if unknown := [way for way in chosen if way not in known]:
        raise InputError(f"There is no way {unknown[0]!r} to replay; choose of {', '.join(known)}.")
    metric = Lpips(lpips).to(device) if lpips else None
    rows: list[ReplayRow] = []
    for folder in folders:
        clip = _ReplayedClip.open(folder, load_preset(preset, dict(changes)), device)
        for way in chosen or known:
            progress.check()
            chosen_preset = load_preset(preset, dict(changes) | VARIANTS.get(way, {}))
            rows.append(_replayed(clip, way, live_preset(chosen_preset), metric, progress, device))
            progress.update("replay", len(rows), len(folders) * len(chosen or known), rows[-1].sentence)
    return rows


@dataclass
class _ReplayedClip:
    """A tracked clip with its training and its held-out frames, read once for all ways."""

    tracked: TrackedClip
    camera: TrainingCamera
    frames: FrameStore
    scored: FrameStore
    images: int

    @classmethod
    def open(cls, folder: Path, preset: Preset, device: str) -> _ReplayedClip:
        tracked = TrackedClip.open(folder)
        training, held_out = tracked.split(preset.holdout)
        if not held_out:
            raise InputError("Nothing is held out to score; set holdout.")
        camera = tracked.camera(preset.image_size)
        size = camera.width, camera.height
        frames = tracked.load(training, *size, device)
        scored = tracked.load(held_out, *size, device, weights=clip_weights(tracked.clip))
        images = round(len(training) * preset.online_images_per_frame / preset.batch) * preset.batch
        return cls(tracked, camera, frames, scored, images)


def _replayed(
    clip: _ReplayedClip, way: str, preset: RGBAvatarPreset, lpips: Lpips | None, progress: Progress, device: str
) -> ReplayRow:
    begun = time.monotonic()
    if way == OFFLINE:
        trainer, new = _offline(clip, preset, progress, device), None
    else:
        trainer, new = _streamed(clip, preset, progress, device)
    seconds = time.monotonic() - begun
    scores = score_frames(trainer.finished_avatar(), clip.scored, lpips)
    mean = {key: float(np.mean([row[key] for row in scores])) for key in scores[0]}
    return ReplayRow(
        clip.tracked.clip.directory.name, way, mean["psnr"], mean["ssim"], mean.get("lpips"), new, trainer.images,
        seconds,
    )  # fmt: skip


def _offline(clip: _ReplayedClip, preset: RGBAvatarPreset, progress: Progress, device: str) -> RGBAvatarTrainer:
    """All frames there from the beginning, otherwise the same."""
    preset = preset.model_copy(update={"sampler": "offline"})
    trainer = RGBAvatarTrainer(clip.tracked.head, clip.camera, clip.frames, preset, device=device, keep_surfaces=False)
    while trainer.images < clip.images:
        progress.check()
        trainer.step()
    return trainer


def _streamed(
    clip: _ReplayedClip, preset: RGBAvatarPreset, progress: Progress, device: str
) -> tuple[RGBAvatarTrainer, float]:
    """Frame by frame, at the preset's pace -> the trainer, and the mean PSNR of frames before they were trained on."""
    lessons = [_lesson(clip.frames, row) for row in range(len(clip.frames))]
    begin = min(OnlineSampler.FIRST, len(lessons))
    learner = Learner(clip.tracked.head, clip.camera, lessons[:begin], preset, "replay", device)
    before, shown = [], begin
    while learner.images < clip.images:
        progress.check()
        due = min(OnlineSampler.FIRST + int(learner.images / preset.online_images_per_frame), len(lessons))
        for lesson in lessons[shown:due]:
            if lesson is lessons[due - 1]:
                before.append(learner.psnr_of(lesson))
            learner.admit(lesson)
        shown = due
        learner.step()
    return learner.trainer, float(np.mean(before)) if before else float("nan")


def _lesson(frames: FrameStore, row: int) -> Lesson:
    planes = [frames.premultiplied, frames.alpha[..., None], frames.valid[..., None]]
    params = frames.params[[row]]
    own = replace(params, shape=params.expression.new_zeros(1, 0))
    return Lesson(frames.numbers[row], torch.cat([plane[[row]] for plane in planes], -1), own)


def table(rows: list[ReplayRow]) -> Table:
    """One row a clip and way."""
    result = Table(*asdict(rows[0]), title="live")
    for row in rows:
        result.add_row(
            row.clip, row.way, f"{row.psnr:.2f}", f"{row.ssim:.4f}", "" if row.lpips is None else f"{row.lpips:.4f}",
            "" if row.new_psnr is None else f"{row.new_psnr:.2f}", str(row.images), f"{row.seconds:.0f}",
        )  # fmt: skip
    return result

# SPDX-License-Identifier: Apache-2.0
"""From a tracked clip to an avatar file, whichever system learns: progress, previews, checkpoints, cancelling."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.avatars.avatar import Avatar
from blendsplat.avatars.file import SUFFIX
from blendsplat.errors import Cancelled, FormatError, StorageError
from blendsplat.files import check_writable
from blendsplat.progress import Progress
from blendsplat.training.checkpoint import (
    checkpoint_path,
    load_checkpoint,
    put_aside,
    save_checkpoint,
    training_fingerprint,
)
from blendsplat.training.continuation import go_on_from, load_continuation
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.mesh_in_picture import check_mesh_in_picture
from blendsplat.training.presets import Preset
from blendsplat.training.scored_pixels import clip_weights
from blendsplat.training.scores import score_frames
from blendsplat.training.system import MakeTrainer
from blendsplat.training.time_budget import fitting_factor, measured_pace
from blendsplat.training.tracked_clip import TrackedClip
from blendsplat.training.trainer import Snapshot, StepReport, Trainer

_REPORT_SECONDS = 0.25
_MEMORY = 0.8  # smoothing of the reported figures
_SCALE = "scale"  # in a checkpoint: what the minutes that were asked for have made of the preset's images
NO_MATTE = (
    "This clip has no mattes: what stands behind the person is learned as a part of them. Unless the background is "
    "black already, import it again with the matte auto (--matte auto)."
)
_SCORED = 24  # held-out frames scored at the end, spread over all of them


@dataclass
class TrainResult:
    """What a training left behind."""

    avatar: Path
    checkpoint: Path
    images: int
    seconds: float  # of this run
    resumed_from: int  # images that an earlier run had trained
    gaussians: int
    figures: dict[str, float] = field(default_factory=dict)  # loss, train_psnr, and psnr, ssim on held-out frames
    notes: list[str] = field(default_factory=list)  # sentences for the user


def run_training(
    make_trainer: MakeTrainer,
    directory: Path | str,
    preset: Preset,
    output: Path | str,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    start: Path | None = None,
) -> TrainResult:
    """Train an avatar on the tracked clip in ``directory`` and write it to ``output`` (NAME.avatar.npz).

    Continues by itself from the checkpoint beside ``output`` when it belongs to the same clip and preset. When the user
    cancels, the avatar so far and the checkpoint are written and Cancelled is raised. start: a live session's avatar
    that a fresh training goes on from (continuation.py); InputError where it does not fit.
    """
    progress, output, begun = progress or Progress(), Path(output), time.monotonic()
    check_writable(output)
    beginning = load_continuation(start) if start is not None else None
    tracked = TrackedClip.open(directory)
    check_mesh_in_picture(tracked)
    training, held_out = tracked.split(preset.holdout)
    if tracked.clip.info.matte == "none":
        progress.update("load", 0, len(training), NO_MATTE)
    camera = tracked.camera(preset.image_size)
    data = tracked.load(training, camera.width, camera.height, device, progress)
    data.weigh(tracked.frame_weights(training))

    def make(frames: FrameStore, chosen: Preset) -> Trainer[Any, Any]:
        return make_trainer(tracked.head, camera, frames, chosen, output.name.removesuffix(SUFFIX), device)

    fingerprint = training_fingerprint(preset, tracked.fingerprint)
    snapshot, note = load_checkpoint(checkpoint_path(output), fingerprint)
    scale = 1.0
    if preset.minutes:
        if snapshot is None:
            pace = measured_pace(make, data, preset, progress)
            scale = fitting_factor(pace, 60 * preset.minutes - (time.monotonic() - begun))
        else:  # what was decided then; this machine may be another one now
            scale = float(snapshot.plain[_SCALE])
        asked, preset = preset.images, preset.scaled(scale)
        said = f"{preset.minutes:g} minutes are enough for {preset.images} images here (the preset has {asked})."
        note = note if snapshot is not None else f"{note} {said}".strip()
    trainer = make(data, preset)
    trainer.belongs_to(tracked.tracking.identity)
    run = Run(trainer, preset, output, fingerprint, progress, scale)
    if beginning is not None and snapshot is None:
        assert start is not None
        go_on_from(trainer, beginning, preset, start)
        run.resumed_from = trainer.images
        note = f"{note} Going on from {start.name}, after {trainer.images} of {preset.images} images.".strip()
    if tracked.clip.info.matte == "none":
        run.notes.append(NO_MATTE)
    run.begin(snapshot, note)
    try:
        run.train()
    except Cancelled:
        run.save(trainer.finished_avatar(), len(held_out))
        raise Cancelled(
            f"Cancelled after {trainer.images} of {preset.images} images. The avatar so far is {output.name}; "
            "starting the same training again continues from here."
        ) from None
    figures, avatar = run.figures(), trainer.finished_avatar()
    if held_out:
        scored = [held_out[round(i)] for i in np.linspace(0, len(held_out) - 1, min(_SCORED, len(held_out)))]
        frames = tracked.load(scored, camera.width, camera.height, device, weights=clip_weights(tracked.clip))
        figures |= _held_out_figures(avatar, frames, progress)
    run.save(avatar, len(held_out), figures)
    return TrainResult(
        output, run.checkpoint, trainer.images, time.monotonic() - begun, run.resumed_from,
        avatar.gaussian_count, figures, run.notes,
    )  # fmt: skip


class Run:
    """One call of run_training: the clock, the reports and the files around a Trainer."""

    def __init__(
        self, trainer: Trainer[Any, Any], preset: Preset, output: Path, fingerprint: str, progress: Progress,
        scale: float = 1.0,
    ) -> None:  # fmt: skip
        """scale: what ``preset`` was scaled by from what was asked for."""
        self.trainer, self.preset, self.output, self.progress = trainer, preset, output, progress
        self.fingerprint, self.scale = fingerprint, scale
        self.checkpoint = checkpoint_path(output)
        self.resumed_from = 0
        self.notes = trainer.notes
        self._told_storage = False
        self._smooth: dict[str, float] = {}
        self._begun = self._reported = self._previewed = self._saved = time.monotonic()

    def begin(self, snapshot: Snapshot | None, note: str) -> None:
        """Afresh, or where the snapshot was taken. note: a sentence for the user."""
        if snapshot is not None:
            self._restore(snapshot)
            self.resumed_from = self.trainer.images
            note = f"Continuing after {self.resumed_from} of {self.preset.images} images."
        if note:
            self.notes.append(note)
            self.progress.update("train", self.trainer.images, self.preset.images, note)

    def _restore(self, snapshot: Snapshot) -> None:
        """Raises FormatError, with the checkpoint put aside, when another version of Blendsplat wrote it."""
        try:
            self.trainer.restore(snapshot)
        except torch.cuda.OutOfMemoryError:
            raise
        except (LookupError, RuntimeError, TypeError, ValueError, AttributeError, OverflowError) as error:
            aside = put_aside(self.checkpoint, "other")
            raise FormatError(
                f"The checkpoint {self.checkpoint.name} does not fit this version of Blendsplat; it was kept as "
                f"{aside.name}. Start the training again: it begins afresh.",
                repr(error),
            ) from error

    def train(self) -> None:
        self._begun = self._saved = time.monotonic()
        while not self.trainer.done:
            self.progress.check()
            report = self.trainer.step()
            now = time.monotonic()
            if now - self._reported >= _REPORT_SECONDS or self.trainer.done:
                self._report(report, now)
            if now - self._previewed >= self.preset.preview_seconds:
                self._preview()
            if now - self._saved >= self.preset.checkpoint_seconds:
                self._save_checkpoint()
                self._saved = time.monotonic()
        self._preview()

    def figures(self) -> dict[str, float]:
        """Running means over the last batches of this run."""
        return {key: round(value, 5) for key, value in self._smooth.items()}

    def save(self, avatar: Avatar, held_out: int, figures: dict[str, float] | None = None) -> None:
        """The avatar first: it is what all was for, and a sixth of its checkpoint."""
        avatar.training_record = {
            "preset": self.preset.name, "images": self.trainer.images, "planned_images": self.preset.images,
            "holdout": self.preset.holdout,
            "training_frames": len(self.trainer.data), "held_out_frames": held_out,
            "figures": figures if figures is not None else self.figures(), **self.trainer.own_record(),
        }  # fmt: skip
        avatar.save(self.output)
        self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        """Where there is no room for it the training goes on without, and says so once."""
        snapshot = self.trainer.snapshot()
        snapshot.plain[_SCALE] = self.scale
        try:
            save_checkpoint(self.checkpoint, snapshot, self.fingerprint)
        except StorageError as error:
            if not self._told_storage:
                self._told_storage = True
                note = f"{error.sentence} Without a checkpoint this training cannot be continued; the avatar is saved."
                self.notes.append(note)
                self.progress.update("train", self.trainer.images, self.preset.images, note)

    def _report(self, report: StepReport, now: float) -> None:
        for key, value in (("loss", float(report.loss)), ("train_psnr", report.psnr())):
            before = self._smooth.get(key, value)
            self._smooth[key] = _MEMORY * before + (1 - _MEMORY) * value
        images = self.trainer.images
        rate = (images - self.resumed_from) / max(now - self._begun, 1e-6)
        left = (self.preset.images - images) / max(rate, 1e-6)
        self.progress.update(
            "train", images, self.preset.images, f"{rate:.0f} images/s", loss=self._smooth["loss"],
            psnr=self._smooth["train_psnr"], eta_s=left,
        )  # fmt: skip
        self._reported = now

    def _preview(self) -> None:
        """Target and render of the middle training frame, side by side."""
        both = torch.cat(self.trainer.preview(len(self.trainer.data) // 2), 1)
        self.progress.preview((both.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy())
        self._previewed = time.monotonic()


def _held_out_figures(avatar: Avatar, frames: FrameStore, progress: Progress) -> dict[str, float]:
    """Of every view that the avatar wants to be judged by."""
    figures: dict[str, float] = {}
    shown = avatar.shown
    for view, prefix in avatar.scored:
        avatar.show(view)
        rows = score_frames(avatar, frames, progress=progress)
        figures |= {prefix + key: round(float(np.mean([row[key] for row in rows])), 4) for key in ("psnr", "ssim")}
    avatar.show(shown)
    return figures

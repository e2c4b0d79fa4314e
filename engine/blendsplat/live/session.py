# SPDX-License-Identifier: Apache-2.0
"""A live session from its source to an avatar, a take and a preview, whatever ends it.

The calling thread trains, shows and reports; the stages (stages.py) run beside it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.avatars.file import SUFFIX
from blendsplat.errors import BlendsplatError, Cancelled, InputError, NoFaceError
from blendsplat.file_names import portable_name
from blendsplat.fitting.fit_options import FitOptions
from blendsplat.heads.load import load_head, stored_source
from blendsplat.heads.model import HeadModel
from blendsplat.live.capture import Capture, Picture
from blendsplat.live.figures import Rate
from blendsplat.live.framing import FaceFraming, Framing
from blendsplat.live.learner import Learner, Lesson, camera_of
from blendsplat.live.line import Line
from blendsplat.live.look import FaceLook, Look, Looked
from blendsplat.live.screen import Screen
from blendsplat.live.stages import (
    ROOM,
    STALL_SECONDS,
    Numbered,
    Shared,
    Stage,
    capture_pictures,
    look_at_pictures,
    record_frames,
    track_frames,
)
from blendsplat.live.tracker import TrackedFrame
from blendsplat.progress import Progress
from blendsplat.training.presets import Preset
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset
from blendsplat.training.sampler import OnlineSampler
from blendsplat.video.clip import ClipInfo
from blendsplat.video.crop import Crop
from blendsplat.video.staged_folder import check_target

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.1
LEAST_BATCHES = 40  # trained at the end at least, so that the shortest take leaves a face and not grey
ENDLESS = 2**40  # images: nobody says how long a session is
_IDLE = 0.02
_JOIN_SECONDS = 60.0  # what waits is tracked and recorded
_HANG_SECONDS = 2.0  # for a source that may never answer again


@dataclass(frozen=True)
class LiveSettings:
    """output: NAME.avatar.npz; directory: of the take (None: NAME beside it, or the next free name); preset: of
    RGBAvatar; head: "human" or a path; preview: an mp4, or None; seconds: of the source, after which the session ends;
    mirror: the source is mirrored; train_until: seconds of the source after which frames are recorded and not trained
    on (a benchmark's held-out ones); learn: an avatar is learned, else frames are tracked and recorded alone; drive:
    whoever started it is told what the head does in every tracked frame."""

    output: Path
    preset: Preset
    directory: Path | None = None
    head: str = "human"
    preview: Path | None = None
    seconds: float | None = None
    mirror: bool = False
    landmarker: Path | None = None
    device: str = "cpu"
    train_until: float | None = None
    learn: bool = True
    drive: bool = False


@dataclass
class LiveResult:
    """What a session left behind."""

    avatar: Path | None  # None: none was learned
    directory: Path | None
    preview: Path | None
    frames: int  # seen
    dropped: int
    images: int
    seconds: float
    gaussians: int
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Parts:
    """What a test puts in place of the models: how the square is found, how pictures are looked at, the head, the
    fit's options."""

    framing: Callable[[], Framing]
    look: Callable[[], Look]
    head: HeadModel
    fit: FitOptions | None = None

    @classmethod
    def usual(cls, settings: LiveSettings, progress: Progress) -> Parts:
        """mediapipe's."""
        bundle = settings.landmarker
        return cls(
            lambda: FaceFraming(bundle), lambda: FaceLook(bundle), load_head(settings.head, progress=progress)
        )  # fmt: skip


def run_live(
    source: Callable[[], Capture], settings: LiveSettings, progress: Progress | None = None, parts: Parts | None = None
) -> LiveResult:
    """Open ``source`` and learn from it until it ends, a frame with {"stop": true} comes, or the work is cancelled.

    Raises VideoError and InputError as opening does; NoFaceError, with nothing written, when no face was seen;
    StorageError; Cancelled, with all that there is saved.
    """
    progress = progress or Progress()
    preset = live_preset(settings.preset)
    directory = take_folder(settings.output, settings.directory)
    capture = source()
    try:
        parts = parts or Parts.usual(settings, progress)
    except BaseException:
        capture.close()
        raise
    session = _Session(capture, source, settings, preset, directory, progress, parts)
    try:
        session.run()
    except Cancelled:
        result = session.finish()
        so_far = f"the avatar so far is {result.avatar.name}, and the" if result.avatar is not None else "the"
        raise Cancelled(
            f"Cancelled after {result.frames} frames and {result.images} images; {so_far} take is kept."
        ) from None
    return session.finish()


def take_folder(output: Path, wanted: Path | None) -> Path:
    """Where the take goes: the folder that is wanted (InputError where a clip lies there), or the first free one that
    is named like the avatar."""
    if wanted is not None:
        check_target(wanted, overwrite=False)
        return wanted
    name = portable_name(output.name.removesuffix(SUFFIX))
    folder, number = output.with_name(name), 1
    while folder.exists():
        number += 1
        folder = output.with_name(f"{name}-{number}")
    return folder


def live_preset(preset: Preset) -> RGBAvatarPreset:
    """The preset of a training without an end. Raises InputError for one that cannot stream."""
    if not isinstance(preset, RGBAvatarPreset):
        raise InputError(f"The preset {preset.name!r} cannot be trained live: only those of RGBAvatar can (live).")
    if preset.sampler != "online":
        raise InputError(f"The preset {preset.name!r} samples offline; choose live, or set sampler=online.")
    if not preset.decay_images:
        raise InputError(
            f"The preset {preset.name!r} lets rates fall until its last image, and a live training has none; set "
            "decay_images."
        )
    return preset.model_copy(update={"images": ENDLESS, "minutes": 0.0})


class _Session:
    """One call of run_live."""

    def __init__(
        self, capture: Capture, source: Callable[[], Capture], settings: LiveSettings, preset: RGBAvatarPreset,
        directory: Path, progress: Progress, parts: Parts,
    ) -> None:  # fmt: skip
        self.capture, self.settings, self.preset, self.directory = capture, settings, preset, directory
        self.progress, self.parts, self.shared = progress, parts, Shared()
        live, size = capture.live, preset.image_size
        self._pictures: Line[Numbered] = Line(ROOM, dropping=live)
        self._looked: Line[Looked] = Line(ROOM, dropping=live)
        self._tracked: Line[TrackedFrame] = Line(ROOM, dropping=False)
        self._recorded: Line[TrackedFrame] = Line(8 * ROOM, dropping=False)
        self._info: ClipInfo | None = None
        self.learner: Learner | None = None
        self._kept: TrackedFrame | None = None  # the newest that was tracked, with a face or without
        self._posed: TrackedFrame | None = None  # the newest with one
        self._screen = Screen(parts.head, progress, settings.preview, self.shared.note)
        self._fps, self._rate = Rate(), Rate()
        self._begun = time.monotonic()
        self._report_due, self._save_due = 0.0, self._begun + preset.checkpoint_seconds
        self._file_kept, self._last_settled, self._shown = False, -1, -1
        look, framing = parts.look(), parts.framing()
        self._stages = [
            Stage("capture", lambda: capture_pictures(
                capture, source, self._pictures, self.shared, settings.seconds), self.shared),
            Stage("look", lambda: look_at_pictures(
                self._pictures, framing, look, self._framed, self._looked, self.shared, size,
                settings.mirror), self.shared),
            Stage("track", lambda: track_frames(
                self._looked, parts.head, stored_source(settings.head), self._clip_info, self._tracked, self.shared,
                live, parts.fit), self.shared),
            Stage("record", lambda: record_frames(
                self._recorded, self.shared, directory, self._clip_info(), look.detector), self.shared),
        ]  # fmt: skip
        self._matte = look.matte

    # --- the session

    def run(self) -> None:
        """Until the end, a stop or a failure of a stage. Raises Cancelled."""
        for stage in self._stages[:3]:
            stage.start()
        try:
            while not (self._tracked.ended and not self._tracks()):
                self.progress.check()
                self._hear()
                if self.shared.stop.is_set():  # a source that hangs would not say so itself
                    self._pictures.end()
                arrived = self._take_frames()
                trained = self._train()
                self._show(arrived)
                self._report()
                if not trained and not arrived:
                    time.sleep(_IDLE)
        finally:
            self.shared.stop.set()

    def finish(self) -> LiveResult:
        """Stop the stages and save what there is. Raises what made a stage fail where that is no end of the source."""
        shared = self.shared
        shared.stop.set()
        failure = shared.failure
        for line in (self._tracked, self._looked, self._pictures):
            line.close()
        learner = self.learner
        if learner is None and (self.settings.learn or shared.person is None):
            self._join()
            raise failure or NoFaceError(
                f"No face was seen in {self.capture.name}: it must be seen from the front, well lit, and not too small."
            )
        self._recorded.end()
        while learner is not None and learner.images < LEAST_BATCHES * self.preset.batch:
            learner.step()
        self._join()
        identity = self._finish_take()
        gaussians = self._save(identity) if learner is not None else 0
        preview = self._screen.finish()
        if failure is not None and not isinstance(failure, InputError):
            raise failure
        if failure is not None:
            shared.note(str(failure))
        figures = self._figures(time.monotonic())
        kept = self.directory if (self.directory / "clip.json").is_file() else None
        return LiveResult(
            self.settings.output if learner is not None else None, kept, preview, shared.seen, self._dropped(),
            learner.images if learner is not None else 0,
            time.monotonic() - self._begun, gaussians, {name: round(value, 4) for name, value in figures.items()},
            list(shared.notes),
        )  # fmt: skip

    def _join(self) -> None:
        for stage in self._stages[1:]:
            if stage.is_alive():
                stage.join(_JOIN_SECONDS)
        self._stages[0].join(_HANG_SECONDS)

    def _tracks(self) -> bool:
        return self._stages[2].is_alive()

    def _framed(self, crop: Crop, picture: Picture) -> None:
        """The square is known."""
        height, width = picture.image.shape[:2]
        size = self.preset.image_size
        self._info = ClipInfo(
            self.capture.name, (width, height), 0.0, None, crop, size, size, 25.0, [], self._matte
        )  # fmt: skip

    def _clip_info(self) -> ClipInfo:
        assert self._info is not None
        return self._info

    def _hear(self) -> None:
        """What whoever started the session says meanwhile."""
        for frame in self.progress.frames():
            if frame.info.get("stop"):
                self.shared.stop.set()
            if "pause" in frame.info:
                (self.shared.paused.set if frame.info["pause"] else self.shared.paused.clear)()

    # --- frames

    def _take_frames(self) -> int:
        """Admit what has been tracked -> how many frames. A source that waits is admitted in step with the training."""
        if self.learner is None and self.shared.person is None:
            return 0
        count = 0
        while self._may_admit() and (frame := self._tracked.take(0.0)) is not None:
            count += 1
            self._kept = frame
            if self._stages[3].ident is None:
                self._stages[3].start()
            self._recorded.put(frame)
            if self.settings.drive and frame.params is not None:
                self._tell_head(frame)
            if frame.params is None or not self._teaches(frame):
                continue
            self._posed = frame
            self._learn(frame)
        return count

    def _teaches(self, frame: TrackedFrame) -> bool:
        """Whether the frame is one to train on."""
        until = self.settings.train_until
        if not self.settings.learn:
            return False
        return until is None or frame.looked.seconds < until

    def _tell_head(self, frame: TrackedFrame) -> None:
        """What the head does in a tracked frame, for whatever it drives."""
        params = frame.params
        assert params is not None
        told = ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")
        arrays = {name: getattr(params, name).detach().cpu().numpy().astype(np.float32) for name in told}
        info = {"head": self.parts.head.model_id, "frame": frame.looked.number, "seconds": frame.looked.seconds}
        self.progress.offer_frame(info, arrays)

    def _may_admit(self) -> bool:
        if self.capture.live or self.learner is None:
            return True
        due = OnlineSampler.FIRST + self.learner.images / self.preset.online_images_per_frame
        return self.learner.pools.sampler.seen < due

    def _learn(self, frame: TrackedFrame) -> None:
        """The first tracked frame begins the training, with all that the person was settled from."""
        if self.learner is None:
            shared, name = self.shared, self.settings.output.name.removesuffix(SUFFIX)
            assert shared.person is not None and shared.tracker is not None
            first = [Lesson.of(one) for one in shared.first if one.params is not None and self._teaches(one)]
            self.learner = Learner(
                shared.tracker.head, camera_of(shared.person), first or [Lesson.of(frame)], self.preset, name,
                self.settings.device,
            )  # fmt: skip
            self._last_settled = shared.first[-1].looked.number
            shared.first = []
        if frame.looked.number > self._last_settled:
            now = time.monotonic()
            if self._screen.due(now) and len(self._tracked) == 0:
                self._screen.show_unlearned(self.learner, frame, now)
            self.learner.admit(Lesson.of(frame))

    def _train(self) -> bool:
        if self.learner is None or not self.learner.pools.sampler.seen:
            return False
        if not self.capture.live and not self._behind():
            return False
        self.learner.step()
        return True

    def _behind(self) -> bool:
        """Whether a source that waits has to wait for the training."""
        assert self.learner is not None
        return not self._may_admit() or self._tracked.ended

    # --- what is shown

    def _show(self, arrived: int) -> None:
        """Preview of what is no tracked face (those are shown before they are learned from), and the splats."""
        now, shared, screen = time.monotonic(), self.shared, self._screen
        if screen.due(now):
            if self.learner is None and shared.newest is not None and shared.newest.number > self._shown:
                self._shown = shared.newest.number
                screen.show_source(shared.newest.image, now)
            elif arrived and self._kept is not None and self._kept.params is None:
                screen.show_without_face(self._kept.looked.image, now)
        if self.learner is not None and self._posed is not None:
            screen.offer_splats(self.learner, self._posed, now)
        if self.learner is not None and now >= self._save_due:
            self._save()
            self._save_due = time.monotonic() + self.preset.checkpoint_seconds

    # --- reports

    def _report(self) -> None:
        now = time.monotonic()
        if now < self._report_due:
            return
        self._report_due = now + REPORT_SECONDS
        self.progress.update("live", self.shared.seen, self.capture.total, self._sentence(now), **self._figures(now))

    def _sentence(self, now: float) -> str:
        """What is going on, in a word or a sentence."""
        shared = self.shared
        if shared.paused.is_set():
            return "paused"
        silent = now - shared.last_picture
        if shared.state:
            return shared.state
        if silent > STALL_SECONDS and self._stages[0].is_alive() and not shared.stop.is_set():
            return f"{self.capture.name} has sent nothing for {silent:.0f} seconds."
        if self._info is None:
            return "looking for a face"
        if self.learner is None and (self.settings.learn or shared.person is None):
            return "learning the person's shape and the lens"
        if self._kept is not None and self._kept.params is None:
            return "no face in the picture"
        return "live"

    def _figures(self, now: float) -> dict[str, float]:
        shared, learner = self.shared, self.learner
        sampler = learner.pools.sampler if learner is not None else None
        return {
            "dropped": self._dropped(), "tracked": shared.tracked, "fps": self._fps(shared.tracked, now),
            "local": len(sampler.local) if sampler else 0, "long_term": len(sampler.long_term) if sampler else 0,
            "images": learner.images if learner else 0, "rate": self._rate(learner.images if learner else 0, now),
            "psnr": learner.psnr if learner else float("nan"), "new_psnr": self._screen.new_psnr.value,
            "seconds": now - self._begun, "face": float(self._kept is not None and self._kept.params is not None),
        }  # fmt: skip

    def _dropped(self) -> int:
        return self._pictures.dropped + self._looked.dropped + self.shared.unused

    # --- files

    def _finish_take(self) -> str:
        """Complete the take -> its performance's identity; "" where there is none."""
        take, shared = self.shared.take, self.shared
        if take is None:
            return ""
        try:
            performance = take.finish(tuple(shared.notes))
        except BlendsplatError as error:
            shared.note(error.sentence)
            return ""
        return performance.identity if performance is not None else ""

    def _save(self, identity: str = "") -> int:
        """The avatar, and what a training goes on from; an avatar of that name from before is kept aside, once."""
        assert self.learner is not None
        output = self.settings.output
        if not self._file_kept and output.exists():
            aside = _free_name(output)
            output.replace(aside)
            self.shared.note(f"{output.name} was there before; it is kept as {aside.name}.")
        self._file_kept = True
        record: dict[str, Any] = {
            "preset": self.preset.name, "images": self.learner.images, "planned_images": self.learner.images,
            "holdout": 0.0, "training_frames": self.learner.pools.sampler.seen, "held_out_frames": 0,
            "figures": {"train_psnr": round(self.learner.psnr, 3), "new_psnr": round(self._screen.new_psnr.value, 3)},
        }  # fmt: skip
        record["figures"] = {key: value for key, value in record["figures"].items() if value == value}
        return self.learner.save(output, record, identity)


def _free_name(output: Path) -> Path:
    """NAME.before-1.avatar.npz, or the next number that is free."""
    stem, number = output.name.removesuffix(SUFFIX), 1
    while (aside := output.with_name(f"{stem}.before-{number}{SUFFIX}")).exists():
        number += 1
    return aside

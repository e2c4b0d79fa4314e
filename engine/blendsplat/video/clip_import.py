# SPDX-License-Identifier: Apache-2.0
"""From a video to a clip folder in one decoding pass: crop, landmarks, mask, shots; written aside, then put in place.

Decoding, analysis (in order) and writing run side by side in threads; all of it releases the interpreter. Masks that a
network found become mattes afterwards, when it is known what stands behind the person (shot_mattes.py).
"""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from blendsplat.errors import FormatError, InputError, NoFaceError, VideoError
from blendsplat.landmarks.detector import LANDMARK_COUNT, Landmarks, box_distance, make_detector, save_landmarks
from blendsplat.progress import Progress
from blendsplat.video.clip import CONTENTS, Clip, ClipInfo, frame_path, write_info, write_png
from blendsplat.video.crop import Crop, Survey, clamp_crop, cropper, survey
from blendsplat.video.decode import Frame, Source, check_trim
from blendsplat.video.fades import FadeFinder
from blendsplat.video.images import open_source
from blendsplat.video.matte import MaskFolder, Segmenter
from blendsplat.video.prefetch import prefetch
from blendsplat.video.shot_mattes import refine_shots
from blendsplat.video.shots import ShotFinder
from blendsplat.video.staged_folder import staging

log = logging.getLogger(__name__)

_IN_FLIGHT = 8  # frames waiting to be written
_PREVIEW_EVERY = 15  # frames
_SHORT_SECONDS, _SHORT_SHARE = 0.4, 0.03  # by which a source may end before what it says; the sound may be longer
_HELD = 0.9  # of a face's landmarks lie in its matte at least
_HOLES = (
    "{} leaves out parts of the face, as a key that took skin for the background does: tracking and training take "
    "these for no person. Choose another matte (--matte auto finds one)."
)
_BAD_ALPHA, _BAD_MASKS = _HOLES.format("The file's alpha"), _HOLES.format("The masks' folder")
_NAMED = 12  # of many numbers


@dataclass(frozen=True)
class ClipOptions:
    """How to import. start, end: seconds of the source. crop: x, y, size in the upright picture, None finds the head.

    size: pixels of the clip's square images. matte: "auto" (the file's alpha if it has one, else segmentation),
    "alpha", "none", or a folder of masks in natural order, one per frame of the source. detector: a FaceLandmarker
    bundle, None for the models inside mediapipe. fps: of image sequences. overwrite: replace the clip in the folder.
    """

    start: float = 0.0
    end: float | None = None
    crop: Crop | None = None
    size: int = 512
    matte: str | Path = "auto"
    detector: Path | str | None = None
    fps: float | None = None
    overwrite: bool = False


def import_clip(
    source: Path | str, directory: Path | str, options: ClipOptions | None = None, progress: Progress | None = None,
    found: Callable[[], object] = lambda: None,
) -> Clip:  # fmt: skip
    """Import a video file or a folder of images into ``directory`` and open the clip. ``found`` is called once there is
    a head in it, before its frames are read.

    Raises VideoError (unreadable, empty), NoFaceError, InputError (options; the folder holds something), StorageError,
    Cancelled. Until the import has succeeded, nothing that was in the folder is touched.
    """
    options, progress = options or ClipOptions(), progress or Progress()
    directory = Path(directory)
    _check_options(options)
    opened = open_source(source, options.fps)
    if opened.duration is not None and options.start >= opened.duration:
        raise InputError(
            f"{opened.path} lasts {opened.duration:.2f} s, so there is nothing from {options.start:g} s on; start "
            "earlier."
        )
    with staging(directory, options.overwrite) as stage:
        progress.update("find head", 0, 1)
        look = survey(opened, options.start, options.end, options.crop, options.detector, progress)
        found()
        for note in look.notes:
            progress.update("find head", 1, 1, note)
        info = _imported(opened, look, options, stage, progress)
        if info.matte == "alpha" and options.matte == "auto" and _BAD_ALPHA in info.notes:
            for part in CONTENTS:
                shutil.rmtree(stage / part, ignore_errors=True)
            said = "The file's alpha leaves out parts of the face, so it was not used: the matte was found anew."
            progress.update("import frames", 0, 1, said)
            look = replace(look, alpha_used=False, notes=[*look.notes, said])
            info = _imported(opened, look, options, stage, progress)
        write_info(stage, info)
    progress.update("import frames", len(info.timestamps), len(info.timestamps), " ".join(info.notes))
    return Clip.open(directory)


def _imported(source: Source, look: Survey, options: ClipOptions, stage: Path, progress: Progress) -> ClipInfo:
    """Everything but clip.json, written into ``stage``."""
    with ExitStack() as stack:
        return _Import(source, look, options, stage, stack)(progress)


def is_import_of(directory: Path | str, source: Path | str, options: ClipOptions) -> bool:
    """Whether ``directory`` holds a whole clip that importing ``source`` with these options would make again: of the
    same file, not changed since, with the same trim, square, size and matte."""
    directory, source = Path(directory), Path(source)
    try:
        info = Clip.open(directory).info
        newest = max(path.stat().st_mtime for path in ([*source.iterdir(), source] if source.is_dir() else [source]))
        older = newest <= (directory / "clip.json").stat().st_mtime
    except (FormatError, OSError):
        return False
    alike_matte = options.matte == "auto" or info.matte == (str(options.matte) if _is_word(options.matte) else "folder")
    return (
        older and Path(info.source) == source.resolve() and info.width == info.height == options.size and alike_matte
        and info.trim_end == options.end and 0 <= info.trim_start - options.start < 2 / info.fps
        and (options.crop is None or clamp_crop(options.crop, *info.source_size) == info.crop)
        and (options.fps is None or abs(options.fps - info.fps) < 1e-6)
    )  # fmt: skip


def _is_word(matte: str | Path) -> bool:
    return str(matte) in ("auto", "alpha", "none")


def _check_options(options: ClipOptions) -> None:
    check_trim(options.start, options.end)
    if not 32 <= options.size <= 4096:
        raise InputError(f"The clip's size must be 32 to 4096 pixels, not {options.size}.")
    if options.fps is not None and not 0 < options.fps <= 1000:
        raise InputError(f"The frame rate must be above 0 and at most 1000, not {options.fps}.")


class _Import:
    """One import under way: the models, the threads, and the rows collected so far."""

    def __init__(self, source: Source, look: Survey, options: ClipOptions, stage: Path, stack: ExitStack) -> None:
        self.source, self.look, self.options, self.stage = source, look, options, stage
        self.cut = cropper(look.crop, options.size)
        self.mode = _matte_mode(options.matte, source, look)
        self.detector = stack.enter_context(make_detector(options.detector, max_faces=3 if look.most_faces > 1 else 1))
        self.segmenter = Segmenter() if self.mode == Segmenter.name else None
        if self.segmenter:
            stack.callback(self.segmenter.close)
        self.masks = MaskFolder(Path(options.matte), source.width, source.height) if self.mode == "folder" else None
        self.pool = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="blendsplat-write"))
        self.shots, self.fades = ShotFinder(), FadeFinder()
        self.times: list[float] = []
        self.points: list[np.ndarray | None] = []
        self.faces = 0
        self.matte_notes: list[str] = []
        self.held: list[float] = []  # of a given matte: the share of each face's landmarks that lie in it
        for folder in ("images", "mattes") if self.mode != "none" else ("images",):
            (stage / folder).mkdir(exist_ok=True)

    def __call__(self, progress: Progress) -> ClipInfo:
        """Import every frame; the landmarks are written, clip.json is not."""
        total = self._expected()
        waiting: deque[Future[None]] = deque()
        with prefetch(self._frames()) as frames:
            for number, frame in frames:
                progress.check()
                waiting.append(self._one(number, frame))
                if len(waiting) >= _IN_FLIGHT:
                    waiting.popleft().result()
                count = len(self.times)
                progress.update("import frames", count, max(total, count), faces=self.faces)
                if count % _PREVIEW_EVERY == 1:
                    progress.preview(self.cut(frame.image))
        while waiting:
            waiting.popleft().result()
        if not self.times:
            raise VideoError(f"{self.source.path} has no readable frame between {self._trim_words()}.")
        self.fades.finish()
        for index in self.fades.mixed:  # two faces at once are nobody's
            self.points[index] = None
        self._write_landmarks()
        if self.segmenter:
            self.matte_notes = refine_shots(
                self.stage, self._starts(), len(self.times), self.pool, progress, self.points
            )
        return self._info()

    def _frames(self) -> Iterator[tuple[int, Frame]]:
        """(number in the source, frame); without masks to number them by, reading starts at the trim."""
        start, end = self.options.start, self.options.end
        if self.masks is None:
            yield from enumerate(self.source.frames(start, end))
            return
        for number, frame in enumerate(self.source.frames(0.0, end)):
            if frame.timestamp >= start - 1e-6:
                yield number, frame

    def _one(self, number: int, frame: Frame) -> Future[None]:
        """Analyse one frame and hand it on to be written."""
        index = len(self.times)
        image = self.cut(frame.image)
        self.fades.see(image)
        if self.shots.is_cut(image):
            self._forget()
        face = self._face(image, frame.timestamp)
        self.shots.jumped(face)
        self.times.append(frame.timestamp)
        self.points.append(None if face is None else face.points)
        self.faces += face is not None
        if self.segmenter:
            mask = (self.segmenter(image).clip(0, 1) * 255 + 0.5).astype(np.uint8)
            return self.pool.submit(self._write, index, image, mask)
        if self.mode == "alpha" and frame.alpha is not None:
            return self.pool.submit(self._write, index, image, self._compared(self.cut(frame.alpha), face))
        if self.masks:
            return self.pool.submit(self._write, index, image, self._compared(self.cut(self.masks(number)), face))
        return self.pool.submit(self._write, index, image, None)

    def _compared(self, matte: np.ndarray, face: Landmarks | None) -> np.ndarray:
        """The matte as it is; noted is how much of the face lies in it."""
        if face is not None:
            at = np.round(face.points[:, :2]).astype(int)
            at = at[((at >= 0) & (at < matte.shape[::-1])).all(1)]
            self.held.append(float((matte[at[:, 1], at[:, 0]] > 127).mean()) if len(at) else 1.0)
        return matte

    def _face(self, image: np.ndarray, time: float) -> Landmarks | None:
        if self.look.most_faces == 1:
            return self.detector.detect(image, time)
        box = self.look.box_at(time)
        if box is None:  # only others are in the picture
            return None
        x, y, side = self.look.crop
        box = (box - np.array([x, y, x, y])) * (self.options.size / side)
        self.detector.follow(box, time)
        face = self.detector.detect(image, time)
        return face if face is not None and box_distance(face.box, box) < 1.0 else None

    def _write(self, index: int, image: np.ndarray, mask: np.ndarray | None) -> None:
        write_png(frame_path(self.stage, "images", index), image)
        if mask is not None:
            write_png(frame_path(self.stage, "mattes", index), mask)

    def _forget(self) -> None:
        self.detector.forget()
        if self.segmenter:
            self.segmenter.forget()

    def _starts(self) -> list[int]:
        """Frames at which shots begin: at cuts, and in the middle of fades between two."""
        return sorted({*self.shots.starts} - {*self.fades.mixed} | {0, *self.fades.starts})

    def _expected(self) -> int:
        end = self.options.end if self.options.end is not None else self.source.duration or 0.0
        return max(1, round((min(end, self.source.duration or end) - self.options.start) * self.source.fps))

    def _write_landmarks(self) -> None:
        found = np.array([p is not None for p in self.points])
        if not found.any():
            raise NoFaceError(f"No face was found in {self.source.path} between {self._trim_words()}.")
        empty = np.zeros((LANDMARK_COUNT, 3), np.float32)
        points = np.stack([empty if p is None else p for p in self.points])
        save_landmarks(self.stage / "landmarks.npz", points, found, self.detector.name)

    def _info(self) -> ClipInfo:
        times = np.array(self.times) - self.times[0]
        notes = [*self.source.notes, *self.look.notes, *self.matte_notes]
        if self.held and np.median(self.held) < _HELD:
            notes.append(_BAD_ALPHA if self.mode == "alpha" else _BAD_MASKS)
        shots, repeats, faded = self._starts(), self.shots.repeats, self.fades.faded
        in_fade = set(faded)
        if lost := [index for index, points in enumerate(self.points) if points is None and index not in in_fade]:
            notes.append(
                f"{len(lost)} of {len(times)} frames show no face ({_runs_of(lost)}); they are marked and left out."
            )
        if self.source.skipped:
            notes.append(f"{self.source.skipped} damaged frames or packets of the source were skipped.")
        if faded:
            notes.append(_on_fades(faded))
        if cuts := [frame for frame in shots[1:] if frame not in self.fades.starts]:
            where = "a cut at the frame" if len(cuts) == 1 else "cuts at the frames"
            notes.append(f"The clip has {where} {_listed(cuts)}.")
        if repeats:
            notes.append(
                f"{len(repeats)} of {len(times)} frames repeat the one before, as when a film is brought to a higher "
                "rate; none is trained on twice."
            )
        if self.shots.still or len(times) == 1:
            notes.append(
                "The video shows one picture that stands still: how the face moves cannot be learned from it. Take a "
                "video of the person talking; a photograph's head is found by Fit Head from Image (fit-image)."
            )
        if (missing := self._missing_end()) is not None:
            notes.append(missing)
        for note in notes:
            log.info("%s", note)
        return ClipInfo(
            source=str(self.source.path.resolve()),
            source_size=(self.source.width, self.source.height),
            trim_start=self.times[0],
            trim_end=self.options.end,
            crop=self.look.crop,
            width=self.options.size,
            height=self.options.size,
            fps=_rate(times, self.source.fps),
            timestamps=[round(time, 6) for time in times.tolist()],
            matte=self.mode,
            detector=self.detector.name,
            shots=shots,
            repeats=repeats,
            faded=faded,
            skipped=self.source.skipped,
            notes=notes,
        )

    def _missing_end(self) -> str | None:
        """What is said where the source ends earlier than it promises, as a download that broke off does."""
        promised, end = self.source.duration, self.options.end
        if promised is None:
            return None
        wanted, last = min(promised, promised if end is None else end), self.times[-1] + 1 / self.source.fps
        if wanted - last <= max(_SHORT_SECONDS, _SHORT_SHARE * (wanted - self.options.start)):
            return None
        return (
            f"{self.source.path.name} says that it lasts {promised:.1f} s, but nothing can be read of it after "
            f"{last:.1f} s: it is cut off or damaged. Copy or download it again."
        )

    def _trim_words(self) -> str:
        end = self.options.end
        return f"{self.options.start:g} s and {'its end' if end is None else f'{end:g} s'}"


def _matte_mode(matte: str | Path, source: Source, look: Survey) -> str:
    """Resolve the option to "mediapipe-selfie", "alpha", "folder" or "none"."""
    choice = str(matte)
    if choice == "none":
        return "none"
    if choice == "alpha" and not source.has_alpha:
        raise InputError(f"{source.path} has no alpha channel: choose another matte (auto, a folder of masks, none).")
    if choice == "alpha" or (choice == "auto" and look.alpha_used):
        return "alpha"
    if choice == "auto":
        return Segmenter.name
    if not Path(matte).is_dir():
        raise InputError(f"The matte {choice!r} is not auto, alpha, none, or an existing folder of masks.")
    return "folder"


def _on_fades(frames: list[int]) -> str:
    """What is said of frames in fades."""
    return (
        f"The picture fades in the frames {_runs_of(frames)}: what they show is not the person's own colours, so the "
        "tracking is not trusted there, and nothing is trained on them."
    )


def _runs_of(frames: list[int]) -> str:
    """Rising frames for a sentence: neighbours as "3 to 7", of very many the first."""
    edges = [*(at for at, frame in enumerate(frames) if at == 0 or frame != frames[at - 1] + 1), len(frames)]
    runs = [(frames[first], frames[end - 1]) for first, end in pairwise(edges)]
    more = f" and {len(runs) - _NAMED} more times" if len(runs) > _NAMED else ""
    return ", ".join(f"{a} to {b}" if b > a else str(a) for a, b in runs[:_NAMED]) + more


def _listed(numbers: list[int]) -> str:
    """Numbers for a sentence; of very many the first."""
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return ", ".join(map(str, numbers[:_NAMED])) + more


def _rate(times: np.ndarray, nominal: float) -> float:
    """Frames per second of time stamps [F]; the nominal rate when that agrees (it is exact) with their mean or, where
    some are missing, with most of them; the mean otherwise."""
    if len(times) < 2:
        return nominal
    mean = (len(times) - 1) / float(times[-1])
    usual = 1 / max(float(np.median(np.diff(times))), 1e-6)
    return nominal if min(abs(mean / nominal - 1), abs(usual / nominal - 1)) < 0.01 else mean

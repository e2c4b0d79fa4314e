# SPDX-License-Identifier: Apache-2.0
"""The take: what a live session saw, as an ordinary tracked clip folder, written while it runs.

Pictures go straight to their places. What belongs to all frames together cannot: while the session runs each frame's
numbers are appended to a journal, from which landmarks.npz, tracking.npz, camera.json and clip.json are made at the
end, or, after a crash, when the folder is next opened (``complete_take``). Nothing grows in memory.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from blendsplat.errors import FormatError, StorageError
from blendsplat.files import read_json, write_json
from blendsplat.fitting.clip_performance import nearest_valid
from blendsplat.heads.performance import Performance
from blendsplat.landmarks.detector import LANDMARK_COUNT, save_landmarks
from blendsplat.live.tracker import TrackedFrame
from blendsplat.video.clip import ClipInfo, checked_info, frame_path, write_info, write_png
from blendsplat.video.staged_folder import check_target

_BLOCK = 1024  # rows that are looked at together
JOURNAL = "live-journal"  # folder inside the take, gone when the take is complete
_POSES = ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")


class Take:
    """A take that is being recorded. Raises InputError for a folder that holds a clip or something else of its names,
    StorageError when the disk refuses; what was recorded until then stays."""

    def __init__(self, directory: Path, person: Performance, info: ClipInfo, detector: str) -> None:
        """person: the settled performance; info: all of clip.json but the frames; detector: of the landmarks."""
        check_target(directory, overwrite=False)
        self.directory, self.frames = directory, 0
        self._row = np.zeros((), _row_type(person))
        self._journal = directory / JOURNAL
        try:
            for folder in ("images", "mattes", "valid", JOURNAL):
                (directory / folder).mkdir(parents=True, exist_ok=True)
            person.select([0]).save(self._journal / "person.npz")
            write_json(self._journal / "take.json", asdict(replace(info, detector=detector)))
            self._rows: BinaryIO = open(self._journal / "rows.bin", "wb")  # noqa: SIM115 (open while it is recorded)
        except OSError as error:
            raise _refused(directory, error) from error

    def add(self, frame: TrackedFrame) -> None:
        """Record a frame: pictures first, so that every row of the journal has its pictures."""
        looked, row = frame.looked, self._row
        images = {"images": looked.image, "mattes": looked.matte, "valid": frame.valid}
        paths = {folder: frame_path(self.directory, folder, self.frames) for folder in images}
        try:
            for folder, image in images.items():
                write_png(paths[folder], image)
        except StorageError:
            for path in paths.values():
                path.unlink(missing_ok=True)
            raise
        row["timestamp"], row["valid"] = looked.seconds, frame.params is not None
        row["found"], row["error"] = looked.points is not None, frame.error if np.isfinite(frame.error) else 0.0
        row["points"] = 0.0 if looked.points is None else looked.points
        if frame.params is not None:
            for name in _POSES:
                row[name] = getattr(frame.params, name)[0].numpy()
        try:
            self._rows.write(row.tobytes())
            self._rows.flush()
        except OSError as error:
            raise _refused(self.directory, error) from error
        self.frames += 1

    def finish(self, notes: tuple[str, ...] = ()) -> Performance | None:
        """Make the folder a clip; None, and nothing left of it, where no frame of it shows the face."""
        try:
            self._rows.close()
        except OSError as error:
            raise _refused(self.directory, error) from error
        return complete_take(self.directory, notes)


def complete_take(directory: Path, notes: tuple[str, ...] = ()) -> Performance | None:
    """Make a clip of a folder with a journal (a session that ended, or crashed) -> its performance; None where it
    showed no face, and the journal is then removed. Raises FormatError for a damaged journal, StorageError."""
    journal = directory / JOURNAL
    try:
        said: dict[str, Any] = read_json(journal / "take.json")
        person = Performance.load(journal / "person.npz")
        info = checked_info({field.name: said[field.name] for field in fields(ClipInfo)})
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise FormatError(f"The live take in {directory} is damaged; record it again.", repr(error)) from error
    rows = _read_rows(journal / "rows.bin", person)
    if not len(rows) or not rows["valid"].any():
        if len(rows) + 1 < sum(1 for _ in (directory / "images").glob("*.png")):
            raise FormatError(
                f"The live take in {directory} is damaged: it has pictures of which the journal says nothing. Import "
                "its folder images as a video, or delete the folder."
            )
        _discard(directory)
        return None
    performance = _performance(person, rows, notes)
    save_landmarks(directory / "landmarks.npz", rows["points"], rows["found"], info.detector, compress=False)
    camera = {"width": info.width, "height": info.height, "K": performance.K.tolist()}
    write_json(directory / "camera.json", camera | {"viewmat": performance.viewmat.tolist()})
    performance.save(directory / "tracking.npz")
    times = performance.timestamps
    steps = np.diff(times)
    info.fps = float(1 / np.median(steps)) if len(steps) else info.fps
    info.timestamps = [round(float(time), 6) for time in times]
    info.notes = [*info.notes, *notes]
    write_info(directory, info)
    del rows  # Windows removes no file that is mapped
    shutil.rmtree(journal, ignore_errors=True)
    return performance


def unfinished(directory: Path) -> bool:
    """Whether the folder is a take that a session left without completing it."""
    return (directory / JOURNAL / "take.json").is_file() and not (directory / "clip.json").exists()


def _row_type(person: Performance) -> np.dtype:
    """One frame of the journal, little-endian whatever the machine."""
    poses = [(name, "<f4", getattr(person, name).shape[1:]) for name in _POSES]
    plain = [("timestamp", "<f8"), ("valid", "?"), ("found", "?"), ("error", "<f4")]
    return np.dtype([*plain, *poses, ("points", "<f4", (LANDMARK_COUNT, 3))])


def _read_rows(path: Path, person: Performance) -> np.ndarray:
    """The journal's whole rows, read from the disk as they are needed; a crash may have cut the last one."""
    kind = _row_type(person)
    count = path.stat().st_size // kind.itemsize if path.is_file() else 0
    rows: np.ndarray = np.memmap(path, kind, "r", shape=(count,)) if count else np.zeros(0, kind)
    for start in range(0, count, _BLOCK):  # where a crash left something else than rows, the journal ends
        block = rows[start : start + _BLOCK]
        times = rows["timestamp"][max(start - 1, 0) : start + _BLOCK]
        sound = np.concatenate([np.ones(len(block) + 1 - len(times), bool), np.diff(times) >= 0])
        sound &= np.isfinite(block["timestamp"])
        for name in (*_POSES, "error", "points"):  # of a face that was lost, anything may stand there
            sound &= ~block["valid"] | np.isfinite(block[name].reshape(len(block), -1)).all(1)
        if not sound.all():
            return rows[: start + int(np.argmin(sound))]
    return rows


def _performance(person: Performance, rows: np.ndarray, notes: tuple[str, ...]) -> Performance:
    """The journal as a performance; frames without a face hold the nearest one's values, as everywhere."""
    valid = np.array(rows["valid"])
    nearest = nearest_valid(valid)
    errors = np.array(rows["error"])
    times = np.array(rows["timestamp"])
    figures = {
        "landmark_error": float(errors[valid].mean()), "landmark_error_worst": float(errors[valid].max()),
        "frames_with_face": float(valid.sum()), "frames_without_face": float((~valid).sum()),
    }  # fmt: skip
    blank = np.zeros(0, np.float32)
    return replace(
        person, timestamps=times - times[0], valid=valid, landmark_errors=errors, figures=figures, notes=notes,
        part_of="", confidence=blank, region_confidence=blank, zoom=blank,
        **{name: np.array(rows[name])[nearest] for name in _POSES},
    )  # fmt: skip


def _discard(directory: Path) -> None:
    """Remove what a take without a face has written, and nothing else."""
    for name in ("images", "mattes", "valid", JOURNAL):
        shutil.rmtree(directory / name, ignore_errors=True)
    if not any(directory.iterdir()):
        directory.rmdir()


def _refused(directory: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The take cannot be recorded in {directory}: {error.strerror or error}. Free some space or choose another "
        "folder.",
        repr(error),
    )

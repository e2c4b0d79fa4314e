# SPDX-License-Identifier: Apache-2.0
"""Whatever may drive an avatar, as a performance: tracked clips, captures without pictures, other trackers' folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blendsplat.errors import InputError

if TYPE_CHECKING:
    from blendsplat.avatars.avatar import Avatar
    from blendsplat.exchange.format import Recording
    from blendsplat.heads.model import HeadModel
    from blendsplat.heads.performance import Performance

_SAME_FLAME = (
    "The recording was taken to be of the avatar's own FLAME; name the file of its head (--driver-head) if it is of "
    "another."
)


def read_driver(
    avatar: Avatar, path: Path, driver_head: str | None = None, fps: float | None = None
) -> tuple[Performance, list[str]]:
    """The driver's performance, of whatever head it was made with, and what the user should know of how it was read.
    fps: for sources that do not tell time.

    A capture without pictures plays on the head that ships, filmed by the camera that the avatar was trained with, held
    as in the avatar's own clip. VHAP's and metrical-tracker's folders are read without their pictures. Raises
    FormatError, InputError.
    """
    from blendsplat.exchange.captures import is_capture
    from blendsplat.exchange.registry import FORMATS
    from blendsplat.heads.performance import Performance

    if path.is_dir() and not (path / "tracking.npz").exists():
        known = next((one for one in FORMATS.values() if one.detect(path)), None)
        if known is not None:
            return _recorded(avatar, known.read(path), driver_head, fps)
    return _captured(avatar, path, fps) if is_capture(path) else (Performance.load(path), [])


def _captured(avatar: Avatar, path: Path, fps: float | None) -> tuple[Performance, list[str]]:
    from blendsplat.exchange.capture import to_performance
    from blendsplat.exchange.captures import read_capture
    from blendsplat.geometry import matrix_to_rotvec
    from blendsplat.heads.load import load_head

    camera, head = avatar.camera, load_head("human", landmarks=False)
    K, viewmat = (part.detach().cpu().numpy() for part in (camera.K, camera.viewmat))
    capture = read_capture(path, fps)
    played = to_performance(capture, head, "human", K, viewmat, (camera.width, camera.height))
    if avatar.reference is not None:
        played.root_pose += matrix_to_rotvec(avatar.reference.rotation[None])[0].numpy()
        played.translation += avatar.reference.translation.numpy()
    return played, capture.notes


def _recorded(
    avatar: Avatar, recording: Recording, driver_head: str | None, fps: float | None
) -> tuple[Performance, list[str]]:
    """A FLAME recording's numbers: of the head that is named, else of the avatar's own."""
    from blendsplat.exchange.recording import frame_times, to_performance

    head, source = _recorded_head(avatar, driver_head)
    if driver_head is None:
        recording = replace(recording, shape=recording.shape[:0], offsets=None)  # the avatar's person is built in
    times, _ = frame_times(recording, fps)
    played = to_performance(recording, head, source, *_size(recording), times)
    notes = [_SAME_FLAME] if driver_head is None else []
    return replace(played, notes=(f"Tracked by {recording.made_by}.", *notes)), notes


def _recorded_head(avatar: Avatar, driver_head: str | None) -> tuple[HeadModel, str]:
    """The head that a recording moves, and where a file says that it came from."""
    from blendsplat.heads.families import FLAME
    from blendsplat.heads.load import load_head, stored_source

    if driver_head is not None:
        return load_head(driver_head, landmarks=False), stored_source(driver_head)
    if avatar.head.family not in (FLAME, ""):  # an unknown one may be somebody's own FLAME
        raise InputError(
            f"The recording moves a FLAME head, and the avatar lies on {avatar.head.name!r}: name the FLAME .pkl that "
            "it was tracked with (--driver-head), so that it can be carried over."
        )
    return avatar.head, avatar.head.name


def _size(recording: Recording) -> tuple[int, int]:
    """Pixels that the recording's camera refers to: as it says, else twice the principal point."""
    if recording.size is not None:
        return recording.size
    width, height = np.maximum(1, np.round(2 * recording.K[0, :2, 2])).astype(int)
    return int(width), int(height)

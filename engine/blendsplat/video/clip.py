# SPDX-License-Identifier: Apache-2.0
"""The clip folder (docs/formats.md): one imported video and what was learned from it, read lazily, picture by picture.

``clip.json`` is written last and read first, so a folder without it is never taken for a clip.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from blendsplat.errors import FormatError, InputError, StorageError
from blendsplat.files import check_file, read_json, write_bytes, write_json

FORMAT = "blendsplat-clip"
VERSION = 1
MOST_PIXELS = 16384  # of a picture's side
CONTENTS = ("images", "mattes", "valid", "landmarks.npz", "tracking.npz", "camera.json", "overlay.mp4", "clip.json")


@dataclass
class ClipInfo:
    """What clip.json says. timestamps [F] are seconds from the clip's first frame, trim_start seconds in the source."""

    source: str
    source_size: tuple[int, int]  # upright, square pixels
    trim_start: float
    trim_end: float | None
    crop: tuple[int, int, int]  # x, y, size in the source
    width: int
    height: int
    fps: float
    timestamps: list[float]
    matte: str  # "mediapipe-selfie", "alpha", "folder", "none", "external"
    detector: str = ""
    shots: list[int] = field(default_factory=lambda: [0])  # frames at which a shot begins
    repeats: list[int] = field(default_factory=list)  # frames that show what the one before shows
    faded: list[int] = field(default_factory=list)  # frames in a fade: from or to one colour, or between two shots
    skipped: int = 0  # frames of the source that could not be read
    notes: list[str] = field(default_factory=list)  # what the user should know


class Clip:
    """An imported clip. Images are uint8 [H,W,3] sRGB, mattes and valid maps uint8 [H,W]; index 0 ... frame_count-1."""

    def __init__(self, directory: Path, info: ClipInfo) -> None:
        self.directory = directory
        self.info = info
        self.timestamps = np.array(info.timestamps, dtype=np.float64)

    @classmethod
    def open(cls, directory: Path | str) -> Clip:
        """Open a clip's folder. Raises FormatError when it is no finished clip, damaged, or from a newer version."""
        directory = Path(directory)
        path = directory / "clip.json"
        try:
            data = read_json(path)
        except FileNotFoundError as error:
            raise FormatError(
                f"{directory} is not an imported clip (it has no clip.json); import the video first."
            ) from error
        except (OSError, ValueError) as error:
            raise FormatError(f"{path} is damaged; import the video again.", repr(error)) from error
        return cls(directory, _parse_info(data, path))

    @property
    def frame_count(self) -> int:
        return len(self.timestamps)

    @property
    def width(self) -> int:
        return self.info.width

    @property
    def height(self) -> int:
        return self.info.height

    @property
    def fps(self) -> float:
        return self.info.fps

    @property
    def has_mattes(self) -> bool:
        """Whether there are mattes on disk (without them everything counts as the person)."""
        return (self.directory / "mattes").is_dir()

    def image(self, index: int) -> np.ndarray:
        """Picture ``index``. Raises FormatError when its file is missing or damaged."""
        return self._read(self._path("images", index), cv2.IMREAD_COLOR)[..., ::-1].copy()

    def matte(self, index: int) -> np.ndarray:
        """The person's straight alpha in picture ``index``; 255s when the clip was imported without mattes."""
        if not self.has_mattes:
            return np.full((self.height, self.width), 255, np.uint8)
        return self._read(self._path("mattes", index), cv2.IMREAD_GRAYSCALE)

    def valid(self, index: int) -> np.ndarray:
        """The weight of each pixel in losses and metrics; 255s where tracking wrote none."""
        path = self._path("valid", index)
        if not path.exists():
            return np.full((self.height, self.width), 255, np.uint8)
        return self._read(path, cv2.IMREAD_GRAYSCALE)

    def write_valid(self, index: int, array: np.ndarray) -> None:
        """Write the weights of picture ``index``, [H,W] uint8, atomically."""
        if array.shape != (self.height, self.width) or array.dtype != np.uint8:
            raise InputError(
                f"A valid map must be uint8 [{self.height},{self.width}], not {array.dtype} {list(array.shape)}."
            )
        write_bytes(self._path("valid", index), encode_png(array))

    def _path(self, folder: str, index: int) -> Path:
        if not 0 <= index < self.frame_count:
            raise InputError(f"{self.directory} has the frames 0 to {self.frame_count - 1}; there is no frame {index}.")
        return frame_path(self.directory, folder, index)

    def _read(self, path: Path, flags: int) -> np.ndarray:
        check_file(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise FormatError(f"{path} cannot be read; import the video again.", repr(error)) from error
        image = _decoded(data, flags) if _told_size(data) == (self.width, self.height) else None
        if image is None or image.shape[:2] != (self.height, self.width):
            raise FormatError(f"{path} is damaged or not {self.width}x{self.height}; import the video again.")
        return image


def _told_size(data: bytes) -> tuple[int, int] | None:
    """What a picture says of its width and height, asked before it may need the memory for them."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except Exception:  # Pillow raises whatever its many readers raise
        return None


def _decoded(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def frame_path(directory: Path, folder: str, index: int) -> Path:
    """Where picture ``index`` of images, mattes or valid lies."""
    return directory / folder / f"{index:06d}.png"


def encode_png(array: np.ndarray) -> bytes:
    """[H,W] or [H,W,3] RGB or [H,W,4] RGBA uint8 as PNG, fast rather than small."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def write_png(path: Path, array: np.ndarray) -> None:
    """Write a PNG directly (for folders that only count once they are complete). Raises StorageError."""
    try:
        path.write_bytes(encode_png(array))
    except OSError as error:
        raise StorageError(
            f"Could not write {path}: {error.strerror or error}. Free some space or choose another folder.", repr(error)
        ) from error


def write_info(directory: Path, info: ClipInfo) -> None:
    """Write clip.json: from here on the folder is a clip."""
    values: dict[str, Any] = {f.name: getattr(info, f.name) for f in fields(info)}
    write_json(directory / "clip.json", {"format": FORMAT, "version": VERSION, **values})


def _parse_info(data: Any, path: Path) -> ClipInfo:
    if not isinstance(data, dict) or data.get("format") != FORMAT or type(data.get("version")) is not int:
        raise FormatError(f"{path} is not the description of a Blendsplat clip.")
    if data["version"] > VERSION:
        raise FormatError(
            f"{path} has version {data['version']} and this Blendsplat reads up to {VERSION}: update Blendsplat."
        )
    try:
        info = checked_info({f.name: data[f.name] for f in fields(ClipInfo) if f.name in data})
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{path} is damaged; import the video again.", repr(error)) from error
    if not info.timestamps:
        raise FormatError(f"{path} is damaged (it has no frame); import the video again.")
    return info


def checked_info(values: dict[str, Any]) -> ClipInfo:
    """``values`` of ClipInfo's fields as they should be. Raises TypeError, ValueError, OverflowError for others."""
    info = ClipInfo(**values)
    (w, h), (x, y, size) = info.source_size, info.crop
    info.source_size, info.crop = (int(w), int(h)), (int(x), int(y), int(size))
    info.width, info.height, info.fps = int(info.width), int(info.height), float(info.fps)
    info.trim_start = float(info.trim_start)
    info.trim_end = None if info.trim_end is None else float(info.trim_end)
    times, info.timestamps = info.timestamps, [float(time) for time in info.timestamps]
    info.shots, info.repeats, info.faded = ([int(f) for f in told] for told in (info.shots, info.repeats, info.faded))
    info.skipped = int(info.skipped)
    texts = (info.source, info.matte, info.detector, *info.notes)
    if not all(isinstance(text, str) for text in texts) or any(isinstance(v, str) for v in (times, info.notes)):
        raise TypeError("something else than text, or text instead of a list")
    if not all(map(math.isfinite, (*info.timestamps, info.trim_start, info.trim_end or 0.0))):
        raise ValueError("times that are not finite")
    if not (1 <= info.width <= MOST_PIXELS and 1 <= info.height <= MOST_PIXELS and 0 < info.fps < math.inf):
        raise ValueError("sizes that make no sense")
    if any(abs(number) >= 2**31 for number in (*info.source_size, *info.crop, info.skipped)):
        raise ValueError("numbers that no picture has")
    if not all(0 <= frame < max(len(info.timestamps), 1) for frame in (*info.shots, *info.repeats, *info.faded)):
        raise ValueError("frames that are not there")
    return info

# SPDX-License-Identifier: Apache-2.0
"""Image sequences and single pictures behind the interface of video files: natural order, orientation tags, alpha."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from blendsplat.errors import VideoError
from blendsplat.files import check_file
from blendsplat.video.decode import Frame, Source, VideoFile, check_trim

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".tga", ".ppm", ".jp2"}
_DEFAULT_FPS = 25.0
_REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)


def open_source(path: Path | str, fps: float | None = None) -> Source:
    """A video file, a GIF, a picture, or a folder of pictures. fps holds for pictures only. Raises VideoError."""
    path = Path(path)
    if path.is_dir():
        return ImageSequence(path, list_images(path), fps or _DEFAULT_FPS)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return ImageSequence(path, [path], fps or _DEFAULT_FPS)
    return VideoFile(path)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorting key by which frame2 comes before frame10."""
    return [
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part.lower())
        for part in re.split(r"([0-9]+)", name)
        if part
    ]


def list_images(folder: Path) -> list[Path]:
    """The folder's pictures in natural order; of several kinds of files the most frequent. Raises VideoError."""
    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise VideoError(f"The folder {folder} cannot be read: {error.strerror}.", repr(error)) from error
    if not found:
        raise VideoError(
            f"The folder {folder} holds no pictures (png, jpg, tif, ...); choose a video file or such a folder."
        )
    suffix = Counter(p.suffix.lower() for p in found).most_common(1)[0][0]
    return sorted((p for p in found if p.suffix.lower() == suffix), key=lambda p: natural_key(p.name))


def sequence_places(names: list[str]) -> list[int]:
    """Which place in time each picture of a sequence has, from its number: names in natural order -> from 0, rising.

    The number is the one that differs between the names; steps of all (every tenth frame kept) count as one. Without
    such a number, or where more would be missing than is there (numbers that are no frames), pictures simply follow.
    """
    plain = list(range(len(names)))
    parts = [re.split(r"([0-9]+)", name) for name in names]
    if len(names) < 2 or len({len(part) for part in parts}) > 1:
        return plain
    differing = [i for i in range(len(parts[0])) if len({part[i] for part in parts}) > 1]
    if len(differing) != 1 or not all(part[differing[0]].isdigit() for part in parts):
        return plain
    numbers = [int(part[differing[0]]) for part in parts]
    steps = np.diff(numbers)
    if (steps <= 0).any():
        return plain
    step = int(np.gcd.reduce(steps))
    places = [(number - numbers[0]) // step for number in numbers]
    return places if places[-1] + 1 <= 2 * len(names) else plain


@dataclass
class ImageSequence:
    """Pictures at a constant rate; where numbers are missing in their names, their time is left out. The first readable
    one sets the size; another size is an error, damage skipped."""

    path: Path
    files: list[Path]
    fps: float
    width: int = field(init=False)
    height: int = field(init=False)
    duration: float | None = field(init=False)
    has_alpha: bool = field(init=False)
    skipped: int = field(init=False, default=0)
    notes: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        first = next((pair for file in self.files if (pair := read_image(file)) is not None), None)
        if first is None:
            raise VideoError(f"No picture of {self.path} can be read: the files are damaged.")
        image, alpha = first
        self.height, self.width = image.shape[:2]
        self.has_alpha = alpha is not None
        self._places = sequence_places([file.name for file in self.files])
        self.duration = (self._places[-1] + 1) / self.fps
        if missing := self._places[-1] + 1 - len(self.files):
            self.notes.append(
                f"Of the pictures {self.files[0].name} to {self.files[-1].name} {missing} "
                f"{'is' if missing == 1 else 'are'} missing; their time is left out."
            )

    def frames(self, start: float = 0.0, end: float | None = None, every: float = 0.0) -> Iterator[Frame]:
        """See Source.frames."""
        check_trim(start, end)
        self.skipped = 0
        wanted = start - 1e-6
        for place, file in zip(self._places, self.files, strict=True):
            timestamp = place / self.fps
            if timestamp < wanted or (end is not None and timestamp >= end - 1e-6):
                continue
            pair = read_image(file)
            if pair is None:
                self.skipped += 1
                log.warning("%s is damaged and was skipped", file)
                continue
            wanted = timestamp + every - 1e-6
            image, alpha = pair
            if image.shape[:2] != (self.height, self.width):
                raise VideoError(
                    f"{file} is {image.shape[1]}x{image.shape[0]} but the first picture is {self.width}x{self.height}: "
                    "a sequence must have one size."
                )
            yield Frame(image, alpha if self.has_alpha else None, timestamp)


def upright_size(file: Path) -> tuple[int, int]:
    """(width, height) of a picture as it is meant to be seen, without decoding it. Raises whatever Pillow's readers
    raise, Image.DecompressionBombError among it."""
    with Image.open(file) as opened:
        width, height = opened.size
        return (height, width) if _turn(opened) in _SIDEWAYS else (width, height)


def read_image(file: Path, most: int | None = None) -> tuple[np.ndarray, np.ndarray | None] | None:
    """(image [H,W,3] uint8, alpha [H,W] uint8 or None), upright; None when the file is damaged.

    most: the longer side that is enough. A much larger picture comes back smaller (by whole factors, never below
    ``most``), so that a hundred megapixels need the memory of a few.
    """
    try:
        check_file(file)
        with Image.open(file) as opened:
            picture: Image.Image = opened
            if most is not None:
                opened.draft(None, (most, most))  # a JPEG decodes at an eighth as easily as whole
                factor = max(opened.size) // most
                picture = opened.reduce(factor) if factor > 1 and opened.mode in _REDUCIBLE else opened
            turn = _turn(opened)
            picture = picture if turn is None else picture.transpose(turn)
            if picture.mode.startswith("I") or picture.mode == "F":  # 16 bit grey: Pillow would clip, not scale
                grey = np.asarray(picture, dtype=np.float64)
                picture = Image.fromarray((grey / (65535 if grey.max() > 255 else 255) * 255).round().astype(np.uint8))
            if picture.has_transparency_data:
                rgba = np.array(picture.convert("RGBA"))
                return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
            return np.array(picture.convert("RGB")), None
    except Exception as error:  # each of Pillow's readers raises its own on damaged input
        log.debug("%s: %s", file, error)
        return None


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """What makes it upright; a tag that cannot be read says nothing."""
    try:
        return _UPRIGHT.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF is a file of its own, with damage of its own
        return None

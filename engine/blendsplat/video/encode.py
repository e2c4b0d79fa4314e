# SPDX-License-Identifier: Apache-2.0
"""Pictures to an mp4 that plays everywhere (H.264, 4:2:0, BT.709 and tagged so), or to PNG files with alpha."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from blendsplat.errors import InputError, StorageError
from blendsplat.files import atomic_path, way_out, write_bytes

_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "veryfast"}),
    ("libopenh264", {}),
    ("h264_mf", {}),
    ("h264_videotoolbox", {}),
    ("mpeg4", {}),
)


def write_mp4(path: Path | str, frames: Iterable[np.ndarray], fps: float, crf: int = 17) -> int:
    """Encode frames [H,W,3] uint8 sRGB, all of one size, at a constant rate -> how many were written.

    Odd sizes get one more column or row, a copy of the last. crf: quality, 0 (lossless) to 51. The file appears only
    when it is complete. Raises InputError (no frame, another size or type), StorageError.
    """
    if not 0 < fps <= 1000:
        raise InputError(f"The frame rate must be above 0 and at most 1000, not {fps}.")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise InputError(f"There is no frame to write to {path}.")
    _check_frame(first, first.shape, 0)
    count = 0
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
                stream = add_stream(container, first.shape, fps, crf)
                for count, image in enumerate(chain([first], iterator), 1):
                    _check_frame(image, first.shape, count - 1)
                    container.mux(stream.encode(to_yuv(image)))
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            reason = way_out(OSError(error.errno, error.strerror))
            raise StorageError(f"Could not write {path}: {error.strerror}. {reason}", repr(error)) from error
    return count


def padding_note(width: int, height: int) -> str | None:
    """What is said of an mp4 whose pictures are width x height pixels, where its own size is another."""
    if width % 2 == 0 and height % 2 == 0:
        return None
    copied = " and ".join(name for side, name in ((width, "column"), (height, "row")) if side % 2)
    return (
        f"The video is {width + width % 2}x{height + height % 2} pixels, not {width}x{height}, because an .mp4's sides "
        f"are even: the last {copied} is there twice."
    )


def write_png_sequence(directory: Path | str, frames: Iterable[np.ndarray], pattern: str = "{:06d}.png") -> int:
    """Write frames [H,W,3] or [H,W,4] (straight alpha) uint8 sRGB as numbered PNG files -> how many. Each is atomic."""
    from blendsplat.video.clip import encode_png

    count = 0
    for count, image in enumerate(frames, 1):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
            raise InputError(
                f"Frame {count - 1} must be uint8 [H,W,3] or [H,W,4], not {image.dtype} {list(image.shape)}."
            )
        write_bytes(Path(directory) / pattern.format(count - 1), encode_png(image))
    return count


def add_stream(container: Any, shape: tuple[int, ...], fps: float, crf: int) -> Any:
    """A stream for pictures of ``shape`` [H,W,3], by the best encoder there is."""
    name, options = next((name, options) for name, options in _ENCODERS if name in av.codecs_available)
    stream = container.add_stream(name, rate=Fraction(fps).limit_denominator(100000))
    stream.height, stream.width = (side + side % 2 for side in shape[:2])
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.options = {**options, "crf": str(crf)} if name == "libx264" else options
    if name != "libx264":
        context.bit_rate = int(stream.width * stream.height * fps * 0.2)
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def to_yuv(image: np.ndarray) -> av.VideoFrame:
    """[H,W,3] uint8 sRGB, as such a stream takes it."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else image
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    return frame.reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
    )  # fmt: skip


def _check_frame(image: np.ndarray, shape: tuple[int, ...], index: int) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape != shape or 0 in shape:
        raise InputError(
            f"Frame {index} must be uint8 [H,W,3] of the first frame's size {list(shape[:2])}, "
            f"not {image.dtype} {list(image.shape)}."
        )

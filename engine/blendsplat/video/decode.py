# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file, one at a time, as a viewer sees them: colours, upright, square pixels, true time stamps.

Phones, editors and downloads differ in all four and trackers assume all four, so it is settled here, once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Interpolation

from blendsplat.errors import InputError, VideoError
from blendsplat.video.color import hdr_to_sdr, hdr_transfer, source_matrix
from blendsplat.video.deinterlace import deinterlaced

log = logging.getLogger(__name__)

_OPTIONS = {"protocol_whitelist": "file"}  # a playlist must not make us open network addresses
_NOT_VIDEO = {"ansi", "bintext", "xbin", "idf"}  # FFmpeg "plays" text files with these
_TIME_EPSILON = 1e-6
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_LARGE = 2048 * 1200  # pixels; above, FFmpeg's fast path (16 times faster, a level darker at most) is good enough
_MAX_DAMAGE = 1000  # consecutive failures after which a file is given up


@dataclass
class Frame:
    """One picture: image [H,W,3] uint8 sRGB, alpha [H,W] uint8 or None, seconds from the source's first frame."""

    image: np.ndarray
    alpha: np.ndarray | None
    timestamp: float


class Source(Protocol):
    """A video file or a folder of images. ``skipped`` counts the unreadable frames of the last complete ``frames``."""

    path: Path
    width: int
    height: int
    fps: float
    duration: float | None
    has_alpha: bool
    skipped: int
    notes: list[str]

    def frames(self, start: float = 0.0, end: float | None = None, every: float = 0.0) -> Iterator[Frame]:
        """Yield frames with start <= time stamp < end (seconds); at least ``every`` seconds apart."""
        ...


def check_trim(start: float, end: float | None) -> None:
    """Raise InputError unless 0 <= start < end."""
    if start < 0 or not np.isfinite(start) or (end is not None and not end > start):
        raise InputError(
            f"The trim from {start:g} s to {end if end is None else f'{end:g}'} s is empty: start must come before end."
        )


@dataclass
class VideoFile:
    """A file that FFmpeg reads. Every call of ``frames`` opens it anew and holds only a few frames in memory.

    Raises VideoError when the file is missing, is no video, or has not one readable frame.
    """

    path: Path
    width: int = field(init=False)  # as displayed: rotated, pixels square
    height: int = field(init=False)
    fps: float = field(init=False)
    duration: float | None = field(init=False)
    has_alpha: bool = field(init=False)
    skipped: int = field(init=False, default=0)
    notes: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        with self._open() as container:
            stream = self._stream(container)
            first = next((frame for _, frame in self._decoded(container, stream)), None)
            if first is None:
                raise VideoError(f"{self.path} has no readable frame: the file is empty or damaged.")
            self._grid = _square_pixel_size(first, stream)
            self._orientation = _orientation(first)
            self._interlaced = first.interlaced_frame
            self.width, self.height = self._grid if self._orientation[0, 0] else self._grid[::-1]
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate and 0 < rate <= 1000 else 25.0
            self.duration = _duration(container, stream)
            self.has_alpha = any(part.is_alpha for part in first.format.components) and not hdr_transfer(first)
            self._describe(first)

    def frames(self, start: float = 0.0, end: float | None = None, every: float = 0.0) -> Iterator[Frame]:
        """See Source.frames. Frames that cannot be decoded are skipped, counted in ``skipped`` and logged."""
        check_trim(start, end)
        self.skipped = 0
        wanted = start - _TIME_EPSILON
        times: list[float] = []
        for timestamp, frame in self._timed(start):
            times.append(timestamp)
            if end is not None and timestamp >= end - _TIME_EPSILON:
                break
            if timestamp < wanted:
                continue
            wanted = timestamp + every - _TIME_EPSILON if every else wanted
            yield self._convert(frame, timestamp)
        self.skipped = max(self.skipped, missing_frames(times))
        if self.skipped:
            log.warning("%s: %d damaged frames or packets were skipped", self.path, self.skipped)

    def _timed(self, start: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """(seconds from the first frame, frame), strictly increasing; begins at a key frame at or before ``start``."""
        with self._open() as container:
            stream = self._stream(container)
            base = float(stream.time_base or 0) or 1 / self.fps
            origin = stream.start_time * base if stream.start_time is not None else None
            if origin is not None and start > 2 and not self._seek(container, stream, start + origin, base):
                container.seek(0)
            previous = None
            decoded = self._decoded(container, stream)
            for pts, frame in deinterlaced(decoded, stream) if self._interlaced else decoded:
                time = pts * base if pts is not None else None
                if origin is None:
                    origin = time or 0.0
                step = previous + 1 / self.fps if previous is not None else 0.0
                timestamp = time - origin if time is not None else step
                if previous is not None and timestamp <= previous:
                    timestamp = step
                previous = timestamp
                yield timestamp, frame

    def _seek(self, container: Any, stream: Any, seconds: float, base: float) -> bool:
        """Go to a key frame at or before ``seconds``; False when the container cannot (its index lies or is absent)."""
        try:
            container.seek(int(seconds / base), stream=stream, backward=True)
            pts = next((pts for pts, _ in self._decoded(container, stream)), None)
            if pts is None or pts * base > seconds:
                return False
            container.seek(int(seconds / base), stream=stream, backward=True)
            return True
        except av.FFmpegError:
            return False

    def _decoded(self, container: Any, stream: Any) -> Iterator[tuple[int | None, av.VideoFrame]]:
        """(pts, frame) of everything that decodes; what does not is counted."""
        decoder = _alpha_decoder(stream)
        failures = 0
        for packet in self._packets(container, stream):
            try:
                frames = decoder.decode(packet if packet.size else None) if decoder else packet.decode()
            except av.error.EOFError:
                continue
            except av.FFmpegError as error:
                log.debug("%s: %s", self.path, error)
                self.skipped += 1
                failures += 1
                if failures > _MAX_DAMAGE:
                    return
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.skipped += 1
                    continue
                failures = 0
                yield frame.pts if frame.pts is not None else frame.dts, frame

    def _packets(self, container: Any, stream: Any) -> Iterator[av.Packet]:
        """Packets, going on after damage in the container as long as it yields anything more."""
        failures = 0
        while failures < _MAX_DAMAGE:
            try:
                for packet in container.demux(stream):
                    failures = 0
                    yield packet
                return
            except av.error.EOFError:
                return
            except av.FFmpegError as error:
                log.debug("%s: %s", self.path, error)
                self.skipped += 1
                failures += 1

    def _convert(self, frame: av.VideoFrame, timestamp: float) -> Frame:
        width, height = self._grid
        transfer = hdr_transfer(frame)
        rgba = frame.to_ndarray(
            format="rgb48" if transfer else "rgba" if self.has_alpha else "rgb24",
            width=width, height=height, src_colorspace=source_matrix(frame),
            interpolation=_EXACT if width * height <= _LARGE else Interpolation.BICUBIC,
        )  # fmt: skip
        rgba = _reorient(rgba, self._orientation)
        if transfer:
            return Frame(hdr_to_sdr(rgba, transfer), None, timestamp)
        image = np.ascontiguousarray(rgba[..., :3])
        return Frame(image, np.ascontiguousarray(rgba[..., 3]) if self.has_alpha else None, timestamp)

    def _open(self) -> Any:
        if not self.path.is_file():
            raise VideoError(f"{self.path} does not exist or is not a file.")
        if self.path.stat().st_size == 0:
            raise VideoError(f"{self.path} is empty (0 bytes).")
        try:
            return av.open("file:" + str(self.path), options=_OPTIONS, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self.path} is not a video that can be read, or it is cut off or damaged.", repr(error)
            ) from error

    def _stream(self, container: Any) -> Any:
        streams = [s for s in container.streams.video if not _is_cover(s) and s.codec_context is not None]
        streams = [s for s in streams if s.codec_context.name not in _NOT_VIDEO]
        if not streams:
            what = "holds only sound" if container.streams.audio else "is not a video"
            raise VideoError(f"{self.path} {what}: it has no video stream.")
        streams[0].thread_type = "AUTO"
        return streams[0]

    def _describe(self, first: av.VideoFrame) -> None:
        if (transfer := hdr_transfer(first)) is not None:
            self.notes.append(f"The video is HDR ({transfer}); it was mapped to standard range.")
        if first.interlaced_frame:
            self.notes.append("The video is interlaced; its frames were made whole (deinterlaced).")


def missing_frames(times: list[float]) -> int:
    """How many frames a few gaps in otherwise even time stamps [F] stand for: some containers drop damage silently.

    A file whose time stamps are uneven by nature (screen recordings, phones) has none.
    """
    steps = np.diff(times)
    if len(steps) < 20:
        return 0
    usual = float(np.median(steps))
    uneven = steps[np.abs(steps - usual) > 0.2 * usual]
    if len(uneven) > max(1, len(steps) // 50) or (uneven < usual).any():
        return 0
    return int(np.round(uneven / usual - 1).sum())


def _is_cover(stream: Any) -> bool:
    """Whether the stream is only the cover picture of a piece of music."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _alpha_decoder(stream: Any) -> Any | None:
    """VP8/VP9 keep alpha beside the picture where only libvpx's decoder looks for it; None for everything else."""
    if stream.metadata.get("alpha_mode") != "1":
        return None
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.codec.canonical_name)
    if name is None or name not in av.codecs_available:
        return None
    return av.CodecContext.create(name, "r")


def _square_pixel_size(frame: av.VideoFrame, stream: Any) -> tuple[int, int]:
    """Width, height of the frame with square pixels; the pixel's shorter side is stretched, so no detail is lost."""
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    if not 0.1 < aspect < 10:
        aspect = 1.0
    width = frame.width * max(aspect, 1.0)
    height = frame.height / min(aspect, 1.0)
    return max(1, round(width)), max(1, round(height))


def _orientation(frame: av.VideoFrame) -> np.ndarray:
    """The display matrix as [2,2] of -1, 0, 1: (x, y) displayed = (x, y) stored @ matrix, up to a translation."""
    side_data: Any = frame.side_data  # indexed by type, though its annotation says str
    data = side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return np.eye(2, dtype=int)
    matrix = np.frombuffer(bytes(data), dtype=np.int32, count=9).reshape(3, 3)[:2, :2] / 65536.0
    rounded = np.round(matrix / max(np.abs(matrix).max(), 1e-9)).astype(int)
    return rounded if abs(round(np.linalg.det(rounded))) == 1 and np.abs(rounded).sum() == 2 else np.eye(2, dtype=int)


def _reorient(image: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Turn and flip [H,W,C] as the display matrix says."""
    if not orientation[0, 0]:  # x and y change places
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = orientation[1, 0] < 0, orientation[0, 1] < 0
    else:
        flip_x, flip_y = orientation[0, 0] < 0, orientation[1, 1] < 0
    return image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _duration(container: Any, stream: Any) -> float | None:
    """Seconds, when the file says."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None

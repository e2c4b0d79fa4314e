# SPDX-License-Identifier: Apache-2.0
"""Small odd videos, encoded here, so that every trap of real files is tested without shipping a real file."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def encode_video(
    path: Path,
    frames: Iterable[np.ndarray | av.VideoFrame],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: float = 25,
    times: Sequence[float] | None = None,
    tags: dict | None = None,
    gop: int = 12,
    options: dict | None = None,
) -> Path:
    """Encode uint8 [H,W,3|4] pictures or ready frames. times: seconds of each frame, for variable rates."""
    frames = list(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream = container.add_stream(codec, rate=rate, options=options or {})
        first = frames[0]
        height, width = (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = 0
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for index, picture in enumerate(frames):
            frame = picture
            if isinstance(picture, np.ndarray):
                frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[2] == 4 else "rgb24")
                frame = frame.reformat(format=pix_fmt)
            frame.pts = index if times is None else round(times[index] * 1000)
            frame.time_base = Fraction(1, 1000) if times is not None else 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def index_first(path: Path, written: Path) -> Path:
    """The same mp4 with its index before its pictures, as a video on a web page has it."""
    with av.open(str(path)) as source, av.open(str(written), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return written


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Give an mp4 the track matrix x' = a x + c y, y' = b x + d y, as a phone held upright or a selfie camera does."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))

# SPDX-License-Identifier: Apache-2.0
"""Interlaced frames (camcorders, broadcasts) made whole by FFmpeg's filter: two moments in one picture jitter."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import av

TimedFrame = tuple[int | None, av.VideoFrame]


def deinterlaced(frames: Iterator[TimedFrame], stream: Any) -> Iterator[TimedFrame]:
    """(pts, frame) of ``stream`` -> the same, one frame for one; progressive frames among them pass untouched."""
    graph = av.filter.Graph()
    chain = (
        graph.add_buffer(template=stream),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    )
    for filter_, following in pairwise(chain):
        filter_.link_to(following)
    graph.configure()
    for _, frame in frames:
        graph.vpush(frame)
        yield from _ready(graph, stream)
    graph.vpush(None)
    yield from _ready(graph, stream)


def _ready(graph: Any, stream: Any) -> Iterator[TimedFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield frame.pts and round(frame.pts * frame.time_base / stream.time_base), frame  # the filter counts in halves

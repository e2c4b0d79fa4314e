# SPDX-License-Identifier: Apache-2.0
"""Encoding: read back by our own decoder in the same colours, of any size, complete or not there."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from blendsplat.errors import InputError
from blendsplat.video import write_mp4, write_png_sequence
from blendsplat.video.images import open_source

COLOURS = np.array(
    [(128, 128, 128), (20, 20, 20), (235, 235, 235), (200, 120, 90), (40, 160, 60), (50, 70, 200)], np.uint8
)


def test_colours_sizes_rate_and_tags(tmp_path):
    image = COLOURS[None].repeat(16, 1).repeat(48, 0).reshape(48, 96, 3)
    for size in ((48, 96), (47, 95), (47, 96)):
        path = tmp_path / "fïlm out.mp4"
        assert write_mp4(path, (image[: size[0], : size[1]] for _ in range(9)), 29.97) == 9
        frames = list(open_source(path).frames())
        np.testing.assert_allclose(frames[-1].image[24, 8:90:16].astype(int), COLOURS, atol=3)
        assert len(frames) == 9 and abs(frames[-1].timestamp - 8 / 29.97) < 1e-3
        assert frames[0].image.shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        assert (frame.format.name, stream.codec_context.name) == ("yuv420p", "h264")
        assert (int(frame.colorspace), int(frame.color_range), int(frame.color_trc), int(frame.color_primaries)) == (
            1,
            1,
            1,
            1,
        )


def test_failing_leaves_no_file(tmp_path):
    def frames():
        yield np.zeros((32, 32, 3), np.uint8)
        raise RuntimeError("the renderer failed")

    old = tmp_path / "old.mp4"
    old.write_bytes(b"precious")
    with pytest.raises(RuntimeError):
        write_mp4(old, frames(), 25)
    assert old.read_bytes() == b"precious" and [p.name for p in tmp_path.iterdir()] == ["old.mp4"]
    black = np.zeros((32, 32, 3), np.uint8)
    for bad, fps in (
        ([], 25),
        ([black, black[:16]], 25),
        ([black.astype(np.float32)], 25),
        ([black[..., 0]], 25),
        ([black], 0),
    ):
        with pytest.raises(InputError):
            write_mp4(tmp_path / "new.mp4", bad, fps)
    assert [p.name for p in tmp_path.iterdir()] == ["old.mp4"]


def test_png_sequence_keeps_alpha(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 9, 7, 4), np.uint8)
    assert write_png_sequence(tmp_path / "out", frames) == 3
    for index in range(3):
        np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / f"{index:06d}.png")), frames[index])
    with pytest.raises(InputError):
        write_png_sequence(tmp_path / "out", [frames[0, ..., :2]])

# SPDX-License-Identifier: Apache-2.0
"""Photographs and videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..mutate import damaged
from ..mutate_pictures import odd_boxes, odd_png
from .kind import Kind, Target, finite


def _video(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.video.images import open_source

        source = open_source(folder / name)
        assert np.isfinite(source.fps) and source.fps > 0
        for count, frame in enumerate(source.frames()):
            assert frame.image.shape == (source.height, source.width, 3) and np.isfinite(frame.timestamp)
            if count > 20:
                break

    return read


def _photograph(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.photographs.photograph import photograph_files, read_photograph

        for path in photograph_files([folder / name]):
            picture = read_photograph(path)
            assert picture.image.dtype == np.uint8 and max(picture.image.shape) <= 2048 and picture.image.shape[2] == 3
            finite(picture.camera_focal())

    return read


def _write_pictures(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (24, 32, 4), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 35
    for name in ("a.png", "a.webp", "a.tif", "a.tga", "a.jp2"):
        picture.save(folder / name)
    picture.convert("RGB").save(folder / "a.jpg", exif=exif)
    picture.convert("RGB").save(folder / "a.bmp")
    (folder / "frames").mkdir()
    for index in range(3):
        picture.save(folder / "frames" / f"{index}.png")


def _write_videos(folder: Path) -> None:
    from PIL import Image

    from video_files import encode_video

    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(8)]
    encode_video(folder / "a.mp4", frames)
    encode_video(folder / "a.mov", frames, codec="mpeg4")
    encode_video(folder / "a.webm", frames, codec="libvpx-vp9")
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(folder / "a.gif", save_all=True, append_images=pictures[1:])


KINDS = (
    Kind(
        "pictures",
        _write_pictures,
        (
            *(
                Target(name, odd_png if name == "a.png" else damaged, _photograph(name))
                for name in ("a.png", "a.png", "a.jpg", "a.webp", "a.tif", "a.tga", "a.jp2", "a.bmp")
            ),
            Target("a.png", odd_png, _video("a.png")),
            Target("frames/0.png", odd_png, _video("frames")),
            Target("frames/1.png", odd_png, _video("frames")),
        ),
    ),
    Kind(
        "videos",
        _write_videos,
        (
            Target("a.mp4", odd_boxes, _video("a.mp4")),
            Target("a.mp4", odd_boxes, _video("a.mp4")),
            Target("a.mov", odd_boxes, _video("a.mov")),
            Target("a.webm", damaged, _video("a.webm")),
            Target("a.gif", damaged, _video("a.gif")),
        ),
    ),
)

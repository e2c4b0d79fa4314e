# SPDX-License-Identifier: Apache-2.0
"""Pictures that let a person judge a run at a glance: video, overlay, avatar and Blender's render, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from blendsplat.avatars.rendering import render_performance
from blendsplat.files import atomic_path
from blendsplat.heads.performance import Performance
from blendsplat.systems import load_avatar
from blendsplat.video import Clip, write_mp4
from blendsplat.video.decode import VideoFile

ROWS = 4
CAPTION = 22


def side_by_side(clip: Clip, tracking: Performance, avatar_path: Path, folder: Path, first: int, target: Path) -> None:
    """Write a PNG of ROWS frames from ``first`` on: clip, overlay of the mesh, avatar, and what Blender rendered.

    folder holds overlay.mp4 and, if Blender rendered, render/*.png: one picture for each frame from ``first`` on.
    """
    frames = np.linspace(first + 4, clip.frame_count - 1, ROWS).astype(int)
    avatar = load_avatar(avatar_path)
    overlay = _video_frames(folder / "overlay.mp4", frames)
    columns = ["video (never trained on)", "tracked mesh", "avatar"]
    size = clip.width
    rows = []
    for row, frame in enumerate(frames):
        rgba, _ = next(iter(render_performance(avatar, tracking.select([frame]), size, size)))
        backdrop = np.full((size, size, 3), 0.5, np.float32)
        drawn = np.clip(rgba[..., :3] + backdrop * (1 - rgba[..., 3:]), 0, 1)
        rows.append([clip.image(int(frame)), _fit(overlay[row], size), (drawn * 255 + 0.5).astype(np.uint8)])
    rendered = sorted((folder / "render").glob("*.png"))
    if rendered:
        columns.append("Blender render")
        for pictures, frame in zip(rows, frames, strict=True):
            pictures.append(_on_grey(rendered[min(frame - first, len(rendered) - 1)], size))
    _grid(columns, rows, size, target)


def sequence_to_mp4(folder: Path, fps: float, size: int, target: Path) -> None:
    """The PNG sequence that Blender rendered, over grey, as an mp4."""
    write_mp4(target, (_on_grey(path, size) for path in sorted(folder.glob("*.png"))), fps)


def _grid(columns: list[str], rows: list[list[np.ndarray]], size: int, target: Path) -> None:
    sheet = Image.new("RGB", (size * len(columns), size * len(rows) + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        draw.text((column * size + 6, 5), title, fill="black")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (x * size, y * size + CAPTION))
    with atomic_path(target) as path:
        sheet.save(path, format="PNG")


def _video_frames(path: Path, wanted: np.ndarray) -> list[np.ndarray]:
    chosen = set(wanted.tolist())
    return [frame.image for index, frame in enumerate(VideoFile(path).frames()) if index in chosen]


def _fit(picture: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def _on_grey(path: Path, size: int) -> np.ndarray:
    picture = Image.open(path).convert("RGBA")
    sheet = Image.new("RGBA", picture.size, (128, 128, 128, 255))
    return _fit(np.asarray(Image.alpha_composite(sheet, picture).convert("RGB")), size)

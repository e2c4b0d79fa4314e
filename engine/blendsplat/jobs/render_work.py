# SPDX-License-Identifier: Apache-2.0
"""The work of a driven avatar: rendered as a video or pictures, or exported as Gaussians."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blendsplat.errors import InputError
from blendsplat.files import write_bytes
from blendsplat.jobs import options as opt
from blendsplat.jobs.devices import resolve_device
from blendsplat.progress import Progress

if TYPE_CHECKING:
    from blendsplat.avatars.avatar import Avatar
    from blendsplat.heads.performance import Performance

_VIDEO_SUFFIXES = (".mp4", ".m4v")
_OTHER_FILES = (
    ".mov", ".mkv", ".avi", ".webm", ".gif", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".mts", ".3gp",
    ".png", ".jpg", ".jpeg", ".exr", ".tif", ".tiff", ".bmp", ".webp", ".tga", ".hdr", ".npz", ".npy", ".ply",
)  # fmt: skip
Color = tuple[float, float, float]
_COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


def run_render(options: opt.RenderOptions, progress: Progress) -> dict[str, Any]:
    """-> {output, frames, width, height, seconds, notes}."""
    is_video = writes_video(options.output)
    background = parse_background(options.background, is_video)
    avatar, performance, device = _open_drive(options.avatar, options.performance, options.device)
    avatar.show(options.show)
    avatar.hold(options.hold_back)
    rows = frame_range(performance, options.first, options.count)
    width, height = options.width or performance.width, options.height or performance.height
    begin = time.monotonic()
    frames = rendered(avatar, performance, rows, width, height, background, device, progress)
    notes: list[str] = []
    if is_video:
        from blendsplat.video.encode import padding_note, write_mp4

        notes += filter(None, [padding_note(width, height)])
        write_mp4(options.output, (to_rgb8(rgba) for rgba in frames), performance_fps(performance))
    else:
        write_pngs(options.output, map(to_straight8, frames), options.first)
    return {
        "output": str(options.output), "frames": rows.stop - rows.start, "width": width, "height": height,
        "seconds": time.monotonic() - begin, "notes": notes,
    }  # fmt: skip


def run_export(options: opt.ExportOptions, progress: Progress) -> dict[str, Any]:
    """-> {output, gaussians}."""
    from blendsplat.avatars.ply import export_ply

    avatar, performance, device = _open_drive(options.avatar, options.performance, options.device)
    avatar.hold(options.hold_back)
    progress.update("export", 0, 1)
    rows = frame_range(performance, options.frame, 1)
    played = avatar.adopted(performance).select(rows)  # as a whole first: where it moves about, all frames say
    gaussians = avatar.drive(played.params(device), bounded=not avatar.owns(performance))
    written = export_ply(options.output, gaussians, y_down=options.y_down)
    progress.update("export", 1, 1)
    return {"output": str(options.output), "gaussians": written}


def writes_video(output: Path, also: str = "") -> bool:
    """Whether ``output`` is a video's file, not a folder for pictures. also: what else could be chosen, for the
    sentence. Raises InputError for files that are written by neither."""
    suffix = output.suffix.lower()
    if suffix in _OTHER_FILES:
        raise InputError(f"{output.name} cannot be written; choose an .mp4 file, or a folder for PNG files{also}.")
    return suffix in _VIDEO_SUFFIXES


def parse_background(given: str | Color | None, is_video: bool) -> Color | None:
    """RGB in 0..1, or None for transparent. Raises InputError (unknown; transparent video)."""
    if given is None:
        return _COLORS["white"] if is_video else None
    color: tuple[float, ...] | None
    if not isinstance(given, str):
        color = given
    elif given == "transparent":
        if is_video:
            raise InputError("A video file has no transparency; choose a background colour, or a folder of PNG files.")
        return None
    else:
        color = _COLORS.get(given) or _parse_color(given)
    if color is None or len(color) != 3 or not all(0 <= c <= 1 for c in color):
        raise InputError(
            f"The background {given!r} is unknown; use transparent, white, black, #rrggbb or r,g,b in 0..1."
        )
    return color[0], color[1], color[2]


def _parse_color(text: str) -> tuple[float, ...] | None:
    try:
        if text.startswith("#") and len(text) == 7:
            return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return None


def frame_range(performance: Performance, first: int, count: int | None) -> slice:
    """Frames first .. first + count of a performance, as far as it has them. Raises InputError when there are none."""
    frames = performance.frame_count
    if first >= frames:
        raise InputError(f"The performance has {frames} frames (0 to {frames - 1}); frame {first} does not exist.")
    return slice(first, frames if count is None else min(first + count, frames))


def performance_fps(performance: Performance) -> float:
    """Mean frame rate from the time stamps; 25 for a single frame."""
    times = performance.timestamps
    span = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    return round((len(times) - 1) / span, 3) if span > 0 else 25.0


def to_rgb8(rgba: np.ndarray) -> np.ndarray:
    """Opaque float [H,W,4] -> uint8 [H,W,3]."""
    return (rgba[..., :3].clip(0, 1) * 255 + 0.5).astype(np.uint8)


def to_straight8(rgba: np.ndarray) -> np.ndarray:
    """Premultiplied float [H,W,4] -> straight uint8 [H,W,4], as PNG wants it."""
    alpha = rgba[..., 3:]
    color = np.where(alpha > 0, rgba[..., :3] / np.maximum(alpha, 1e-6), 0)
    return (np.concatenate([color, alpha], -1).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def rendered(
    avatar: Avatar, performance: Performance, rows: slice, width: int, height: int, background: Color | None,
    device: str, progress: Progress, bounded: bool | None = None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Rendered RGBA frames [H,W,4] float32 premultiplied, with progress and previews."""
    from blendsplat.avatars.rendering import render_performance

    frames = render_performance(avatar, performance, width, height, background, device, rows, bounded)
    for index, (rgba, _) in enumerate(frames):
        progress.check()
        progress.preview(to_rgb8(rgba))
        yield rgba
        progress.update("render", index + 1, rows.stop - rows.start)


def write_pngs(folder: Path, frames: Iterable[np.ndarray], first: int) -> None:
    """Frames [H,W,4] straight uint8 as PNG files, numbered as in the performance."""
    from blendsplat.video.clip import encode_png

    for index, straight in enumerate(frames):
        write_bytes(folder / f"{first + index:06d}.png", encode_png(straight))


def _open_drive(avatar: Path, performance: Path, device: str) -> tuple[Avatar, Performance, str]:
    from blendsplat.heads.performance import Performance
    from blendsplat.systems import load_avatar

    chosen = resolve_device(device)
    opened, played = load_avatar(avatar, device=chosen), Performance.load(performance)
    opened.check_performance(played)
    return opened, played, chosen

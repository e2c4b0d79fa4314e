# SPDX-License-Identifier: Apache-2.0
"""The kinds of long work: one function each from validated options to a JSON result, calling the rooms below.

The server and the command line run the same functions. Heavy modules are imported when a job needs them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from blendsplat.errors import InputError
from blendsplat.files import write_bytes
from blendsplat.jobs import options as opt
from blendsplat.jobs.devices import resolve_device
from blendsplat.progress import Progress

if TYPE_CHECKING:
    from blendsplat.avatars.avatar import Avatar
    from blendsplat.heads.performance import Performance

_VIDEO_SUFFIXES = (".mp4", ".m4v")
_PER_FRAME = (
    "timestamps", "valid", "expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation",
)  # fmt: skip
_OTHER_FILES = (".mov", ".mkv", ".avi", ".webm", ".gif", ".png", ".jpg", ".jpeg", ".exr", ".npz")
Color = tuple[float, float, float]
_COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


@dataclass(frozen=True)
class JobKind:
    """What a job is called, how it is told ("while training"), its options and its work."""

    name: str
    doing: str
    options: type[opt.Options]
    run: Callable[[Any, Progress], dict[str, Any]]


def run_import(options: opt.ImportOptions, progress: Progress) -> dict[str, Any]:
    """-> {directory, frames, width, height, fps}."""
    from blendsplat.video import ClipOptions, import_clip

    matte = options.matte if options.matte in ("auto", "alpha", "none") else Path(options.matte)
    chosen = ClipOptions(
        start=options.start, end=options.end, crop=options.crop, size=options.size, matte=matte, fps=options.fps,
        detector=options.landmarker, overwrite=options.overwrite,
    )  # fmt: skip
    clip = import_clip(options.video, options.directory, chosen, progress)
    return {
        "directory": str(options.directory), "frames": clip.frame_count, "width": clip.width, "height": clip.height,
        "fps": float(clip.fps),
    }  # fmt: skip


def run_track(options: opt.TrackOptions, progress: Progress) -> dict[str, Any]:
    """-> {directory, head, init, frames, valid, figures, notes}."""
    from blendsplat.tracking import TrackOptions, track_clip

    _need_clip(options.directory)
    chosen = TrackOptions(
        head=options.head, device=resolve_device(options.device), detector=options.landmarker, init=options.init,
        weights=options.weights,
    )  # fmt: skip
    tracking = track_clip(options.directory, chosen, progress)
    return {
        "directory": str(options.directory), "head": tracking.head, "init": tracking.init,
        "frames": tracking.frame_count, "valid": int(tracking.valid.sum()), "figures": plain(tracking.figures),
        "notes": list(tracking.notes),
    }  # fmt: skip


def run_fit_image(options: opt.FitImageOptions, progress: Progress) -> dict[str, Any]:
    """-> {fits: [{image, directory, method, warnings, landmark_error}], failed: [{image, sentence}]}."""
    from blendsplat.photographs.fit_images import ImageFitOptions, fit_images

    chosen = ImageFitOptions(
        head=options.head, weights=options.weights, same_person=options.same_person, pixels=options.pixels,
        focal=options.focal, field_of_view=options.field_of_view, detector=options.landmarker,
        device=resolve_device(options.device),
    )  # fmt: skip
    return plain(fit_images(list(options.images), options.directory, chosen, progress))


def run_export_head(options: opt.ExportHeadOptions, progress: Progress) -> dict[str, Any]:
    """-> {output, vertices, faces, shape_keys, joints}."""
    from blendsplat.heads.load import load_head
    from blendsplat.heads.performance import Performance
    from blendsplat.photographs.export_head import export_head

    tracking = Performance.load(options.performance or options.fit)
    head = load_head(tracking.head_source, landmarks=False, progress=progress)
    folder = options.fit if options.fit.is_dir() else options.fit.parent
    texture = folder / "texture.png" if (folder / "texture.png").is_file() else None
    return {"output": str(options.output), **export_head(tracking, head, options.output, texture)}


def run_recording(options: opt.RecordingOptions, progress: Progress) -> dict[str, Any]:
    """-> {directory, head, frames, valid, figures}, as for track."""
    from blendsplat.exchange.importing import import_recording

    clip, tracking = import_recording(
        options.source, options.directory, options.head, options.fps, options.overwrite, progress
    )
    return {
        "directory": str(options.directory),
        "head": tracking.head,
        "frames": clip.frame_count,
        "valid": int(tracking.valid.sum()),
        "figures": plain(tracking.figures),
    }


def run_vhap(options: opt.VhapOptions, progress: Progress) -> dict[str, Any]:
    """-> {output}."""
    from blendsplat.exchange.importing import export_vhap

    _need_tracking(options.directory)
    export_vhap(options.directory, options.output, progress)
    return {"output": str(options.output)}


def run_train(options: opt.TrainOptions, progress: Progress) -> dict[str, Any]:
    """-> {avatar, checkpoint, images, seconds, gaussians, figures, notes}."""
    from blendsplat.systems import load_preset, train_avatar

    _need_tracking(options.directory)
    output = avatar_name(options.output)
    preset = load_preset(options.preset, options.overrides)
    result = train_avatar(options.directory, preset, output, progress, resolve_device(options.device))
    return {**plain(result), "avatar": str(output)}


def run_evaluate(options: opt.EvaluateOptions, progress: Progress) -> dict[str, Any]:
    """-> what evaluate_avatar measures."""
    from blendsplat.evaluation.avatar import evaluate_avatar

    _need_tracking(options.directory)
    device = resolve_device(options.device)
    return plain(evaluate_avatar(options.avatar, options.directory, options.lpips, device, progress=progress))


def run_render(options: opt.RenderOptions, progress: Progress) -> dict[str, Any]:
    """-> {output, frames, width, height, seconds}."""
    suffix = options.output.suffix.lower()
    if suffix in _OTHER_FILES:
        raise InputError(f"{options.output.name} cannot be written; choose an .mp4 file, or a folder for PNG files.")
    is_video = suffix in _VIDEO_SUFFIXES
    background = parse_background(options.background, is_video)
    avatar, performance, device = _open_drive(options.avatar, options.performance, options.device)
    performance = part_of(performance, options.first, options.count)
    width, height = options.width or performance.width, options.height or performance.height
    begin = time.monotonic()
    frames = _rendered(avatar, performance, width, height, background, device, progress)
    if is_video:
        from blendsplat.video import write_mp4

        write_mp4(options.output, (to_rgb8(rgba) for rgba in frames), performance_fps(performance))
    else:
        _write_pngs(options.output, frames, options.first)
    return {
        "output": str(options.output), "frames": performance.frame_count, "width": width, "height": height,
        "seconds": time.monotonic() - begin,
    }  # fmt: skip


def run_export(options: opt.ExportOptions, progress: Progress) -> dict[str, Any]:
    """-> {output, gaussians}."""
    from blendsplat.avatars.ply import export_ply

    avatar, performance, device = _open_drive(options.avatar, options.performance, options.device)
    progress.update("export", 0, 1)
    gaussians = avatar.drive(part_of(performance, options.frame, 1).params(device))
    written = export_ply(options.output, gaussians, y_down=options.y_down)
    progress.update("export", 1, 1)
    return {"output": str(options.output), "gaussians": written}


def run_selftest(options: opt.SelftestOptions, progress: Progress) -> dict[str, Any]:
    """Count to ``steps`` in ``seconds``; fail halfway if asked to."""
    for step in range(options.steps):
        progress.check()
        if options.fail and step >= options.steps // 2:
            _fail(options.fail)
        time.sleep(options.seconds / options.steps)
        if options.noise:
            print(options.noise)
            os.write(1, options.noise.encode())  # what a C library's printf does
        if options.preview:
            progress.preview(np.full((8, 8, 3), step % 256, np.uint8))
        progress.update("counting", step + 1, options.steps, f"step {step + 1}", step=step + 1)
    return {"steps": options.steps}


def _fail(how: str) -> None:
    if how == "expected":
        raise InputError("The self-test was asked to fail; start it without 'fail'.")
    if how == "memory":
        raise MemoryError
    if how == "exit":
        sys.stderr.flush()
        os._exit(86)  # as abrupt as a crash of native code
    raise RuntimeError("the self-test was asked to break")


KINDS = {
    kind.name: kind
    for kind in (
        JobKind("import", "importing the video", opt.ImportOptions, run_import),
        JobKind("track", "tracking", opt.TrackOptions, run_track),
        JobKind("fit_image", "fitting the head", opt.FitImageOptions, run_fit_image),
        JobKind("export_head", "exporting the head", opt.ExportHeadOptions, run_export_head),
        JobKind("recording", "reading the recording", opt.RecordingOptions, run_recording),
        JobKind("vhap", "exporting", opt.VhapOptions, run_vhap),
        JobKind("train", "training", opt.TrainOptions, run_train),
        JobKind("render", "rendering", opt.RenderOptions, run_render),
        JobKind("evaluate", "evaluating", opt.EvaluateOptions, run_evaluate),
        JobKind("export", "exporting", opt.ExportOptions, run_export),
        JobKind("selftest", "testing itself", opt.SelftestOptions, run_selftest),
    )
}


# --- helpers


def avatar_name(output: Path) -> Path:
    """``output`` with the avatar file's ending."""
    if output.name.lower().endswith(".avatar.npz"):
        return output
    stem = output.name[: -len(".npz")] if output.suffix.lower() == ".npz" else output.name
    return output.with_name(stem + ".avatar.npz")


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


def part_of(performance: Performance, first: int, count: int | None) -> Performance:
    """Frames first .. first + count of a performance. Raises InputError when there are none."""
    frames = performance.frame_count
    if first >= frames:
        raise InputError(f"The performance has {frames} frames (0 to {frames - 1}); frame {first} does not exist.")
    rows = slice(first, None if count is None else first + count)
    return replace(performance, **{name: getattr(performance, name)[rows] for name in _PER_FRAME})


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


def plain(value: Any) -> Any:
    """Dataclasses, numpy and torch scalars, paths and odd floats as what JSON can carry."""
    if hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _rendered(
    avatar: Avatar, performance: Performance, width: int, height: int, background: Color | None, device: str,
    progress: Progress,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Rendered RGBA frames, with progress and previews."""
    from blendsplat.avatars.rendering import render_performance

    total = performance.frame_count
    for index, (rgba, _) in enumerate(render_performance(avatar, performance, width, height, background, device)):
        progress.check()
        progress.preview(to_rgb8(rgba))
        yield rgba
        progress.update("render", index + 1, total)


def _write_pngs(folder: Path, frames: Iterable[np.ndarray], first: int) -> None:
    from blendsplat.video.clip import encode_png

    for index, rgba in enumerate(frames):
        write_bytes(folder / f"{first + index:06d}.png", encode_png(to_straight8(rgba)))


def _open_drive(avatar: Path, performance: Path, device: str) -> tuple[Avatar, Performance, str]:
    from blendsplat.heads.performance import Performance
    from blendsplat.systems import load_avatar

    chosen = resolve_device(device)
    return load_avatar(avatar, device=chosen), Performance.load(performance), chosen


def _need_clip(directory: Path) -> None:
    if not (directory / "clip.json").is_file():
        raise InputError(f"{directory} is not a clip folder (it holds no clip.json); import a video into it first.")


def _need_tracking(directory: Path) -> None:
    _need_clip(directory)
    if not (directory / "tracking.npz").is_file():
        raise InputError(f"The clip in {directory} is not tracked yet (it holds no tracking.npz); track it first.")

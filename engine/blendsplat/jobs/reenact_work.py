# SPDX-License-Identifier: Apache-2.0
"""The work of driving an avatar with another person's performance: a video, pictures, or the performance itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blendsplat.errors import InputError
from blendsplat.jobs import options as opt
from blendsplat.jobs.devices import resolve_device
from blendsplat.jobs.drivers import read_driver
from blendsplat.jobs.render_work import (
    frame_range,
    parse_background,
    performance_fps,
    rendered,
    to_rgb8,
    to_straight8,
    write_pngs,
    writes_video,
)
from blendsplat.progress import Progress

if TYPE_CHECKING:
    from blendsplat.avatars.avatar import Avatar
    from blendsplat.heads.neutral import Neutral
    from blendsplat.heads.performance import Performance
    from blendsplat.video.clip import Clip

_PERFORMANCE = ".npz"
_UNKNOWN = (
    "The avatar's file does not say what its person's neutral face is (an earlier version trained it), so expressions "
    "are played as they are; name its own tracked clip with --own."
)
_SHORT = (
    "The performance shows a face in too few frames to tell its neutral face from an expression; expressions are "
    "played as they are."
)


def run_reenact(options: opt.ReenactOptions, progress: Progress) -> dict[str, Any]:
    """-> {output, frames, width, height, seconds, fps, rest_mm, notes}."""
    from blendsplat.avatars.reenact import Reenactment, distance_at_rest, neutral_of, reenacted
    from blendsplat.systems import load_avatar

    as_file = options.output.suffix.lower() == _PERFORMANCE
    is_video = not as_file and writes_video(options.output, f", or an {_PERFORMANCE} file")
    background = parse_background(options.background, is_video)
    if as_file and options.beside:
        raise InputError("A performance's file has no pictures to put the driver's video beside; choose an .mp4 file.")
    device = resolve_device(options.device)
    avatar = load_avatar(options.avatar, device=device)
    avatar.hold(options.hold_back)
    played, notes = read_driver(avatar, options.performance, options.driver_head, options.fps)
    clip = _drivers_clip(options.performance, played) if options.beside else None
    own = avatar.reference is not None and avatar.owns(played)
    played = _of_the_avatars_head(avatar, played, options, progress)
    neutral = _own_neutral(avatar, options, progress)
    choices = {name: getattr(options, name) for name in Reenactment.__dataclass_fields__}
    driven = reenacted(played, avatar.head, neutral, Reenactment(**choices), own)
    if options.relative and not own:
        notes += [_UNKNOWN] * (neutral is None)
        notes += [_SHORT] * (neutral is not None and neutral_of(played, avatar.head) is None)
    begin = time.monotonic()
    rows = frame_range(driven, options.first, options.count)
    width, height = options.width or driven.width, options.height or driven.height
    if as_file:
        note = f"Carried over to the person of the avatar {avatar.name!r}."
        replace(driven.select(rows), notes=(*driven.notes, note)).save(options.output)
        progress.update("reenact", 1, 1)
    else:
        frames = rendered(
            avatar, driven, rows, width, height, background, device, progress, bounded=not own or driven is not played
        )
        if is_video:
            from blendsplat.video.encode import padding_note, write_mp4

            notes += filter(None, [padding_note(width if clip is None else 2 * width, height)])
            write_mp4(options.output, _beside(map(to_rgb8, frames), clip, rows), performance_fps(driven))
        else:
            write_pngs(options.output, _beside(map(to_straight8, frames), clip, rows), options.first)
    return {
        "output": str(options.output), "frames": rows.stop - rows.start, "width": width, "height": height,
        "seconds": time.monotonic() - begin, "fps": performance_fps(driven), "notes": notes,
        "rest_mm": None if neutral is None else 1e3 * distance_at_rest(driven, avatar.head, neutral),
    }  # fmt: skip


def _of_the_avatars_head(
    avatar: Avatar, played: Performance, options: opt.ReenactOptions, progress: Progress
) -> Performance:
    """The performance as one of the avatar's head model: as it is, or carried over by names or the heads' vertices."""
    from blendsplat.heads.convert import convert_performance
    from blendsplat.heads.load import load_head, load_head_of, stored_source
    from blendsplat.heads.performance import describe_head, same_head

    if same_head(avatar.head, played):
        return played
    if options.driver_head is not None:
        played = replace(played, head_source=options.driver_head)
    ours = options.avatar_head or avatar.head.family
    tracked = f"The performance was tracked with the head {played.head!r} ({describe_head(played)})"
    if ours != "human" and options.avatar_head is None:
        raise InputError(
            f"{tracked}, and the avatar lies on {avatar.head.name!r} ({describe_head(avatar.head)}), whose model its "
            "file does not hold: name that model's file with --avatar-head, so that one can be laid onto the other."
        )
    target = load_head(ours, progress=progress)
    if target.model_id != avatar.head.model_id:
        raise InputError(
            f"{ours} is the head {target.name!r} ({describe_head(target)}), and the avatar lies on another, "
            f"{avatar.head.name!r} ({describe_head(avatar.head)}); name that one with --avatar-head."
        )
    try:
        source = load_head_of(played, landmarks=True, progress=progress)
    except InputError as error:
        raise InputError(
            f"{tracked}, which cannot be laid onto the avatar's: {error.sentence} If it lies elsewhere now, name that "
            "place with --driver-head.",
            error.detail,
        ) from error
    return convert_performance(played, source, target, stored_source(ours), progress=progress)


def _own_neutral(avatar: Avatar, options: opt.ReenactOptions, progress: Progress) -> Neutral | None:
    """The avatar's person's neutral face: of the clip that the user names, else of the avatar's file."""
    from blendsplat.avatars.reenact import neutral_of
    from blendsplat.heads.performance import Performance

    known = avatar.reference.face if avatar.reference is not None else None
    if options.own is None:
        return known
    clip = Performance.load(options.own)
    avatar.check_performance(clip)
    if not avatar.owns(clip):
        raise InputError(f"{options.own} is not the clip that the avatar {avatar.name!r} was trained on.")
    return neutral_of(clip, avatar.head) or known


def _drivers_clip(path: Path, played: Performance) -> Clip:
    """The clip whose pictures show the driver. Raises InputError where the performance lies in none."""
    from blendsplat.video.clip import Clip

    folder = path if path.is_dir() else path.parent
    if not (folder / "clip.json").is_file():
        raise InputError(
            f"{path} does not lie in a tracked clip's folder, so there is no video to put beside the avatar; name the "
            "clip's folder as the performance, or leave that out."
        )
    clip = Clip.open(folder)
    if clip.frame_count != played.frame_count:
        raise InputError(
            f"{folder} has {clip.frame_count} images and the performance {played.frame_count} frames, so they are not "
            "of one take; name the clip's own tracking.npz."
        )
    return clip


def _beside(frames: Iterator[np.ndarray], clip: Clip | None, rows: slice) -> Iterator[np.ndarray]:
    """Frames [H,W,C] uint8 with the clip's picture, fitted into as many pixels, to their left: [H,2W,C]."""
    for row, frame in zip(range(rows.start, rows.stop), frames, strict=False):
        yield frame if clip is None else np.concatenate([_fitted(clip.image(row), frame), frame], 1)


def _fitted(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The whole picture, centred on black of the size (and opaque, where there is alpha) of ``like``."""
    import cv2

    height, width = like.shape[:2]
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    fitted = np.zeros_like(like)
    fitted[..., 3:] = 255
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    fitted[y : y + size[1], x : x + size[0], :3] = small
    return fitted

# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's frame rate, range and size beside a tracked clip's: an untouched scene becomes the clip's, one that the
artist works in only gets room for the performance. What was done, and what was left, is a sentence."""

from __future__ import annotations

import bpy

from ..formats import Performance
from . import live_avatar, matched_camera

_STARTUP_SIZE = (1920, 1080, 100)


def is_untouched(scene: bpy.types.Scene) -> bool:
    """Nothing in the scene keeps its time: no animation, no strips, no head or avatar of ours before (one that is
    being learned live keeps none)."""
    editor = scene.sequence_editor
    strips = getattr(editor, "strips_all", None) or getattr(editor, "sequences_all", None) or ()
    if len(strips) or _is_animated(scene) or scene.timeline_markers:
        return False
    timeless = ("NONE", live_avatar.KIND)
    return not any(item.blendsplat.kind not in timeless or _is_animated(item) or _is_animated(item.data)
                   or _is_animated(getattr(item.data, "shape_keys", None)) for item in scene.objects)  # fmt: skip


def match(scene: bpy.types.Scene, performance: Performance, start: int, *, untouched: bool) -> str:
    """Bring the scene and the clip together -> what was done or must be known, "" where nothing."""
    last = start + max(0, round(float(performance.timestamps[-1]) * (performance.fps if untouched else _rate(scene))))
    size = matched_camera.size_of(performance)
    if untouched:
        _set_rate(scene, performance.fps)
        matched_camera.match_size(scene, *size)
        scene.frame_start, scene.frame_end = start, last
        return (
            f"The scene was set to the clip: {size[0]} x {size[1]} pixels, {performance.fps:.4g} frames a second, "
            f"frames {start} to {last}."
        )
    sentences = []
    if last > scene.frame_end:
        sentences.append(f"The scene's end went from frame {scene.frame_end} to {last}.")
        scene.frame_end = last
    render = scene.render
    if (render.resolution_x, render.resolution_y, render.resolution_percentage) == _STARTUP_SIZE:
        matched_camera.match_size(scene, *size)
    elif (render.resolution_x, render.resolution_y) != size:
        sentences.append(f"The scene keeps its size; the clip's is {size[0]} x {size[1]} pixels.")
    if abs(_rate(scene) - performance.fps) > 0.01:
        sentences.append(
            f"The scene keeps its {_rate(scene):.4g} frames a second, since it is animated; the clip has "
            f"{performance.fps:.4g}: the head and the picture behind it keep the clip's time."
        )
    return " ".join(sentences)


def _rate(scene: bpy.types.Scene) -> float:
    return float(scene.render.fps / scene.render.fps_base)


def _set_rate(scene: bpy.types.Scene, fps: float) -> None:
    whole = max(1, round(fps))
    scene.render.fps, scene.render.fps_base = whole, 1.0 if abs(fps - whole) < 0.01 else whole / fps


def _is_animated(data: bpy.types.ID | None) -> bool:
    animation = getattr(data, "animation_data", None)
    return animation is not None and (animation.action is not None or bool(animation.nla_tracks))

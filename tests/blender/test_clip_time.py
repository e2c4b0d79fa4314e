# SPDX-License-Identifier: Apache-2.0
"""A clip of one frame rate in a scene of another: head, avatar, quality and the picture behind keep the clip's time."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.scene import avatar_rig, keyframes, matched_camera, scene_match
from blender_addon.ui.operators import track

import synthetic

NTSC, FILM = 30000 / 1001, 24000 / 1001
START = 11


def clip(folder: Path, times: np.ndarray) -> formats.Performance:
    """A tracked clip's folder with a picture at each of these seconds, and its performance, which is certain of all."""
    path = synthetic.write_performance(folder / "tracking.npz", frames=len(times))
    for number in range(len(times)):
        synthetic.write_png(folder / "images" / f"{number:06d}.png", np.zeros((8, 8, 3), np.uint8))
    return synthetic_with(path, timestamps=np.asarray(times, float).round(6), valid=np.ones(len(times), bool))


def synthetic_with(path: Path, **arrays: np.ndarray) -> formats.Performance:
    synthetic.write_tracking(path, synthetic.read(path) | arrays)
    return formats.read_performance(path)


def pictures_seen(scene: bpy.types.Scene, camera: bpy.types.Object, frames: range) -> np.ndarray:
    """Which picture of the clip Blender shows behind the head in each frame."""
    seen = []
    for frame in frames:
        scene.frame_set(frame)
        evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        user = evaluated.background_images[0].image_user
        seen.append(min(frame - user.frame_start + 1, user.frame_duration) + user.frame_offset)
    return np.array(seen)


def uneven(count: int = 40) -> np.ndarray:
    """Seconds of a phone's frames: 30 a second with a few milliseconds of jitter, and 15 a second while it was dark."""
    steps = np.where(np.arange(count) % 20 < 15, 1 / 30, 1 / 15) + 0.003 * np.sin(np.arange(count))
    return np.concatenate([[0.0], np.cumsum(steps)[:-1]])


@pytest.mark.parametrize(("rate", "fps", "base"), [
    (NTSC, 24, 1.0), (60.0, 24, 1.0), (FILM, 24, 1.0), (25.0, 30, 1.001), (NTSC, 60, 1.0), (None, 24, 1.0),
], ids=["29.97 in 24", "60 in 24", "23.976 in 24", "25 in 29.97", "29.97 in 60", "variable in 24"])  # fmt: skip
def test_everything_of_a_clip_keeps_its_time_in_a_scene_of_another_rate(scene, tmp_path, rate, fps, base):
    times = np.arange(61) / rate if rate else uneven()
    performance = clip(tmp_path / "clip", times)
    carrier = avatar_rig.build_avatar(
        bpy.context, formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz")), "Ann"
    )
    head, scene_rate = carrier.blendsplat.head, fps / base
    scene.render.fps, scene.render.fps_base = fps, base
    head.blendsplat.clip_start = START
    track.play(scene, head, performance)
    avatar_rig.apply_performance(carrier, performance, START, scene_rate)
    camera = matched_camera.add_camera(bpy.context, performance, scene.collection, tmp_path / "clip", START)

    want = START + times * scene_rate
    for owner in (head, head.data.shape_keys, head.blendsplat.rig, carrier.data.shape_keys):
        curves = list(keyframes.fcurves(owner))
        assert curves
        for curve in curves:
            at = keyframes.points(curve)[:, 0]
            np.testing.assert_allclose(at, want, atol=1e-4, err_msg=curve.data_path)
            assert np.abs(np.diff(at) - np.diff(want)).max() < 1e-3, "bunched"

    frames = range(START, START + round(times[-1] * scene_rate) + 1)
    seen = pictures_seen(scene, camera, frames)
    seconds = (np.array(frames) - START) / scene_rate
    away = np.abs(times[seen] - seconds)
    nearest = np.abs(times[None] - seconds[:, None]).min(1)
    newest = times[np.searchsorted(times, seconds + 1e-5, side="right") - 1]
    assert ((away <= nearest + 1e-4) | (times[seen] == newest)).all(), "the nearest picture, or the newest"
    assert away.max() <= max(np.diff(times).max(), 1 / scene_rate)
    assert away[np.diff(times, append=9.0)[seen] < 1 / scene_rate].max(initial=0) <= 0.5 / scene_rate + 1e-3


@pytest.mark.parametrize(("stamps", "rate"), [
    (np.arange(90) / NTSC, NTSC), (np.round(np.arange(90) / NTSC, 3), NTSC), (np.round(np.arange(48) / FILM, 3), FILM),
    (np.round(np.arange(100) / 60, 3), 60.0), (np.arange(90) / 27.3, 27.3),
], ids=["exact", "29.97 in milliseconds", "23.976 in milliseconds", "60 in milliseconds", "no usual rate"])  # fmt: skip
def test_a_new_scene_gets_the_clips_exact_rate(scene, tmp_path, stamps, rate):
    """Of time stamps in whole milliseconds the mean is 29.98 or 29.96: no rate that an editor knows."""
    performance = clip(tmp_path, stamps)
    scene_match.match(scene, performance, 1, untouched=True)
    assert scene.render.fps / scene.render.fps_base == pytest.approx(rate, abs=1e-4)


def test_the_scenes_note_says_that_both_keep_the_clips_time(scene, tmp_path):
    scene.render.fps = 24
    note = scene_match.match(scene, clip(tmp_path, np.arange(60) / NTSC), 1, untouched=False)
    assert "keeps its 24 frames a second" in note and "29.97: the head and the picture behind it keep" in note

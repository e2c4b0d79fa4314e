# SPDX-License-Identifier: Apache-2.0
"""Live Capture drives an avatar of the scene: what it does, whose keys stay, and what is left when it ends."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.client import jobs, pump
from blender_addon.scene import avatar_rig, drive_head, head_rig, preview_performance, reenact
from blender_addon.ui.operators import drive_live, live
from blender_addon.ui.panels.live import BLENDSPLAT_PT_live as PANEL
from drawn import drawn
from test_performance_sources import choose, everything, performance

import synthetic

OPERATORS = bpy.ops.blendsplat


@pytest.fixture(name="driven")
def a_driven_avatar(scene, engine, tmp_path, monkeypatch):
    """An avatar with keys of its own that the scene's capture shall drive; buttons return at once, as in a window."""
    file = synthetic.write_avatar(tmp_path / "a.avatar.npz")
    scene.render.fps = 25
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(file), "Ann")
    choose(scene, performance(tmp_path, 5))
    OPERATORS.apply_performance()
    monkeypatch.setattr(pump, "synchronous", lambda: False)
    scene.blendsplat.live.takes, scene.blendsplat.live.drive = str(tmp_path / "takes"), carrier
    return carrier


def start(until) -> jobs.Job:
    assert OPERATORS.start_live() == {"FINISHED"}
    pump.until(lambda: until() or not jobs.latest("live").running)
    return jobs.latest("live")


def face(carrier) -> np.ndarray:
    return head_rig.head_state(carrier.blendsplat.head).expression[0]


def test_from_start_to_the_take(scene, driven):
    scene.frame_set(7)
    before, given = everything(driven), synthetic.performance_arrays(frames=60, seed=6)
    assert "Learn an Avatar Too" in drawn(PANEL)
    moved = given["expression"][30]
    job = start(lambda: np.allclose(face(driven), moved, atol=1e-4))
    assert (job.params["drive"], job.params["learn"]) == (True, False)
    np.testing.assert_allclose(face(driven), moved, atol=1e-4)
    weights = np.array([key.value for key in avatar_rig.blendshape_keys(driven)])
    state = head_rig.head_state(driven.blendsplat.head)
    assert np.abs(weights).max() > 0 and state.jaw.shape == (1, 3, 3)
    assert "blendsplat.take_rest" in drawn(PANEL) and preview_performance.running(driven)
    assert not OPERATORS.apply_performance.poll() and not OPERATORS.preview_performance.poll()
    assert OPERATORS.take_rest() == {"FINISHED"} and drive_live.learns_rest(job)
    pump.until(lambda: not drive_live.learns_rest(job))
    OPERATORS.stop_live()
    pump.until(lambda: not jobs.latest("live").running)
    assert job.state == "done", job.error
    scene.frame_set(7)
    assert everything(driven) == before, "the avatar has its own keys again"
    assert len([item for item in scene.objects if item.blendsplat.kind == "AVATAR"]) == 1, "no other head came"
    take = live.takes_folder(scene) / "Take 1" / "tracking.npz"
    assert Path(scene.blendsplat.performance) == take and OPERATORS.apply_performance() == {"FINISHED"}


@pytest.mark.parametrize("bad", ["other", "die"])
def test_what_goes_wrong_leaves_the_avatar_as_it_was(scene, engine, driven, bad):
    before = everything(driven)
    engine(bad)
    job = start(lambda: drive_live.problem(jobs.latest("live")) != "")
    if bad == "other":
        driven.blendsplat.head["blendsplat_data"]["model"] = "mine"
        pump.until(lambda: drive_live.problem(job) != "")
        assert "another head model than Ann" in drive_live.problem(job)
        assert any("another head model" in line for line in drawn(PANEL))
        jobs.cancel(job)
        pump.until(lambda: not job.running)
    assert job.state in ("failed", "cancelled") and everything(driven) == before


def test_the_first_frames_are_the_rest(scene, driven):
    """From rest to rest: whatever the driver's resting face is, the avatar's own is shown for it."""
    driver, arrays = drive_head.Driver(), synthetic.performance_arrays(frames=60, seed=6)
    frame = {name: arrays[name][[0]] for name in drive_head.ARRAYS}
    assert drive_head.is_whole(frame, driven.blendsplat.head)
    assert not drive_head.is_whole(frame | {"eyelids": np.zeros((1, 3))}, driven.blendsplat.head)
    assert not drive_head.is_whole(frame | {"neck_pose": np.full((1, 3), np.nan)}, driven.blendsplat.head)
    done = [drive_head.drive(driven, driver, frame, reenact.Acting()) for _ in range(drive_head.FEWEST)]
    assert done == [False] * (drive_head.FEWEST - 1) + [True]
    for name, value in driver.rest.items():
        np.testing.assert_allclose(value, frame[name][0], atol=1e-6)
    assert preview_performance.stop(driven) and not preview_performance.running(driven)

# SPDX-License-Identifier: Apache-2.0
"""For scripts and farms: every operator can be called without a window, or stands here with the reason why not."""

from __future__ import annotations

import inspect
import os

import bpy
import pytest
from blender_addon.ui.operators import common
from blender_addon.ui.operators.frame_by_frame import FrameByFrame
from test_every_tooltip import operators

import synthetic

# No execute: a hand is needed.
INTERACTIVE = {
    "blendsplat.pick": "it is a click into a 3D view; for scripts there is select_avatar",
}  # fmt: skip
# Called in their own tests only: they would change this machine.
_ELSEWHERE = {
    "blendsplat.engine_install": "downloads the engine (test_install)",
    "blendsplat.engine_remove": "deletes the engine (test_install)",
    "blendsplat.start_live": "opens a camera (test_live_capture)",
    "blendsplat.find_cameras": "opens cameras (test_live_capture)",
}


def call(name: str) -> str:
    """Call an operator as a script does, without arguments -> what it reports as an error, "" when it went well."""
    category, function = name.split(".")
    try:
        getattr(getattr(bpy.ops, category), function)("EXEC_DEFAULT")
    except RuntimeError as error:
        return str(error)
    return ""


@pytest.fixture(params=["an empty scene", "an avatar"])
def stage(request, scene, engine, tmp_path):
    if request.param == "an avatar":
        scene.blendsplat.avatar_file = str(synthetic.write_avatar(tmp_path / "a.avatar.npz", gaussians=50))
        scene.blendsplat.performance = str(synthetic.write_performance(tmp_path / "tracking.npz", frames=6))
        assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
        scene.frame_end = 3
    return scene


def test_every_operator_runs_from_a_script_or_says_why_not(stage, tmp_path, monkeypatch):
    """Whatever an operator is asked without its arguments, in background, it ends, and what it says is a sentence."""
    monkeypatch.chdir(tmp_path)  # an export without a name is a file in the current folder
    monkeypatch.setattr(
        common.pump.time, "sleep", lambda seconds, sleep=common.pump.time.sleep: sleep(min(seconds, 0.01))
    )
    wrong = []
    for cls in operators():
        name = cls.bl_idname
        if not hasattr(cls, "execute"):
            if name not in INTERACTIVE:
                wrong.append(f"{name} has no execute, so that scripts cannot call it")
            continue
        if name in _ELSEWHERE:
            continue
        said = call(name)
        if "Traceback" in said or (said and not said.rstrip().endswith((".", "!"))):
            wrong.append(f"{name}: {said}")
    assert not wrong, "\n".join(wrong)


def test_the_lists_hold_what_there_is(scene):
    names = {cls.bl_idname for cls in operators()}
    assert (INTERACTIVE | _ELSEWHERE).keys() <= names and len(names) > 50
    assert not [name for name in INTERACTIVE if hasattr(next(c for c in operators() if c.bl_idname == name), "execute")]


def test_what_takes_its_time_waits_in_background(scene):
    """Jobs and exports return when they are done: ``wait`` is there for windows, background needs none."""
    waiting = [cls for cls in operators() if issubclass(cls, common.JobOperator | FrameByFrame)]
    assert len(waiting) > 5
    for cls in waiting:
        assert "wait" in {
            prop.identifier for prop in getattr(bpy.ops.blendsplat, cls.bl_idname[11:]).get_rna_type().properties
        }
    starting = [
        cls.bl_idname for cls in operators()
        if "jobs.start(" in inspect.getsource(cls) and not issubclass(cls, common.JobOperator)
    ]  # fmt: skip
    for name in starting:
        cls = next(cls for cls in operators() if cls.bl_idname == name)
        assert "synchronous()" in inspect.getsource(cls), f"{name} starts a job and does not wait for it"


def test_jobs_have_ended_when_the_call_returns(scene, engine, video):
    from blender_addon.client import jobs

    for name in ("import_video", "track", "train"):
        assert getattr(bpy.ops.blendsplat, name)() == {"FINISHED"}
        kind = name.removesuffix("_video")
        assert jobs.latest(kind).state == "done" and not jobs.latest(kind).running
    assert os.path.exists(bpy.path.abspath(scene.blendsplat.avatar_file))

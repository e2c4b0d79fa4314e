# SPDX-License-Identifier: Apache-2.0
"""Questions and jobs as in a window, where only the pump's timer moves them on: nothing waits, lanes run side by side,
frames pass in both directions, and an answer finds its scene or leaves the others alone."""

from __future__ import annotations

import ast
import os
import signal
import sys
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
import synthetic_fit
from blender_addon.client import jobs, pump, session, weights_check
from blender_addon.client.link import LinkError
from blender_addon.ui.operators import track, train

import synthetic

ADDON = Path(__file__).resolve().parents[2] / "blender_addon"
FAKE = Path(__file__).with_name("fake_engine.py")
AT_ONCE = 0.3  # seconds after which an artist asks whether Blender hangs


@pytest.fixture
def window(scene, monkeypatch, tmp_path):
    """window("late"): an engine with a misbehaviour, ready; operators return without waiting, the test takes turns."""
    monkeypatch.setattr(pump, "synchronous", lambda: False)
    monkeypatch.setattr(bpy.types.Operator, "report", lambda *_: None, raising=False)

    def use(bad: str = "") -> None:
        session.stop()
        monkeypatch.setattr(session, "engine_command", lambda: [sys.executable, str(FAKE), bad])
        session.start(patient=False)
        turns(lambda: session.link.state == "ready")

    synthetic.write_performance(tmp_path / "clip" / "tracking.npz")
    scene.blendsplat.directory = str(tmp_path / "clip")
    return use


def turns(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        pump.turn()
        time.sleep(0.01)


def heads() -> int:
    return sum(item.blendsplat.kind == "HEAD" for item in bpy.data.objects)


def at_once(operator, **words) -> None:
    begin = time.monotonic()
    assert operator(**words) == {"FINISHED"}
    assert time.monotonic() - begin < AT_ONCE


def test_a_head_comes_when_it_is_here(window):
    window("late")
    at_once(bpy.ops.blendsplat.add_head)
    assert session.errand(track.TOPIC).waiting and not heads()
    assert "on its way" in track.AddHead.reason(bpy.context)
    turns(heads)
    assert session.errand(track.TOPIC).state == "done" and track.AddHead.reason(bpy.context) == ""


def test_fitted_heads_come_together(window, tmp_path):
    window("late")
    folder = synthetic_fit.write_fit(tmp_path / "anna")
    at_once(bpy.ops.blendsplat.add_fit, folder=str(folder))
    assert not heads()
    turns(heads)


def test_a_script_may_wait(window):
    window("late")
    assert bpy.ops.blendsplat.add_head(wait=True) == {"FINISHED"}
    assert heads() == 1


def test_an_answer_for_a_closed_file_is_dropped(window):
    window("late")
    bpy.ops.blendsplat.add_head()
    bpy.ops.wm.read_homefile(use_empty=True)
    turns(lambda: not session.errand(track.TOPIC).waiting)
    assert session.errand(track.TOPIC).state == "done" and not heads()


def test_an_answer_finds_the_file_that_was_opened_again(window, tmp_path):
    window("late")
    blend = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.blendsplat.add_head()
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=blend)
    turns(lambda: not session.errand(track.TOPIC).waiting)
    assert heads() == 1


def test_a_dead_engine_is_a_sentence_in_the_panel(window):
    window("late")
    bpy.ops.blendsplat.add_head()
    os.kill(session.link._process.pid, signal.SIGKILL)
    turns(lambda: not session.errand(track.TOPIC).waiting)
    assert "memory" in session.errand(track.TOPIC).error and not heads()


def test_what_cannot_be_used_is_a_sentence_and_ends_nothing_else(window):
    window()
    failures = []
    session.ask("ping", {}, then=lambda *_: 1 / 0, failed=failures.append, topic="broken")
    answers = []
    session.ask("ping", {}, then=lambda *_: answers.append("here"))
    turns(lambda: answers and failures)
    assert "division" in failures[0] and session.errand("broken").state == "failed"


def test_silence_has_an_end(window):
    window("deaf")
    failures = []
    session.ask("ping", {}, failed=failures.append, timeout=0.2)
    turns(lambda: failures)
    assert "did not answer within" in failures[0]


def test_an_engine_that_cannot_be_started_is_said(window, monkeypatch):
    session.stop()
    monkeypatch.setattr(session, "engine_command", lambda: ["/no/such/engine"])
    weights_check.check("auto")
    ((sentence, icon),) = weights_check.lines("auto")
    assert "cannot be started" in sentence and icon == "ERROR"


def test_several_answers_in_one(window, tmp_path):
    window()
    got = []
    asked = [("head.rig", {"directory": str(tmp_path / "clip")}), ("weights.describe", {"weights": "x"}), ("ping", {})]
    session.ask_all(asked, then=got.append)
    turns(lambda: got)
    (head, refused, pong) = got[0]
    assert "rig.template" in head[1] and "model.safetensors" in refused and pong[0] == {"time": 0, "jobs": []}


def test_a_job_is_done_when_its_result_is_here(window, tmp_path):
    window("late")
    synthetic.write_png(tmp_path / "anna.png", np.zeros((8, 8, 3), np.uint8))
    at_once(bpy.ops.blendsplat.fit_image, filepath=str(tmp_path / "anna.png"))
    fit, states = jobs.latest("fit_image"), set()

    def ended() -> bool:
        states.add(fit.state)
        return not fit.running

    turns(ended)
    assert fit.state == "done" and "adding" in states and heads() == 1
    assert bpy.context.scene.blendsplat.photographs.files[0].state == "FITTED"


def test_an_engine_that_dies_between_a_job_and_its_result_is_said(window, tmp_path):
    window("late")
    synthetic.write_png(tmp_path / "anna.png", np.zeros((8, 8, 3), np.uint8))
    bpy.ops.blendsplat.fit_image(filepath=str(tmp_path / "anna.png"))
    fit = jobs.latest("fit_image")
    turns(lambda: fit.state == "adding")
    os.kill(session.link._process.pid, signal.SIGKILL)
    turns(lambda: not fit.running)
    assert fit.state == "failed" and "could not be added" in fit.error and "memory" in fit.error
    assert bpy.context.scene.blendsplat.photographs.files[0].state == "FITTED", "what was fitted is known"


# --- lanes


def training(tmp_path) -> jobs.Job:
    params = {"directory": str(tmp_path / "clip"), "output": str(tmp_path / "a.avatar.npz"), "device": "cpu"}
    job = jobs.start("train", params)
    turns(lambda: job.done > 0)
    return job


@pytest.mark.parametrize(("bad", "mirror"), [("", "live"), ("lanes", "work")])
def test_the_engine_says_what_lanes_there_are(window, bad, mirror):
    window(bad)
    lanes = [jobs.lane_of(kind) for kind in ("train", "fit_image", "mirror")]
    assert lanes == ["train", "work", mirror]


def test_a_training_greys_only_its_own_lane(window, tmp_path):
    window("crawl")
    job = training(tmp_path)
    assert "Train is running" in train.Train.reason(bpy.context)
    assert track.AddHead.reason(bpy.context) == "" and bpy.ops.blendsplat.fit_image.poll()
    at_once(bpy.ops.blendsplat.add_head)
    turns(heads)
    synthetic.write_png(tmp_path / "anna.png", np.zeros((8, 8, 3), np.uint8))
    at_once(bpy.ops.blendsplat.fit_image, filepath=str(tmp_path / "anna.png"))
    fit = jobs.latest("fit_image")
    assert jobs.running("train") == job and jobs.running("work") == fit and jobs.latest("train") == job
    turns(lambda: not fit.running and not session.errand("fits").waiting)
    assert fit.state == "done" and job.running and heads() == 2
    assert bpy.ops.blendsplat.fit_image.poll()
    jobs.cancel(job)
    turns(lambda: not job.running)


def test_one_job_in_a_clips_folder(window, tmp_path):
    window("crawl")
    (tmp_path / "clip" / "clip.json").write_text("{}")
    assert track.Track.reason(bpy.context) == ""
    training(tmp_path)
    assert "Train works on this clip" in track.Track.reason(bpy.context)


def test_cancel_means_the_job_whose_button_it_is(window, tmp_path):
    window("slow")
    job = training(tmp_path)
    fit = jobs.start("fit_image", {"images": ["slow.png"], "directory": str(tmp_path / "f")}, {})
    turns(lambda: fit.done > 0)
    assert bpy.ops.blendsplat.cancel_job(kind="train") == {"FINISHED"}
    turns(lambda: not job.running)
    assert job.state == "cancelled" and fit.running
    assert bpy.ops.blendsplat.cancel_job() == {"FINISHED"}
    turns(lambda: not fit.running)
    assert jobs.running() is None and jobs.latest("train") == job


def test_two_jobs_of_one_kind_are_both_followed(window, tmp_path):
    window()
    pair = [jobs.start("track", {"directory": str(tmp_path / name), "head": "human", "device": "cpu"}) for name in "ab"]
    turns(lambda: not any(job.running for job in pair))
    assert [job.state for job in pair] == ["done", "done"]


# --- frames


def test_frames_in_both_directions(window):
    """In order, none left out; of previews only the newest, and of its own job."""
    window()
    got, accepted = [], []
    jobs.on_frame("mirror", lambda job, info, arrays: got.append((job, info, arrays["image"].copy())))
    job, other = jobs.start("mirror", {}), jobs.start("mirror", {})
    with pytest.raises(LinkError, match="does not run"):
        jobs.send_frame(job, {})
    turns(lambda: job.identity and other.identity)
    frames = [np.random.default_rng(seed).integers(0, 255, (4, 6, 3)).astype(np.uint8) for seed in range(40)]
    for number, frame in enumerate(frames):
        jobs.send_frame(job, {"image": frame}, {"number": number}, accepted.append)
    turns(lambda: len(got) == 40 and len(accepted) == 40)
    assert all(accepted) and [info for _, info, _ in got] == [{"number": number} for number in range(40)]
    assert all(of == job for of, _, _ in got)
    for frame, (_, _, mirrored) in zip(frames, got, strict=True):
        np.testing.assert_array_equal(mirrored, frame[:, ::-1])
    np.testing.assert_array_equal(job.preview, frames[-1])
    assert other.preview is None
    for item in (job, other):
        jobs.cancel(item)
    turns(lambda: not job.running and not other.running)
    with pytest.raises(LinkError):
        jobs.send_frame(job, {"image": frames[0]})


def test_a_frame_that_is_not_taken_is_said(window):
    window("slow")
    job = jobs.start("track", {"directory": "x"})
    turns(lambda: job.identity)
    accepted = []
    jobs.send_frame(job, {}, None, accepted.append)
    turns(lambda: accepted)
    assert accepted == [False]


def test_each_job_has_its_own_picture(window, monkeypatch):
    from blender_addon.client import preview

    shown = []
    monkeypatch.setattr(preview, "show", lambda number, image: shown.append((number, int(image[0, 0, 0]))))
    window()
    pair = [jobs.start("mirror", {}) for _ in range(2)]
    turns(lambda: all(job.identity for job in pair))
    for value, job in enumerate(pair):
        jobs.send_frame(job, {"image": np.full((2, 2, 3), value, np.uint8)})
    turns(lambda: len(shown) == 2)
    assert sorted(shown) == [(job.number, value) for value, job in enumerate(pair)]


# --- the house


def calls(path: Path) -> set[str]:
    """Names of everything that a file calls, as written: "session.ready"."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text("utf-8"))) if type(node) is ast.Call}


def test_only_a_render_waits_and_there_is_one_timer():
    for path in ADDON.rglob("*.py"):
        name, called = str(path.relative_to(ADDON)), calls(path)
        if name not in ("client/link.py", "client/install.py", "client/session.py", "render/engine.py"):
            assert not {item for item in called if item.endswith((".ready", ".request"))}, name
        if name != "client/pump.py":
            assert "bpy.app.timers.register" not in called and "area.tag_redraw" not in called, name

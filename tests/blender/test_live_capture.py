# SPDX-License-Identifier: Apache-2.0
"""Live Capture with the stand-in engine: whatever happens while a camera runs, the scene stays the artist's and what
was captured is found again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import preferences
from blender_addon.client import jobs, pump, session
from blender_addon.formats import read_performance
from blender_addon.render import gather
from blender_addon.scene import keyframes, live_avatar, matched_camera
from blender_addon.space import quat_to_matrix
from blender_addon.ui import live_sources, live_words, status_bar, step_state
from blender_addon.ui.operators import large_picture, live, results, train
from blender_addon.ui.panels.live import BLENDSPLAT_PT_live as PANEL
from blender_addon.ui.panels.train import BLENDSPLAT_PT_train
from drawn import drawn

import synthetic

OPERATORS = bpy.ops.blendsplat


@pytest.fixture
def camera(scene, engine, tmp_path, monkeypatch):
    """A scene that captures into the test's folder; buttons return at once, as in a window."""
    monkeypatch.setattr(pump, "synchronous", lambda: False)
    scene.blendsplat.live.takes = str(tmp_path / "Aufnahmen ü")
    return scene


def job() -> jobs.Job:
    return jobs.latest("live")


def start(until=lambda: live_avatar.of(bpy.context.scene) is not None) -> jobs.Job:
    assert OPERATORS.start_live() == {"FINISHED"}
    pump.until(lambda: until() or not job().running)
    return job()


def ends() -> jobs.Job:
    pump.until(lambda: not job().running)
    return job()


def kinds(scene) -> list[str]:
    return sorted(item.blendsplat.kind for item in scene.objects if item.blendsplat.kind != "NONE")


WHOLE = ["AVATAR", "CAMERA", "HEAD", "RIG"]


def test_from_start_to_stop(camera):
    assert "blendsplat.start_live" in drawn(PANEL)
    start()
    words = drawn(PANEL)
    assert any("14.5 a second" in line for line in words) and "New Frames" in words and "Pause" in words
    assert camera.blendsplat.live.quality == "Good (27.2 dB)" and "blendsplat.stop_live" in words
    assert kinds(camera) == ["LIVE"], "nothing takes it for an avatar that is finished"
    assert not step_state.done(camera, "avatar") and step_state.activity(camera, "live") == "running"
    assert OPERATORS.stop_live() == {"FINISHED"}
    assert not OPERATORS.stop_live.poll() and not OPERATORS.pause_live.poll(), "it is ending"
    assert ends().state == "done", job().error
    take = Path(camera.blendsplat.live.take)
    assert take.name == "Take 1" and Path(camera.blendsplat.directory) == take
    assert kinds(camera) == WHOLE and not bpy.data.meshes.get(live_avatar.NAME)
    carrier = next(item for item in camera.objects if item.blendsplat.kind == "AVATAR")
    assert Path(carrier.blendsplat.avatar_path) == take / "Take 1.avatar.npz"
    assert carrier.data.shape_keys.animation_data is not None, "the take's performance plays on it"
    assert (camera.frame_start, camera.frame_end, camera.render.fps) == (1, 20, 25)
    assert step_state.done(camera, "live") and step_state.done(camera, "track")


def test_what_the_view_shows_is_the_engines_world(camera):
    start()
    seen = gather.gather(bpy.context.evaluated_depsgraph_get())
    places = synthetic.grid_head()[1]["rig.template"]
    np.testing.assert_allclose(seen.means[:, [0, 2]], places[:, :2], atol=1e-6)
    near = seen.means[:, 1] + places[:, 2]
    assert np.ptp(near) < 1e-5 and -0.06 < near[0] <= 0, "it comes nearer: towards Blender's -y"
    turned = quat_to_matrix(seen.quats[0].astype(float))
    np.testing.assert_allclose(turned @ [0, 1, 0], [0, 0, 1], atol=1e-6)
    assert np.allclose(seen.scales, 0.004) and np.allclose(seen.opacities, 0.8) and np.allclose(seen.colors, 0.25)
    item = live_avatar.of(camera)
    assert item.hide_render and item.hide_select
    data, before = item.data, seen.means[0, 1]
    pump.until(lambda: abs(gather.gather(bpy.context.evaluated_depsgraph_get()).means[0, 1] - before) > 0.002)
    assert live_avatar.of(camera).data == data, "filled anew, not made anew"
    assert len([mesh for mesh in bpy.data.meshes if mesh.name.startswith(live_avatar.NAME)]) == 1


def test_another_number_of_gaussians_and_arrays_that_do_not_belong_together(scene):
    def arrays(count: int) -> dict[str, np.ndarray]:
        widths = {"position": 3, "scale": 3, "rotation": 4, "color": 3}
        return {name: np.ones((count, n), np.float32) for name, n in widths.items()} | {"opacity": np.ones(count)}

    assert live_avatar.show(scene, arrays(9)) and live_avatar.show(scene, arrays(4))
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) == 4
    for wrong in (arrays(4) | {"scale": np.ones((3, 3))}, {"position": np.ones((4, 3))}, arrays(0)):
        assert not live_avatar.show(scene, wrong)
    mesh = live_avatar.of(scene).data
    assert len(mesh.vertices) == 4 and len(mesh.edges) == 1, "without an edge views draw dots"
    bpy.context.view_layer.objects.active = live_avatar.of(scene)
    bpy.ops.object.mode_set(mode="EDIT")
    assert not live_avatar.show(scene, arrays(5)), "the artist is inside of it"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_pause_holds_it(camera):
    start()
    assert OPERATORS.pause_live() == {"FINISHED"}
    pump.until(lambda: job().message == "paused")
    words, seen = drawn(PANEL), job().done
    assert "Go On" in words and "Paused: nothing is recorded" in words
    pump.until(lambda times=iter(range(30)): next(times, None) is None)
    assert job().done == seen
    OPERATORS.pause_live()
    pump.until(lambda: job().done > seen and job().figures["seconds"] > 0.6)
    assert "Pause" in drawn(PANEL) and status_bar.words(job()) == "Live Capture 1 s"


def test_what_is_set_is_what_the_engine_is_told(camera, tmp_path):
    settings = camera.blendsplat.live
    assert OPERATORS.find_cameras() == {"FINISHED"}
    pump.until(lambda: live_sources.known() is not None)
    settings.camera = "/dev/video2"
    settings.mirror, settings.film, settings.seconds = True, True, 12.0
    told = start().params
    assert told["source"] == "/dev/video2" and told["mirror"] and told["seconds"] == 12 and told["preset"] == "live"
    assert told["preview"].endswith("Take 1 preview.mp4")
    OPERATORS.stop_live()
    ends()
    settings.source, settings.address = "STREAM", "telephone"
    assert not OPERATORS.start_live.poll(), "no address"
    settings.address = " rtsp://telephone/1 "
    told = start().params
    assert told["source"] == "rtsp://telephone/1" and told["output"].endswith("Take 2.avatar.npz"), "a take of its own"
    OPERATORS.stop_live()
    ends()


def test_a_camera_that_is_not_there_any_more_stays_chosen(scene, engine):
    settings = scene.blendsplat.live
    settings.camera_source = "Old Cam"
    assert settings.camera == "Old Cam"
    OPERATORS.find_cameras()
    assert settings.camera == "Old Cam" and len(live_sources.camera_items(settings, None)) == 3
    settings.camera_source = ""
    assert settings.camera == "/dev/video0"


def test_a_video_plays_to_its_end_in_background(scene, engine, video):
    settings = scene.blendsplat.live
    with pytest.raises(RuntimeError, match="Take Length"):
        OPERATORS.start_live()
    settings.source, settings.video = "FILE", str(video)
    assert OPERATORS.start_live() == {"FINISHED"}
    assert kinds(scene) == WHOLE
    assert Path(scene.blendsplat.directory) == video.parent / "takes" / "Take 1"


def test_continue_offline_makes_the_same_avatar_better(scene, engine, video):
    settings = scene.blendsplat.live
    settings.source, settings.video = "FILE", str(video)
    OPERATORS.start_live()
    carrier = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")
    scene.blendsplat.preset_name = "full"
    assert "Continue Offline" in drawn(BLENDSPLAT_PT_train) and "blendsplat.continue_offline" in drawn(PANEL)
    assert OPERATORS.continue_offline() == {"FINISHED"}
    told, take = jobs.latest("train").params, Path(scene.blendsplat.directory)
    assert told["start"] == told["output"] == str(take / "Take 1.avatar.npz") and told["preset"] == "draft"
    assert [item for item in scene.objects if item.blendsplat.kind == "AVATAR"] == [carrier], "updated, not doubled"
    assert not train.goes_on(scene) and "Continue Offline" not in drawn(BLENDSPLAT_PT_train)
    scene.blendsplat.go_on_live = False
    assert OPERATORS.train() == {"FINISHED"} and "start" not in jobs.latest("train").params
    assert not OPERATORS.import_video.poll(), "a take is not imported over"
    scene.blendsplat.directory = ""
    assert OPERATORS.import_video.poll()


def test_cancelled_it_leaves_as_much(camera):
    start()
    OPERATORS.cancel_job(kind="live")
    assert ends().state == "cancelled"
    pump.until(lambda: "AVATAR" in kinds(camera))
    assert kinds(camera) == WHOLE


def test_an_engine_that_dies(camera, engine):
    engine("die")
    assert start(lambda: False).state == "failed"
    assert kinds(camera) == [], "no avatar that is learned no more"
    assert Path(camera.blendsplat.directory).name == "Take 1" and "kept in the take's folder" in " ".join(drawn(PANEL))
    assert any("Track Head makes a clip of it" in words for words in drawn(PANEL))
    engine()
    assert OPERATORS.track.poll() and not OPERATORS.import_video.poll()
    (Path(camera.blendsplat.directory) / "clip.json").write_text("{}")
    assert not any("Track Head makes a clip of it" in words for words in drawn(PANEL))


def test_an_engine_that_is_killed_in_the_middle(camera):
    start()
    os.kill(session.link._process.pid, signal.SIGKILL)
    assert ends().state == "failed" and kinds(camera) == []


def test_nobody_is_seen(camera, engine):
    engine("away")
    start(lambda: job().message != "")
    assert "No face in the picture: look into the camera." in drawn(PANEL)
    OPERATORS.stop_live()
    assert ends().state == "failed" and "No face was seen" in " ".join(drawn(PANEL))
    assert camera.blendsplat.directory == "" and kinds(camera) == [], "the scene has no clip that is not there"


def test_a_camera_that_stalls_is_named(camera, engine):
    engine("gone")
    start()
    assert "The camera 0 has sent nothing for 4 seconds." in drawn(PANEL)
    OPERATORS.stop_live()
    ends()
    assert "The camera 0 was gone for 2 seconds." in drawn(PANEL)


def test_undo_while_it_runs(camera):
    bpy.ops.ed.undo_push(message="before")
    start()
    cube = bpy.data.objects.new("cube", None)
    camera.collection.objects.link(cube)
    bpy.ops.ed.undo_push(message="a cube, while it runs")
    pump.until(lambda seen=job().done: job().done > seen + 3)
    bpy.ops.ed.undo()
    scene = bpy.context.scene
    assert "cube" not in scene.objects
    pump.until(lambda: live_avatar.of(scene) is not None)
    OPERATORS.stop_live()
    assert ends().state == "done" and kinds(bpy.context.scene) == WHOLE
    bpy.ops.ed.undo_push(message="after")
    for _ in range(3):
        if bpy.ops.ed.undo.poll():
            bpy.ops.ed.undo()
        assert "LIVE" not in kinds(bpy.context.scene), "of a session that has ended"


def test_two_sessions(camera, tmp_path):
    start()
    assert not OPERATORS.start_live.poll()
    other = bpy.data.scenes.new("other")
    assert live.StartLive.reason(bpy.context) != ""
    with bpy.context.temp_override(scene=other):
        words = drawn(PANEL)
    assert any("Live Capture is running for" in line for line in words) and "blendsplat.cancel_job" in words
    assert live_avatar.of(other) is None
    OPERATORS.stop_live()
    ends()
    assert kinds(other) == [] and kinds(camera) == WHOLE


def test_the_file_is_closed_while_it_runs(camera, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "anna.blend"))
    start()
    bpy.ops.wm.save_mainfile()
    assert live_avatar.of(bpy.context.scene) is None, "files hold none"
    pump.until(lambda: live_avatar.of(bpy.context.scene) is not None)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert ends().state == "done" and kinds(bpy.context.scene) == [], "the camera is off, and another file is untouched"
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "anna.blend"))
    scene = bpy.context.scene
    assert kinds(scene) == [] and [offer.title for offer in results.offers(scene, "live")] == ["Add Take"]
    assert "New Result: Add Take" in drawn(PANEL)
    assert OPERATORS.add_result(kind="live") == {"FINISHED"} and kinds(scene) == WHOLE


def test_blender_is_closed_while_it_runs(scene, engine, video, tmp_path):
    """The next Blender has only files: the .blend knows its latest take."""
    settings = scene.blendsplat.live
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "anna.blend"))
    settings.source, settings.video = "FILE", str(video)
    real = preferences.get()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preferences, "get", lambda: _Never(real))
        OPERATORS.start_live()
    assert kinds(scene) == []
    bpy.ops.wm.save_mainfile()
    jobs.unregister()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "anna.blend"))
    assert "blendsplat.add_take" in drawn(PANEL)
    assert OPERATORS.add_take() == {"FINISHED"} and kinds(bpy.context.scene) == WHOLE
    assert "blendsplat.add_take" not in drawn(PANEL)


class _Never:
    """Preferences that add no results by themselves."""

    add_results = False

    def __init__(self, real) -> None:
        self._real = real

    def __getattr__(self, name: str):
        return getattr(self._real, name)


def test_a_result_waits_while_the_artist_poses(camera):
    start()
    bones = bpy.data.objects.new("mine", bpy.data.armatures.new("mine"))
    camera.collection.objects.link(bones)
    bpy.context.view_layer.objects.active = bones
    bpy.ops.object.mode_set(mode="POSE")
    OPERATORS.stop_live()
    assert ends().state == "done" and bones.mode == "POSE"
    assert kinds(camera) == [], "the live avatar goes, the real one waits"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert OPERATORS.add_result(kind="live") == {"FINISHED"} and kinds(camera) == WHOLE


def test_the_preview_follows_in_an_image(camera):
    start()
    assert OPERATORS.show_picture(kind="LIVE") == {"FINISHED"}
    image = bpy.data.images[large_picture.LIVE]
    image.use_fake_user = True  # as an editor that shows it
    assert tuple(image.size) == (48, 16)
    before = image.pixels[0]
    pump.until(lambda: abs(image.pixels[0] - before) > 0.01)
    assert len([item for item in bpy.data.images if item.name.startswith(large_picture.LIVE)]) == 1
    assert not image.is_dirty, "Blender would ask to save it"


def test_while_blender_is_busy_only_the_present_waits(camera):
    """Nobody takes messages for a while: pictures and Gaussians of then are not kept."""
    start()
    seen = job().done
    inbox, until = session.link.notifications, time.monotonic() + 20
    while inbox.qsize() < 40 and time.monotonic() < until:
        time.sleep(0.02)
    waiting = [message.body["method"] for message in list(inbox.queue)]
    assert waiting.count("job.preview") == waiting.count("job.frame") == 1 < waiting.count("job.progress")
    pump.until(lambda: job().done > seen + 10)


def test_statistics_in_words():
    figures = {"dropped": 4, "tracked": 90, "fps": 12.25, "local": 60, "long_term": 90, "images": 1234, "rate": 88.4}
    said = live_words.statistics(100, figures)
    assert said[0] == ("Frames", "100, 4 dropped") and "12.2 a second" in said[1][1] and len(said) == 4
    assert live_words.statistics(3, {"dropped": 0}) == [("Frames", "3, 0 dropped")]
    assert live_words.quality(figures | {"new_psnr": 27.26}) == "Good (27.3 dB)" and live_words.quality(figures) == ""
    assert live_words.situation("live") == ("", False) and live_words.situation("") == ("", False)
    assert live_words.situation("The camera 0 is gone; waiting for it.")[1]
    assert not live_words.situation("looking for a face")[1]


def test_a_take_from_which_frames_were_dropped_keeps_its_time(scene, tmp_path):
    """The picture behind the head is the newest that was taken by then, however long each stood; so is the veil's."""
    filmed = np.array([0, 1, 2, 9, 10, 14, 30, 31])  # of a camera with 25 frames a second
    synthetic.write_performance(tmp_path / "tracking.npz", frames=len(filmed))
    performance = read_performance(tmp_path)
    assert performance.steady and round(performance.fps, 6) == 25
    performance.arrays["timestamps"] = filmed / 25 + 0.003 * np.sin(filmed)  # no clock is exact
    assert not performance.steady and performance.fps == 25, "the camera's rate, not that of what was left"
    for number in range(len(filmed)):
        synthetic.write_png(tmp_path / "images" / f"{number:06d}.png", np.zeros((8, 8, 3), np.uint8))
    start, scene.render.fps = 7, 25
    camera = matched_camera.add_camera(bpy.context, performance, scene.collection, tmp_path, start)
    matched_camera.veil(camera.data, 0.5)
    assert len(camera.data.background_images) == 2
    for frame in range(32):
        scene.frame_set(start + frame)
        evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        for background in evaluated.background_images:
            user = background.image_user
            shown = min(start + frame - user.frame_start + 1, user.frame_duration) + user.frame_offset
            assert shown == np.flatnonzero(filmed <= frame)[-1], f"frame {frame}"
    matched_camera.veil(camera.data, 0.0)
    assert [curve.data_path for curve in keyframes.fcurves(camera.data)] == [
        "background_images[0].image_user.frame_offset"
    ]

# SPDX-License-Identifier: Apache-2.0
"""The operators in the order of the work, against the stand-in engine: what an artist or a script presses."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats, preferences
from blender_addon.client import jobs, session
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, carrier_mesh, keyframes
from blender_addon.ui.operators import common
from steps import positions, the_avatar, work

import synthetic


@pytest.mark.parametrize("init", ["landmarks", "kaolrm"])
def test_the_engine_hears_what_tracking_starts_from(scene, engine, video, init):
    if init != "landmarks":
        scene.blendsplat.track_init = init
    assert bpy.ops.blendsplat.import_video() == {"FINISHED"}
    assert bpy.ops.blendsplat.track() == {"FINISHED"}
    told = json.loads((video.parent / "Anna spricht 日本 avatar" / "track.json").read_text())
    assert told["params"]["init"] == init


def test_what_the_engine_remarks_is_shown(scene, engine, video, capfd):
    engine("remark")
    assert bpy.ops.blendsplat.import_video() == {"FINISHED"}
    assert bpy.ops.blendsplat.track() == {"FINISHED"}
    assert jobs.latest("track").remarks == ["Two people."]
    assert "Two people." in "".join(capfd.readouterr())  # Blender prints an operator's reports
    for damaged in (None, {}, {"notes": "text"}, {"notes": None}, [1]):
        assert jobs.Job("track", {}, result=damaged).remarks == []


def test_the_whole_work(scene, engine, video):
    work(scene)
    kinds = sorted(item.blendsplat.kind for item in scene.objects)
    assert kinds == ["AVATAR", "CAMERA", "HEAD", "RIG"]
    carrier = the_avatar(scene)
    assert len(avatar_rig.blendshape_keys(carrier)) == 6
    assert len(list(keyframes.fcurves(carrier.data.shape_keys))) == 6
    assert scene.frame_end == 20
    assert (video.parent / "Anna spricht 日本 avatar" / "Anna spricht 日本.avatar.npz").exists()


def test_how_a_scene_is_rendered_is_the_artists(scene, engine, video):
    """No result switches it; one press in the panel does."""
    scene.render.engine, scene.view_settings.view_transform = "CYCLES", "AgX"
    work(scene)
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert (scene.render.engine, scene.view_settings.view_transform) == ("CYCLES", "AgX")
    assert bpy.ops.blendsplat.use_render_engine() == {"FINISHED"}
    assert (scene.render.engine, scene.view_settings.view_transform) == ("BLENDSPLAT", "Standard")
    assert not bpy.ops.blendsplat.use_render_engine.poll()
    scene.view_settings.view_transform = "AgX"  # the trained colours do not show: the press is offered again
    assert bpy.ops.blendsplat.use_render_engine() == {"FINISHED"}
    assert scene.view_settings.view_transform == "Standard"


def test_grey_buttons(scene, engine, tmp_path):
    operators = bpy.ops.blendsplat
    for operator in (
        operators.import_video,
        operators.track,
        operators.train,
        operators.apply_performance,
        operators.export_ply,
    ):
        assert not operator.poll()
    scene.blendsplat.video = str(tmp_path / "absent.mp4")
    assert not operators.import_video.poll()


def test_no_engine_is_a_grey_button(scene, video):
    assert session.engine_command() == []
    assert not bpy.ops.blendsplat.import_video.poll()


def test_a_failed_job_is_an_error_in_words(scene, engine, video):
    engine("noface")
    bpy.ops.blendsplat.import_video()
    with pytest.raises(RuntimeError, match="No face was found"):
        bpy.ops.blendsplat.track()
    assert jobs.latest("track").state == "failed"
    assert bpy.ops.blendsplat.track.poll()


def test_killed_in_training_then_continued(scene, engine, video):
    bpy.ops.blendsplat.import_video()
    bpy.ops.blendsplat.track()
    engine("die")
    with pytest.raises(RuntimeError, match="checkpoint"):
        bpy.ops.blendsplat.train()
    folder = video.parent / "Anna spricht 日本 avatar"
    assert int(next(folder.glob("*.checkpoint.safetensors")).read_text()) == 50
    first = []
    session.on_notification("job.progress", lambda params, _arrays: first.append(params["done"]))
    assert bpy.ops.blendsplat.train() == {"FINISHED"}
    assert first[0] > 50, "training began again from the start"
    assert the_avatar(scene)


def test_every_step_with_an_engine_of_its_own(scene, engine, video):
    """Each engine process calls its first job job-1: an answer must not be taken for an older job's."""
    for operator in (bpy.ops.blendsplat.import_video, bpy.ops.blendsplat.track, bpy.ops.blendsplat.train):
        assert operator() == {"FINISHED"}
        session.stop()
    assert the_avatar(scene)


def test_cancel_keeps_what_is_there(scene, engine, video):
    engine("slow")
    job = jobs.start(
        "train", {"directory": str(video.parent), "output": str(video.parent / "a.avatar.npz"), "device": ""}
    )
    jobs.wait(job, 20, tick=lambda running: jobs.cancel(running) if running.done > 3 else None)
    assert job.state == "cancelled"
    assert (video.parent / "a.checkpoint.safetensors").exists()


def test_cancel_before_the_engine_is_up(scene, engine, video):
    job = jobs.start("train", {"directory": str(video.parent), "output": str(video.parent / "a"), "device": "cpu"})
    jobs.cancel(job)
    assert jobs.wait(job, 5).state == "cancelled"


def test_saved_closed_and_opened_in_the_middle(scene, engine, video, tmp_path):
    """A job goes on while another file is opened; its result comes into the file that works on its folder."""
    engine("slow")
    bpy.ops.blendsplat.import_video()
    engine("")
    blend = tmp_path / "ä b.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    directory = session.engine_path(video.parent / "Anna spricht 日本 avatar")
    notes = {"place": common.Place.of(scene)}
    job = jobs.start("track", {"directory": directory, "head": "human", "device": "cpu"}, notes)
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    jobs.wait(job, 20)
    assert job.state == "done", job.error
    assert sum(item.blendsplat.kind == "HEAD" for item in bpy.context.scene.objects) == 1


def test_a_result_for_a_closed_file_is_left_in_its_folder(scene, engine, video):
    directory = video.parent / "Anna spricht 日本 avatar"
    job = jobs.start("track", {"directory": str(directory), "head": "human", "device": "cpu"})
    bpy.ops.wm.read_homefile(use_empty=True)
    assert jobs.wait(job, 20).state == "done"
    assert not [item for item in bpy.data.objects if item.blendsplat.kind != "NONE"]
    assert (directory / "tracking.npz").exists()


def test_the_blend_file_plays_without_the_addon(scene, engine, video, tmp_path):
    import blender_addon

    work(scene)
    scene.frame_set(12)
    carrier = the_avatar(scene)
    name, before = carrier.name, positions(carrier)
    blend = tmp_path / "play.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    blender_addon.unregister()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(blend))
        bpy.context.scene.frame_set(1)
        bpy.context.scene.frame_set(12)
        np.testing.assert_allclose(positions(bpy.data.objects[name]), before, atol=1e-6)
    finally:
        blender_addon.register()


def test_an_artists_own_keys_are_kept(scene, engine, video):
    work(scene)
    keys = the_avatar(scene).data.shape_keys
    own = bpy.data.actions.new("my take")
    keys.animation_data.action = own
    bpy.ops.blendsplat.apply_performance()
    assert keys.animation_data.action != own and own.use_fake_user


def test_applying_twice_does_not_double(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    bpy.ops.blendsplat.apply_performance()
    curves = list(keyframes.fcurves(carrier.data.shape_keys))
    assert len(curves) == 6 and len(curves[0].keyframe_points) == 19


def test_training_further_replaces_the_avatar_and_keeps_its_keys(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    keys = avatar_rig.blendshape_keys(carrier)
    own = carrier.data.shape_keys.driver_add(f'key_blocks["{keys[0].name}"].slider_max')
    own.driver.expression = "7"
    synthetic.write_avatar(Path(carrier.blendsplat.avatar_path), gaussians=300, seed=99)
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert the_avatar(scene) == carrier and sum(item.blendsplat.kind == "AVATAR" for item in scene.objects) == 1
    assert carrier_mesh.count_of(carrier.data) == 300 and len(list(keyframes.fcurves(carrier.data.shape_keys))) == 6
    assert len(carrier.data.shape_keys.animation_data.drivers) == 1
    scene.frame_set(5)
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) == 300


def test_two_clips_two_people(scene, engine, tmp_path):
    for name in ("a", "b"):
        scene.blendsplat.video = str(tmp_path / f"{name}.mp4")
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
        scene.blendsplat.avatar_file = ""
        work(scene)
    assert sum(item.blendsplat.kind == "AVATAR" for item in scene.objects) == 2
    have = gather.gather(bpy.context.evaluated_depsgraph_get())
    assert len(have) == 1000


def test_a_performance_of_another_head_that_cannot_be_carried_over_is_refused(scene, engine, video, tmp_path):
    work(scene)
    arrays = synthetic.performance_arrays()
    arrays["expression"] = np.zeros((20, 9), np.float32)
    meta = {"format": "blendsplat-tracking", "version": 1, "width": 8, "height": 8, "expression_names": [""] * 9}
    synthetic.write(tmp_path / "other.npz", meta, arrays)
    scene.blendsplat.performance = str(tmp_path / "other.npz")
    with pytest.raises(RuntimeError, match="9 expressions"):
        bpy.ops.blendsplat.apply_performance()


def test_a_performance_of_another_head_of_equal_counts_is_refused(scene, engine, video, tmp_path):
    """FLAME 2020 and 2023 count alike: what their expressions do tells them apart, where the file says it."""
    work(scene)
    rig = formats.rig_from(*synthetic.grid_head(), "grid")
    meta = {"format": "blendsplat-tracking", "version": 1, "width": 8, "height": 8, "head": "flame2023",
            "expression_names": list(synthetic.EXPRESSIONS)}  # fmt: skip

    def apply(**said) -> set[str]:
        path = synthetic.write(tmp_path / "one.npz", meta | said, synthetic.performance_arrays())
        scene.blendsplat.performance = str(path)
        return bpy.ops.blendsplat.apply_performance()

    assert apply(head_model=formats.head_model_id(rig)) == {"FINISHED"}
    with pytest.raises(RuntimeError, match="flame2023"):
        apply(head_model="0123456789abcdef")
    with pytest.raises(RuntimeError, match="unknown"):  # an older file: only the names differ
        apply(expression_names=["a", "b", "c"])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.write_bytes(b"PK nonsense"), "damaged"),
        (lambda p: p.write_bytes(p.read_bytes()[:5000]), "damaged"),
        (lambda p: rewrite(p, version=9), "newer"),
        (lambda p: rewrite(p, format="other"), "not a"),
        (lambda p: rewrite(p, drop="triangle"), "lacks"),
        (lambda p: rewrite(p, triangle=10**6), "outside"),
        (lambda p: rewrite(p, nan="positions"), "finite"),
    ],
)
def test_bad_avatar_files_are_refused_in_words(scene, tmp_path, damage, words):
    path = synthetic.write_avatar(tmp_path / "a.avatar.npz")
    damage(path)
    scene.blendsplat.avatar_file = str(path)
    count = len(scene.objects)
    with pytest.raises(RuntimeError, match=words):
        bpy.ops.blendsplat.add_avatar()
    assert len(scene.objects) == count


def rewrite(path: Path, drop: str = "", triangle: int = 0, nan: str = "", **meta) -> None:
    import json

    with np.load(path) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    header = json.loads(arrays.pop("meta").tobytes()) | meta
    if triangle:
        arrays["triangle"][0] = triangle
    if nan:
        arrays[nan].flat[0] = np.nan
    arrays.pop(drop, None)
    synthetic.write(path, header, arrays)


def test_export_ply(scene, engine, video, tmp_path):
    work(scene)
    path = tmp_path / "ä out.ply"
    assert bpy.ops.blendsplat.export_ply(filepath=str(path)) == {"FINISHED"}
    _head, _, body = path.read_bytes().partition(b"end_header\n")
    values = np.frombuffer(body, "<f4").reshape(500, 17)
    have = gather.gather(bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(values[:, :3], have.means, atol=1e-6)
    np.testing.assert_allclose(np.exp(values[:, 10:13]), have.scales, rtol=1e-4)


def test_registering_twice(scene):
    import blender_addon

    blender_addon.unregister()
    blender_addon.register()
    blender_addon.unregister()
    blender_addon.register()
    assert preferences.get().device == ""

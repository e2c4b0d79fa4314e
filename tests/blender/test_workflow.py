# SPDX-License-Identifier: Apache-2.0
"""The operators in the order of the work, against the stand-in engine: what an artist or a script presses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
import synthetic
from blender_addon import formats, preferences
from blender_addon.client import jobs, session
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, head_rig, keyframes
from blender_addon.ui.operators import common

FAKE = Path(__file__).with_name("fake_engine.py")


@pytest.fixture
def engine(scene, monkeypatch):
    """engine("slow"): the stand-in engine with a misbehaviour, as the add-on's engine."""

    def use(bad: str = "") -> None:
        session.stop()
        monkeypatch.setattr(session, "engine_command", lambda: [sys.executable, str(FAKE), bad])

    use()
    return use


@pytest.fixture
def video(scene, tmp_path) -> Path:
    """A video's place with spaces and letters of three alphabets."""
    path = tmp_path / "мои videos ü" / "Anna spricht 日本.mp4"
    path.parent.mkdir()
    path.write_bytes(b"not read by the stand-in")
    scene.blendsplat.video = str(path)
    return path


def work(scene) -> None:
    assert bpy.ops.blendsplat.import_video() == {"FINISHED"}
    assert bpy.ops.blendsplat.track() == {"FINISHED"}
    assert bpy.ops.blendsplat.train() == {"FINISHED"}


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


def the_avatar(scene):
    return next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")


def test_the_whole_work(scene, engine, video):
    work(scene)
    kinds = sorted(item.blendsplat.kind for item in scene.objects)
    assert kinds == ["AVATAR", "CAMERA", "HEAD", "RIG"]
    carrier = the_avatar(scene)
    assert len(avatar_rig.blendshape_keys(carrier)) == 6
    assert len(list(keyframes.fcurves(carrier.data.shape_keys))) == 6
    assert scene.render.engine == "BLENDSPLAT" and scene.frame_end == 20
    assert (video.parent / "Anna spricht 日本 avatar" / "Anna spricht 日本.avatar.npz").exists()


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
    assert int(next(folder.glob("*.checkpoint")).read_text()) == 50
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
    assert (video.parent / "a.avatar.npz.checkpoint").exists()


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
    job = jobs.start("track", {"directory": directory, "head": "builtin", "device": "cpu"}, notes)
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    jobs.wait(job, 20)
    assert job.state == "done", job.error
    assert sum(item.blendsplat.kind == "HEAD" for item in bpy.context.scene.objects) == 1


def test_a_result_for_a_closed_file_is_left_in_its_folder(scene, engine, video):
    directory = video.parent / "Anna spricht 日本 avatar"
    job = jobs.start("track", {"directory": str(directory), "head": "builtin", "device": "cpu"})
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


def test_saved_while_live_it_plays_without_the_addon(scene, engine, video, tmp_path):
    import blender_addon

    work(scene)
    scene.frame_set(12)
    carrier = the_avatar(scene)
    name, before = carrier.name, positions(carrier)
    carrier.blendsplat.live = True
    scene.frame_set(3)
    blend = tmp_path / "live.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    curves = list(keyframes.fcurves(carrier.data.shape_keys))
    assert len(curves) == 6 and all(curve.mute for curve in curves), "Live ended with the saving"
    blender_addon.unregister()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(blend))
        bpy.context.scene.frame_set(1)
        bpy.context.scene.frame_set(12)
        np.testing.assert_allclose(positions(bpy.data.objects[name]), before, atol=1e-6)
    finally:
        blender_addon.register()
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    carrier = bpy.data.objects[name]
    assert carrier.blendsplat.live and all(curve.mute for curve in keyframes.fcurves(carrier.data.shape_keys))


@pytest.mark.parametrize("what", ["baked again", "add-on off and on"])
def test_live_mutes_what_was_unmuted_meanwhile(scene, engine, video, what):
    """Unmuted curves write to the values that Live sets."""
    import blender_addon

    work(scene)
    carrier = the_avatar(scene)
    carrier.blendsplat.live = True
    if what == "baked again":
        assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    else:
        for curve in keyframes.fcurves(carrier.data.shape_keys):
            curve.mute = False  # a file saved with Live on, opened without the add-on
        blender_addon.unregister()
        blender_addon.register()
    scene.frame_set(7)
    curves = list(keyframes.fcurves(carrier.data.shape_keys))
    assert len(curves) == 6 and all(curve.mute for curve in curves)


def positions(carrier) -> np.ndarray:
    mesh = carrier.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values)
    return values


def test_live_follows_sliders_and_bones(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    head = carrier.blendsplat.head
    carrier.blendsplat.live = True
    assert all(curve.mute for curve in keyframes.fcurves(carrier.data.shape_keys))
    for curve in [*keyframes.fcurves(head.data.shape_keys), *keyframes.fcurves(head.blendsplat.rig)]:
        curve.mute = True
    bpy.context.view_layer.update()
    before = [key.value for key in avatar_rig.blendshape_keys(carrier)]
    head.data.shape_keys.key_blocks["jawOpen"].value = 0.9
    bpy.context.view_layer.update()
    slider = [key.value for key in avatar_rig.blendshape_keys(carrier)]
    assert np.abs(np.subtract(slider, before)).max() > 1e-3
    head.blendsplat.rig.pose.bones["jaw"].rotation_euler = (0.3, 0, 0)
    bpy.context.view_layer.update()
    bone = [key.value for key in avatar_rig.blendshape_keys(carrier)]
    assert np.abs(np.subtract(bone, slider)).max() > 1e-3
    state = head_rig.head_state(head, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(bone, avatar_rig.network_of(carrier).weights(state)[0], atol=1e-5)
    carrier.blendsplat.live = False
    assert not any(curve.mute for curve in keyframes.fcurves(carrier.data.shape_keys))


def test_live_equals_the_baked_performance(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    baked = []
    for frame in (1, 9, 15):
        scene.frame_set(frame)
        baked.append([key.value for key in avatar_rig.blendshape_keys(carrier)])
    carrier.blendsplat.live = True
    for frame, want in zip((1, 9, 15), baked, strict=True):
        scene.frame_set(frame)
        np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(carrier)], want, atol=1e-3)


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
    assert len(carrier.data.vertices) == 1500 and len(list(keyframes.fcurves(carrier.data.shape_keys))) == 6
    assert len(carrier.data.shape_keys.animation_data.drivers) == 1
    scene.frame_set(5)
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) == 300


def test_a_preset_is_kept_by_its_name(scene, engine, tmp_path, monkeypatch):
    """Before an engine says hello the list is short, afterwards it begins with another one; the choice stands."""
    assert bpy.ops.blendsplat.engine_check() == {"FINISHED"}
    assert scene.blendsplat.preset == "draft"
    scene.blendsplat.preset = "full"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    session.stop()
    monkeypatch.setattr(session, "_preset_items", list(session._FALLBACK_PRESETS))  # as in a fresh Blender
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    settings = bpy.context.scene.blendsplat
    assert (settings.preset, settings.chosen_preset()) == ("full", "full")
    settings.preset_name = "from another engine"
    assert settings.preset == "from another engine"
    assert bpy.ops.blendsplat.engine_check() == {"FINISHED"}
    assert settings.preset == "from another engine"
    settings.preset = "draft"
    assert settings.preset_name == "draft"


def test_the_preset_of_an_older_file(scene, engine):
    """It kept the place in the engine's list."""
    for place, name in enumerate(("detailed", "draft", "rgbavatar")):
        scene.blendsplat["preset"] = place
        assert scene.blendsplat.preset == name
    scene.blendsplat["preset"] = 17
    assert scene.blendsplat.preset == "draft"


def test_a_finished_avatar_of_another_preset_is_not_overwritten(scene, engine, video, capfd):
    work(scene)
    folder = video.parent / "Anna spricht 日本 avatar"
    first = folder / "Anna spricht 日本.avatar.npz"
    before = first.read_bytes()
    scene.blendsplat.preset_name = "full"
    assert bpy.ops.blendsplat.train() == {"FINISHED"}
    second = folder / "Anna spricht 日本 full.avatar.npz"
    assert first.read_bytes() == before and formats.read_header(second)["training"]["preset"] == "full"
    assert second.name in "".join(capfd.readouterr()) and Path(scene.blendsplat.output) == second
    assert sum(item.blendsplat.kind == "AVATAR" for item in scene.objects) == 2
    assert bpy.ops.blendsplat.train() == {"FINISHED"}
    assert len(list(folder.glob("*.avatar.npz"))) == 2, "the same preset again goes on in its own file"


def moved_project(scene, tmp_path, save) -> bpy.types.Scene:
    """A project with its clip and avatar, saved by ``save(blend)``, moved, and opened there."""
    project = tmp_path / "проект ü"
    (project / "film.mp4").parent.mkdir()
    (project / "film.mp4").write_bytes(b"x")
    scene.blendsplat.video = str(project / "film.mp4")
    save(project / "scene.blend")
    project.rename(tmp_path / "moved")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved" / "scene.blend"))
    return bpy.context.scene


@pytest.mark.parametrize("saved_first", [True, False])
def test_a_moved_project_gets_no_second_avatar(scene, engine, tmp_path, saved_first):
    def save(blend):
        if saved_first:
            bpy.ops.wm.save_as_mainfile(filepath=str(blend))
        work(bpy.context.scene)
        bpy.ops.wm.save_as_mainfile(filepath=str(blend))

    scene = moved_project(scene, tmp_path, save)
    carrier, settings = the_avatar(scene), scene.blendsplat
    for kept in (carrier.blendsplat.avatar_path, settings.video, settings.avatar_file, settings.performance):
        assert kept.startswith("//") and Path(bpy.path.abspath(kept)).exists(), kept
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert the_avatar(scene) == carrier and sum(item.blendsplat.kind == "AVATAR" for item in scene.objects) == 1
    assert bpy.ops.blendsplat.add_head() == {"FINISHED"}
    assert sum(item.blendsplat.kind == "HEAD" for item in scene.objects) == 1


def test_paths_follow_a_file_that_is_saved_elsewhere(scene, engine, video, tmp_path):
    """Save As another folder: the same files; a copy leaves the open file's own paths alone."""
    blend = video.parent / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    work(scene)
    files = [Path(bpy.path.abspath(the_avatar(scene).blendsplat.avatar_path)), video]
    scene.blendsplat.video = "//" + video.name
    (tmp_path / "elsewhere").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "elsewhere" / "copy.blend"), copy=True)
    assert scene.blendsplat.video == "//" + video.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "elsewhere" / "scene.blend"))
    for name in ("copy.blend", "scene.blend"):
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "elsewhere" / name))
        scene = bpy.context.scene
        for path, text in zip(files, (the_avatar(scene).blendsplat.avatar_path, scene.blendsplat.video), strict=True):
            assert text.startswith("//") and Path(bpy.path.abspath(text)).resolve() == path.resolve()


def test_an_artist_who_wants_absolute_paths_gets_them(scene, engine, tmp_path):
    bpy.context.preferences.filepaths.use_relative_paths = False
    try:
        scene = moved_project(scene, tmp_path, lambda blend: bpy.ops.wm.save_as_mainfile(filepath=str(blend)))
    finally:
        bpy.context.preferences.filepaths.use_relative_paths = True
    assert Path(scene.blendsplat.video) == tmp_path / "проект ü" / "film.mp4"


def test_two_clips_two_people(scene, engine, tmp_path):
    for name in ("a", "b"):
        scene.blendsplat.video = str(tmp_path / f"{name}.mp4")
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
        scene.blendsplat.avatar_file = ""
        work(scene)
    assert sum(item.blendsplat.kind == "AVATAR" for item in scene.objects) == 2
    have = gather.gather(bpy.context.evaluated_depsgraph_get())
    assert len(have) == 1000


def test_a_performance_of_another_head_is_refused(scene, engine, video, tmp_path):
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
    head = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR").blendsplat.head
    rig = formats.rig_from(*synthetic.grid_head(), "grid")
    meta = {"format": "blendsplat-tracking", "version": 1, "width": 8, "height": 8, "head": "flame2023",
            "expression_names": list(synthetic.EXPRESSIONS)}  # fmt: skip

    def apply(**said) -> set[str]:
        path = synthetic.write(tmp_path / "one.npz", meta | said, synthetic.performance_arrays())
        scene.blendsplat.performance = str(path)
        return bpy.ops.blendsplat.apply_performance()

    assert apply(head_model=formats.head_model_id(rig)) == {"FINISHED"}
    with pytest.raises(RuntimeError, match=f"flame2023.*{head.name}"):
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

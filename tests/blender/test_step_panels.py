# SPDX-License-Identifier: Apache-2.0
"""The panel on a diet: what is done folds with a mark, the next step stands open, errors stand where they happened."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon.client import jobs, session
from blender_addon.scene import avatar_quality, clip_facts
from blender_addon.ui import status_bar, step_state
from blender_addon.ui.operators import common, details, large_picture
from blender_addon.ui.panels import check_tracking, photograph, steps, track, train
from blender_addon.ui.panels import engine as engine_panel
from blender_addon.ui.panels import video as video_panel
from drawn import drawn

import synthetic

OPERATORS = bpy.ops.blendsplat


def opened(scene) -> list[str]:
    return [step for step in step_state.STEPS if getattr(scene.blendsplat, f"show_{step}")]


def test_the_next_step_stands_open_and_what_is_done_folds(scene, engine, video):
    assert opened(scene) == ["video"] and step_state.current(scene) == "video"
    OPERATORS.import_video()
    assert opened(scene) == ["track"] and step_state.done(scene, "video")
    OPERATORS.track()
    assert opened(scene) == ["check", "train"], "look before you train"
    OPERATORS.train()
    assert opened(scene) == ["avatar", "render"]
    assert [step_state.done(scene, step) for step in ("video", "track", "train", "avatar")] == [True] * 4


def test_the_engine_folds_when_there_is_nothing_to_do_about_it(scene, engine, video, monkeypatch):
    assert not scene.blendsplat.show_engine, "it starts when it is needed"
    OPERATORS.import_video()
    assert not scene.blendsplat.show_engine and "Ready" in drawn(engine_panel.BLENDSPLAT_PT_engine)
    engine("old")
    with pytest.raises(RuntimeError):
        OPERATORS.track()
    assert scene.blendsplat.show_engine, "what is wrong with it stands in it"
    session.stop()
    monkeypatch.setattr(session, "engine_command", lambda: [])
    assert scene.blendsplat.show_engine, "there is none"


def test_a_step_that_the_artist_opened_stays_open_until_the_work_goes_on(scene, engine, video):
    scene.blendsplat.show_track, scene.blendsplat.show_video = True, False
    assert opened(scene) == ["track"]
    scene.blendsplat.show_video = True
    assert opened(scene) == ["video", "track"]
    OPERATORS.import_video()
    assert opened(scene) == ["track"]
    scene.blendsplat.folds = "not what we write"
    assert opened(scene) == ["track"]


def test_a_saved_file_opens_at_its_next_step(scene, engine, video, tmp_path):
    OPERATORS.import_video()
    OPERATORS.track()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    jobs.unregister()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert opened(bpy.context.scene) == ["check", "train"]
    (video.parent / f"{video.stem} avatar" / "tracking.npz").unlink()
    assert "track" in opened(bpy.context.scene)


def test_who_works_with_photographs_sees_them(scene, engine, tmp_path):
    for name in ("cat.png", "anna.png"):
        synthetic.write_png(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(RuntimeError, match="No face"):
        OPERATORS.fit_image(filepath=str(tmp_path / "cat.png"))
    assert opened(scene) == ["photograph"] and "blendsplat.show_details" in drawn(panel("photograph"))
    OPERATORS.fit_image(filepath=str(tmp_path / "anna.png"))
    assert opened(scene) == ["photograph"]
    scene.blendsplat.video = str(tmp_path / "talk.mp4")
    assert opened(scene) == ["video"]


def test_an_avatar_from_a_file_needs_no_video(scene, engine, tmp_path):
    scene.blendsplat.avatar_file = str(synthetic.write_avatar(tmp_path / "a.avatar.npz"))
    OPERATORS.add_avatar()
    assert opened(scene) == ["avatar", "render"]


def test_after_import_the_clip_is_told(scene, engine, video):
    OPERATORS.import_video()
    assert "20 frames, 0.8 s" in drawn(panel("video")) and "256 x 256 pixels" in drawn(panel("video"))
    assert "256 x 256 pixels" in drawn(panel("track")), "it is what is about to be tracked"
    OPERATORS.track()
    assert "256 x 256 pixels" not in drawn(panel("track"))


def panel(step: str):
    modules = (video_panel, track, check_tracking, train, steps, photograph)
    return next(cls for module in modules for cls in module.CLASSES if getattr(cls, "step", "") == step)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"timestamps": [], "width": 3, "height": 3}', '{"width": 3}'])
def test_a_clip_that_says_nothing_is_no_error(tmp_path, text):
    (tmp_path / "clip.json").write_text(text)
    assert (
        clip_facts.read(tmp_path) is None and clip_facts.read(None) is None and clip_facts.read(tmp_path / "x") is None
    )


def test_no_two_settings_of_a_panel_have_one_name(scene, engine, video):
    names = [prop.name for prop in scene.blendsplat.bl_rna.properties if not prop.is_hidden]
    both = names + [prop.name for prop in scene.blendsplat.photographs.bl_rna.properties]
    for word in ("End", "Start", "Folder"):
        assert word not in both, "each says of what it is"
    steps = [prop.name for prop in scene.blendsplat.bl_rna.properties if not prop.identifier.startswith("show_")]
    assert steps.count("Avatar File") == 1, "one is written, the other one read"


# --- errors where they happened


def test_an_error_brings_its_details_and_the_log(scene, engine, video):
    engine("noface")
    OPERATORS.import_video()
    with pytest.raises(RuntimeError, match="No face was found"):
        OPERATORS.track()
    words = drawn(panel("track"))
    assert words.index("No face was found in the clip.") < words.index("blendsplat.show_details") < words.index("Log")
    assert "blendsplat.show_details" not in drawn(panel("video"))
    text = details.report(jobs.latest("track"))
    assert "No face was found in the clip." in text and '"refine": "dense"' in text and "looked at 20 frames" in text
    assert "track" in opened(scene)


def test_what_is_wrong_with_a_file_stands_under_its_button(scene, engine, tmp_path):
    path = tmp_path / "a.avatar.npz"
    path.write_bytes(b"no avatar")
    scene.blendsplat.avatar_file = str(path)
    with pytest.raises(RuntimeError, match="damaged"):
        OPERATORS.add_avatar()
    words = drawn(panel("avatar"))
    assert "damaged" in words[words.index("blendsplat.add_avatar") + 1]
    synthetic.write_avatar(path)
    OPERATORS.add_avatar()
    assert not any("damaged" in line for line in drawn(panel("avatar")))


def test_what_is_missing_to_start_stands_under_its_button(scene, engine, video):
    scene.blendsplat.matte = "folder"
    with pytest.raises(RuntimeError, match="Choose the folder of masks"):
        OPERATORS.import_video()
    assert "Choose the folder of masks." in drawn(panel("video"))
    scene.blendsplat.matte = "auto"
    OPERATORS.import_video()
    assert "Choose the folder of masks." not in drawn(panel("video"))


def test_what_holds_for_a_job_whose_engine_was_killed(scene, engine, video):
    engine("die")
    with pytest.raises(RuntimeError, match="ended by the system") as ended:
        OPERATORS.import_video()
    assert "checkpoint" not in str(ended.value) and "start again" in str(ended.value)
    assert "checkpoint" not in session.link.sentence, "renders are told this as well"
    OPERATORS.import_video()
    OPERATORS.track()
    (common.directory_of(scene) / "died").unlink()
    with pytest.raises(RuntimeError, match="goes on from the last checkpoint"):
        OPERATORS.train()


# --- what the clip shows


def test_before_training_the_panel_tells_what_the_clip_shows(scene, engine, video):
    OPERATORS.import_video()
    assert not any("never seen" in words for words in drawn(panel("train")))
    OPERATORS.track()
    words = drawn(panel("train"))
    assert any("never seen" in line for line in words) and any(line.startswith("Sliders were seen") for line in words)
    assert words.index("blendsplat.train") > words.index("What the Clip Shows")
    OPERATORS.train()
    assert "What the Clip Shows" not in drawn(panel("train")), "it is trained"


# --- one figure of quality


@pytest.mark.parametrize(
    ("value", "word"), [(12, "a sketch"), (22, "soft"), (28.1, "good"), (31, "sharp"), (40.5, "very sharp")]
)
def test_decibels_are_words(value, word):
    assert avatar_quality.word(value) == word
    assert avatar_quality.line({"psnr": value}) == f"{word[0].upper()}{word[1:]} ({value:.1f} dB)"
    assert f"{value}" not in avatar_quality.so_far({"psnr": value}), "the frames that it learns from are no measure"


def test_without_frames_held_out_there_is_no_figure():
    assert avatar_quality.line({"train_psnr": 40.0}) == "" and avatar_quality.line({}) == ""


def test_the_quality_is_known_after_closing(scene, engine, video, tmp_path):
    OPERATORS.import_video()
    OPERATORS.track()
    assert scene.blendsplat.quality == ""
    OPERATORS.train()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    jobs.unregister()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert bpy.context.scene.blendsplat.quality == "Sharp (31.0 dB)"
    assert "Quality" in drawn(panel("train"))


def test_minutes_are_asked_of_the_engine(scene, engine, video, monkeypatch):
    OPERATORS.import_video()
    OPERATORS.track()
    sent = []
    monkeypatch.setattr(jobs, "start", lambda kind, params, context=None: sent.append(params) or jobs.Job(kind, params))
    monkeypatch.setattr(jobs, "wait", lambda job, **_how: setattr(job, "state", "done"))
    OPERATORS.train()
    scene.blendsplat.minutes = 12
    OPERATORS.train()
    assert "minutes" not in sent[0] and sent[1]["minutes"] == 12


# --- what goes on, and pictures


def test_the_status_bar_tells_what_runs_and_then_nothing(scene, engine, video):
    job = jobs.Job("train", {}, state="running", done=45, total=100, eta=185)
    jobs._latest["train"] = job
    assert [status_bar.words(job) for job in status_bar.running()] == ["Train 45%, 3 min 05 s left"]
    job.state = "done"
    assert status_bar.running() == []
    assert status_bar._draw in bpy.types.STATUSBAR_HT_header._dyn_ui_initialize()
    status_bar.unregister()
    assert status_bar._draw not in bpy.types.STATUSBAR_HT_header._dyn_ui_initialize()
    status_bar.register()


def test_the_trainings_picture_is_a_file_that_follows(scene, engine, video, tmp_path):
    OPERATORS.import_video()
    with pytest.raises(RuntimeError, match="no picture yet"):
        OPERATORS.show_picture(kind="TRAINING")
    OPERATORS.track()
    OPERATORS.train()
    assert OPERATORS.show_picture(kind="TRAINING") == {"FINISHED"}
    image = bpy.data.images[large_picture.NAME]
    assert tuple(image.size) == (48, 32) and not image.is_dirty, "Blender would ask to save it"
    seen = np.array(image.pixels[:]).reshape(32, 48, 4)
    assert seen[0, 0, 0] == pytest.approx(jobs.latest("train").preview[0, 0, 0] / 255, abs=0.01)


def test_the_first_frame_of_the_clip_is_shown(scene, engine, video):
    assert not OPERATORS.show_picture.poll()
    OPERATORS.import_video()
    folder = common.directory_of(scene)
    synthetic.write_png(folder / "images" / "000000.png", np.full((256, 256, 3), 90, np.uint8))
    clip_facts._read.cache_clear()
    assert OPERATORS.show_picture(kind="CLIP") == {"FINISHED"}
    assert bpy.data.images["000000.png"].source == "SEQUENCE"


def test_a_png_of_ours_is_what_it_was(scene, tmp_path):
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    (tmp_path / "a.png").write_bytes(large_picture.png(picture))
    image = bpy.data.images.load(str(tmp_path / "a.png"))
    have = np.array(image.pixels[:]).reshape(5, 7, 4)[::-1, :, :3]
    assert np.abs(have * 255 - picture).max() < 0.6


# --- presets of the artist's own


def test_training_settings_are_kept_as_a_preset(scene, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("BLENDER_USER_SCRIPTS", str(tmp_path))
    monkeypatch.setattr(bpy.utils, "user_resource", user_resource(tmp_path))
    settings = scene.blendsplat
    settings.preset_name, settings.minutes = "full", 20
    assert OPERATORS.training_preset_add(name="Lunch ü") == {"FINISHED"}
    (written,) = (tmp_path / "presets" / "blendsplat" / "training").glob("*.py")
    settings.preset_name, settings.minutes = "draft", 0
    bpy.ops.script.execute_preset(filepath=str(written), menu_idname="BLENDSPLAT_PT_training_presets")
    assert (settings.chosen_preset(), settings.minutes) == ("full", 20)
    monkeypatch.setattr(bpy.utils, "preset_paths", lambda subdir: [str(tmp_path / "presets" / subdir)])
    assert OPERATORS.training_preset_add(name=written.stem, remove_name=True) == {"FINISHED"}
    assert not written.exists()


def user_resource(folder):
    real = bpy.utils.user_resource

    def find(kind, *, path="", create=False):
        if kind != "SCRIPTS":
            return real(kind, path=path, create=create)
        (folder / path).mkdir(parents=True, exist_ok=True)
        return str(folder / path)

    return find

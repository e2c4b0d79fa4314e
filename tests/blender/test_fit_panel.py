# SPDX-License-Identifier: Apache-2.0
"""Heads from photographs as an artist or a script starts them, against the stand-in engine."""

from __future__ import annotations

import json
import math
from pathlib import Path

import bpy
import numpy as np
import pytest
import synthetic_fit
from blender_addon import preferences
from blender_addon.client import jobs, session, weights_check
from blender_addon.scene import fit_scene
from blender_addon.ui import photographs
from blender_addon.ui.operators import common, track
from blender_addon.ui.operators import fit_image as operators
from blender_addon.ui.panels.photograph import BLENDSPLAT_PT_photograph
from drawn import drawn

import synthetic

BLACK = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def album(tmp_path) -> Path:
    """A folder of photographs with letters of three alphabets, something else, and a hidden file."""
    folder = tmp_path / "мои photos ü"
    folder.mkdir()
    for name in ("Anna 日本.jpg", "bert.PNG", "cat.png", "owl.jpeg"):
        synthetic.write_png(folder / name, BLACK)
    (folder / "notes.txt").write_text("no photograph")
    (folder / ".thumb.jpg").write_text("hidden")
    return folder


def heads(scene) -> list:
    return [item for item in scene.objects if item.blendsplat.kind == "HEAD"]


def fit(*paths: Path, **settings) -> set[str]:
    group = bpy.context.scene.blendsplat.photographs
    for name, value in settings.items():
        setattr(group, name, value)
    files = [{"name": path.name} for path in paths]
    return bpy.ops.blendsplat.fit_image(directory=str(paths[0].parent), files=files)


def sent(monkeypatch) -> list[dict]:
    """Every job's parameters from now on."""
    seen: list[dict] = []
    start = jobs.start

    def spy(kind, params, context=None):
        seen.append(params)
        return start(kind, params, context)

    monkeypatch.setattr(jobs, "start", spy)
    return seen


def test_one_photograph(scene, engine, album):
    assert fit(album / "Anna 日本.jpg") == {"FINISHED"}
    assert len(heads(scene)) == 1
    (item,) = scene.blendsplat.photographs.files
    assert (item.name, item.state, item.notes) == ("Anna 日本.jpg", "FITTED", "")
    assert photographs.folder_of(item) == album / "heads" / "Anna 日本"


def test_a_script_names_a_file(scene, engine, album):
    assert bpy.ops.blendsplat.fit_image(filepath=str(album / "bert.PNG")) == {"FINISHED"}
    assert len(heads(scene)) == 1


def test_a_folder_is_its_photographs(scene, engine, album):
    assert bpy.ops.blendsplat.fit_image(directory=str(album)) == {"FINISHED"}
    states = {item.name: item.state for item in scene.blendsplat.photographs.files}
    assert states == {"Anna 日本.jpg": "FITTED", "bert.PNG": "FITTED", "cat.png": "FAILED", "owl.jpeg": "DOUBTFUL"}
    notes = {item.name: item.notes for item in scene.blendsplat.photographs.files}
    assert "cat.png" in notes["cat.png"] and "mouth" in notes["owl.jpeg"]


def test_what_is_sent(scene, engine, album, monkeypatch):
    seen = sent(monkeypatch)
    fit(album / "bert.PNG")
    assert "field_of_view" not in seen[0] and "pixels" not in seen[0] and seen[0]["same_person"] is False
    fit(album / "bert.PNG", lens="LENGTH", focal_length=18.0, same_person=True)
    assert math.isclose(seen[1]["field_of_view"], 90.0, abs_tol=1e-4)
    assert seen[1]["same_person"] is False, "one photograph is always one person"
    fit(album / "bert.PNG", album / "owl.jpeg", lens="VIEW", field_of_view=math.radians(40), directory=str(album / "x"))
    assert math.isclose(seen[2]["field_of_view"], 40.0, abs_tol=1e-4) and seen[2]["same_person"] is True
    assert seen[2]["directory"] == str(album / "x")


def test_fitting_alone_or_among_others_ends_in_the_same_folder(scene, engine, album):
    fit(album / "bert.PNG")
    alone = photographs.folder_of(scene.blendsplat.photographs.files[0])
    fit(album / "bert.PNG", album / "owl.jpeg")
    assert photographs.folder_of(scene.blendsplat.photographs.files[0]) == alone


def test_nothing_that_can_be_fitted(scene, engine, album, tmp_path):
    with pytest.raises(RuntimeError, match=r"No face was found in cat\.png"):
        fit(album / "cat.png")
    with pytest.raises(RuntimeError, match=r"There is no file .*gone.jpg"):
        fit(album / "gone.jpg")
    with pytest.raises(RuntimeError, match="There is no photograph in"):
        (tmp_path / "empty").mkdir()
        bpy.ops.blendsplat.fit_image(directory=str(tmp_path / "empty"))
    with pytest.raises(RuntimeError, match="Choose a photograph"):
        bpy.ops.blendsplat.fit_image()
    assert not heads(scene) and not bpy.data.meshes and not bpy.data.cameras


def test_grey_buttons_say_why(scene, monkeypatch):
    for operator in ("fit_image", "fit_again", "add_fit", "look_through", "reset_sliders", "export_head"):
        assert not getattr(bpy.ops.blendsplat, operator).poll(), operator
    assert "Engine panel" in operators.FitImage.reason(bpy.context)
    monkeypatch.setattr(preferences._defaults, "network", "FOLDER", raising=False)
    assert "Choose the folder" in operators.FitImage.reason(bpy.context)


def test_tracking_with_a_network_needs_one(scene, engine, tmp_path, monkeypatch):
    scene.blendsplat.directory = str(tmp_path)
    (tmp_path / "clip.json").write_text("{}")
    scene.blendsplat.track_init = "kaolrm"
    seen = sent(monkeypatch)
    assert bpy.ops.blendsplat.track() == {"FINISHED"}
    assert seen[0]["init"] == "kaolrm" and seen[0]["weights"] == "auto"
    monkeypatch.setattr(session, "weights", lambda: "none")
    assert "face network" in track.Track.reason(bpy.context) and not bpy.ops.blendsplat.track.poll()
    scene.blendsplat.track_init = "landmarks"
    bpy.ops.blendsplat.track()
    assert "weights" not in seen[1]


def test_cancelled_and_killed(scene, engine, album, tmp_path):
    engine("slow")
    params = {"images": [str(album / "bert.PNG")], "directory": str(tmp_path / "out"), "device": "cpu"}
    notes = {"place": common.Place.of(scene), "images": params["images"]}
    job = jobs.start("fit_image", dict(params), notes)
    jobs.wait(job, 20, tick=lambda running: jobs.cancel(running) if running.done > 3 else None)
    assert job.state == "cancelled"
    engine("die")
    with pytest.raises(RuntimeError, match="ended by the system"):
        fit(album / "bert.PNG", directory=str(tmp_path / "out"))
    assert not heads(scene) and scene.blendsplat.photographs.files[0].state == "NEW"
    engine()
    assert bpy.ops.blendsplat.fit_again() == {"FINISHED"}
    assert len(heads(scene)) == 1


def test_undone_while_it_ran(scene, engine, album):
    """The list is lost with the undo step; the result still comes into the scene."""
    engine("slow")
    images = [str(album / "bert.PNG")]
    notes = {"place": common.Place.of(scene), "images": images}
    job = jobs.start("fit_image", {"images": images, "directory": str(album / "h"), "device": "cpu"}, notes)
    scene.blendsplat.photographs.files.clear()
    assert jobs.wait(job, 30).state == "done", job.error
    assert len(heads(scene)) == 1 and scene.blendsplat.photographs.files[0].state == "FITTED"


def test_a_result_for_a_closed_file_stays_in_its_folder(scene, engine, album):
    images = [str(album / "bert.PNG")]
    notes = {"place": common.Place.of(scene), "images": images}
    job = jobs.start("fit_image", {"images": images, "directory": str(album / "h"), "device": "cpu"}, notes)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert jobs.wait(job, 20).state == "done"
    assert not heads(bpy.context.scene) and (album / "h" / "fit.json").exists()


def test_reopened_with_relative_paths_elsewhere(scene, engine, album, tmp_path):
    (tmp_path / "project").mkdir()
    photo = synthetic.write_png(tmp_path / "project" / "ä.png", BLACK)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "project" / "scene.blend"))
    fit(photo)
    assert scene.blendsplat.photographs.files[0].path == "//ä.png"
    bpy.ops.wm.save_mainfile()
    (tmp_path / "project").rename(tmp_path / "moved")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved" / "scene.blend"))
    scene = bpy.context.scene
    assert photographs.folder_of(scene.blendsplat.photographs.files[0]) == tmp_path / "moved" / "heads" / "ä"
    assert fit_scene.fits_of(heads(scene)[0]) == [tmp_path / "moved" / "heads" / "ä"]
    assert bpy.ops.blendsplat.fit_again() == {"FINISHED"}
    assert len(heads(scene)) == 1, "the moved fit was not recognised"
    pictures = [Path(bpy.path.abspath(image.filepath)) for image in bpy.data.images if image.source == "FILE"]
    assert pictures and all(path.exists() for path in pictures)


def test_fitted_before_it_was_saved_and_moved(scene, engine, tmp_path):
    """Everything was absolute while there was no file to be relative to."""
    (tmp_path / "project").mkdir()
    photo = synthetic.write_png(tmp_path / "project" / "ä.png", BLACK)
    fit(photo)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "project" / "scene.blend"))
    assert len(fit_scene.fits_of(heads(scene)[0])) == 1
    (tmp_path / "project").rename(tmp_path / "moved")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved" / "scene.blend"))
    scene = bpy.context.scene
    assert fit_scene.fits_of(heads(scene)[0]) == [tmp_path / "moved" / "heads" / "ä"]
    assert bpy.ops.blendsplat.fit_again() == {"FINISHED"}
    assert len(heads(scene)) == 1, "the moved fit was not recognised"


def test_a_damaged_fit_does_not_stop_the_others(scene, engine, album):
    bpy.ops.blendsplat.fit_image(directory=str(album))
    scene.view_layers[0].objects.active = None
    for item in list(scene.objects):
        bpy.data.objects.remove(item)
    (album / "heads" / "bert" / "tracking.npz").write_bytes(b"PK nonsense")
    with pytest.raises(RuntimeError, match="damaged"):
        bpy.ops.blendsplat.add_fit()
    assert heads(scene)


def test_weights_are_checked_without_waiting(scene, engine, tmp_path, monkeypatch):
    assert weights_check.lines("auto") == [("Not checked yet.", "QUESTION")]
    assert bpy.ops.blendsplat.check_weights() == {"FINISHED"}
    assert weights_check.lines("auto") == [("A stand-in network.", "CHECKMARK"), ("Licence: CC0", "INFO")]
    assert weights_check.lines("/elsewhere") == [("Not checked yet.", "QUESTION")], "an answer about other weights"
    monkeypatch.setattr(session, "weights", lambda: str(tmp_path))
    bpy.ops.blendsplat.check_weights()
    ((sentence, icon),) = weights_check.lines(str(tmp_path))
    assert "model.safetensors" in sentence and icon == "ERROR"


def test_paths_of_an_engine_elsewhere(monkeypatch):
    class Shared(preferences._Defaults):
        engine_kind, path_here, path_there = "COMMAND", "/mnt/here/", "/srv/there"

    monkeypatch.setattr(preferences, "get", lambda: Shared)
    assert session.local_path(session.engine_path("/mnt/here/a/b.jpg")) == Path("/mnt/here/a/b.jpg")
    assert session.local_path("/srv/therefore/a") == Path("/srv/therefore/a")
    assert session.local_path("/srv/there") == Path("/mnt/here")


def test_every_property_and_button_has_words(scene):
    for cls in (*photographs.CLASSES, *operators.CLASSES):
        for prop in cls.bl_rna.properties if hasattr(cls, "bl_rna") else ():
            if prop.identifier in cls.__annotations__ and not prop.is_hidden and prop.type != "COLLECTION":
                assert prop.description, f"{cls.__name__}.{prop.identifier}"


def test_a_result_that_makes_no_sense_is_no_crash(scene):
    for nonsense in (None, [], {"fits": None}, {"fits": ["x"], "failed": []}, json.loads("{}")):
        assert photographs.results(nonsense) == ([], [])


# --- several heads: the list chooses


@pytest.fixture
def people(scene, album):
    """Heads of three people, whose photographs are listed; the first one's is looked at."""
    settings, images = (
        scene.blendsplat.photographs,
        [album / name for name in ("Anna 日本.jpg", "bert.PNG", "owl.jpeg")],
    )
    photographs.remember(settings, images)
    fits = []
    for seed, image in enumerate(images):
        folder = synthetic_fit.write_fit(album / "heads" / image.stem, seed=seed, person_seed=seed, image=str(image))
        photographs.note(settings, image, folder, [])
        fits.append((folder, synthetic_fit.head_rig(folder)))
    fit_scene.bring_fits(bpy.context, fits)
    return settings


def shown(scene) -> list[str]:
    return sorted(item.name for item in heads(scene) if not item.hide_get() and not item.hide_render)


def test_the_list_selects_its_head_and_only_that_stands_in_its_photograph(scene, people):
    assert shown(scene) == ["Anna 日本 Head"]
    for index, name in ((1, "bert Head"), (2, "owl Head")):
        people.active = index
        assert bpy.context.view_layer.objects.active.name == name and shown(scene) == [name]
        assert [item.name for item in heads(scene) if item.select_get()] == [name]
        assert scene.camera.blendsplat.head.name == name
    assert "blendsplat.show_all_heads" in drawn(BLENDSPLAT_PT_photograph)
    assert bpy.ops.blendsplat.show_all_heads() == {"FINISHED"}
    assert len(shown(scene)) == 3 and not bpy.ops.blendsplat.show_all_heads.poll()
    assert not any(item.type == "ARMATURE" and (item.hide_get() or item.hide_render) for item in scene.objects)


def test_what_the_artist_hid_stays_hidden(scene, people):
    bpy.ops.blendsplat.show_all_heads()
    scene.objects["bert Head"].hide_set(True)
    people.active = 2
    bpy.ops.blendsplat.show_all_heads()
    assert shown(scene) == ["Anna 日本 Head", "owl Head"]


def test_a_camera_of_the_artists_own_stays_the_scenes(scene, people):
    bpy.ops.blendsplat.show_all_heads()
    own = bpy.data.objects.new("Own", bpy.data.cameras.new("Own"))
    scene.collection.objects.link(own)
    scene.camera = own
    people.active = 2
    assert scene.camera == own and len(shown(scene)) == 3
    assert bpy.context.view_layer.objects.active.name == "owl Head"


def test_choosing_while_a_bone_is_posed_changes_nothing(scene, people):
    bpy.ops.blendsplat.show_all_heads()
    rig = scene.objects["bert Head"].blendsplat.rig
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="POSE")
    people.active = 2
    assert bpy.context.view_layer.objects.active == rig and rig.mode == "POSE" and len(shown(scene)) == 3
    bpy.ops.object.mode_set(mode="OBJECT")

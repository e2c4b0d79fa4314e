# SPDX-License-Identifier: Apache-2.0
"""The expressions that ship, those that are saved, and the library of them with pictures of the avatar."""

from __future__ import annotations

import tomllib
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.scene import (
    arkit,
    avatar_rig,
    expression_assets,
    expressions,
    face_pose,
    head_rig,
    keyframes,
    portrait,
)
from blender_addon.ui import face_pictures
from drawn import drawn
from test_face_keys import arkit_grid, same

import synthetic

PEOPLE = ("Neutral", "Joy", "Sad", "Anger", "Surprise", "Fear", "Disgust", "Wink Left", "Wink Right", "Pout")
SPOKEN = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "ih", "oh", "ou")


@pytest.fixture
def head(scene):
    made = head_rig.build_head(bpy.context, formats.rig_from(*arkit_grid(), "grid"), "Human")
    bpy.context.view_layer.objects.active = made
    return made


@pytest.fixture
def ana(scene, engine, tmp_path):
    """An avatar on a head with ARKit's names."""
    path = synthetic.write_avatar(tmp_path / "Ana.avatar.npz", gaussians=60, rig=arkit_grid())
    scene.blendsplat.avatar_file = str(path)
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    return next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")


def values(head) -> dict[str, float]:
    return {name: head.data.shape_keys.key_blocks[name].value for name in arkit.NAMES}


# --- what ships


def test_what_ships_is_there_and_says_what_it_should():
    shipped = expressions.shipped()
    assert set(PEOPLE) <= {name for name, one in shipped.items() if one.kind == expressions.EXPRESSION}
    assert tuple(name for name, one in shipped.items() if one.kind == expressions.VISEME) == SPOKEN
    assert shipped["Joy"].sliders["mouthSmileLeft"] == shipped["Joy"].sliders["mouthSmileRight"] > 0.5
    assert shipped["Wink Left"].sliders["eyeBlinkLeft"] == 1 and "eyeBlinkRight" not in shipped["Wink Left"].sliders
    for name in SPOKEN:
        assert shipped[name].region == "mouth", name
    told = [tuple(sorted(one.sliders.items())) + (one.region,) for one in shipped.values()]
    assert len(set(told)) == len(told), "no two are the same"


@pytest.mark.parametrize(("text", "named"), [
    ("[poses.A]\nregion = 'face'", "poses"), ("[expressions.A]\nregion = 'leg'", "leg"),
    ("[expressions.A]\nregion = 'mouth'\nsliders = { browInnerUp = 1 }", "browInnerUp"),
    ("[expressions.A]\nregion = 'face'\nsliders = { jawOpen = 1.5 }", "1.5"),
    ("[expressions.A]\nregion = 'face'\nsliders = { jawOpen = true }", "True"),
    ("[expressions.A]\nregion = 'face'\nspeed = 2", "speed"),
    ("[expressions.A]\nregion = 'face'\n[visemes.A]\nregion = 'mouth'", "'A'"),
])  # fmt: skip
def test_a_wrong_file_names_what_is_wrong(text, named):
    with pytest.raises(expressions.ExpressionFileError, match=named):
        expressions.parse(tomllib.loads(text))


def test_an_expression_begins_at_the_persons_rest():
    rest = face_pose.FacePose({"mouthSmileLeft": 0.2, "browDownLeft": 0.1, "eyeLookUpLeft": 0.5}, {"jaw": (0.05, 0, 0)})
    neutral = expressions.shipped()["Neutral"].pose(rest)
    assert neutral.sliders["mouthSmileLeft"] == 0.2 and neutral.sliders["jawOpen"] == 0 and neutral.turns == rest.turns
    assert "eyeLookUpLeft" not in neutral.sliders, "where the eyes look is nobody's expression"
    joy = expressions.shipped()["Joy"].pose(rest)
    assert joy.sliders["mouthSmileLeft"] > joy.sliders["mouthSmileRight"] > 0.9 and max(joy.sliders.values()) <= 1
    ou = expressions.shipped()["ou"].pose(rest)
    assert "browDownLeft" not in ou.sliders and ou.sliders["mouthPucker"] > 0.5


def test_applied_blended_and_keyed(head):
    key = head.data.shape_keys.key_blocks
    key["browInnerUp"].value = key["jawOpen"].value = 0.8
    assert bpy.ops.blendsplat.apply_expression(expression="Joy", strength=0.5) == {"FINISHED"}
    assert key["mouthSmileLeft"].value == pytest.approx(0.475) and key["jawOpen"].value == pytest.approx(0.5)
    assert bpy.ops.blendsplat.apply_expression(expression="aa", key=True) == {"FINISHED"}
    assert key["mouthSmileLeft"].value == 0 and key["jawOpen"].value == pytest.approx(0.5)
    assert key["browInnerUp"].value == pytest.approx(0.475), "a sound leaves the brows alone"
    keyed = {curve.data_path for curve in keyframes.fcurves(head.data.shape_keys)}
    assert face_pose.key_path("jawOpen") in keyed and face_pose.key_path("browInnerUp") not in keyed
    with pytest.raises(RuntimeError, match="no expression 'Yawn'"):
        bpy.ops.blendsplat.apply_expression(expression="Yawn")


def test_a_head_of_other_names_says_so(scene):
    head_rig.build_head(bpy.context, formats.rig_from(*synthetic.grid_head(), "grid"), "Grid")
    with pytest.raises(RuntimeError, match="ARKit"):
        bpy.ops.blendsplat.apply_expression(expression="Joy")
    assert any("ARKit" in words for words in drawn(bpy.types.BLENDSPLAT_PT_keys))


# --- assets


def test_a_saved_face_comes_back_also_in_another_file_and_on_another_head(head, tmp_path):
    bpy.ops.blendsplat.apply_expression(expression="Disgust")
    head.blendsplat.rig.pose.bones["jaw"].rotation_euler = (0.1, 0.02, 0.03)
    want = face_pose.read(head)
    assert bpy.ops.blendsplat.save_expression(name="Äh!") == {"FINISHED"}
    action = bpy.data.actions["Äh!"]
    assert action.asset_data is not None and expression_assets.TAG in action.asset_data.tags
    blend = tmp_path / "faces.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    assert (tmp_path / "blender_assets.cats.txt").read_text(encoding="utf-8").count(action.asset_data.catalog_id) == 1
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(blend)) as (there, here):
        here.actions = [name for name in there.actions if name == "Äh!"]
    other = head_rig.build_head(bpy.context, formats.rig_from(*arkit_grid(), "grid"), "Other")
    bpy.context.view_layer.objects.active = other
    assert bpy.ops.blendsplat.apply_face(action="Äh!") == {"FINISHED"}
    same(face_pose.read(other), want)
    assert bpy.ops.blendsplat.apply_face(action="Äh!", mirrored=True) == {"FINISHED"}
    same(face_pose.read(other), want.mirrored())


def test_an_action_without_a_face_and_one_of_another_head(head):
    walk = bpy.data.actions.new("Walk")
    with pytest.raises(RuntimeError, match="holds no face"):
        bpy.ops.blendsplat.apply_face(action="Walk")
    with pytest.raises(RuntimeError, match="no action 'Gone'"):
        bpy.ops.blendsplat.apply_face(action="Gone")
    expression_assets.make("FLAME", face_pose.FacePose({"expr 0": 1.0}), "Someone")
    with pytest.raises(RuntimeError, match="of another head"):
        bpy.ops.blendsplat.apply_face(action="FLAME")
    with pytest.raises(RuntimeError, match="Asset Browser"):
        bpy.ops.blendsplat.apply_face_asset()
    assert walk.users == 0


def test_a_list_of_catalogs_keeps_what_is_in_it(tmp_path):
    file = tmp_path / "blender_assets.cats.txt"
    file.write_text("# Mine\nVERSION 1\n\n0a:Props:Props", encoding="utf-8")
    assert expression_assets.write_catalog(tmp_path, "Ana: ü/1")
    assert not expression_assets.write_catalog(tmp_path, "Ana: ü/1"), "it is there already"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[:4] == ["# Mine", "VERSION 1", "", "0a:Props:Props"] and len(lines) == 5
    assert lines[4].split(":") == [expression_assets.catalog_of("Ana: ü/1"), "Expressions/Ana- ü-1",
                                   "Expressions-Ana- ü-1"]  # fmt: skip
    library = tmp_path / "lib" / "deep"
    library.mkdir(parents=True)
    blend = str(library / "a.blend")
    assert expression_assets.catalog_folder(blend, [str(tmp_path / "lib")]) == tmp_path / "lib"
    assert expression_assets.catalog_folder(blend, ["/elsewhere", ""]) == library
    assert expression_assets.catalog_folder("", []) is None


def test_the_library_has_a_picture_of_the_avatar_for_every_face(ana, scene, tmp_path):
    head = ana.blendsplat.head
    head.data.shape_keys.key_blocks["jawOpen"].value = 0.3
    before = values(head)
    assert bpy.ops.blendsplat.make_expression_library() == {"FINISHED"}
    assert values(head) == before, "the artist's face does not move"
    faces = [expression_assets.shipped_one("Ana", name) for name in expressions.shipped()]
    assert all(face is not None and tuple(face.preview.image_size) == (256, 256) for face in faces)
    pictures = [np.array(face.preview.image_pixels_float) for face in faces]
    assert all(picture.max() > 0 for picture in pictures)
    assert not np.array_equal(pictures[0], pictures[2]), "each its own"
    ou, catalog = faces[-1], faces[0].asset_data.catalog_id
    assert catalog == expression_assets.catalog_of("Ana") and {face.asset_data.catalog_id for face in faces} == {
        catalog
    }
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    assert catalog in (tmp_path / "blender_assets.cats.txt").read_text(encoding="utf-8")
    for curve in keyframes.curves_in(ou):
        if curve.data_path == face_pose.key_path("jawOpen"):
            curve.keyframe_points[0].co.y = 0.9
            curve.update()
    assert bpy.ops.blendsplat.make_expression_library() == {"FINISHED"}
    assert len(bpy.data.actions) == len(faces), "made again, nothing is doubled"
    assert expression_assets.read(ou).sliders["jawOpen"] == pytest.approx(0.9), "and what an artist changed stays"


def test_without_its_file_or_with_an_engine_that_fails_there_are_faces_without_pictures(ana, engine, scene, tmp_path):
    Path(ana.blendsplat.avatar_path).rename(tmp_path / "away.npz")
    with pytest.raises(RuntimeError, match="no file"):
        bpy.ops.blendsplat.make_expression_library()
    assert bpy.ops.blendsplat.save_expression(name="Now") == {"FINISHED"}
    Path(ana.blendsplat.avatar_path).write_bytes(b"broken")
    engine("mute")
    series = face_pictures.Series(scene.session_uid, {"device": "cpu"}, np.eye(3), np.eye(4), [("Now", {})] * 3)
    series.done = 1
    series.cancel()
    assert series.ended and "1 of 3" in series.sentence
    series.step()
    assert not bpy.ops.blendsplat.cancel_face_pictures.poll()


def test_what_is_drawn_is_what_the_head_would_do(ana):
    """The arrays that the engine gets are those of the head when the pose is put on."""
    head = ana.blendsplat.head
    rng = np.random.default_rng(2)
    pose = face_pose.FacePose(
        {name: float(rng.random()) for name in arkit.NAMES}, {"jaw": (0.1, 0.2, 0.05), "eye.L": (0.1, -0.3, 0.2)}
    )
    arrays = portrait.arrays_of(head, pose, avatar_rig.reference_of(ana))
    face_pose.apply(head, pose)
    bpy.context.view_layer.update()
    from blender_addon.space import rotvec_to_matrix

    state = head_rig.head_state(head, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(arrays["expression"], state.expression, atol=1e-6)
    np.testing.assert_allclose(rotvec_to_matrix(arrays["jaw_pose"]), state.jaw, atol=1e-5)
    np.testing.assert_allclose(rotvec_to_matrix(arrays["eyes_pose"]), state.eyes, atol=1e-5)


def test_the_panel_shows_them(ana):
    bpy.ops.blendsplat.save_expression(name="Grumble")
    words = drawn(bpy.types.BLENDSPLAT_PT_keys)
    assert {"Joy", "ou", "Grumble", "Mirrored", "blendsplat.add_layer"} <= set(words)


def test_an_avatar_that_is_not_live_shows_the_face_too(ana):
    ana.blendsplat.live = False
    keys = ana.data.shape_keys.key_blocks
    before = [key.value for key in keys]
    bpy.ops.blendsplat.apply_expression(expression="Surprise")
    assert [key.value for key in keys] != before


def test_an_undo_takes_the_face_back(ana):
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.blendsplat.apply_expression(expression="Joy", key=True) == {"FINISHED"}
    bpy.ops.ed.undo_push(message="Joy")
    bpy.ops.ed.undo()
    keys = bpy.data.objects["Ana"].blendsplat.head.data.shape_keys
    assert all(key.value == 0 for key in keys.key_blocks[1:])
    assert not any(True for _ in keyframes.fcurves(keys))


def test_a_library_override_takes_a_face(head, tmp_path):
    blend = str(tmp_path / "head.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(blend, link=True) as (there, here):
        here.collections = list(there.collections)
    scene = bpy.context.scene
    scene.collection.children.link(here.collections[0])
    made = here.collections[0].override_hierarchy_create(scene, bpy.context.view_layer, do_fully_editable=True)
    over = next(item for item in made.all_objects if item.blendsplat.kind == "HEAD")
    bpy.context.view_layer.objects.active = over
    bpy.context.view_layer.update()
    assert over.override_library is not None
    assert bpy.ops.blendsplat.apply_expression(expression="Joy", key=True) == {"FINISHED"}
    assert over.data.shape_keys.key_blocks["mouthSmileLeft"].value == pytest.approx(0.95)
    assert len(list(keyframes.fcurves(over.data.shape_keys))) > 30

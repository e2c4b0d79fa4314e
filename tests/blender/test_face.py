# SPDX-License-Identifier: Apache-2.0
"""The Face panel's parts, reset, mirror, link, keyframes and favourites, on every kind of head and against odd ones."""

from __future__ import annotations

import json

import bpy
import face_heads
import numpy as np
import pytest
from blender_addon.scene import arkit, face_controls, face_link, face_regions, face_words, head_rig, keyframes
from blender_addon.space import to_blender
from blender_addon.ui import face_properties
from blender_addon.ui.operators import face
from blender_addon.ui.panels.face import BLENDSPLAT_PT_face
from drawn import drawn
from test_arkit_sliders import human_rig

OPERATORS = bpy.ops.blendsplat


@pytest.fixture
def human(scene):
    return face_heads.build("human")


def blocks(head):
    return head.data.shape_keys.key_blocks


def set_values(head, **values: float) -> None:
    for name, value in values.items():
        blocks(head)[name].value = value
    bpy.context.view_layer.update()


def values(head) -> dict[str, float]:
    return {name: face_controls.value(head, control) for name, control in face_controls.of(head).items()}


def linked(head) -> None:
    head.blendsplat.face.link = True
    bpy.context.view_layer.update()


# --- what is where


def test_every_slider_of_arkit_is_in_a_part_and_the_parts_are_in_order(human):
    parts = face_controls.in_groups(face_controls.of(human).values())
    assert [*parts, "board"] == list(face_words.GROUPS)
    sliders = {control.name for members in parts.values() for control in members if not control.bone}
    assert sliders == set(arkit.NAMES)
    assert {control.name for control in parts["lids"]} == {"eyeBlinkLeft", "eyeBlinkRight"}


def test_places_agree_with_what_arkits_names_say():
    """The measured places are right where a name tells as well."""
    rig, _ = human_rig()
    points = to_blender(rig.template)
    places = face_regions.masks(points, to_blender(rig.joints)[3:5])
    told = {
        name: face_regions.place_of(to_blender(moves), points, places)
        for name, moves in zip(rig.expression_names, rig.expression_directions, strict=True)
    }
    right = [name for name, (group, _) in told.items() if group == face_words.group_of(name)]
    assert len(right) > 0.75 * len(told)
    assert told["mouthSmileLeft"] == ("mouth", "mouth corner L") and told["mouthPucker"] == ("mouth", "mouth corner")
    assert told["browInnerUp"] == ("brows", "inner brow") and told["jawForward"] == ("jaw", "chin")


def test_a_numbered_slider_says_what_it_moves(scene):
    head = face_heads.build("flame")
    controls = face_controls.of(head)
    labels = [control.label for control in controls.values() if control.name.startswith("expression")]
    assert all(label.startswith("expr ") and label.split("  ")[1] for label in labels), labels
    assert controls["Eyelid L"].group == "lids" and controls["Eyelid L"].linked[0] == "Eyelid R"
    lone = controls["expression000"]
    assert not lone.linked[0] and lone.mirrored == ("expression000", 1.0)


@pytest.mark.parametrize("kind", face_heads.KINDS)
def test_the_panel_is_drawn_for_every_head(scene, kind):
    head = face_heads.build(kind)
    said = drawn(BLENDSPLAT_PT_face)
    assert {"Link Sides", "Head and Neck", "Nod", "Handles"} <= set(said)
    for name in json.loads(head[head_rig.CUSTOM]["expressions"]):
        control = face_controls.of(head)[name]
        assert (f"{control.label[:-1]}L R" if control.linked[0] else control.label) in said
    assert not any(word.startswith(("corrective", "identity")) for word in said)


def test_searching(human):
    found = {
        "SMILE": {"Mouth Smile L R", ""}, "left smile": {"Mouth Smile L"}, "nod": {"Nod"},
        "mouthSmileLeft": {"Mouth Smile L"}, "no such thing": {"No slider has these words in its name."},
    }  # fmt: skip
    for query, names in found.items():
        bpy.context.window_manager.blendsplat_search = query
        said = drawn(BLENDSPLAT_PT_face)
        between = said[said.index("Reset All") + 1 : said.index("Handles")]
        assert set(between) - {"blendsplat.face_favourite"} == names, query
    bpy.context.window_manager.blendsplat_search = ""


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("mouthSmileLeft", "mouthSmileRight"), ("Eyelid R", "Eyelid L"), ("brow_l", "brow_r"), ("lip.L", "lip.R"),
        ("Left", ""), ("smel", ""), ("cleft", ""), ("upright", ""), ("WRINKLER", ""), ("jawLeft", "jawRight"),
    ],
)  # fmt: skip
def test_sides_are_read_off_names(name, other):
    assert face_words.other_side(name) == other
    assert not other or face_words.other_side(other) == name


# --- the link


def test_one_side_takes_the_other_along(human):
    linked(human)
    set_values(human, mouthSmileLeft=0.6)
    assert blocks(human)["mouthSmileRight"].value == pytest.approx(0.6)
    set_values(human, mouthSmileRight=0.2)
    assert blocks(human)["mouthSmileLeft"].value == pytest.approx(0.2)
    human.blendsplat.face.link = False
    set_values(human, mouthSmileLeft=0.9)
    assert blocks(human)["mouthSmileRight"].value == pytest.approx(0.2)


def test_both_eyes_look_the_same_way_and_a_mouth_moves_but_once(human):
    linked(human)
    set_values(human, eyeLookInLeft=0.7)
    assert blocks(human)["eyeLookOutRight"].value == pytest.approx(0.7) and not blocks(human)["eyeLookInRight"].value
    set_values(human, mouthLeft=0.5, jawRight=0.5)
    assert not blocks(human)["mouthRight"].value and not blocks(human)["jawLeft"].value
    bones = human.blendsplat.rig.pose.bones
    bones["eye.L"].rotation_euler = (0.1, 0.2, 0)
    bpy.context.view_layer.update()
    assert list(bones["eye.R"].rotation_euler)[:2] == pytest.approx([0.1, 0.2])


def test_switching_the_link_moves_nothing(human):
    set_values(human, mouthSmileLeft=0.6, mouthSmileRight=0.1)
    before = values(human)
    linked(human)
    set_values(human, jawOpen=0.3)
    assert values(human) == before | {"jawOpen": pytest.approx(0.3)}


def test_what_keys_do_is_no_hand(human):
    key = blocks(human)["mouthSmileLeft"]
    for frame, value in ((1, 0.0), (11, 1.0)):
        key.value = value
        key.keyframe_insert("value", frame=frame)
    bpy.context.scene.frame_set(1)
    linked(human)
    for frame in (4, 11, 2):
        bpy.context.scene.frame_set(frame)
        bpy.context.view_layer.update()
        assert blocks(human)["mouthSmileRight"].value == 0
    key.value = 0.8  # a hand on a keyed slider, which stands until the frame changes
    bpy.context.view_layer.update()
    assert blocks(human)["mouthSmileRight"].value == pytest.approx(0.8)
    curve = next(keyframes.fcurves(human.data.shape_keys))
    for point in curve.keyframe_points:
        point.co.y = 0.3
    curve.update()
    human.data.shape_keys.update_tag()
    bpy.context.view_layer.update()
    bpy.context.scene.frame_set(2)
    assert key.value == pytest.approx(0.3) and blocks(human)["mouthSmileRight"].value == pytest.approx(0.8)


def test_auto_keying_keys_what_followed(human):
    linked(human)
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.context.scene.frame_set(7)
    set_values(human, browDownRight=0.4)
    curves = {curve.data_path: keyframes.points(curve) for curve in keyframes.fcurves(human.data.shape_keys)}
    assert curves['key_blocks["browDownLeft"].value'].tolist() == [[7.0, pytest.approx(0.4)]]


def test_a_driven_side_neither_leads_nor_follows(human):
    driver = blocks(human)["mouthSmileLeft"].driver_add("value").driver
    driver.type, driver.expression = "SCRIPTED", "a"
    variable = driver.variables.new()
    variable.name, variable.targets[0].id_type = "a", "KEY"
    variable.targets[0].id, variable.targets[0].data_path = human.data.shape_keys, 'key_blocks["jawOpen"].value'
    linked(human)
    set_values(human, jawOpen=0.5)
    assert blocks(human)["mouthSmileLeft"].value == pytest.approx(0.5) and not blocks(human)["mouthSmileRight"].value
    set_values(human, mouthSmileRight=0.9)
    assert blocks(human)["mouthSmileLeft"].value == pytest.approx(0.5)


# --- mirror, reset, keys


def test_mirror_swaps_sides_and_twice_is_nothing(human):
    set_values(human, mouthSmileLeft=0.6, mouthSmileRight=0.1, jawLeft=0.4, browInnerUp=0.3, eyeLookInLeft=0.5)
    bones = human.blendsplat.rig.pose.bones
    bones["jaw"].rotation_euler, bones["eye.L"].rotation_euler = (0.1, 0.05, 0.02), (0.1, 0.2, 0)
    bones["neck"].rotation_euler = (0.2, 0.3, 0.1)
    before = values(human)
    linked(human)  # which must not undo it
    assert OPERATORS.face_mirror() == {"FINISHED"}
    bpy.context.view_layer.update()
    now = values(human)
    assert (now["mouthSmileLeft"], now["mouthSmileRight"]) == pytest.approx((0.1, 0.6))
    assert (now["jawLeft"], now["jawRight"], now["browInnerUp"]) == pytest.approx((0, 0.4, 0.3))
    assert (now["jaw open"], now["jaw aside"], now["jaw tilt"]) == pytest.approx((0.1, -0.05, -0.02))
    assert (now["gaze down R"], now["gaze aside R"], now["gaze aside L"]) == pytest.approx((0.1, -0.2, 0))
    assert now["head turn"] == before["head turn"]
    OPERATORS.face_mirror()
    assert values(human) == pytest.approx(before)
    OPERATORS.face_mirror(head=True)
    assert values(human)["head turn"] == pytest.approx(-0.3) and values(human)["head nod"] == pytest.approx(0.2)


def test_a_mirrored_face_is_the_mirror_image(human):
    """Of the mesh itself: the head that ships is symmetric."""
    set_values(human, mouthSmileLeft=0.8, browDownRight=0.7, jawLeft=0.5, eyeBlinkLeft=0.5)
    bones = human.blendsplat.rig.pose.bones
    bones["jaw"].rotation_euler, bones["neck"].rotation_euler = (0.1, 0.05, 0.02), (0.2, 0.3, 0.1)
    before = shown(human)
    OPERATORS.face_mirror(head=True)
    after = shown(human) * (-1, 1, 1)
    distance = np.linalg.norm(after[::40, None] - before[None], axis=2).min(1)
    assert np.quantile(distance, 0.95) < 5e-4
    assert np.linalg.norm(shown(human) - before, axis=1).max() > 0.01, "it does something"


def shown(head) -> np.ndarray:
    mesh = head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    found = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", found)
    return found.reshape(-1, 3)


@pytest.mark.parametrize("kind", face_heads.KINDS)
def test_reset_of_a_part_leaves_the_others(scene, kind):
    head = face_heads.build(kind)
    controls = face_controls.of(head)
    for control in controls.values():
        face_controls.put(head, control, 0.25)
    assert OPERATORS.face_reset(group="JAW") == {"FINISHED"}
    for control in controls.values():
        assert face_controls.value(head, control) == pytest.approx(0 if control.group == "jaw" else 0.25), control
    OPERATORS.face_reset(group="ALL")
    assert {control.group for control in controls.values() if face_controls.value(head, control)} == {"head"}
    OPERATORS.face_reset(group="HEAD")
    assert not any(values(head).values())


def test_keying_a_part_and_its_state(human):
    bpy.context.scene.frame_set(5)
    set_values(human, browInnerUp=0.5)
    assert OPERATORS.face_key(group="BROWS") == {"FINISHED"}
    paths = {curve.data_path for curve in keyframes.fcurves(human.data.shape_keys)}
    assert paths == {f'key_blocks["{name}"].value' for name in arkit.GROUPS["brows"]}
    OPERATORS.face_key(group="GAZE")
    turned = {(curve.data_path, curve.array_index) for curve in keyframes.fcurves(human.blendsplat.rig)}
    assert turned == {(f'pose.bones["{eye}"].rotation_euler', axis) for eye in ("eye.L", "eye.R") for axis in (0, 1)}
    controls, state = face_controls.of(human), face_controls.keyed_at(human, 5)
    assert state(controls["browInnerUp"]) == state(controls["gaze aside L"]) == "keyed"
    assert face_controls.keyed_at(human, 6)(controls["browInnerUp"]) == "animated"
    assert state(controls["jawOpen"]) == ""


def test_auto_keying_keys_a_reset(human):
    set_values(human, browInnerUp=0.5)
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    OPERATORS.face_reset()
    curves = [curve.data_path for curve in keyframes.fcurves(human.data.shape_keys)]
    assert curves == ['key_blocks["browInnerUp"].value'], "only what moved"


# --- favourites


def test_favourites_survive_saving_renaming_and_deleting(human, tmp_path):
    names = ["mouthSmileLeft", "head nod", "tongueOut"]
    for name in names:
        assert OPERATORS.face_favourite(name=name) == {"FINISHED"}
    OPERATORS.face_favourite(name="head nod")
    OPERATORS.face_favourite(name="eyeBlinkLeft|eyeBlinkRight")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "ä.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "ä.blend"))
    head = face.meant_head(bpy.context)
    expected = ["mouthSmileLeft", "tongueOut", "eyeBlinkLeft", "eyeBlinkRight"]
    assert face_properties.favourites(head) == expected
    blocks(head)["tongueOut"].name = "Zunge"
    head.shape_key_remove(blocks(head)["mouthSmileLeft"])
    chosen = [control.name for control in face.controls_of(head, "FAVOURITES")]
    assert chosen == ["eyeBlinkLeft", "eyeBlinkRight"] and "Favourites" in drawn(BLENDSPLAT_PT_face)
    blocks(head)["Zunge"].name = "tongueOut"
    assert "tongueOut" in [control.name for control in face.controls_of(head, "FAVOURITES")]
    head.blendsplat.face.favourites = "[1, not ours"
    assert face_properties.favourites(head) == [] and drawn(BLENDSPLAT_PT_face)


# --- odd heads


def test_keys_that_an_artist_made_renamed_muted_and_removed(human):
    made = human.shape_key_add(name='Böse "Falte" L', from_mix=False)
    human.shape_key_add(name='Böse "Falte" R', from_mix=False)
    made.value = 0.4
    assert face_controls.of(human)[made.name].group == "", "it moves nothing yet"
    blocks(human)["mouthSmileLeft"].name = "Lächeln"
    human.shape_key_remove(blocks(human)["browDownLeft"])
    blocks(human)["jawOpen"].mute = True
    assert OPERATORS.face_mirror() == {"FINISHED"}
    assert blocks(human)['Böse "Falte" R'].value == pytest.approx(0.4)
    assert "Lächeln" in " ".join(drawn(BLENDSPLAT_PT_face))
    linked(human)
    set_values(human, browDownRight=0.5, mouthSmileRight=0.5)
    assert OPERATORS.face_key(group="MORE") == {"FINISHED"} and OPERATORS.face_reset() == {"FINISHED"}
    assert not any(values(human).values())


def test_a_head_without_keys_or_rig(scene, human):
    bpy.data.objects.remove(human.blendsplat.rig)
    assert {control.bone for control in face_controls.of(human).values()} == {""}
    assert drawn(BLENDSPLAT_PT_face) and OPERATORS.face_reset() == {"FINISHED"}
    human.shape_key_clear()
    assert "no sliders" in face_controls.locked(human) and drawn(BLENDSPLAT_PT_face)
    assert not OPERATORS.face_reset.poll()


def test_bones_turned_by_quaternions_are_named(human):
    human.blendsplat.rig.pose.bones["neck"].rotation_mode = "QUATERNION"
    assert "head nod" not in face_controls.of(human)
    assert any("quaternions" in line and "neck" in line for line in drawn(BLENDSPLAT_PT_face))


def test_a_linked_head_is_grey_with_a_reason(human, tmp_path):
    library = str(tmp_path / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=library)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(library, link=True) as (source, wanted):
        wanted.collections = [name for name in source.collections if name == "Human"]
    bpy.context.scene.collection.children.link(wanted.collections[0])
    head = face.meant_head(bpy.context)
    assert head is not None and head.library is not None
    assert "linked from another file" in face_controls.locked(head)
    assert any("linked from another file" in line for line in drawn(BLENDSPLAT_PT_face))
    for operator in ("face_reset", "face_mirror", "face_key", "add_eye_target", "add_control_board"):
        assert not getattr(OPERATORS, operator).poll(), operator
    face_link.on_other_change()


@pytest.mark.parametrize("editable", [True, False])
def test_a_library_override_takes_values_and_no_parts(human, tmp_path, editable):
    library = str(tmp_path / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=library)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(library, link=True) as (_, wanted):
        wanted.collections = ["Human"]
    scene, linked_in = bpy.context.scene, wanted.collections[0]
    scene.collection.children.link(linked_in)
    linked_in.override_hierarchy_create(scene, bpy.context.view_layer, do_fully_editable=editable)
    head = face.meant_head(bpy.context)
    assert head.library is None and head.override_library is not None
    assert ("may not be changed" in face_controls.locked(head)) == (not editable)
    assert OPERATORS.face_reset.poll() == OPERATORS.pose_face.poll() == editable
    for operator in ("add_eye_target", "add_control_board", "shape_bones"):
        assert not getattr(OPERATORS, operator).poll(), operator
    assert drawn(BLENDSPLAT_PT_face)
    if editable:
        linked(head)
        set_values(head, mouthSmileLeft=0.6)
        assert blocks(head)["mouthSmileRight"].value == pytest.approx(0.6)
        assert OPERATORS.face_key(group="ALL") == OPERATORS.face_reset() == {"FINISHED"}
        assert OPERATORS.face_favourite(name="jawOpen") == OPERATORS.pose_face() == {"FINISHED"}


def test_undo_takes_each_back(human):
    set_values(human, mouthSmileLeft=0.6)
    linked(human)
    buttons = (
        OPERATORS.face_reset, OPERATORS.face_mirror, OPERATORS.add_eye_target, OPERATORS.add_control_board,
        lambda: OPERATORS.face_favourite(name="jawOpen"), lambda: OPERATORS.face_key(group="JAW"),
    )  # fmt: skip
    for press in buttons:
        bpy.ops.ed.undo_push(message="before")
        before = state(face.meant_head(bpy.context))
        press()
        assert state(face.meant_head(bpy.context)) != before
        bpy.ops.ed.undo_push(message="after")
        bpy.ops.ed.undo()
        assert state(face.meant_head(bpy.context)) == before


def state(head) -> tuple:
    curves = sorted(curve.data_path for curve in keyframes.fcurves(head.data.shape_keys))
    names = sorted(key.name for key in blocks(head))
    return values(head), curves, names, sorted(item.name for item in bpy.context.scene.objects), (
        head.blendsplat.face.favourites
    )  # fmt: skip

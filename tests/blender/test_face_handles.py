# SPDX-License-Identifier: Apache-2.0
"""Bones with shapes, the eye target and the control board: what they move, what they leave alone, and that they go
without a trace."""

from __future__ import annotations

import math
from pathlib import Path

import blender_addon
import bpy
import face_heads
import numpy as np
import pytest
from blender_addon import space
from blender_addon.scene import (
    bone_shapes,
    control_board,
    eye_target,
    face_controls,
    forecast,
    head_drivers,
    head_rig,
    keyframes,
)
from mathutils import Vector
from test_arkit_sliders import human_rig, performance_of, pose
from test_face import blocks, shown

OPERATORS = bpy.ops.blendsplat


@pytest.fixture
def human(scene):
    return face_heads.build("human")


def evaluated(head) -> bpy.types.Pose:
    return head.blendsplat.rig.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose


def matrices(head) -> np.ndarray:
    """All bones' evaluated matrices [B,4,4]."""
    bpy.context.view_layer.update()
    return np.array([np.array(item.matrix) for item in evaluated(head).bones])


def keyed(head, tmp_path: Path, frames: int = 6) -> None:
    """A tracked performance on the head: jaw, gaze and expressions move in every frame."""
    rig, _ = human_rig()
    wave = np.sin(np.arange(frames))[:, None]
    played = {name: np.repeat(value, frames, 0) for name, value in pose(rig).items()}
    played["expression"] = np.clip(0.5 + 0.5 * wave * np.ones_like(played["expression"]), 0, 1)
    played["jaw_pose"], played["neck_pose"] = 0.1 + 0.1 * wave * [1, 0.2, 0], 0.2 * wave * [0.3, 1, 0.1]
    played["eyes_pose"] = 0.2 * wave[:, None] * np.array([[[0.5, 1, 0], [0.5, 0.8, 0]]])
    head_rig.apply_performance(head, performance_of(rig, played, tmp_path), 1, 25.0)


def played(head, frames: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Bones' matrices and the mesh in every frame."""
    bones, meshes = [], []
    for frame in range(1, frames + 1):
        bpy.context.scene.frame_set(frame)
        bones.append(matrices(head))
        meshes.append(shown(head))
    return np.array(bones), np.array(meshes)


def curves(head) -> dict:
    found = {}
    for owner in (head.data.shape_keys, head.blendsplat.rig):
        for curve in keyframes.fcurves(owner):
            found[owner.name, curve.data_path, curve.array_index] = keyframes.points(curve).tolist()
    return found


def traces(head) -> tuple:
    """All that a handle could leave behind."""
    rig = head.blendsplat.rig
    drivers = [d.data_path for owner in (head.data.shape_keys, rig) for d in owner.animation_data.drivers]
    constraints = [(bone.name, [con.name for con in bone.constraints]) for bone in rig.pose.bones]
    return (
        [key.name for key in blocks(head)], sorted(drivers), constraints, sorted(item.name for item in bpy.data.objects
        if not bone_shapes.is_ours(item)), len(bpy.data.armatures), curves(head),
    )  # fmt: skip


# --- bones


@pytest.mark.parametrize("kind", face_heads.KINDS)
def test_bones_have_shapes_and_play_as_before(scene, kind):
    head = face_heads.build(kind)
    rig = head.blendsplat.rig
    assert bone_shapes.is_dressed(head)
    assert {bone.name for bone in rig.data.collections[bone_shapes.COLLECTION].bones} == set(head_drivers.BONES)
    dressed = matrices(head)
    for item in rig.pose.bones:
        assert np.isfinite([*item.custom_shape_translation, *item.custom_shape_scale_xyz]).all()
        item.custom_shape = None
    assert (matrices(head) == dressed).all()


def test_a_bones_shape_of_the_artists_stays(human):
    own, rig = bpy.data.objects.new("Mine", bpy.data.meshes.new("Mine")), human.blendsplat.rig
    rig.pose.bones["jaw"].custom_shape = own
    rig.pose.bones["neck"].custom_shape = None
    assert not bone_shapes.is_dressed(human)
    assert OPERATORS.shape_bones() == {"FINISHED"}
    assert rig.pose.bones["jaw"].custom_shape == own and bone_shapes.is_dressed(human)


def test_the_ring_goes_around_the_head_and_the_circles_stand_before_the_eyes(human):
    bones = human.blendsplat.rig.pose.bones
    points = face_controls.coordinates(blocks(human)[0])

    def seen(name: str) -> np.ndarray:
        item = bones[name]
        at = np.array([vertex.co[:] for vertex in item.custom_shape.data.vertices])
        at = at * item.custom_shape_scale_xyz[:] + item.custom_shape_translation[:]
        return at @ np.array(item.bone.matrix_local.to_3x3()).T + item.bone.head_local

    ring = seen("neck")
    near = points[np.abs(points[:, 2] - ring[:, 2].mean()) < 0.01]
    assert ring[:, 0].max() > near[:, 0].max() and ring[:, 1].min() < near[:, 1].min()
    assert ring[:, 1].max() > near[:, 1].max() and np.ptp(ring[:, 2]) < 1e-6
    for name in ("eye.L", "eye.R"):
        circle = seen(name)
        assert circle[:, 1].max() < points[:, 1].min() + 0.03, "before the face"
        assert abs(circle[:, 0].mean() - bones[name].bone.head_local.x) < 1e-3
    jaw = seen("jaw")
    assert jaw[:, 1].min() < points[np.abs(points[:, 2] - jaw[:, 2].mean()) < 0.01][:, 1].min()


# --- the eye target


@pytest.mark.parametrize("kind", face_heads.KINDS)
def test_both_eyes_point_at_the_target(scene, kind):
    """Whatever tracking, sliders and the head's turn say, and wherever the armature stands."""
    head = face_heads.build(kind)
    rig = head.blendsplat.rig
    rig.location, rig.rotation_euler = (1, 2, 0.5), (0.1, 0.2, 0.7)
    rig.pose.bones["neck"].rotation_euler = (0.1, 0.3, 0.05)
    rig.pose.bones["eye.L"].rotation_euler = (0.1, -0.2, 0)
    if "eyeLookUpLeft" in blocks(head):
        blocks(head)["eyeLookUpLeft"].value = 0.5
    if kind == "fitted":
        blocks(head)["identity nose_length"].value = 1.0  # which moves the eyes' joints
    assert OPERATORS.add_eye_target() == {"FINISHED"}
    target = eye_target.target_of(head)
    target[eye_target.LOOK] = 1.0
    for away in ((0, 0, 0), (0.1, 0.05, -0.08), (-0.15, -0.2, 0.1)):
        place = target.location.copy()
        target.location = place + Vector(away)
        target.update_tag()
        bpy.context.view_layer.update()
        for name in head_drivers.EYES:
            eye = rig.matrix_world @ evaluated(head).bones[name].matrix
            towards = target.matrix_world.translation - eye.translation
            assert math.degrees(eye.col[2].to_3d().angle(towards)) < 0.5, (name, away)
        target.location = place


def test_a_tracked_gaze_plays_untouched_until_it_is_raised(human, tmp_path):
    keyed(human, tmp_path)
    bones, meshes = played(human)
    before = curves(human)
    OPERATORS.add_eye_target()
    again = played(human)
    assert (again[0] == bones).all() and (again[1] == meshes).all(), "bit by bit"
    target = eye_target.target_of(human)
    target[eye_target.LOOK] = 0.5
    target.update_tag()
    assert np.abs(played(human)[0] - bones).max() > 0.01
    assert curves(human) == before


def test_the_look_is_keyed_and_plays_without_scripts(human):
    OPERATORS.add_eye_target()
    target = eye_target.target_of(human)
    for frame, value in ((1, 0.0), (11, 1.0)):
        target[eye_target.LOOK] = value
        target.keyframe_insert(eye_target.LOOK_PATH, frame=frame)
    bpy.context.scene.frame_set(6)
    con = evaluated(human).bones["eye.L"].constraints["Eye Target"]
    assert 0.3 < con.influence < 0.7
    drivers = human.blendsplat.rig.animation_data.drivers
    assert all(d.driver.type != "SCRIPTED" or d.driver.is_simple_expression for d in drivers)


@pytest.mark.parametrize("how", ["button", "deleted"])
def test_the_target_goes_without_a_trace(human, how):
    before, rest = traces(human), matrices(human)
    OPERATORS.add_eye_target()
    assert not OPERATORS.add_eye_target.poll()
    if how == "deleted":
        bpy.data.armatures.remove(eye_target.target_of(human).data)  # and its object with it
        assert eye_target.target_of(human) is None and OPERATORS.add_eye_target.poll()
        assert (matrices(human) == rest).all()
        OPERATORS.add_eye_target()
    assert OPERATORS.remove_eye_target() == {"FINISHED"}
    assert traces(human) == before and not OPERATORS.remove_eye_target.poll()


# --- the board


def board_bones(head):
    return control_board.board_of(head).pose.bones


def test_a_board_at_rest_changes_nothing_and_goes_without_a_trace(human, tmp_path):
    keyed(human, tmp_path)
    bones, meshes = played(human)
    before = traces(human)
    assert OPERATORS.add_control_board() == {"FINISHED"} and not OPERATORS.add_control_board.poll()
    again = played(human)
    np.testing.assert_allclose(again[0], bones, atol=1e-6)
    np.testing.assert_allclose(again[1], meshes, atol=1e-6)
    assert curves(human) == before[-1], "no key is touched"
    board_bones(human)["mouth.L"].location = (0.01, 0.02, 0)
    OPERATORS.remove_control_board()
    assert traces(human) == before and not OPERATORS.remove_control_board.poll()
    again = played(human)
    assert (again[0] == bones).all() and (again[1] == meshes).all()


def test_handles_add_to_a_keyed_performance(human, tmp_path):
    keyed(human, tmp_path)
    OPERATORS.add_control_board()
    bpy.context.scene.frame_set(3)
    keys, before = human.data.shape_keys, head_rig.head_state(human, bpy.context.evaluated_depsgraph_get())
    smile = keys.key_blocks["mouthSmileLeft"].value
    board_bones(human)["mouth.L"].location.y = 0.01
    board_bones(human)["jaw"].location.y = -0.01
    bpy.context.view_layer.update()
    state = head_rig.head_state(human, bpy.context.evaluated_depsgraph_get())
    names = list(human_rig()[0].expression_names)
    changed = (state.expression - before.expression)[0]
    assert (
        changed[names.index("mouthSmileLeft")] == pytest.approx(0.5) and np.count_nonzero(np.abs(changed) > 1e-6) == 1
    )
    assert keys.key_blocks["mouthSmileLeft"].value == smile, "its own value is the performance's"
    turn = space.matrix_to_rotvec(state.jaw[0] @ before.jaw[0].T)
    assert turn == pytest.approx([0.186, 0, 0], abs=0.01)
    foreseen = forecast.head_state(human, 3)
    np.testing.assert_allclose(foreseen.expression, state.expression, atol=1e-6)
    keyed(human, tmp_path)  # applied again
    bpy.context.scene.frame_set(3)
    again = head_rig.head_state(human, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(again.expression, state.expression, atol=1e-6)


def test_what_handles_add_is_baked_with_the_head(human, tmp_path):
    """It goes into the sliders, farther than they go if need be, and moving a handle then changes nothing."""
    keyed(human, tmp_path)
    bpy.context.view_layer.objects.active = human
    OPERATORS.add_control_board()
    handles, names = board_bones(human), list(human_rig()[0].expression_names)
    handles["mouth.L"].location.y, handles["jaw"].location.y = 0.02, -0.01
    before = played(human)
    assert OPERATORS.bake_head(frame_start=1, frame_end=6) == {"FINISHED"}
    again = played(human)
    np.testing.assert_allclose(again[0], before[0], atol=1e-5)
    np.testing.assert_allclose(again[1], before[1], atol=1e-5)
    handles["mouth.L"].location.y = handles["jaw"].location.y = 0
    cut_off = played(human)
    np.testing.assert_allclose(cut_off[1], again[1], atol=1e-6)
    assert blocks(human)["mouthSmileLeft"].slider_max > 1.5 and "board mouthSmileLeft" not in names


def test_handles_end_at_their_frames_and_are_keyed(human):
    OPERATORS.add_control_board()
    handle = board_bones(human)["brow.L"]
    handle.location = (0.3, 0.3, 0.3)
    bpy.context.view_layer.update()
    assert blocks(human)["board browOuterUpLeft"].value == pytest.approx(1)
    handle.location.y = -0.3
    handle.keyframe_insert("location", frame=3)
    bpy.context.scene.frame_set(3)
    assert blocks(human)["board browDownLeft"].value == pytest.approx(1)
    assert blocks(human)["board browOuterUpLeft"].value == 0
    drivers = human.data.shape_keys.animation_data.drivers
    assert all(d.driver.is_valid and d.driver.is_simple_expression for d in drivers)
    assert not any(name.startswith("board ") for name in face_controls.of(human))


def test_nameless_sliders_are_mixed_to_what_a_handle_says(scene):
    """On a head whose sliders are FLAME's, corners and brows go where their handle goes, and the rest hardly moves."""
    head = face_heads.build("flame")
    OPERATORS.add_control_board()
    named = face_controls.coordinates(blocks(head)[0])
    corner = np.abs(named - [0.028, -0.09, -0.074]).sum(1).argmin()
    for handle, vertical in (("mouth.L", True), ("mouth.R", True), ("brow.L", True), ("jaw", False)):
        before = shown(head)
        board_bones(head)[handle].location = (0, 0.02, 0) if vertical else (0.02, 0, 0)
        bpy.context.view_layer.update()
        moved = shown(head) - before
        most = np.linalg.norm(moved, axis=1)
        side = named[:, 0] > 0.005 if handle.endswith("L") else named[:, 0] < -0.005
        part = named[:, 2] > 0.01 if handle.startswith("brow") else named[:, 2] < -0.03
        if vertical:
            top = np.argsort(-most)[:50]
            assert side[top].mean() > 0.9 and part[top].mean() > 0.9, handle
            assert moved[top, 2].mean() > 0.003, handle
        else:
            assert moved[corner, 0] > 0.002
        board_bones(head)[handle].location = (0, 0, 0)
        bpy.context.view_layer.update()


def test_a_deleted_board_can_be_cleaned_up_and_made_again(human):
    before = traces(human)
    OPERATORS.add_control_board()
    data = control_board.board_of(human).data
    bpy.data.objects.remove(control_board.board_of(human))
    bpy.data.armatures.remove(data)
    assert control_board.is_there(human) and OPERATORS.remove_control_board.poll()
    assert OPERATORS.add_control_board() == {"FINISHED"}
    OPERATORS.remove_control_board()
    assert traces(human) == before


@pytest.mark.parametrize("kind", ["fitted", "sheet"])
def test_a_head_with_few_sliders_gets_what_it_has(scene, kind):
    head = face_heads.build(kind)
    before = matrices(head)
    OPERATORS.add_control_board()
    assert {key.name for key in blocks(head) if key.name.startswith("board")} == {
        "board mouthSmileLeft",
        "board jawOpen",
    }
    np.testing.assert_allclose(matrices(head), before, atol=1e-6)
    board_bones(head)["jaw"].location.y = -0.02
    bpy.context.view_layer.update()
    assert blocks(head)["board jawOpen"].value == pytest.approx(1)
    OPERATORS.remove_control_board()
    assert (matrices(head) == before).all()


def test_all_handles_are_taken_together(human):
    """Also added in Pose Mode, which stays."""
    assert OPERATORS.pose_face() == {"FINISHED"} and bpy.context.mode == "POSE"
    OPERATORS.add_eye_target()
    OPERATORS.add_control_board()
    assert bpy.context.mode == "POSE"
    OPERATORS.pose_face()
    assert bpy.context.mode == "OBJECT"
    OPERATORS.pose_face()
    taken = {item for item in bpy.context.scene.objects if item.mode == "POSE"}
    assert taken == {human.blendsplat.rig, eye_target.target_of(human), control_board.board_of(human)}
    OPERATORS.pose_face()
    human.users_collection[0].hide_viewport = True
    bpy.context.view_layer.update()
    assert not OPERATORS.pose_face.poll()
    OPERATORS.remove_eye_target()
    assert OPERATORS.add_eye_target() == {"FINISHED"}, "in a collection that is seen"


def test_the_boards_handles_are_linked_mirrored_reset_and_keyed(human):
    OPERATORS.add_control_board()
    bones = board_bones(human)
    human.blendsplat.face.link = True
    bpy.context.view_layer.update()
    bones["mouth.L"].location = (0.01, 0.015, 0)
    bpy.context.view_layer.update()
    assert list(bones["mouth.R"].location) == pytest.approx([-0.01, 0.015, 0])
    human.blendsplat.face.link = False
    bones["mouth.R"].location = (-0.002, 0, 0)
    bones["jaw"].location = (0.01, -0.01, 0)
    bpy.context.view_layer.update()
    OPERATORS.face_mirror()
    assert list(bones["mouth.L"].location) == pytest.approx([0.002, 0, 0])
    assert list(bones["mouth.R"].location) == pytest.approx([-0.01, 0.015, 0])
    assert list(bones["jaw"].location) == pytest.approx([-0.01, -0.01, 0])
    OPERATORS.face_key(group="BOARD")
    keyed = {(curve.data_path, curve.array_index) for curve in keyframes.fcurves(control_board.board_of(human))}
    assert ('pose.bones["mouth.L"].location', 0) in keyed and len(keyed) == 9
    OPERATORS.face_reset()
    assert not any(value for item in bones for value in item.location)


def test_handles_play_in_a_saved_file_without_the_add_on(human, tmp_path):
    OPERATORS.add_control_board()
    OPERATORS.add_eye_target()
    target = eye_target.target_of(human)
    for frame, value in ((1, 0.0), (11, 1.0)):
        board_bones(human)["mouth.L"].location.y = 0.02 * value
        board_bones(human)["mouth.L"].keyframe_insert("location", frame=frame)
        target[eye_target.LOOK] = value
        target.keyframe_insert(eye_target.LOOK_PATH, frame=frame)
        target.pose.bones[0].location.x = 0.2 * value
        target.pose.bones[0].keyframe_insert("location", frame=frame)
    bpy.context.scene.frame_set(8)
    bones, mesh = matrices(human), shown(human)
    bpy.context.scene.frame_set(1)
    assert np.abs(shown(human) - mesh).max() > 0.003 and np.abs(matrices(human) - bones).max() > 0.05
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "played.blend"))
    blender_addon.unregister()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "played.blend"))
        bpy.context.scene.frame_set(8)
        np.testing.assert_allclose(shown(bpy.data.objects["Human Head"]), mesh, atol=1e-6)
    finally:
        blender_addon.register()
    head = bpy.data.objects["Human Head"]
    assert control_board.board_of(head) is not None and eye_target.target_of(head) is not None
    np.testing.assert_allclose(matrices(head), bones, atol=1e-6)
    OPERATORS.remove_control_board()
    OPERATORS.remove_eye_target()


def test_a_head_without_a_face_says_what_its_board_cannot(human):
    """Nothing but a jaw."""
    for key in [key for key in blocks(human)[1:] if key.name in face_controls.of(human)]:
        human.shape_key_remove(key)
    assert OPERATORS.add_control_board() == {"FINISHED"} and not control_board.keys_of(human)
    before = matrices(human)
    board_bones(human)["jaw"].location.y = -0.02
    assert np.abs(matrices(human) - before).max() > 0.1

# SPDX-License-Identifier: Apache-2.0
"""The head that ships in Blender: all of ARKit's 52 names are shape keys in groups; what no shape does turns bones,
beside what keyframes and hands do with the bones."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import oracle
import pytest
from blender_addon import formats, space
from blender_addon.scene import arkit, head_drivers, head_rig
from human_head import human_head

import synthetic


def human_rig() -> tuple[formats.Rig, dict[str, np.ndarray]]:
    """The mean head with the shape built in, and its rig.* arrays."""
    meta, arrays = human_head()
    return formats.rig_from(meta, arrays, "human"), arrays


@pytest.fixture
def human(scene):
    rig, arrays = human_rig()
    return head_rig.build_head(bpy.context, rig, "Human"), rig, arrays


def pose(rig: formats.Rig, **turns: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """One frame of a performance: the given jaw_pose, left_eye, ... and nothing else."""
    eyes = [turns.get("left_eye", (0, 0, 0)), turns.get("right_eye", (0, 0, 0))]
    return {
        "expression": np.zeros((1, len(rig.expression_names))), "eyelids": np.zeros((1, 2)),
        "root_pose": np.zeros((1, 3)), "translation": np.zeros((1, 3)),
        "neck_pose": np.array([turns.get("neck", (0, 0, 0))], float),
        "jaw_pose": np.array([turns.get("jaw", (0, 0, 0))], float), "eyes_pose": np.array([eyes], float),
    }  # fmt: skip


def shown(head: bpy.types.Object) -> np.ndarray:
    mesh = head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values)
    return values.reshape(-1, 3)


def performance_of(rig: formats.Rig, played: dict[str, np.ndarray], folder: Path) -> formats.Performance:
    """A tracked performance of the head that ships, from what it plays (arrays of F rows), through a file."""
    frames = len(played["expression"])
    played = {name: value.astype(np.float32) for name, value in played.items()} | {
        "timestamps": np.arange(frames) / 25, "valid": np.ones(frames, bool), "shape": np.zeros(0, np.float32),
        "vertex_offsets": np.zeros_like(rig.template), "K": np.eye(3, dtype=np.float32),
        "viewmat": np.eye(4, dtype=np.float32),
    }  # fmt: skip
    meta = {
        "format": "blendsplat-tracking", "version": 1, "head": "human", "head_source": "human", "width": 64,
        "height": 64, "expression_names": list(rig.expression_names), "figures": {}, "head_family": "human",
        "head_model": formats.head_model_id(rig),
    }  # fmt: skip
    return formats.read_performance(synthetic.write(folder / "tracking.npz", meta, played))


def test_all_52_names_are_there_in_groups(human):
    head, _, _ = human
    names = [key.name for key in head.data.shape_keys.key_blocks[1:] if not key.name.startswith("corrective ")]
    assert names == list(arkit.NAMES) and len(names) == 52
    assert list(arkit.in_groups(names)) == ["brows", "eyes", "cheeks", "nose", "mouth", "jaw", "tongue"]
    assert all(key.slider_min == 0 and key.slider_max == 1 for key in map(head.data.shape_keys.key_blocks.get, names))


@pytest.mark.parametrize("name", arkit.TURNS)
def test_a_slider_turns_its_bone_as_the_engine_would(human, name):
    head, rig, arrays = human
    bone, turn = arkit.TURNS[name]
    joint = {"jaw": "jaw", "eye.L": "left_eye", "eye.R": "right_eye"}[bone]
    head.data.shape_keys.key_blocks[name].value = 1.0
    want = space.to_blender(oracle.head_vertices(arrays, pose(rig, **{joint: turn}), 0))
    have = shown(head)
    assert np.abs(have - want).max() < 1e-5
    rest = space.to_blender(rig.template)
    assert np.linalg.norm(have - rest, axis=1).max() > 0.004, "it does something"


def test_sliders_add_to_what_the_bones_do(human):
    """A keyed bone keeps its keys; the slider comes on top. The jaw's corrective hears of the whole turn."""
    head, rig, arrays = human
    bones, blocks = head.blendsplat.rig.pose.bones, head.data.shape_keys.key_blocks
    bones["neck"].rotation_euler = (0.1, 0.3, 0.0)
    bones["jaw"].rotation_euler = (0.1, 0.0, 0.0)
    blocks["jawOpen"].value = 0.5
    blocks["eyeLookUpLeft"].value = 0.5
    turned = pose(rig, jaw=(0.1 + 0.5 * arkit.TURNS["jawOpen"][1][0], 0, 0), left_eye=(-0.225, 0, 0))
    state = head_rig.head_state(head, bpy.context.evaluated_depsgraph_get())
    turned["neck_pose"] = space.matrix_to_rotvec(state.neck[0])[None]
    assert np.abs(shown(head) - space.to_blender(oracle.head_vertices(arrays, turned, 0))).max() < 1e-5
    np.testing.assert_allclose(space.matrix_to_rotvec(state.jaw[0]), turned["jaw_pose"][0], atol=1e-6)


def test_a_performance_leaves_the_sliders_to_the_artist(human, tmp_path):
    head, rig, arrays = human
    frames = 5
    one = pose(rig, jaw=(0.2, 0.02, 0), left_eye=(0.1, 0.2, 0), right_eye=(0.1, 0.15, 0), neck=(0.1, -0.2, 0.05))
    played = {name: np.repeat(value, frames, 0).astype(np.float32) for name, value in one.items()}
    performance = performance_of(rig, played, tmp_path)
    head_rig.check_performance(head, performance)
    head_rig.apply_performance(head, performance, 1, 25.0)
    bpy.context.scene.frame_set(3)
    assert np.abs(shown(head) - space.to_blender(oracle.head_vertices(arrays, played, 2))).max() < 1e-5
    slider = head.data.shape_keys.key_blocks["jawOpen"]
    slider.value = 1.0
    slider.keyframe_insert("value", frame=3)
    bpy.context.scene.frame_set(2)
    bpy.context.scene.frame_set(3)
    lower = shown(head)[np.flatnonzero(rig.skin_weights[:, 2] == 1)]
    bones = head.blendsplat.rig.pose.bones["jaw"]
    assert bones.rotation_euler[0] == pytest.approx(0.2, abs=1e-3), "the bone's own curve plays"
    slider.value = 0.0
    bpy.context.view_layer.update()
    assert np.linalg.norm(lower - shown(head)[np.flatnonzero(rig.skin_weights[:, 2] == 1)], axis=1).min() > 0.005


def test_the_bones_that_sliders_turn_are_out_of_the_way(human):
    head, _, _ = human
    armature = head.blendsplat.rig.data
    turning = [head_drivers.slider_bone(bone) for bone in ("jaw", "eye.L", "eye.R")]
    assert {bone.name for bone in armature.bones} == {*head_drivers.BONES, *turning}
    assert not any(armature.bones[name].use_deform for name in turning)
    assert not armature.collections["Sliders"].is_visible
    assert {group.name for group in head.vertex_groups} == set(head_drivers.BONES)
    curves = [*head.blendsplat.rig.animation_data.drivers, *head.data.shape_keys.animation_data.drivers]
    assert all(curve.driver.is_valid and curve.driver.is_simple_expression for curve in curves)


def test_a_head_of_other_expressions_gets_no_slider_of_ours(scene):
    rig = formats.rig_from(*synthetic.grid_head(), "grid")
    head = head_rig.build_head(bpy.context, rig, "Grid")
    names = [key.name for key in head.data.shape_keys.key_blocks[1:]]
    assert {n for n in names if not n.startswith(("corrective", "Eyelid"))} == set(synthetic.EXPRESSIONS)
    assert len(head.blendsplat.rig.data.bones) == 5


def test_a_shape_that_opens_the_jaw_stays_what_it_is(scene):
    """ICT-FaceKit's jawOpen is a shape, and its jaw has no bone's weight: only the gaze becomes sliders."""
    rig, _ = human_rig()
    rig.expression_names = ("jawOpen", *rig.expression_names[1:])
    rig.skin_weights = rig.skin_weights.copy()
    rig.skin_weights[:, 1] += rig.skin_weights[:, 2]
    rig.skin_weights[:, 2] = 0
    head = head_rig.build_head(bpy.context, rig, "Ict")
    key = head.data.shape_keys.key_blocks["jawOpen"]
    assert not key.lock_shape and "jaw sliders" not in head.blendsplat.rig.data.bones
    assert "eye.L sliders" in head.blendsplat.rig.data.bones

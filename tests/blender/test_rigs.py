# SPDX-License-Identifier: Apache-2.0
"""Head and avatar in Blender against the formulas: what Blender evaluates is what the engine would compute."""

from __future__ import annotations

import bpy
import numpy as np
import oracle
import pytest
from blender_addon import formats, space
from blender_addon.render import gather
from blender_addon.scene import avatar_nodes, avatar_rig, head_rig, matched_camera, scene_match
from blender_addon.scene.carrier_mesh import COMPACT
from blender_addon.ui import operators

import synthetic

FPS = 25.0


def evaluated_positions(item: bpy.types.Object) -> np.ndarray:
    mesh = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values)
    return values.reshape(-1, 3)


def set_frame(scene: bpy.types.Scene, frame: float) -> None:
    scene.frame_set(int(np.floor(frame)), subframe=float(frame - np.floor(frame)))


@pytest.fixture
def avatar(scene, tmp_path):
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz"))
    return avatar_rig.build_avatar(bpy.context, file, "Ann"), file


def test_head_follows_the_head_model(scene, tmp_path):
    meta, arrays = synthetic.grid_head()
    head = head_rig.build_head(bpy.context, formats.rig_from(meta, arrays, "x"), "Ann")
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))
    frames = head_rig.apply_performance(head, performance, 10, FPS)
    assert len(frames) == 19 and frames[0] == 10
    for row in (0, 7, 19):
        set_frame(scene, 10 + row)
        want = space.to_blender(oracle.head_vertices(arrays, performance.arrays, row))
        assert np.abs(evaluated_positions(head) - want).max() < 1e-5


def test_the_models_id_is_the_engines():
    """tests/heads/test_families.py has the same number."""
    rig = formats.rig_from(*synthetic.grid_head(), "grid")
    rig.faces = np.array([[0, 1, 2], [2, 1, 3]])
    rig.expression_directions = (np.arange(24).reshape(2, 4, 3) * 1.5e-6 - 1e-5).astype(np.float32)
    assert formats.head_model_id(rig) == "0edcd38e44ad4615"


def test_gaussians_follow_the_triangle_frames(scene, avatar, tmp_path):
    carrier, file = avatar
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))
    head_rig.apply_performance(carrier.blendsplat.head, performance, 1, FPS)
    assert avatar_rig.apply_performance(carrier, performance, 1, FPS) == 19
    for row in (0, 11):
        set_frame(scene, 1 + row)
        weights = oracle.mlp(file.arrays, oracle.features(performance.arrays, row, file.arrays["feature_origin"]))
        values = [key.value for key in avatar_rig.blendshape_keys(carrier)]
        np.testing.assert_allclose(values, weights, atol=2e-5)
        vertices = space.to_blender(oracle.head_vertices(file.arrays, performance.arrays, row))
        want = oracle.gaussians(file.arrays, weights, vertices)
        have = gather.gather(bpy.context.evaluated_depsgraph_get())
        assert len(have) == file.gaussians
        assert np.abs(have.means - want["means"]).max() < 1e-5
        np.testing.assert_allclose(have.scales, want["scales"], rtol=1e-5)
        np.testing.assert_allclose(have.opacities, want["opacities"], atol=1e-6)
        np.testing.assert_allclose(have.colors, want["colors"], atol=1e-5)
        # random barycentrics and slivers make badly conditioned frames: most must be exact, all close
        error = np.abs(space.quat_to_matrix(have.quats.astype(float)) - want["rotations"]).max((1, 2))
        assert np.median(error) < 1e-5 and error.max() < 1e-3


def test_the_viewport_draws_no_dot_on_every_gaussian(scene, avatar):
    """Of a mesh without an edge Blender's viewport draws all vertices, as black dots over the avatar. The edge that
    keeps it from that is too short to be seen."""
    carrier, file = avatar
    evaluated = carrier.evaluated_get(bpy.context.evaluated_depsgraph_get())
    assert len(evaluated.data.vertices) == file.gaussians
    ((first, second),) = [tuple(edge.vertices) for edge in evaluated.data.edges]
    steps = np.linalg.norm(np.diff(evaluated_positions(carrier), axis=0), axis=1)
    assert second == first + 1 and steps[first] < 0.1 * np.median(steps)


def test_moving_the_rig_moves_the_gaussians(scene, avatar):
    carrier, _ = avatar
    before = gather.gather(bpy.context.evaluated_depsgraph_get())
    rig = carrier.blendsplat.head.blendsplat.rig
    rig.location, rig.scale, rig.rotation_euler = (1, 2, 3), (2, 2, 2), (0, 0, np.pi / 2)
    bpy.context.view_layer.update()
    after = gather.gather(bpy.context.evaluated_depsgraph_get())
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(after.means, 2 * before.means @ turn.T + [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(after.scales, 2 * before.scales, rtol=1e-5)
    have, want = (
        space.quat_to_matrix(after.quats.astype(float)),
        turn @ space.quat_to_matrix(before.quats.astype(float)),
    )
    np.testing.assert_allclose(have, want, atol=1e-5)


def test_camera_matches_the_clip(scene, tmp_path):
    from blender_addon.render import camera

    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))
    item = matched_camera.add_camera(bpy.context, performance, scene.collection, None, 1)
    scene_match.match(scene, performance, 1, untouched=True)
    bpy.context.view_layer.update()
    view = camera.view_of(scene, bpy.context.evaluated_depsgraph_get(), item)
    assert (view.width, view.height) == (256, 256)
    np.testing.assert_allclose(view.K, performance.K, atol=1e-3)
    point = np.array([0.03, 0.05, 0.1, 1.0])
    world = np.append(space.to_blender(point[:3]), 1.0)
    np.testing.assert_allclose(view.viewmat @ world, performance.viewmat @ point, atol=1e-6)
    assert (scene.frame_start, scene.frame_end, scene.render.fps) == (1, 20, 25)


def test_an_avatar_that_brings_its_camera_is_rendered_whole(scene, tmp_path):
    """Without a tracked head; a camera that the artist chose keeps the scene's size."""
    scene.blendsplat.avatar_file = str(synthetic.write_avatar(tmp_path / "ana.avatar.npz"))
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    render = scene.render
    assert scene.camera is not None and (render.resolution_x, render.resolution_y) == (256, 256)
    render.resolution_x = 1920
    scene.blendsplat.avatar_file = str(synthetic.write_avatar(tmp_path / "bea.avatar.npz"))
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"} and render.resolution_x == 1920


def test_a_new_head_is_shown_through_its_camera(scene, tmp_path):
    """In Blender's usual view it would be a dot. Brought once more, it leaves the artist's view alone."""
    view = max((a for a in bpy.context.screen.areas if a.type == "VIEW_3D"), key=lambda a: a.width * a.height)
    region = view.spaces.active.region_3d
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "ana.avatar.npz"))
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))
    shown = []
    for bring in (
        lambda: operators.track.add_head(bpy.context, tmp_path, performance, file.rig),
        lambda: operators.track.add_head(bpy.context, tmp_path, performance, file.rig),
        lambda: setattr(scene, "camera", None) or operators.avatar.add_avatar(bpy.context, file.path, None),
        lambda: operators.avatar.add_avatar(bpy.context, file.path, None),
    ):
        region.view_perspective = "PERSP"
        bring()
        shown.append(region.view_perspective)
    assert shown == ["CAMERA", "PERSP", "CAMERA", "PERSP"]


def test_a_tracked_head_is_used_by_its_avatar(scene, tmp_path):
    meta, arrays = synthetic.grid_head()
    head = head_rig.build_head(bpy.context, formats.rig_from(meta, arrays, "x"), "Ann")
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz"))
    carrier = avatar_rig.build_avatar(bpy.context, file, "Ann")
    assert carrier.blendsplat.head == head


def test_a_hidden_head_still_moves_the_avatar(scene, avatar):
    carrier, _ = avatar
    head = carrier.blendsplat.head
    assert head.hide_get()
    before = gather.gather(bpy.context.evaluated_depsgraph_get()).means.copy()
    head.data.shape_keys.key_blocks["jawOpen"].value = 1.0
    bpy.context.view_layer.update()
    hidden = gather.gather(bpy.context.evaluated_depsgraph_get()).means.copy()
    assert np.abs(hidden - before).max() > 1e-3
    head.hide_set(False)
    bpy.context.view_layer.update()
    np.testing.assert_allclose(gather.gather(bpy.context.evaluated_depsgraph_get()).means, hidden, atol=1e-7)


def test_an_avatar_of_an_older_addon_gets_todays_nodes(scene, tmp_path):
    """Adding its file again renews our node group where it is older, and no other modifier."""
    path = synthetic.write_avatar(tmp_path / "a.avatar.npz")
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Ann")
    before = gather.gather(bpy.context.evaluated_depsgraph_get()).means.copy()
    old = carrier.modifiers[0].node_group
    old["blendsplat_version"] = 0
    own = carrier.modifiers.new("an artist's", "NODES")
    own.node_group = bpy.data.node_groups.new("an artist's", "GeometryNodeTree")
    own.show_viewport = own.show_render = False
    assert operators.avatar.add_avatar(bpy.context, path, None) == carrier
    assert carrier.modifiers[0].node_group == avatar_nodes.avatar_group(COMPACT) != old
    assert own.node_group.name == "an artist's"
    bpy.context.view_layer.update()
    np.testing.assert_allclose(gather.gather(bpy.context.evaluated_depsgraph_get()).means, before, atol=1e-7)

# SPDX-License-Identifier: Apache-2.0
"""An avatar stands where its object stands: moved, turned, scaled, duplicated, instanced, by handle or by itself."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon import formats, space
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, head_rig

import synthetic

TURN = (0.3, -0.4, 1.2)


@pytest.fixture
def avatar(scene, tmp_path) -> bpy.types.Object:
    """Ann in the middle of her performance, so that no bone is in its rest position."""
    carrier = avatar_rig.build_avatar(
        bpy.context, formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz")), "Ann"
    )
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))
    head_rig.apply_performance(carrier.blendsplat.head, performance, 1, 25.0)
    avatar_rig.apply_performance(carrier, performance, 1, 25.0)
    scene.frame_set(9)
    return carrier


def shown() -> gather.Gaussians:
    bpy.context.view_layer.update()
    return gather.gather(bpy.context.evaluated_depsgraph_get())


def attributes(carrier: bpy.types.Object) -> np.ndarray:
    """The evaluated positions in the carrier's own space: what the viewport draws with its matrix."""
    bpy.context.view_layer.update()
    return gather.read(carrier.evaluated_get(bpy.context.evaluated_depsgraph_get()).data).means


def covariances(g: gather.Gaussians) -> np.ndarray:
    axes = space.quat_to_matrix(g.quats.astype(float)) * g.scales[:, None]
    return axes @ axes.transpose(0, 2, 1)


def is_moved_by(have: gather.Gaussians, before: gather.Gaussians, matrix: np.ndarray) -> None:
    linear = matrix[:3, :3]
    np.testing.assert_allclose(have.means, before.means @ linear.T + matrix[:3, 3], atol=1e-5)
    want = linear @ covariances(before) @ linear.T
    np.testing.assert_allclose(covariances(have), want, atol=1e-5 * np.abs(want).max())


def place(item: bpy.types.Object, scale: float = 1.0) -> np.ndarray:
    item.location, item.rotation_euler, item.scale = (1, -2, 0.5), TURN, (scale,) * 3
    bpy.context.view_layer.update()
    return np.array(item.matrix_world)


@pytest.mark.parametrize("what", ["carrier", "handle", "both"])
def test_moved_turned_and_scaled(avatar, what):
    before, own = shown(), attributes(avatar)
    handle = avatar_rig.handle_of(avatar)
    assert handle == avatar.blendsplat.head.blendsplat.rig
    for item in {"carrier": [avatar], "handle": [handle], "both": [avatar, handle]}[what]:
        place(item, 1.5)
    is_moved_by(shown(), before, np.array(avatar.matrix_world))
    np.testing.assert_allclose(attributes(avatar), own, atol=1e-7)


def test_mirrored(avatar):
    before = shown()
    avatar.scale = (-2, 2, 2)
    is_moved_by(shown(), before, np.diag([-2.0, 2.0, 2.0, 1.0]))


@pytest.mark.parametrize("mirrored", [False, True])
def test_stretched_and_sheared(avatar, mirrored):
    """A stretched parent shears a turned child."""
    before, parent = shown(), bpy.data.objects.new("P", None)
    bpy.context.scene.collection.objects.link(parent)
    avatar_rig.handle_of(avatar).parent = parent
    parent.scale = (1.0, -0.4 if mirrored else 0.4, 2.5)
    place(avatar)
    is_moved_by(shown(), before, np.array(avatar.matrix_world))


@pytest.mark.parametrize("linked", [False, True], ids=["Shift D", "Alt D"])
def test_a_duplicate_stands_where_it_is_put(avatar, linked):
    before, count = shown(), len(shown())
    for item in bpy.context.view_layer.objects:
        item.select_set(item == avatar)
    bpy.context.view_layer.objects.active = avatar
    assert bpy.ops.object.duplicate(linked=linked) == {"FINISHED"}
    copy = bpy.context.view_layer.objects.active
    assert copy != avatar
    matrix = place(copy)
    both = shown()
    assert len(both) == 2 * count
    parts = [gather.Gaussians(*(getattr(both, name)[half] for name in gather.Gaussians.__dataclass_fields__))
             for half in (slice(None, count), slice(count, None))]  # fmt: skip
    parts.sort(key=lambda part: float(np.abs(part.means - before.means).max()))
    is_moved_by(parts[0], before, np.eye(4))
    is_moved_by(parts[1], before, matrix)
    bpy.context.scene.frame_set(15)
    np.testing.assert_allclose(attributes(copy), attributes(avatar), atol=1e-7)


def test_a_whole_duplicate_has_a_head_of_its_own(avatar):
    """Handle, head and avatar duplicated together: the copy follows its own bones, and not the first one's."""
    head = avatar.blendsplat.head
    parts = (avatar, head, head.blendsplat.rig)
    head.hide_set(False)
    for item in bpy.context.view_layer.objects:
        item.select_set(item in parts)
    assert bpy.ops.object.duplicate() == {"FINISHED"}
    copy = next(item for item in bpy.context.selected_objects if item.blendsplat.kind == "AVATAR")
    handle = avatar_rig.handle_of(copy)
    assert handle not in parts and copy.blendsplat.head != head
    before = attributes(avatar)
    for curve_owner in (handle, copy.blendsplat.head.data.shape_keys, copy.data.shape_keys):
        curve_owner.animation_data.action = None
    handle.pose.bones["neck"].rotation_euler = (0, 0.8, 0)
    assert np.abs(attributes(copy) - before).max() > 0.01
    np.testing.assert_allclose(attributes(avatar), before, atol=1e-7)


def test_a_collection_instance(avatar):
    before = shown()
    group = bpy.data.collections.new("G")
    group.objects.link(avatar)
    empty = bpy.data.objects.new("I", None)
    bpy.context.scene.collection.objects.link(empty)
    empty.instance_type, empty.instance_collection = "COLLECTION", group
    matrix = place(empty, 0.5)
    both = shown()
    half = gather.Gaussians(*(getattr(both, name)[len(before) :] for name in gather.Gaussians.__dataclass_fields__))
    is_moved_by(half, before, matrix)


def test_the_heads_own_place_does_not_count(avatar):
    """A head that is moved away from its bones leaves its avatar at its handle."""
    head = avatar.blendsplat.head
    for item in (head.data.shape_keys, head.blendsplat.rig):
        item.animation_data.action = None
    for bone in head.blendsplat.rig.pose.bones:
        bone.matrix_basis.identity()
    bpy.context.view_layer.update()
    before = shown()
    head.location, head.rotation_euler = (0.3, 0.1, 0), (0, 0, 0.5)
    is_moved_by(shown(), before, np.eye(4))


def test_handles(avatar):
    head = avatar.blendsplat.head
    rig = head.blendsplat.rig
    assert avatar_rig.handle_of(head) is None and avatar_rig.handle_of(rig) is None
    empty = bpy.data.objects.new("On", None)
    bpy.context.scene.collection.objects.link(empty)
    empty.parent, avatar.parent = rig, empty
    assert avatar_rig.handle_of(avatar) == rig
    avatar.parent = None
    assert avatar_rig.handle_of(avatar) == avatar
    avatar.parent = rig
    bpy.data.objects.remove(rig)
    assert avatar_rig.handle_of(avatar) == avatar

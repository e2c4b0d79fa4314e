# SPDX-License-Identifier: Apache-2.0
"""Avatars linked from another .blend: played as they are, animated through a library override, in this file and in the
next session; what cannot be done says why."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon import formats, paths
from blender_addon.render import gather
from blender_addon.scene import (
    avatar_nodes,
    avatar_rig,
    keyframes,
    learned_keys,
    linked,
    networks,
    relink,
    splat_geometry,
    splat_nodes,
)
from blender_addon.ui.operators.pack import PackAvatar
from blender_addon.ui.operators.performances import ApplyPerformance
from blender_addon.ui.operators.several import OverrideAvatar
from blender_addon.ui.panels.steps import BLENDSPLAT_PT_avatar
from drawn import drawn

import synthetic


@pytest.fixture
def shot(scene, tmp_path):
    """A new file beside Ann's; ``shot()`` links her collection into it."""
    folder = tmp_path / "projekt ä"
    file = synthetic.write_avatar(folder / "ann.avatar.npz", gaussians=200)
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(file), "Ann")
    performance = formats.read_performance(synthetic.write_performance(folder / "ann.npz"))
    avatar_rig.apply_performance(carrier, performance, 1, 25.0)
    carrier.blendsplat.avatar_path = str(file)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "ann.blend"))
    assert carrier.blendsplat.avatar_path == "//ann.avatar.npz"
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))

    def link() -> bpy.types.Collection:
        with bpy.data.libraries.load(str(folder / "ann.blend"), link=True, relative=True) as (_, wanted):
            wanted.collections = ["Ann"]
        return wanted.collections[0]

    return link


def plainly(shot) -> bpy.types.Object:
    """Ann, linked into the scene as File > Link does without Instance Collections."""
    bpy.context.scene.collection.children.link(shot())
    bpy.context.view_layer.update()
    carrier = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR" and item.library)
    bpy.context.view_layer.objects.active = carrier
    return carrier


def instanced(shot) -> bpy.types.Object:
    """Ann, linked as an empty that shows her collection."""
    empty = bpy.data.objects.new("Ann", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", shot()
    bpy.context.scene.collection.objects.link(empty)
    bpy.context.view_layer.update()
    bpy.context.view_layer.objects.active = empty
    return empty


def overridden() -> bpy.types.Object:
    return next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR" and not item.library)


def means(frame: int) -> np.ndarray:
    bpy.context.scene.frame_set(frame)
    return gather.gather(bpy.context.evaluated_depsgraph_get()).means


def test_a_linked_avatar_plays_and_says_how_to_animate_it(shot, tmp_path):
    carrier = plainly(shot)
    assert np.abs(means(3 + 9) - means(4)).max() > 1e-3
    bpy.context.scene.blendsplat.performance = str(tmp_path / "projekt ä" / "ann.npz")
    for reason in (ApplyPerformance.reason(bpy.context), linked.sentence(carrier)):
        assert reason.startswith("Ann is linked from ann.blend") and "Make Library Override" in reason
    assert not bpy.ops.blendsplat.apply_performance.poll() and not bpy.ops.blendsplat.duplicate_avatar.poll()
    assert linked.sentence(carrier) in drawn(BLENDSPLAT_PT_avatar)


@pytest.mark.parametrize("how", [plainly, instanced])
def test_an_override_is_animated_and_comes_back(shot, tmp_path, how):
    how(shot)
    before = means(8)
    assert any("Make Library Override" in words for words in drawn(BLENDSPLAT_PT_avatar))
    assert bpy.ops.blendsplat.override_avatar() == {"FINISHED"}
    carrier = overridden()
    assert linked.sentence(carrier) == "" and carrier.blendsplat.head.override_library is not None
    assert not OverrideAvatar.poll(bpy.context)
    np.testing.assert_allclose(means(8), before, atol=1e-6)
    assert len(means(8)) == 200, "it is seen twice"
    assert not carrier.blendsplat.head.visible_get(), "the head covers its avatar"
    # another performance, through the operator
    path = synthetic.write_performance(tmp_path / "other.npz", seed=11)
    bpy.context.scene.blendsplat.performance = str(path)
    bpy.context.scene.render.fps = 25
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    want = means(8)
    assert np.abs(want - before).max() > 1e-3
    assert all(
        owner.animation_data.action.library is None
        for owner in (carrier.data.shape_keys, carrier.blendsplat.head.data.shape_keys, carrier.blendsplat.head.parent)
    ), "the linked file's own action was written to: that is lost with this session"
    reopen()
    carrier = overridden()
    assert carrier.blendsplat.head.override_library is not None, "the avatar came back with the other file's head"
    assert linked.sentence(carrier) == ""
    np.testing.assert_allclose(means(8), want, atol=1e-6)


def reopen() -> None:
    path = bpy.data.filepath
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=path)


def test_live_on_an_override_leaves_the_other_avatar_alone(shot):
    """Two overrides play one linked action; Live on one mutes only its own."""
    plainly(shot)
    bpy.ops.blendsplat.override_avatar()
    first = overridden()
    plainly(shot)
    bpy.ops.blendsplat.override_avatar()
    second = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR" and item != first)
    bpy.context.scene.frame_set(9)
    baked = [key.value for key in avatar_rig.blendshape_keys(second)]
    first.blendsplat.live = True
    for owner in (first.blendsplat.head.data.shape_keys, first.blendsplat.head.blendsplat.rig):
        owner.animation_data.action = None
    bpy.context.scene.frame_set(8)
    bpy.context.scene.frame_set(9)
    np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(second)], baked, atol=1e-6)
    before = [key.value for key in avatar_rig.blendshape_keys(first)]
    first.blendsplat.head.data.shape_keys.key_blocks["jawOpen"].value = 0.95
    first.blendsplat.head.blendsplat.rig.pose.bones["jaw"].rotation_euler = (0.4, 0, 0)
    bpy.context.view_layer.update()
    values = [key.value for key in avatar_rig.blendshape_keys(first)]
    assert np.abs(np.subtract(values, before)).max() > 1e-3
    reopen()
    again = next(
        item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR" and item.blendsplat.live
    )
    bpy.context.scene.frame_set(9)
    assert again.blendsplat.head.data.shape_keys.key_blocks["jawOpen"].value == pytest.approx(0.95)
    np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(again)], values, atol=1e-4)


def test_live_of_the_linked_file_is_not_followed(shot):
    """Its curves play; writing into another file's data would be lost, and would chase what plays."""
    carrier = plainly(shot)
    carrier.blendsplat.live = True  # as its own file may have left it
    curves = list(keyframes.fcurves(carrier.data.shape_keys))
    assert curves and not any(curve.mute for curve in curves)
    values = means(5)
    assert np.abs(means(9) - values).max() > 1e-3


def test_an_instanced_avatar_is_exported_as_it_stands(shot, tmp_path):
    empty = instanced(shot)
    empty.location.x = 3.0
    path = tmp_path / "a.ply"
    assert bpy.ops.blendsplat.export_ply(filepath=str(path)) == {"FINISHED"}
    values = np.frombuffer(path.read_bytes().partition(b"end_header\n")[2], "<f4").reshape(200, 17)
    np.testing.assert_allclose(values[:, :3], means(bpy.context.scene.frame_current), atol=1e-5)
    assert values[:, 0].mean() > 2


def test_an_override_that_is_not_a_whole_one(shot):
    """What Blender's own call makes without a word: objects that cannot be changed, and sliders that stay linked."""
    plainly(shot)
    scene = bpy.context.scene
    scene.collection.children[0].override_hierarchy_create(scene, bpy.context.view_layer)
    made = overridden()
    bpy.context.view_layer.objects.active = made
    sentence = linked.sentence(made)
    assert sentence.startswith(("Only a part of Ann is overridden", "Ann is overridden, but")), sentence
    assert "Make Library Override" in sentence and not ApplyPerformance.poll(bpy.context)
    assert bpy.ops.blendsplat.override_avatar() == {"FINISHED"}
    assert linked.sentence(made) == ""


def test_where_the_empty_stood_the_override_stands(shot):
    empty = instanced(shot)
    empty.location, empty.rotation_euler = (1, 2, 0.5), (0, 0, 1.2)
    before = means(8)
    assert bpy.ops.blendsplat.override_avatar() == {"FINISHED"}
    np.testing.assert_allclose(means(8), before, atol=1e-5)
    reopen()
    np.testing.assert_allclose(means(8), before, atol=1e-5)


def test_its_file_is_where_the_other_blend_says(shot, tmp_path):
    """A path that counts from ann.blend counts from there in the shot's folder, too, and when the shot moves."""
    plainly(shot)
    file = tmp_path / "projekt ä" / "ann.avatar.npz"
    bpy.ops.blendsplat.override_avatar()
    assert paths.same(networks.file_of(overridden()), file) and not relink.lost()
    (tmp_path / "elsewhere").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "elsewhere" / "shot.blend"), relative_remap=True)
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    carrier = overridden()
    assert carrier.blendsplat.avatar_path == "//ann.avatar.npz"
    assert paths.same(networks.file_of(carrier), file) and not relink.lost()
    own = synthetic.write_avatar(tmp_path / "elsewhere" / "own.avatar.npz", gaussians=200)
    carrier.blendsplat.avatar_path = "//own.avatar.npz"  # of this file's own choice
    reopen()
    assert paths.same(networks.file_of(overridden()), own)


def test_trained_further_it_is_updated_in_its_own_file(shot, tmp_path):
    plainly(shot)
    bpy.ops.blendsplat.override_avatar()
    file = synthetic.write_avatar(tmp_path / "projekt ä" / "ann.avatar.npz", gaussians=260)
    bpy.context.scene.blendsplat.avatar_file = str(file)
    with pytest.raises(RuntimeError, match=r"Ann comes from ann.blend: press Update Avatar in that file"):
        bpy.ops.blendsplat.add_avatar()
    assert len(means(3)) == 200 and linked.sentence(overridden()) == ""
    own = updated_in_its_own_file(tmp_path)
    assert len(own) == 260
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    np.testing.assert_allclose(means(3), own, atol=1e-6)
    assert linked.sentence(overridden()) == ""


def test_what_was_animated_here_outlives_an_update_there(shot, tmp_path):
    plainly(shot)
    bpy.ops.blendsplat.override_avatar()
    bpy.context.scene.blendsplat.performance = str(synthetic.write_performance(tmp_path / "other.npz", seed=11))
    bpy.context.scene.render.fps = 25
    bpy.ops.blendsplat.apply_performance()
    bpy.context.scene.frame_set(8)
    want = [key.value for key in avatar_rig.blendshape_keys(overridden())]
    synthetic.write_avatar(tmp_path / "projekt ä" / "ann.avatar.npz", gaussians=260)
    updated_in_its_own_file(tmp_path)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert len(means(7)) == 260
    bpy.context.scene.frame_set(8)
    np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(overridden())], want, atol=1e-5)


def test_an_override_plays_without_the_addon(shot, tmp_path):
    """On a farm's machine that has Blender alone; Live was left on."""
    import blender_addon

    plainly(shot)
    bpy.ops.blendsplat.override_avatar()
    bpy.context.scene.blendsplat.performance = str(synthetic.write_performance(tmp_path / "other.npz", seed=11))
    bpy.context.scene.render.fps = 25
    bpy.ops.blendsplat.apply_performance()
    name, want = overridden().name, means(8)
    overridden().blendsplat.live = True
    bpy.ops.wm.save_mainfile()
    blender_addon.unregister()
    try:
        bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
        bpy.context.scene.frame_set(1)
        bpy.context.scene.frame_set(8)
        carrier = next(item for item in bpy.data.objects if item.name == name and item.library is None)
        mesh = carrier.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        np.testing.assert_allclose(gather.read(mesh).means, want, atol=1e-5)
    finally:
        blender_addon.register()


def test_what_an_override_cannot_hold_is_said(shot, tmp_path):
    """Values, not ranges and not shapes: a key that is rescaled here would play wrong in the next session."""
    plainly(shot)
    bpy.ops.blendsplat.override_avatar()
    carrier = overridden()
    wild = synthetic.performance_arrays(seed=11)
    wild["expression"] = 3 * wild["expression"]
    wild["jaw_pose"] = 2 * wild["jaw_pose"]
    bpy.context.scene.blendsplat.performance = str(synthetic.write_tracking(tmp_path / "wild.npz", wild))
    bpy.context.scene.render.fps = 25
    narrow = carrier.data.shape_keys.key_blocks[1]
    ends = {key.name: (key.slider_min, key.slider_max) for key in carrier.data.shape_keys.key_blocks}
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    assert "jawOpen goes from" in carrier.blendsplat.head.blendsplat.remark
    assert "make it wider in ann.blend" in carrier.blendsplat.head.blendsplat.remark
    assert ends == {key.name: (key.slider_min, key.slider_max) for key in carrier.data.shape_keys.key_blocks}
    assert narrow.slider_max == 10
    want = means(8)
    reopen()
    np.testing.assert_allclose(means(8), want, atol=1e-5)


def test_a_wide_slider_is_not_rescaled_in_an_override(shot, tmp_path):
    plainly(shot)
    bpy.ops.blendsplat.override_avatar()
    carrier = overridden()
    shape = np.empty(3 * len(carrier.data.vertices), np.float32)
    key = carrier.data.shape_keys.key_blocks[1]
    key.data.foreach_get("co", shape)
    (sentence,) = learned_keys.make_room(carrier, np.array([[25.0, 0, 0, 0, 0, 0], [-3.0, 0, 0, 0, 0, 0]]))
    assert sentence.startswith("Blendshape 01 goes from -3.00 to 25.00") and "ann.blend" in sentence
    again = np.empty_like(shape)
    key.data.foreach_get("co", again)
    np.testing.assert_array_equal(again, shape)
    assert learned_keys.scale_of(carrier.data, 0) == 1.0


def test_faces_on_an_override_stay(shot):
    plainly(shot)
    bpy.ops.blendsplat.override_avatar()
    assert bpy.ops.blendsplat.splat_geometry(in_viewport=True) == {"FINISHED"}
    reopen()
    modifier = splat_geometry.modifier_of(overridden())
    assert modifier is not None and splat_geometry.shape_of(modifier) == splat_geometry.QUADS
    head = avatar_nodes.input_of(modifier, splat_nodes.HEAD)
    assert head == overridden().blendsplat.head and head.library is None
    bpy.context.view_layer.objects.active = overridden()
    made = bpy.ops.blendsplat.bake_frame()
    assert made == {"FINISHED"}


def test_it_is_packed_in_its_own_file(shot):
    carrier = plainly(shot)
    for _ in range(2):
        bpy.context.view_layer.objects.active = carrier
        carrier.data["blendsplat_networks"] = {}
        assert PackAvatar.reason(bpy.context).startswith("Ann comes from ann.blend: press Pack Avatar in that file")
        if carrier.library is not None:
            bpy.ops.blendsplat.override_avatar()
            carrier = overridden()


def test_an_avatar_of_an_earlier_version_is_overridden_whole(shot, tmp_path):
    """Its mesh does not point at its head, so that Blender alone would leave the sliders linked."""
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "projekt ä" / "ann.blend"))
    del bpy.data.objects["Ann"].data["blendsplat_moved_by"]
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    plainly(shot)
    scene = bpy.context.scene
    scene.collection.children[0].override_hierarchy_create(scene, bpy.context.view_layer, do_fully_editable=True)
    bpy.context.view_layer.objects.active = overridden()
    assert linked.sentence(overridden()).startswith("Only a part of Ann is overridden: its sliders")
    assert bpy.ops.blendsplat.override_avatar() == {"FINISHED"}
    assert linked.sentence(overridden()) == ""
    reopen()
    assert linked.sentence(overridden()) == ""


def updated_in_its_own_file(tmp_path) -> np.ndarray:
    """Ann's own file with her newest avatar."""
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "projekt ä" / "ann.blend"))
    bpy.context.scene.blendsplat.avatar_file = str(tmp_path / "projekt ä" / "ann.avatar.npz")
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    found = means(3)
    bpy.ops.wm.save_mainfile()
    return found


def test_nothing_linked_nothing_overridden(scene):
    assert not OverrideAvatar.poll(bpy.context)
    assert "File > Link" in OverrideAvatar.reason(bpy.context)

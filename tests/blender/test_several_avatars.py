# SPDX-License-Identifier: Apache-2.0
"""Several avatars in a scene: each has its own head, keys, Live; duplicates move by themselves."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, control_board, duplicate_avatar, eye_target, keyframes
from blender_addon.scene.weight_network import HeadState
from blender_addon.ui.operators import avatar as operators
from blender_addon.ui.panels.steps import BLENDSPLAT_PT_avatar
from drawn import drawn
from steps import picture

import synthetic


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder for files that are built once."""
    return tmp_path_factory.mktemp("several")


def add(folder, name: str, seed: int) -> bpy.types.Object:
    """A person of this seed in the middle of a performance of her own."""
    rig = synthetic.grid_head(seed=seed)
    file = synthetic.write_avatar(folder / f"{name}.avatar.npz", seed=seed, rig=rig, gaussians=300 + seed)
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(file), name)
    performance = formats.read_performance(synthetic.write_performance(folder / f"{name}.npz", seed=seed))
    avatar_rig.apply_performance(carrier, performance, 1, 25.0)
    return carrier


def colored(folder, name: str, rgb: tuple[float, float, float], rig: bool) -> bpy.types.Object:
    """An avatar of opaque Gaussians of one color, as large as its sheet of a head."""
    learned = {
        "opacity_logits": np.full(500, 6.0, np.float32), "log_scales": np.full((500, 3), np.log(0.008), np.float32),
        "colors": np.tile((np.float32(rgb) - 0.5) / 0.28209479, (500, 1)).astype(np.float32),
        "delta_colors": np.zeros((6, 500, 3), np.float32),
    }  # fmt: skip
    file = synthetic.write_avatar(
        folder / f"{name}.avatar.npz", rig=synthetic.grid_head(seed=7 if rig else 8), learned=learned
    )
    return avatar_rig.build_avatar(bpy.context, formats.read_avatar(file), name)


@pytest.mark.slow
def test_the_nearer_one_is_before_the_other(real, tmp_path):
    """The engine's own picture: the red one hides the green one from the front, and the other way from behind."""
    red, green = colored(tmp_path, "Red", (1, 0, 0), True), colored(tmp_path, "Green", (0, 1, 0), False)
    red.blendsplat.head.blendsplat.rig.location.y = -0.5
    camera = bpy.data.objects.new("C", bpy.data.cameras.new("C"))
    real.collection.objects.link(camera)
    real.camera = camera
    assert bpy.ops.blendsplat.use_render_engine() == {"FINISHED"}
    real.render.resolution_x = real.render.resolution_y = 48
    real.render.resolution_percentage = 100
    seen = {}
    for side, y, turn in (("front", -2.0, 0.0), ("behind", 1.5, np.pi)):
        camera.location, camera.rotation_euler = (0, y, 0), (np.pi / 2, 0, turn)
        seen[side] = picture(real, tmp_path / f"{side}.png")[22:26, 22:26, :3].mean((0, 1))
    assert seen["front"][0] > 0.9 and seen["front"][1] < 0.1, seen
    assert seen["behind"][1] > 0.9 and seen["behind"][0] < 0.1, seen
    green.hide_render = True
    assert picture(real, tmp_path / "alone.png")[22:26, 22:26, 0].min() > 0.9


@pytest.fixture
def ann(scene, tmp_path, kept) -> bpy.types.Object:
    blend = kept / "ann.blend"
    if not blend.exists():
        add(kept, "Ann", 3)
        bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    bpy.context.scene.frame_set(9)
    return bpy.data.objects["Ann"]


def shown(carrier: bpy.types.Object) -> gather.Gaussians:
    """The evaluated Gaussians in the carrier's own space."""
    bpy.context.view_layer.update()
    return gather.read(carrier.evaluated_get(bpy.context.evaluated_depsgraph_get()).data)


def weights(carrier: bpy.types.Object) -> np.ndarray:
    return np.array([key.value for key in avatar_rig.blendshape_keys(carrier)])


def still(carrier: bpy.types.Object) -> None:
    """Nothing but hands moves the head."""
    head = carrier.blendsplat.head
    for owner in (head.data.shape_keys, head.blendsplat.rig):
        owner.animation_data.action = None


def test_live_follows_its_own_head_only(tmp_path, ann):
    ben = add(tmp_path, "Ben", 4)
    assert ben.blendsplat.head != ann.blendsplat.head
    for carrier in (ann, ben):
        still(carrier)
        carrier.blendsplat.live = True
    bpy.context.view_layer.update()
    before = weights(ann), weights(ben)
    ann.blendsplat.head.data.shape_keys.key_blocks["jawOpen"].value = 0.9
    bpy.context.view_layer.update()
    assert np.abs(weights(ann) - before[0]).max() > 1e-3
    np.testing.assert_array_equal(weights(ben), before[1])
    ben.blendsplat.head.blendsplat.rig.pose.bones["jaw"].rotation_euler = (0.3, 0, 0)
    moved = weights(ann)
    bpy.context.view_layer.update()
    assert np.abs(weights(ben) - before[1]).max() > 1e-3
    np.testing.assert_array_equal(weights(ann), moved)


def test_one_live_and_one_baked(tmp_path, ann):
    """Live mutes its own avatar's curves, and no other's."""
    ben = add(tmp_path, "Ben", 4)
    baked = {}
    for frame in (2, 13):
        bpy.context.scene.frame_set(frame)
        baked[frame] = weights(ben)
    ann.blendsplat.live = True
    for frame, want in baked.items():
        bpy.context.scene.frame_set(frame)
        np.testing.assert_allclose(weights(ben), want, atol=1e-6)
    assert not any(curve.mute for curve in keyframes.fcurves(ben.data.shape_keys))


def test_each_plays_its_own_clip(ann, tmp_path, kept):
    """The performance in the panel is Ann's still when Ben's avatar is added, and when it is trained further."""
    scene = bpy.context.scene
    scene.render.fps = 25
    scene.blendsplat.performance = str(kept / "Ann.npz")
    clip = tmp_path / "ben"
    file = synthetic.write_avatar(clip / "ben.avatar.npz", seed=4, rig=synthetic.grid_head(seed=4))
    synthetic.write_performance(clip / "tracking.npz", seed=4)
    scene.blendsplat.avatar_file = str(file)
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    ben = bpy.context.view_layer.objects.active
    scene.frame_set(9)
    own = weights(ben)
    direct = avatar_rig.network_of(ben).weights(HeadState.of(formats.read_performance(clip / "tracking.npz")))
    np.testing.assert_allclose(own, direct[8], atol=1e-5)
    scene.blendsplat.performance = str(kept / "Ann.npz")
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}, "Update Avatar"
    scene.frame_set(8)
    scene.frame_set(9)
    np.testing.assert_allclose(weights(ben), own, atol=1e-6)
    assert len(operators.avatars(scene)) == 2


def test_the_one_that_is_meant(tmp_path, ann):
    ben = add(tmp_path, "Ben", 4)
    layer = bpy.context.view_layer
    for active, meant in (
        (ben, ben), (ben.blendsplat.head, ben), (ben.blendsplat.head.blendsplat.rig, ben), (ann, ann),
        (ann.blendsplat.head.blendsplat.rig, ann),
    ):  # fmt: skip
        layer.objects.active = active
        assert operators.selected_avatar(bpy.context) == meant
    assert bpy.ops.blendsplat.select_avatar(name="Ben") == {"FINISHED"}
    assert layer.objects.active == ben and ben.select_get() and not ann.select_get()
    with pytest.raises(RuntimeError, match="no avatar 'Cat'"):
        bpy.ops.blendsplat.select_avatar(name="Cat")
    words = drawn(BLENDSPLAT_PT_avatar)
    assert "Avatars in This Scene" in words and {"Ann", "Ben"} <= set(words)
    ben.parent = None  # two avatars of one head: each is meant by itself
    second = add(tmp_path, "Ann", 3)
    assert second.blendsplat.head == ann.blendsplat.head
    layer.objects.active = second
    assert operators.selected_avatar(bpy.context) == second


def test_a_duplicate_is_the_same_until_it_is_moved(ann):
    before, keys = shown(ann), weights(ann)
    bpy.context.view_layer.objects.active = ann
    assert bpy.ops.blendsplat.duplicate_avatar(beside=0.7) == {"FINISHED"}
    made = bpy.context.view_layer.objects.active
    assert made != ann and made.data != ann.data and made.blendsplat.head != ann.blendsplat.head
    np.testing.assert_allclose(np.array(made.matrix_world)[:3, 3] - np.array(ann.matrix_world)[:3, 3], [0.7, 0, 0])
    for frame in (9, 14):
        bpy.context.scene.frame_set(frame)
        np.testing.assert_allclose(shown(made).means, shown(ann).means, atol=1e-6)
    bpy.context.scene.frame_set(9)
    assert made.data.materials[0] == ann.data.materials[0]
    assert made.modifiers[0].node_group == ann.modifiers[0].node_group
    assert made.blendsplat.head.blendsplat.rig.data == ann.blendsplat.head.blendsplat.rig.data
    # its bones move its correctives, its sliders and its Gaussians, and nothing of the first one
    still(made)
    made.blendsplat.live = True
    made.blendsplat.head.blendsplat.rig.pose.bones["jaw"].rotation_euler = (0.5, 0.2, 0)
    made.blendsplat.head.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.8
    assert np.abs(shown(made).means - before.means).max() > 0.005
    corrective = [
        item.blendsplat.head.data.shape_keys.evaluated_get(bpy.context.evaluated_depsgraph_get())
        .key_blocks["corrective jaw 5"].value for item in (made, ann)
    ]  # fmt: skip
    assert abs(corrective[0] - corrective[1]) > 0.05, "the copy's correctives follow the first one's bones"
    np.testing.assert_allclose(shown(ann).means, before.means, atol=1e-7)
    np.testing.assert_array_equal(weights(ann), keys)


def test_shift_d_of_all_three_makes_a_whole_one(ann):
    """Blender's own duplicate: drivers, nodes, bones and the mesh's pointer are the copy's."""
    head = ann.blendsplat.head
    head.hide_set(False)
    for item in bpy.context.view_layer.objects:
        item.select_set(item in (ann, head, head.blendsplat.rig))
    before = shown(ann).means
    assert bpy.ops.object.duplicate() == {"FINISHED"}
    made = next(item for item in bpy.context.selected_objects if item.blendsplat.kind == "AVATAR")
    new = made.blendsplat.head
    assert made.data["blendsplat_moved_by"] == new != head and new.blendsplat.rig != head.blendsplat.rig
    targets = {
        target.id
        for owner in (new.data.shape_keys, new.blendsplat.rig) for driver in owner.animation_data.drivers
        for variable in driver.driver.variables for target in variable.targets
    }  # fmt: skip
    assert targets <= {new.data.shape_keys, new.blendsplat.rig}
    still(made)
    new.blendsplat.rig.pose.bones["jaw"].rotation_euler = (0.5, 0.2, 0)
    assert np.abs(shown(made).means - before).max() > 0.005
    np.testing.assert_allclose(shown(ann).means, before, atol=1e-7)


def test_a_duplicate_has_a_board_and_an_eye_target_of_its_own(ann):
    head = ann.blendsplat.head
    board, target = control_board.add(bpy.context, head), eye_target.add(bpy.context, head)
    bpy.context.scene.frame_set(9)
    before = shown(ann).means
    made = duplicate_avatar.duplicate(bpy.context, ann, 0.5)
    new = made.blendsplat.head
    boards, targets = control_board.board_of(new), eye_target.target_of(new)
    assert boards not in (None, board) and targets not in (None, target)
    assert control_board.board_of(head) == board and eye_target.target_of(head) == target
    assert boards.parent == targets.parent == new.blendsplat.rig
    np.testing.assert_allclose(shown(made).means, before, atol=1e-5)
    boards.pose.bones["mouth.L"].location.y = 0.02
    boards.pose.bones["jaw"].location.y = -0.02
    assert np.abs(shown(made).means - before).max() > 1e-3, "its board moves nothing"
    np.testing.assert_allclose(shown(ann).means, before, atol=1e-7)


def test_a_duplicates_keyframes_are_its_own(ann):
    track = ann.data.shape_keys.animation_data.nla_tracks.new()
    action = ann.data.shape_keys.animation_data.action
    strip = track.strips.new("again", 40, action)
    if hasattr(strip, "action_slot"):
        strip.action_slot = ann.data.shape_keys.animation_data.action_slot
    bpy.context.scene.frame_set(9)
    want = weights(ann)
    made = duplicate_avatar.duplicate(bpy.context, ann, 0.5)
    for owner in (made.data.shape_keys, made.blendsplat.head.data.shape_keys, made.blendsplat.head.blendsplat.rig):
        for curve in keyframes.played(owner):
            for point in curve.keyframe_points:
                point.co.y = 0.0
            curve.update()
    bpy.context.scene.frame_set(8)
    bpy.context.scene.frame_set(9)
    np.testing.assert_allclose(weights(ann), want, atol=1e-6)
    assert np.abs(weights(made)).max() < 1e-6
    assert all(curve.evaluate(9) != 0 for curve in list(keyframes.played(ann.data.shape_keys))[:3])


def test_deleting_the_first_one_leaves_the_duplicate_whole(ann):
    made = duplicate_avatar.duplicate(bpy.context, ann, 0.5)
    want = shown(made).means
    head = ann.blendsplat.head
    for item in (ann, head, head.blendsplat.rig):
        bpy.data.objects.remove(item)
    bpy.ops.outliner.orphans_purge(do_recursive=True)
    bpy.context.scene.frame_set(14)
    bpy.context.scene.frame_set(9)
    np.testing.assert_allclose(shown(made).means, want, atol=1e-6)


def test_trained_further_the_duplicate_is_updated_as_well(ann, kept, tmp_path):
    made = duplicate_avatar.duplicate(bpy.context, ann, 0.5)
    file = synthetic.write_avatar(tmp_path / "Ann.avatar.npz", seed=3, rig=synthetic.grid_head(seed=3), gaussians=350)
    for carrier in (ann, made):
        carrier.blendsplat.avatar_path = str(file)
    bpy.context.scene.blendsplat.avatar_file = str(file)
    bpy.context.scene.frame_set(9)
    want = weights(made)
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    bpy.context.scene.frame_set(8)
    bpy.context.scene.frame_set(9)
    assert len(shown(ann)) == len(shown(made)) == 350
    np.testing.assert_allclose(weights(made), want, atol=1e-5)
    assert len(operators.avatars(bpy.context.scene)) == 2


def test_alt_d_says_that_the_face_is_one(ann):
    for item in bpy.context.view_layer.objects:
        item.select_set(item == ann)
    bpy.context.view_layer.objects.active = ann
    assert bpy.ops.object.duplicate(linked=True) == {"FINISHED"}
    copy = bpy.context.view_layer.objects.active
    assert copy.data == ann.data
    sentence = duplicate_avatar.shared_sentence(copy)
    assert ann.name in sentence and "Duplicate Avatar" in sentence
    assert any(words == sentence for words in drawn(BLENDSPLAT_PT_avatar))
    copy.blendsplat.live = ann.blendsplat.live = True
    bpy.context.scene.frame_set(12)
    np.testing.assert_allclose(shown(copy).means, shown(ann).means, atol=1e-7)


def test_what_cannot_be_duplicated_says_why(ann):
    bpy.data.objects.remove(ann.blendsplat.head.blendsplat.rig)
    assert not bpy.ops.blendsplat.duplicate_avatar.poll()
    from blender_addon.ui.operators.several import DuplicateAvatar

    assert "Ann has lost the bones of its head" in DuplicateAvatar.reason(bpy.context)

# SPDX-License-Identifier: Apache-2.0
"""Learned shape keys in an artist's hands: renamed, sorted, deleted, copied, and weights beyond Blender's sliders."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, head_rig, keyframes, learned_keys
from blender_addon.scene.weight_network import HeadState

import synthetic

FPS = 25.0


@pytest.fixture
def performance(scene, tmp_path) -> formats.Performance:
    return formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))


@pytest.fixture
def avatar(scene, tmp_path) -> bpy.types.Object:
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz"))
    return avatar_rig.build_avatar(bpy.context, file, "Ann")


def blocks(carrier: bpy.types.Object):
    return carrier.data.shape_keys.key_blocks


def active(carrier: bpy.types.Object, name: str) -> None:
    bpy.context.view_layer.objects.active = carrier
    carrier.active_shape_key_index = list(blocks(carrier).keys()).index(name)


def rename(carrier: bpy.types.Object) -> None:
    blocks(carrier)["Blendshape 02"].name = 'smile "wide" ü'


def reorder(carrier: bpy.types.Object) -> None:
    active(carrier, "Blendshape 05")
    assert bpy.ops.object.shape_key_move(type="TOP") == {"FINISHED"}


def delete(carrier: bpy.types.Object) -> None:
    carrier.shape_key_remove(blocks(carrier)["Blendshape 03"])


def swap(carrier: bpy.types.Object) -> None:
    first, second = blocks(carrier)["Blendshape 01"], blocks(carrier)["Blendshape 06"]
    first.name = "x"
    second.name = "Blendshape 01"
    first.name = "Blendshape 06"


def add_own(carrier: bpy.types.Object) -> None:
    carrier.shape_key_add(name="Blendshape 07", from_mix=False)
    for index in (0, 1):
        learned_keys.found(carrier)[index].value = 1.0
    carrier.shape_key_add(name="mixed", from_mix=True)  # the ids 1 and 2 add to 3


def save_and_load(carrier: bpy.types.Object) -> None:
    path = str(Path(bpy.app.tempdir) / "keys.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)


def append(_carrier: bpy.types.Object) -> None:
    path = str(Path(bpy.app.tempdir) / "keys.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(path) as (_source, wanted):
        wanted.objects = ["Ann"]
    bpy.context.scene.collection.objects.link(bpy.data.objects["Ann"])


def duplicate(carrier: bpy.types.Object) -> None:
    copy = carrier.copy()
    copy.data = carrier.data.copy()
    copy.data.shape_keys.animation_data_clear()
    bpy.context.scene.collection.objects.link(copy)
    bpy.data.objects.remove(carrier)
    copy.name = "Ann"


CHANGES = [[rename], [reorder], [delete], [swap], [add_own], [save_and_load], [duplicate], [append],
           [rename, reorder, delete, add_own, save_and_load, duplicate, append]]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: "+".join(change.__name__ for change in changes))
def test_learned_keys_are_found_again(avatar, performance, changes):
    """Baked and live, each key by what it is: all that are left, and no other."""
    weights = avatar_rig.network_of(avatar).weights(HeadState.of(performance))
    names = {key.name: index for index, key in learned_keys.found(avatar).items()}
    deltas = {index: shape_of(avatar, name) for name, index in names.items()}
    for change in changes:
        change(avatar)
        avatar = bpy.data.objects["Ann"]
    left = learned_keys.found(avatar)
    assert set(left) == set(range(6)) - ({2} if delete in changes else set())
    for index, key in left.items():
        np.testing.assert_allclose(shape_of(avatar, key.name), deltas[index], atol=1e-6)
    assert avatar_rig.apply_performance(avatar, performance, 1, FPS) == 19
    head_rig.apply_performance(avatar.blendsplat.head, performance, 1, FPS)
    for live in (False, True):
        avatar.blendsplat.live = live
        bpy.context.scene.frame_set(2)
        bpy.context.scene.frame_set(8)
        for index, key in left.items():
            assert key.value == pytest.approx(weights[7, index], abs=1e-4)


def shape_of(carrier: bpy.types.Object, name: str) -> np.ndarray:
    """What a key moves of positions, rotations and colours."""
    own, base = (np.empty(3 * len(carrier.data.vertices), np.float32) for _ in range(2))
    blocks(carrier)[name].data.foreach_get("co", own)
    blocks(carrier)[0].data.foreach_get("co", base)
    moved = (own - base).reshape(-1, 3)
    for vertex, axis in learned_keys._places(carrier.data):
        moved[vertex, axis] = 0
    return moved


def test_a_copied_key_is_no_second_one(avatar):
    key = blocks(avatar)["Blendshape 04"]
    key.value = 1.0
    for other in blocks(avatar)[1:]:
        other.mute = other != key
    copy = avatar.shape_key_add(name="a copy", from_mix=True)
    assert learned_keys.found(avatar)[3] == key and copy not in learned_keys.found(avatar).values()


def test_keys_of_older_files_are_found_by_name(avatar, performance):
    """Those had no ids; the first missing name does not end the list."""
    for key in blocks(avatar)[1:]:
        for vertex, axis in learned_keys._places(avatar.data):
            key.data[vertex].co[axis] = 0
    blocks(avatar)["Blendshape 02"].name = "smile"
    assert list(learned_keys.found(avatar)) == [0, 2, 3, 4, 5]
    avatar_rig.apply_performance(avatar, performance, 1, FPS)
    assert len(list(keyframes.fcurves(avatar.data.shape_keys))) == 5


def test_the_ids_show_nowhere(avatar):
    before = gather.gather(bpy.context.evaluated_depsgraph_get())
    for key in blocks(avatar)[1:]:
        moved = np.array([key.data[vertex].co[axis] for vertex, axis in learned_keys._places(avatar.data)])
        assert len(moved) == 2 and moved.all()
        key.value = 1.0
    bpy.context.view_layer.update()
    shown = gather.gather(bpy.context.evaluated_depsgraph_get())
    for key in blocks(avatar)[1:]:
        for vertex, axis in learned_keys._places(avatar.data):
            key.data[vertex].co[axis] = 0
    avatar.data.update()
    avatar.data.shape_keys.key_blocks.update()
    bpy.context.view_layer.update()
    plain = gather.gather(bpy.context.evaluated_depsgraph_get())
    assert np.abs(shown.means - before.means).max() > 1e-4
    np.testing.assert_array_equal(shown.means, plain.means)
    np.testing.assert_array_equal(shown.quats, plain.quats)


# --- beyond the sliders


def louder(path: Path, factor: float, **arrays: np.ndarray) -> Path:
    """The avatar with weights ``factor`` times as large and deltas as much smaller: it looks the same."""
    import json

    with np.load(path) as archive:
        have = {name: archive[name].copy() for name in archive.files}
    meta = json.loads(have.pop("meta").tobytes())
    for name in ("mlp.2.weight", "mlp.2.bias"):
        have[name] *= np.float32(factor)
    for name in ("delta_positions", "delta_quats", "delta_colors"):
        have[name] /= np.float32(factor)
    return synthetic.write(path, meta, have | arrays)


def shown(frame: int) -> gather.Gaussians:
    bpy.context.scene.frame_set(frame)
    return gather.gather(bpy.context.evaluated_depsgraph_get())


@pytest.mark.parametrize("known", [False, True], ids=["found while baking", "told by the file"])
def test_weights_beyond_ten_look_as_they_should(scene, avatar, performance, tmp_path, known):
    avatar_rig.apply_performance(avatar, performance, 1, FPS)
    head_rig.apply_performance(avatar.blendsplat.head, performance, 1, FPS)
    want = [shown(frame) for frame in (1, 9, 15)]
    bpy.data.objects.remove(avatar)
    path = louder(synthetic.write_avatar(tmp_path / "b.avatar.npz"), 40.0)
    if known:
        weights = avatar_rig.WeightNetwork.of(formats.read_avatar(path)).weights(HeadState.of(performance))
        path = louder(path, 1.0, weight_range=np.stack([weights.min(0), weights.max(0)]).astype(np.float32))
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Loud")
    scales = [learned_keys.scale_of(carrier.data, index) for index in range(6)]
    assert (max(scales) > 1) == known
    avatar_rig.apply_performance(carrier, performance, 1, FPS)
    weights = avatar_rig.network_of(carrier).weights(HeadState.of(performance))
    assert np.abs(weights).max() > 40
    for live in (False, True):
        carrier.blendsplat.live = live
        for frame, picture in zip((1, 9, 15), want, strict=True):
            have = shown(frame)
            np.testing.assert_allclose(have.means, picture.means, atol=2e-5)
            np.testing.assert_allclose(have.colors, picture.colors, atol=2e-4)
    assert carrier.blendsplat.remark == ""


def test_live_makes_room_of_its_own(scene, performance, tmp_path):
    path = louder(synthetic.write_avatar(tmp_path / "b.avatar.npz"), 40.0)
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Loud")
    head_rig.apply_performance(carrier.blendsplat.head, performance, 1, FPS)
    carrier.blendsplat.live = True
    scene.frame_set(8)
    weights = avatar_rig.network_of(carrier).weights(HeadState.of(performance))[7]
    have = [key.value * learned_keys.scale_of(carrier.data, i) for i, key in learned_keys.found(carrier).items()]
    np.testing.assert_allclose(have, weights, rtol=1e-3, atol=1e-3)


def test_room_is_made_without_changing_what_was_keyed(avatar):
    """The artist's keyframes and value mean the same afterwards; a key with a driver is left alone and named."""
    key = blocks(avatar)["Blendshape 01"]
    key.value = 4.0
    key.keyframe_insert("value", frame=1)
    key.value = 8.0
    key.keyframe_insert("value", frame=11)
    before = [shown(frame) for frame in (1, 6, 11)]
    driver = blocks(avatar)["Blendshape 02"].driver_add("value").driver
    driver.expression = "0.0"
    weights = np.zeros((2, 6))
    weights[1] = 35.0
    sentences = learned_keys.make_room(avatar, weights)
    assert learned_keys.scale_of(avatar.data, 0) == 4.0 and learned_keys.scale_of(avatar.data, 1) == 1.0
    assert len(sentences) == 1 and "Blendshape 02 reaches 35.0" in sentences[0]
    for frame, want in zip((1, 6, 11), before, strict=True):
        np.testing.assert_allclose(shown(frame).means, want.means, atol=1e-6)
    assert learned_keys.found(avatar)[0] == key


def test_a_narrowed_slider_does_not_cut_a_performance(scene, avatar, performance):
    for key in blocks(avatar)[1:]:
        key.slider_min, key.slider_max = 0.0, 0.01
    avatar_rig.apply_performance(avatar, performance, 1, FPS)
    weights = avatar_rig.network_of(avatar).weights(HeadState.of(performance))
    scene.frame_set(8)
    np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(avatar)], weights[7], atol=1e-4)


def test_an_expression_beyond_its_slider_is_not_cut(scene, tmp_path):
    """FLAME's sliders go to 3; what was tracked beyond is shown, and what Blender cannot hold is said."""
    meta, arrays = synthetic.grid_head()
    head = head_rig.build_head(bpy.context, formats.rig_from(meta, arrays, "x"), "Ann")
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))
    performance.arrays["expression"] = 5.0 * performance.expression - 1.5
    performance.arrays["eyelids"] = 1.4 * performance.eyelids
    head_rig.apply_performance(head, performance, 1, FPS)
    for row in (0, 7, 12):
        scene.frame_set(1 + row)
        values = [head.data.shape_keys.key_blocks[name].value for name in synthetic.EXPRESSIONS]
        np.testing.assert_allclose(values, performance.expression[row], atol=1e-5)
        assert head.data.shape_keys.key_blocks["Eyelid L"].value == pytest.approx(performance.eyelids[row, 0])
    assert head.blendsplat.remark == ""
    performance.arrays["expression"] = 20.0 * performance.expression
    head_rig.apply_performance(head, performance, 1, FPS)
    assert "jawOpen reaches" in head.blendsplat.remark and "end at 10" in head.blendsplat.remark


def test_training_further_keeps_names_and_own_keys(scene, avatar, performance, tmp_path):
    avatar_rig.apply_performance(avatar, performance, 1, FPS)
    rename(avatar)
    own = avatar.shape_key_add(name="my own", from_mix=False)
    own.data[0].co.x += 0.5
    own.value = 0.25
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz", seed=99))
    avatar_rig.replace_avatar(avatar, file)
    assert learned_keys.found(avatar)[1].name == 'smile "wide" ü'
    own = blocks(avatar)["my own"]
    assert own.value == pytest.approx(0.25) and own.data[0].co.x - blocks(avatar)[0].data[0].co.x == pytest.approx(0.5)
    curves = list(keyframes.fcurves(avatar.data.shape_keys))
    assert len(curves) == 6 and all(curve.is_valid for curve in curves)

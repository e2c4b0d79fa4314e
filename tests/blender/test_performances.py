# SPDX-License-Identifier: Apache-2.0
"""Performances of the avatar's own clip and of others, avatars without blendshapes and of systems yet to come."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats, space
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, head_rig, retarget
from blender_addon.scene.retarget import Reference
from blender_addon.scene.weight_network import HeadState, WeightNetwork
from blender_addon.ui.operators import avatar as operators

import synthetic

DELTAS = ("delta_positions", "delta_quats", "delta_colors")


def clip(seed: int = 5) -> dict[str, np.ndarray]:
    return synthetic.performance_arrays(seed=seed)


def head_rotations(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return space.rotvec_to_matrix(arrays["root_pose"]) @ space.rotvec_to_matrix(arrays["neck_pose"])


def performance_of(path: Path, arrays: dict[str, np.ndarray], **meta: object) -> formats.Performance:
    header = {"format": "blendsplat-tracking", "version": 1, "width": 256, "height": 256,
              "expression_names": list(synthetic.EXPRESSIONS)}  # fmt: skip
    return formats.read_performance(synthetic.write(path, header | meta, arrays))


def second_version(path: Path, arrays: dict[str, np.ndarray], **header: object) -> formats.AvatarFile:
    """An avatar file of version 2, trained on the clip's valid rows."""
    valid = arrays["valid"]
    first = WeightNetwork.of(formats.read_avatar(synthetic.write_avatar(path)))
    performance = formats.Performance(path, {}, arrays)
    features, weights = (f(HeadState.of(performance))[valid] for f in (first.features, first.weights))
    learned = {
        "feature_range": np.stack([features.min(0), features.max(0)]),
        "weight_range": np.stack([weights.min(0), weights.max(0)]),
        "neutral_rotation": retarget.mean_rotation(head_rotations(arrays)[valid]).astype(np.float32),
        "neutral_translation": arrays["translation"][valid].mean(0),
    }
    told = {"version": 2, "performance": retarget.performance_id(performance)}
    return formats.read_avatar(synthetic.write_avatar(path, learned=learned, **told | header))


def moved(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same performance, filmed from elsewhere."""
    turn = space.rotvec_to_matrix(np.array([0.2, -0.5, 0.1]))  # about the root's joint
    root = space.matrix_to_rotvec(turn @ space.rotvec_to_matrix(arrays["root_pose"]))
    return arrays | {
        "translation": (arrays["translation"] @ turn.T + [0.3, -0.2, 0.5]).astype(np.float32),
        "root_pose": root.astype(np.float32),
    }


def test_the_own_clip_is_taken_as_it_is(scene, tmp_path):
    file = second_version(tmp_path / "a.avatar.npz", clip())
    network, reference = WeightNetwork.of(file), Reference.of_file(file)
    own = performance_of(tmp_path / "elsewhere" / "tracking.npz", clip())
    assert not retarget.foreign(own, reference)
    assert retarget.foreign(performance_of(tmp_path / "b.npz", clip(6)), reference)
    carrier = avatar_rig.build_avatar(bpy.context, file, "Ann")
    avatar_rig.apply_performance(carrier, own, 1, 25.0)
    assert not carrier.blendsplat.foreign
    scene.frame_set(8)
    want = network.weights(HeadState.of(own))[7]
    np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(carrier)], want, atol=1e-5)


def test_the_id_of_a_performance_is_the_formats(tmp_path):
    """docs/formats.md: sha256 over expression, then translation, float32 little-endian, 16 hex digits."""
    import hashlib

    arrays = clip()
    told = hashlib.sha256(arrays["expression"].astype("<f4").tobytes() + arrays["translation"].astype("<f4").tobytes())
    performance = performance_of(tmp_path / "a.npz", arrays)
    assert retarget.performance_id(performance) == told.hexdigest()[:16]


def test_files_of_version_1_take_every_performance_as_it_comes(tmp_path):
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz"))
    assert Reference.of_file(file) is None
    assert not retarget.foreign(performance_of(tmp_path / "b.npz", moved(clip(6))), None)


def test_another_clip_is_rebased(scene, tmp_path):
    """Mean place and mean head rotation become the avatar's; the neck does what it did, and so do differences."""
    file = second_version(tmp_path / "a.avatar.npz", clip())
    other = performance_of(tmp_path / "b.npz", moved(clip(6)))
    again = retarget.rebased(other, Reference.of_file(file))
    after, before = Reference.of(again), Reference.of(other)
    np.testing.assert_allclose(after.rotation, file.arrays["neutral_rotation"], atol=1e-5)
    np.testing.assert_allclose(after.translation, file.arrays["neutral_translation"], atol=1e-6)
    np.testing.assert_array_equal(again.neck_pose, other.neck_pose)
    turn = after.rotation @ before.rotation.T
    shifts = np.diff(other.translation, axis=0) @ turn.T
    np.testing.assert_allclose(np.diff(again.translation, axis=0), shifts, atol=1e-6)
    np.testing.assert_allclose(head_rotations(again.arrays), turn @ head_rotations(other.arrays), atol=1e-5)


def test_a_photograph_keeps_its_pose(tmp_path):
    """One frame has no mean rotation of its own: turned to the avatar's, it would lose what it shows."""
    file = second_version(tmp_path / "a.avatar.npz", clip())
    other = performance_of(tmp_path / "b.npz", moved(synthetic.performance_arrays(frames=1)))
    again = retarget.rebased(other, Reference.of_file(file))
    np.testing.assert_allclose(head_rotations(again.arrays), head_rotations(other.arrays), atol=1e-6)
    np.testing.assert_allclose(again.translation[0], file.arrays["neutral_translation"], atol=1e-6)


def test_where_it_was_filmed_from_makes_no_difference(tmp_path):
    """What the network sees of a performance is the same from wherever it was filmed."""
    file, states = second_version(tmp_path / "a.avatar.npz", clip()), []
    for name, arrays in (("b", clip(6)), ("c", moved(clip(6)))):
        performance = performance_of(tmp_path / f"{name}.npz", arrays)
        states.append(HeadState.of(retarget.rebased(performance, Reference.of_file(file))))
    network = WeightNetwork.of(file)
    np.testing.assert_allclose(network.features(states[0]), network.features(states[1]), atol=1e-5)


def test_another_clips_features_stay_in_what_training_saw(scene, tmp_path):
    file = second_version(tmp_path / "a.avatar.npz", clip())
    network = WeightNetwork.of(file)
    wild = clip(6)
    wild["expression"], wild["jaw_pose"] = 4 * wild["expression"], 4 * wild["jaw_pose"]
    other = performance_of(tmp_path / "b.npz", wild)
    carrier = avatar_rig.build_avatar(bpy.context, file, "Ann")
    scene.render.fps = 25
    assert operators.apply_performance(scene, carrier, other) == 19
    low, high = file.arrays["feature_range"]
    state = HeadState.of(retarget.rebased(other, Reference.of_file(file)))
    seen = np.clip(network.features(state), low, high)
    assert np.abs(seen - network.features(state)).max() > 1
    want = network.weights(state, inside=True, hold=1.0)
    assert np.abs(want - network.weights(state)).max() > 0.1
    for row in (0, 7):
        scene.frame_set(row + 1)
        np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(carrier)], want[row], atol=2e-4)
    carrier.blendsplat.live = True  # keeps inside, too
    scene.frame_set(8)
    head = head_rig.head_state(carrier.blendsplat.head, bpy.context.evaluated_depsgraph_get())
    values = [key.value for key in avatar_rig.blendshape_keys(carrier)]
    np.testing.assert_allclose(values, network.weights(head, inside=True, hold=1.0)[0], atol=2e-4)
    assert np.abs(np.subtract(values, network.weights(head)[0])).max() > 0.1


def test_the_range_is_kept_in_the_blend_file(scene, tmp_path):
    file = second_version(tmp_path / "a.avatar.npz", clip())
    avatar_rig.build_avatar(bpy.context, file, "Ann")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    network, want = avatar_rig.network_of(bpy.data.objects["Ann"]), WeightNetwork.of(file)
    np.testing.assert_array_equal(network.feature_range, want.feature_range)
    have, want = avatar_rig.reference_of(bpy.data.objects["Ann"]), Reference.of_file(file)
    np.testing.assert_array_equal(have.rotation, want.rotation)
    np.testing.assert_array_equal(have.translation, want.translation)
    assert have.performance == want.performance and len(network.layers) == 3


def test_a_network_is_never_another_meshes(scene, tmp_path):
    """Nothing is kept by address: what the mesh holds now is what drives, whatever undo or a reload put there."""
    carrier = avatar_rig.build_avatar(
        bpy.context, formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz")), "Ann"
    )
    state = HeadState.of(performance_of(tmp_path / "t.npz", clip()))
    before = avatar_rig.network_of(carrier).weights(state)
    other = WeightNetwork.of(formats.read_avatar(synthetic.write_avatar(tmp_path / "b.avatar.npz", seed=8)))
    carrier.data["blendsplat_data"] = other.pack()
    np.testing.assert_allclose(avatar_rig.network_of(carrier).weights(state), other.weights(state), atol=1e-6)
    assert np.abs(other.weights(state) - before).max() > 0.1


# --- other systems


def without(path: Path, *names: str, **header: object) -> Path:
    """The avatar file without arrays whose names begin so."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    meta = json.loads(arrays.pop("meta").tobytes()) | header
    return synthetic.write(path, meta, {n: a for n, a in arrays.items() if not n.startswith(names)})


@pytest.mark.parametrize("empty", [True, False])
def test_an_avatar_without_blendshapes(scene, tmp_path, empty):
    path = synthetic.write_avatar(tmp_path / "toy.avatar.npz", blendshapes=0)
    dropped = ("mlp.", "feature_origin", "camera.", *(() if empty else DELTAS))
    without(path, *dropped, version=2, system="toy", feature_layout=[])
    scene.blendsplat.avatar_file = str(path)
    scene.blendsplat.performance = str(synthetic.write_performance(tmp_path / "tracking.npz"))
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    carrier = operators.selected_avatar(bpy.context)
    assert avatar_rig.network_of(carrier) is None and not avatar_rig.blendshape_keys(carrier)
    shown = []
    for frame in (1, 8):
        scene.frame_set(frame)
        shown.append(gather.gather(bpy.context.evaluated_depsgraph_get()))
    assert len(shown[0]) == 500 and np.abs(shown[0].means - shown[1].means).max() > 1e-3
    carrier.blendsplat.live = True
    scene.frame_set(9)
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert sum(item.blendsplat.kind == "AVATAR" for item in scene.objects) == 1


def test_a_system_that_shows_what_we_know_is_shown(scene, tmp_path):
    path = synthetic.write_avatar(tmp_path / "b.avatar.npz", version=2, system="tomorrow")
    assert formats.read_avatar(path).blendshapes == 6


@pytest.mark.parametrize("missing", ["triangle", "rig.", "opacity_logits"])
def test_a_system_that_cannot_be_shown_is_named(tmp_path, missing):
    path = without(synthetic.write_avatar(tmp_path / "b.avatar.npz"), missing, version=2, system="tomorrow")
    with pytest.raises(formats.FileError, match=r"system 'tomorrow', which this add-on cannot show: update it\."):
        formats.read_avatar(path)


def test_the_second_version_is_the_newest(tmp_path):
    path = synthetic.write_avatar(tmp_path / "b.avatar.npz", version=3)
    with pytest.raises(formats.FileError, match="newer Blendsplat"):
        formats.read_avatar(path)


def test_a_head_follows_a_rebased_performance(scene, tmp_path):
    """The head that carries the Gaussians does what the network was told."""
    file = second_version(tmp_path / "a.avatar.npz", clip())
    other = performance_of(tmp_path / "b.npz", moved(clip(6)))
    carrier = avatar_rig.build_avatar(bpy.context, file, "Ann")
    scene.render.fps = 25
    operators.apply_performance(scene, carrier, other)
    want = HeadState.of(retarget.rebased(other, Reference.of_file(file)))
    scene.frame_set(8)
    state = head_rig.head_state(carrier.blendsplat.head, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(state.root[0], want.root[7], atol=1e-5)
    # expressions move the root's joint a little, which is baked into its place
    np.testing.assert_allclose(state.translation[0], want.translation[7], atol=5e-3)

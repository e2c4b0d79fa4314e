# SPDX-License-Identifier: Apache-2.0
"""How another person's performance is played: from neutral to neutral, by strength, smoothed, as keyframes."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.scene import avatar_rig, head_rig, neutral_face, reenact, retarget
from blender_addon.scene.retarget import Reference
from blender_addon.scene.weight_network import HeadState, WeightNetwork
from blender_addon.space import rotvec_to_matrix
from blender_addon.ui import acting

import synthetic

FRAMES = 40
REST = {
    "expression": np.float32([0.3, 0.2, 0.4]), "jaw_pose": np.float32([0.05, 0, 0.01]),
    "eyes_pose": np.float32([[0.02, 0.1, 0], [0.02, 0.08, 0]]), "eyelids": np.float32([0.1, 0.15]),
}  # fmt: skip


def clip(path: Path, seed: int = 6) -> Path:
    return synthetic.write_performance(path, frames=FRAMES, seed=seed)


def avatar_file(path: Path, own: Path, neutral: dict[str, np.ndarray] | None = REST) -> formats.AvatarFile:
    """Of the clip ``own``, whose person's neutral face is told."""
    performance = formats.read_performance(own)
    first = WeightNetwork.of(formats.read_avatar(synthetic.write_avatar(path)))
    features = first.features(HeadState.of(performance))
    weights = first.weights(HeadState.of(performance))
    reference = Reference.of(performance)
    learned = {
        "feature_range": np.stack([features.min(0), features.max(0)]),
        "weight_range": np.stack([weights.min(0), weights.max(0)]),
        "neutral_rotation": reference.rotation.astype(np.float32),
        "neutral_translation": reference.translation.astype(np.float32),
        **{f"neutral_{name}": array for name, array in (neutral or {}).items()},
    }
    told = {"version": 2, "performance": retarget.performance_id(performance)}
    return formats.read_avatar(synthetic.write_avatar(path, learned=learned, **told))


@pytest.fixture(name="played")
def an_avatar_and_two_clips(scene, tmp_path):
    """(carrier, own clip, another's)."""
    own, other = clip(tmp_path / "own.npz", 5), clip(tmp_path / "other" / "tracking.npz")
    scene.render.fps = 25
    file = avatar_file(tmp_path / "a.avatar.npz", own)
    return avatar_rig.build_avatar(bpy.context, file, "Ann"), own, other


def apply(scene: bpy.types.Scene, carrier: bpy.types.Object, path: Path, **choices: float) -> None:
    """As an artist does."""
    bpy.context.view_layer.objects.active = carrier
    scene.blendsplat.performance = str(path)
    for name, value in choices.items():
        setattr(scene.blendsplat.acting, name, value)
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}


def face_at(scene: bpy.types.Scene, carrier: bpy.types.Object, frame: int) -> HeadState:
    scene.frame_set(frame)
    return head_rig.head_state(carrier.blendsplat.head, bpy.context.evaluated_depsgraph_get())


def test_another_persons_face_arrives_at_the_avatars(scene, played):
    carrier, _, other = played
    apply(scene, carrier, other)
    face, given = avatar_rig.face_of(carrier), formats.read_performance(other)
    theirs = face.neutral_of(given)
    want, _ = reenact.reenacted(given, face, reenact.Acting(), own=False)
    moved = REST["expression"] + given.expression - theirs["expression"]
    np.testing.assert_allclose(want.expression, np.clip(moved, 0, 1), atol=1e-5)
    assert np.abs(want.expression - given.expression).max() > 0.05
    for row in (0, 11, 30):
        state = face_at(scene, carrier, row + 1)
        np.testing.assert_allclose(state.expression[0], want.expression[row], atol=1e-4)
        np.testing.assert_allclose(state.jaw[0], rotvec_to_matrix(want.jaw_pose[row]), atol=1e-4)
        values = [key.value for key in avatar_rig.blendshape_keys(carrier)]
        network, rebased = avatar_rig.network_of(carrier), retarget.rebased(want, avatar_rig.reference_of(carrier))
        weights = network.weights(HeadState.of(rebased), inside=True, hold=1.0)
        np.testing.assert_allclose(values, weights[row], atol=5e-4)
    assert carrier.blendsplat.foreign and not carrier.blendsplat.remark


def test_off_it_is_as_it_was_tracked(scene, played):
    carrier, own, other = played
    apply(scene, carrier, other, relative=False)
    given = formats.read_performance(other)
    np.testing.assert_allclose(face_at(scene, carrier, 12).expression[0], given.expression[11], atol=1e-4)
    apply(scene, carrier, own, relative=True)
    np.testing.assert_allclose(
        face_at(scene, carrier, 12).expression[0], formats.read_performance(own).expression[11], atol=1e-4
    )
    assert not carrier.blendsplat.foreign, "the own clip is never changed by its own neutral"


def test_no_strength_is_the_avatars_rest(scene, played):
    carrier, _, other = played
    apply(scene, carrier, other, mouth=0.0, eyes=0.0, brows=0.0, head=0.0)
    states = [face_at(scene, carrier, frame) for frame in (1, 14, 38)]
    for state in states:
        np.testing.assert_allclose(state.expression[0], REST["expression"], atol=1e-3)
        np.testing.assert_allclose(state.jaw[0], rotvec_to_matrix(REST["jaw_pose"]), atol=1e-4)
        np.testing.assert_allclose(state.eyes[0], rotvec_to_matrix(REST["eyes_pose"]), atol=1e-4)
        np.testing.assert_allclose(state.neck[0], states[0].neck[0], atol=1e-4)


def test_a_changed_own_clip_is_kept_inside_and_comes_back(scene, played):
    carrier, own, _ = played
    apply(scene, carrier, own, head=0.0)
    assert carrier.blendsplat.foreign
    np.testing.assert_allclose(face_at(scene, carrier, 2).neck, face_at(scene, carrier, 30).neck, atol=1e-4)
    apply(scene, carrier, own, head=1.0)
    assert not carrier.blendsplat.foreign
    given = formats.read_performance(own)
    np.testing.assert_allclose(face_at(scene, carrier, 30).neck[0], rotvec_to_matrix(given.neck_pose[29]), atol=1e-4)


def test_smoothing_takes_trembling_out(scene, played, tmp_path):
    carrier, _, other = played
    with np.load(other) as file:
        arrays = {name: file[name] for name in file.files}
    noise = np.random.default_rng(0).normal(0, 0.005, arrays["neck_pose"].shape)
    arrays["neck_pose"] = (arrays["neck_pose"] * 0.05 + noise).astype(np.float32)
    np.savez(tmp_path / "shaky.npz", **arrays)
    trembles = []
    for seconds in (0.0, 0.3):
        apply(scene, carrier, tmp_path / "shaky.npz", smooth=seconds)
        neck = np.stack([face_at(scene, carrier, frame).neck[0] for frame in range(5, 35)])
        trembles.append(np.abs(np.diff(neck, 2, axis=0)).mean())
    assert trembles[1] < 0.5 * trembles[0]


def test_the_blend_file_keeps_it(scene, played, tmp_path):
    before = avatar_rig.face_of(played[0])
    scene.blendsplat.acting.mouth = 1.5
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    after = avatar_rig.face_of(bpy.data.objects["Ann"])
    for name in ("sizes", "opening"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    for name, array in REST.items():
        np.testing.assert_array_equal(after.neutral[name].astype(np.float32), array)
    assert after.names == before.names == synthetic.EXPRESSIONS and after.opener == before.opener
    assert acting.chosen(bpy.context.scene).mouth == 1.5


def test_an_avatar_that_does_not_know_its_neutral(scene, played, tmp_path):
    """Of an older file: it plays as before, and the remark says why."""
    _, own, other = played
    carrier = avatar_rig.build_avatar(bpy.context, avatar_file(tmp_path / "old.avatar.npz", own, None), "Old")
    apply(scene, carrier, other)
    assert "does not say what its neutral face is" in carrier.blendsplat.remark
    given = formats.read_performance(other)
    np.testing.assert_allclose(face_at(scene, carrier, 12).expression[0], given.expression[11], atol=1e-4)


def test_an_avatar_that_an_earlier_add_on_added(scene, played):
    carrier, _, other = played
    del carrier.data["blendsplat_face"]
    apply(scene, carrier, other)
    assert not carrier.blendsplat.remark, "it plays as it did then"
    apply(scene, carrier, other, mouth=0.5)
    assert "add it again" in carrier.blendsplat.remark


def test_a_damaged_neutral_is_named(tmp_path, scene):
    own = clip(tmp_path / "own.npz", 5)
    with pytest.raises(formats.FileError, match="neutral_expression"):
        avatar_file(tmp_path / "a.avatar.npz", own, REST | {"expression": np.zeros(7, np.float32)})
    assert neutral_face.region_of("browInnerUp") == "brows"

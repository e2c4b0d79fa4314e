# SPDX-License-Identifier: Apache-2.0
"""Avatars of the paper's ablations in Blender: linear mappings and avatars without blendshapes play, world space is
refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, head_rig
from blender_addon.scene.weight_network import HeadState, WeightNetwork
from blender_addon.ui.operators import avatar as operators

import synthetic

FPS = 25


def as_three_layers(weight: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """As the engine writes a linear map: y = relu(y) - relu(-y)."""
    one = np.eye(len(weight), dtype=np.float32)
    layers = [
        (np.concatenate([weight, -weight]), np.concatenate([bias, -bias])),
        (np.eye(2 * len(weight), dtype=np.float32), np.zeros(2 * len(weight), np.float32)),
        (np.concatenate([one, -one], 1), np.zeros(len(weight), np.float32)),
    ]
    return {
        f"mlp.{i}.{part}": a
        for i, layer in enumerate(layers)
        for part, a in zip(("weight", "bias"), layer, strict=True)
    }


def test_a_linear_mapping_plays_from_the_files_three_layers(scene, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    plain = formats.read_avatar(synthetic.write_avatar(tmp_path / "plain.avatar.npz"))
    inputs = plain.layers[0][0].shape[1]
    weight, bias = (rng.normal(0, 0.3, size).astype(np.float32) for size in ((6, inputs), 6))
    path = synthetic.write_avatar(tmp_path / "linear.avatar.npz", learned=as_three_layers(weight, bias))
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz"))
    file = formats.read_avatar(path)
    network = WeightNetwork.of(file)
    features = network.features(HeadState.of(performance))
    want = features @ weight.T + bias
    assert (want < 0).any() and (want > 0).any()
    np.testing.assert_allclose(network.weights(HeadState.of(performance)), want, atol=1e-5)
    carrier = avatar_rig.build_avatar(bpy.context, file, "Linear")
    head_rig.apply_performance(carrier.blendsplat.head, performance, 1, FPS)
    avatar_rig.apply_performance(carrier, performance, 1, FPS)
    scene.frame_set(8)
    values = [key.value for key in avatar_rig.blendshape_keys(carrier)]
    np.testing.assert_allclose(values, want[7], atol=2e-5)


def test_an_avatar_without_blendshapes_rides_on_its_head(scene, tmp_path: Path) -> None:
    """Its file as the engine writes it: displacements and layers of no rows."""
    zeros = np.zeros
    inputs = formats.read_avatar(synthetic.write_avatar(tmp_path / "x.avatar.npz")).layers[0][0].shape[1]
    empty = {"mlp.0.weight": zeros((0, inputs), np.float32), "mlp.0.bias": zeros(0, np.float32)}
    for index in (1, 2):
        empty |= {f"mlp.{index}.weight": zeros((0, 0), np.float32), f"mlp.{index}.bias": zeros(0, np.float32)}
    empty |= {"weight_range": zeros((2, 0), np.float32)}
    path = synthetic.write_avatar(tmp_path / "base.avatar.npz", blendshapes=0, learned=empty)
    performance = synthetic.write_performance(tmp_path / "tracking.npz")
    carrier = operators.add_avatar(bpy.context, path, performance)
    assert avatar_rig.network_of(carrier) is None and not avatar_rig.blendshape_keys(carrier)
    means = []
    for frame in (1, 9):
        scene.frame_set(frame)
        have = gather.gather(bpy.context.evaluated_depsgraph_get())
        assert len(have) == 500
        means.append(have.means.copy())
    assert np.abs(means[0] - means[1]).max() > 1e-3, "the head's performance moves it"


def test_world_space_is_refused_with_a_sentence_and_leaves_no_trace(scene, tmp_path: Path) -> None:
    path = synthetic.write_avatar(tmp_path / "world.avatar.npz", space="world")
    before = set(bpy.data.objects)
    with pytest.raises(formats.FileError, match=r"world\.avatar\.npz holds .* world space.*Train it with space"):
        formats.read_avatar(path)
    scene.blendsplat.avatar_file = str(path)
    with pytest.raises(RuntimeError, match="world space"):  # how an operator's report reaches a script
        bpy.ops.blendsplat.add_avatar()
    assert set(bpy.data.objects) == before

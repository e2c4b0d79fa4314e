# SPDX-License-Identifier: Apache-2.0
"""Every switch of the paper's ablations changes what it says, is part of a training's identity and resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.errors import Cancelled, InputError
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar, make_preset, read_avatar, train_avatar
from blendsplat.training.checkpoint import training_fingerprint
from blendsplat.training.rgbavatar.orthogonality import orthogonality
from blendsplat.training.tracked_clip import TrackedClip
from small_training import SMALL, new_trainer, trained

SWITCHES: list[dict[str, Any]] = [
    {"blendshapes": 0}, {"mapping": "linear"}, {"pose_input": False}, {"space": "world"},
    {"color_initialisation": False}, {"orthogonality": "loss"}, {"orthogonality": "qr", "orthogonality_images": 30},
    {"orthogonality": "schmidt", "orthogonality_images": 30}, {"adam_eps": 1e-5},
    {"hair_distance": 0.002, "hair_scale": 0.004}, {"fill_images": 50},
]  # fmt: skip


class Stopped(Progress):
    """Cancels at the half of the training."""

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        if stage == "train":
            self.cancelled = done >= 60


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: "-".join(str(value) for value in switch.values()))
def test_a_switch_trains_evaluates_and_resumes_exactly(
    switch: dict[str, Any], tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = make_preset(SMALL | switch)
    whole, parts = tmp_path / "whole.avatar.npz", tmp_path / "parts.avatar.npz"
    result = train_avatar(tiny_clip, preset, whole)
    figures = evaluate_avatar(whole, tiny_clip)
    assert figures["psnr"] == pytest.approx(result.figures["psnr"], abs=1e-3) and figures["psnr"] > 14
    monkeypatch.setattr("blendsplat.training.loop._REPORT_SECONDS", 0)
    with pytest.raises(Cancelled, match="of 120"):
        train_avatar(tiny_clip, preset, parts, Stopped())
    assert 60 <= train_avatar(tiny_clip, preset, parts).resumed_from < 120
    (_, first), (_, second) = read_avatar(whole), read_avatar(parts)
    for name in first:
        np.testing.assert_allclose(second[name], first[name], atol=1e-6, rtol=1e-5, err_msg=name)
    clip = TrackedClip.open(tiny_clip).fingerprint
    assert training_fingerprint(preset, clip) != training_fingerprint(make_preset(SMALL), clip)


def test_no_blendshapes_leave_the_base_and_train_it_as_ever(tiny_clip: Path) -> None:
    """What is trained is the same as where blendshapes never start."""
    without, never = trained(tiny_clip, blendshapes=0), trained(tiny_clip, blendshapes_after=10**6)
    assert without.avatar.blendshape_count == 0 and not len(without.avatar.mlp)
    for name in ("positions", "quats", "colors", "opacity_logits"):
        assert torch.equal(getattr(without.avatar, name), getattr(never.avatar, name)), name
    assert without.own_record() == {}


def test_a_linear_mapping_is_one_layer_and_learns(tiny_clip: Path) -> None:
    trainer, start = trained(tiny_clip, mapping="linear"), new_trainer(tiny_clip, mapping="linear")
    (layer,), (before,) = trainer.avatar.mlp, start.avatar.mlp
    assert layer.weight.shape == (4, 32) and not torch.equal(layer.weight, before.weight)
    features = trainer.features
    both = trainer.avatar.weights_of(features[[0]] + features[[5]] - features[[3]])
    apart = trainer.avatar.weights_of(features)
    torch.testing.assert_close(both[0], apart[0] + apart[5] - apart[3], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("standardise", [True, False])
def test_without_pose_input_only_expressions_are_heard(tiny_clip: Path, standardise: bool, tmp_path: Path) -> None:
    trainer = trained(tiny_clip, pose_input=False, standardise_features=standardise)
    finished = trainer.finished_avatar()
    finished.save(tmp_path / "a.avatar.npz")
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    assert not read_avatar(tmp_path / "a.avatar.npz")[1]["mlp.0.weight"][:, 3:].any()
    features = trainer.features.clone()
    features[:, 3:] = torch.randn(len(features), features.shape[1] - 3) * 10
    for avatar in (trainer.avatar, loaded):
        torch.testing.assert_close(avatar.weights_of(features), avatar.weights_of(trainer.features), atol=1e-5, rtol=0)
    features[:, 0] += 1
    assert (loaded.weights_of(features) - loaded.weights_of(trainer.features)).abs().max() > 1e-3
    heard = trained(tiny_clip, standardise_features=standardise).avatar
    assert (heard.weights_of(features) - heard.weights_of(trainer.features)).abs().max() > 0.1


def test_in_world_space_expressions_are_left_to_the_blendshapes(tiny_clip: Path) -> None:
    trainer, tangent = new_trainer(tiny_clip, space="world"), new_trainer(tiny_clip)
    vertices = trainer.surfaces.vertices
    turned = vertices - vertices.mean(1, keepdim=True)
    spread = [surface.norm(dim=-1) for surface in (turned, tangent.surfaces.vertices)]
    torch.testing.assert_close(spread[0], spread[0][:1].expand_as(spread[0]), atol=1e-5, rtol=1e-4)
    assert spread[1].std(0).max() > 1e-3, "the mesh itself does more than turn"


def test_without_colour_initialisation_colours_start_grey_and_nothing_is_dropped(tiny_clip: Path) -> None:
    rates = dict.fromkeys(("position_rate", "opacity_rate", "scale_rate", "rotation_rate", "color_rate"), 0.0)
    off, on = (trained(tiny_clip, color_initialisation=start, images=44, **rates) for start in (False, True))
    assert not off.initialised.any() and not off.avatar.colors.any() and on.avatar.colors.any()
    assert off.finished_avatar().gaussian_count == new_trainer(tiny_clip).avatar.gaussian_count


def test_orthogonality_is_in_the_record_and_the_loss_brings_it_down(tiny_clip: Path, tmp_path: Path) -> None:
    plain, held = trained(tiny_clip), trained(tiny_clip, orthogonality="loss", orthogonality_weight=0.1)
    assert held.own_record()["orthogonality"] < 0.5 * plain.own_record()["orthogonality"]
    off = trained(tiny_clip, orthogonality="loss", orthogonality_weight=0.0)
    assert torch.equal(off.avatar.delta_colors, plain.avatar.delta_colors)
    train_avatar(tiny_clip, make_preset(SMALL), tmp_path / "a.avatar.npz")
    told = read_avatar(tmp_path / "a.avatar.npz")[0]["training"]["orthogonality"]
    avatar = load_avatar(tmp_path / "a.avatar.npz")
    bases = [getattr(avatar, f"delta_{name}").float() for name in ("positions", "quats", "colors")]
    assert told == pytest.approx(orthogonality(bases), abs=0.05)  # of all Gaussians, the file has those that show


@pytest.mark.parametrize("way", ["qr", "schmidt"])
def test_bases_are_orthogonal_after_every_so_many_images(tiny_clip: Path, way: str) -> None:
    trainer, measured = new_trainer(tiny_clip, orthogonality=way, orthogonality_images=40), {}
    run = trainer._orthogonalise

    def noting() -> None:
        run()
        measured[trainer.images] = orthogonality(trainer.avatar.bind_parameters().deltas)

    callback = next(one for one in trainer._schedule._callbacks if one.name == "orthogonalise")
    object.__setattr__(callback, "run", noting)
    while not trainer.done:
        trainer.step()
    assert list(measured) == [40, 80] and max(measured.values()) < 1e-3
    assert trainer.own_record()["orthogonality"] > 0.01, "and drift again in between"


def test_the_lpips_variant_needs_a_file_and_begins_where_it_says(tiny_clip: Path, test_data) -> None:
    weights = str(test_data("perceptual/lpips_squeeze.npz"))
    changes = {"lpips_weight": 0.5, "lpips_weights": weights, "images": 48}
    plain, late = trained(tiny_clip, images=48), trained(tiny_clip, lpips_after=48, **changes)
    assert torch.equal(plain.avatar.colors, late.avatar.colors)
    assert not torch.equal(plain.avatar.colors, trained(tiny_clip, lpips_after=40, **changes).avatar.colors)


@pytest.mark.parametrize(("share", "local", "seen"), [(0.0, 4, "newest"), (1.0, 1, "all")])
def test_pools_are_preset_keys(tiny_clip: Path, share: float, local: int, seen: str) -> None:
    """Without the global pool old frames are forgotten; with it they come again."""
    trainer = new_trainer(
        tiny_clip, sampler="online", online_global_share=share, online_local_pool=local, online_global_pool=20,
        online_images_per_frame=1.0, images=800,
    )  # fmt: skip
    trainer.train_batch = lambda rows: drawn.append(rows)  # type: ignore[method-assign]
    drawn: list[list[int]] = []
    while not trainer.done:
        trainer.step()
    last = {row for batch in drawn[-60:] for row in batch}
    assert last == set(range(7, 11)) if seen == "newest" else last > {10}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"mapping": "quadratic"}, "mapping"), ({"space": "camera"}, "space"),
        ({"orthogonality": "svd"}, "orthogonality"),
        ({"blendshapes": -1}, "blendshapes"), ({"orthogonality_images": 0}, "orthogonality_images"),
        ({"pose_input": "perhaps"}, "pose_input"), ({"orthogonality_weight": -1}, "orthogonality_weight"),
    ],
)  # fmt: skip
def test_what_a_switch_does_not_know_is_refused_by_name(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make_preset(SMALL | change)

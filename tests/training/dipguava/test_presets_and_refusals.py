# SPDX-License-Identifier: Apache-2.0
"""The preset's defaults, and what is refused: mistakes in presets, clips and heads that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blendsplat.errors import InputError
from blendsplat.systems import list_presets, load_avatar, make_preset, train_avatar
from blendsplat.training.dipguava.preset import DipGuavaPreset
from tiny_clip import tiny_head, write_tiny_clip
from tiny_dipguava_training import dipguava

pytestmark = pytest.mark.usefixtures("few_steps_of_distilling")


def test_the_defaults_are_the_papers() -> None:
    p = make_preset({"system": "dipguava"})
    assert isinstance(p, DipGuavaPreset)
    assert (p.images, p.stage_images, p.batch, p.rate, p.residual_rate) == (120_000, 60_000, 1, 1e-4, 1e-5)
    assert (p.densify_every, p.densify_gradient, p.prune_opacity, p.avatar.uv_size) == (500, 2e-4, 0.05, 128)
    weights = p.l1_weight, p.ssim_weight, p.lpips_weight, p.position_weight, p.scale_weight
    assert weights == (0.8, 0.2, 0.1, 0.01, 1.0) and (p.position_limit, p.scale_limit) == (2.0, 0.6)


def test_a_shipped_preset_trains_it() -> None:
    assert [preset.name for preset in list_presets() if isinstance(preset, DipGuavaPreset)]


@pytest.mark.parametrize("stage_images", [80, 81])
def test_a_preset_without_stage_2_is_refused(stage_images: int) -> None:
    with pytest.raises(InputError, match=f"stage_images is {stage_images}, but stage 2 needs some of the 80 images"):
        dipguava(stage_images=stage_images)
    assert dipguava({"base": "none"}, stage_images=stage_images).first_images == 80


def test_mistakes_in_a_preset_are_named() -> None:
    with pytest.raises(InputError, match="uv_resolution"):
        dipguava(uv_resolution=64)
    for key, value in (("uv_size", 20), ("unet_widht", 8), ("fusion", "perhaps")):
        with pytest.raises(InputError, match=rf"avatar\.{key}"):
            dipguava({key: value})
    with pytest.raises(InputError, match="nothing draws the colours: residual_appearance has to"):
        dipguava({"base": "none", "residual_appearance": False})
    with pytest.raises(InputError, match="densify_until"):
        dipguava(densify_until=1.5)


def test_a_clip_that_is_too_short_is_refused(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path / "clip", 2)
    with pytest.raises(InputError, match="use a longer clip or a smaller holdout"):
        train_avatar(tmp_path / "clip", dipguava(), tmp_path / "a.avatar.npz")
    write_tiny_clip(tmp_path / "three", 3)
    train_avatar(tmp_path / "three", dipguava(images=8, stage_images=4), tmp_path / "b.avatar.npz")
    assert load_avatar(tmp_path / "b.avatar.npz").gaussian_count == 70, "two frames are few, and enough to run"


def test_a_head_without_uvs_is_refused_with_the_reason(tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    bare = replace(tiny_head(), uvs=torch.zeros_like(tiny_head().uvs))
    monkeypatch.setattr("blendsplat.heads.load.load_head", lambda source, **_: bare)
    with pytest.raises(InputError, match=r"lacks texture coordinates.*track the clip with a head that has them"):
        train_avatar(tiny_clip, dipguava(), tmp_path / "a.avatar.npz")

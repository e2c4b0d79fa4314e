# SPDX-License-Identifier: Apache-2.0
"""Presets: the shipped ones load and say what the paper says; mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from blendsplat.errors import InputError
from blendsplat.systems import list_presets, load_preset
from blendsplat.training.presets import training_identity
from blendsplat.training.rgbavatar.schedules import learning_rates


def test_shipped_presets_have_words_for_artists() -> None:
    presets = list_presets()
    assert {"draft", "rgbavatar"} <= {preset.name for preset in presets}
    for preset in presets:
        assert preset.title and len(preset.description) > 40, preset.name


def test_the_papers_schedule() -> None:
    preset = load_preset("rgbavatar")
    assert (preset.images, preset.batch, preset.blendshapes, preset.uv_resolution) == (50_000, 10, 20, 256)
    start, middle, end = (learning_rates(preset, images) for images in (0, 15_000, 30_000))
    assert start["positions"] == pytest.approx(8e-4)
    assert middle["positions"] == pytest.approx(8e-5)
    assert end["positions"] == pytest.approx(8e-6) == learning_rates(preset, 49_999)["positions"]
    assert start["delta_positions"] == pytest.approx(4e-5)
    assert end["opacity_logits"] == 0.25 and end["log_scales"] == 0.025 and end["mlp"] == 1e-3
    assert end["delta_quats"] == 0.0025 and end["delta_colors"] == 0.00625


def test_overrides_are_converted_and_checked() -> None:
    assert load_preset("draft", {"images": "500", "fit_exposure": "true"}).images == 500
    with pytest.raises(InputError, match="'imags' does not exist; did you mean 'images'") as caught:
        load_preset("draft", {"imags": 500})
    assert "uv_resolution" in caught.value.sentence, "the allowed keys are named"
    with pytest.raises(InputError, match="batch"):
        load_preset("draft", {"batch": 0})
    with pytest.raises(InputError, match="sampler"):
        load_preset("draft", {"sampler": "sideways"})


def test_unknown_presets_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="draft"):
        load_preset("nothing")
    with pytest.raises(InputError, match="does not exist"):
        load_preset(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("images = = 3")
    with pytest.raises(InputError, match=r"a\.toml"):
        load_preset(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("images = 30\ncolour = 3\n")
    with pytest.raises(InputError, match="colour"):
        load_preset(tmp_path / "b.toml")
    (tmp_path / "other.toml").write_text('system = "unheard"\n')
    with pytest.raises(InputError, match=r"other\.toml: There is no avatar system 'unheard'; known are rgbavatar"):
        load_preset(tmp_path / "other.toml")
    (tmp_path / "c ü.toml").write_text("images = 30\n")
    assert load_preset(tmp_path / "c ü.toml").name == "c ü"


def test_identity_lets_a_training_be_prolonged_only_where_schedules_do_not_end_with_it() -> None:
    paper = load_preset("rgbavatar")
    assert training_identity(paper) == training_identity(
        load_preset("rgbavatar", {"images": 60_000, "preview_seconds": 9})
    )
    assert training_identity(paper) != training_identity(load_preset("rgbavatar", {"seed": 1}))
    ending = {"decay_images": 0}
    assert training_identity(load_preset("rgbavatar", ending)) != training_identity(
        load_preset("rgbavatar", ending | {"images": 60_000})
    )


def test_keys_that_came_later_leave_earlier_checkpoints_alone() -> None:
    """At its default, such a key is no part of a training's identity; at any other value it is."""
    preset = load_preset("draft")
    assert preset.later and not set(preset.later) & set(training_identity(preset))
    for name, value in {"pose_input": False, "mapping": "linear", "orthogonality": "qr", "space": "world"}.items():
        changed = load_preset("draft", {name: value})
        assert training_identity(changed) == training_identity(preset) | {name: value}
    assert set(preset.later) <= set(type(preset).model_fields)

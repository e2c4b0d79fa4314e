# SPDX-License-Identifier: Apache-2.0
"""KaoLRM as a fit's regressor: which heads its weights are for, and what the network gets to see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from blendsplat.errors import InputError
from blendsplat.heads.families import FAMILIES
from blendsplat.heads.human import human_head
from blendsplat.heads.model import HeadModel
from blendsplat.kaolrm import load_model, prepare_cutout, save_model
from blendsplat.kaolrm.describe_weights import describe_weights
from blendsplat.kaolrm.preprocess import on_white
from blendsplat.kaolrm.regressor import KaoRegressor, make_regressor
from synthetic_head import make_head
from tiny_kaolrm import tiny


def flame_of_any_name() -> HeadModel:
    return replace(make_head(), name="generic_model", family="flame")


def test_weights_for_flame_fit_it_under_any_name(tmp_path: Path) -> None:
    save_model(tmp_path / "w", tiny())
    assert make_regressor(tmp_path / "w", flame_of_any_name()) is not None
    called_so = replace(make_head(), name="flame2023", family="")
    with pytest.raises(InputError, match=r"for the head 'flame'.*not for 'flame2023'"):
        make_regressor(tmp_path / "w", called_so)


def test_weights_that_know_their_model_refuse_the_familys_others(tmp_path: Path) -> None:
    head = flame_of_any_name()
    save_model(tmp_path / "w", tiny(head_model=head.model_id))
    assert make_regressor(tmp_path / "w", head) is not None
    other = replace(head, name="flame2023", expression_directions=head.expression_directions.flip(0))
    with pytest.raises(InputError, match=rf"{head.model_id[:8]}.*'flame2023'.*{other.model_id[:8]}"):
        make_regressor(tmp_path / "w", other)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_weights_are_offered_to_the_family_that_they_know_alone(family: str) -> None:
    config = load_model().config
    head = replace(make_head(shapes=config.shape_count, expressions=config.expression_count), family=family)
    assert (make_regressor("auto", head) is not None) == (family == config.head)


def test_weights_of_the_head_of_earlier_versions_are_told_and_not_used(tmp_path: Path) -> None:
    save_model(tmp_path / "w", tiny(head="builtin"))
    told = describe_weights(tmp_path / "w")
    assert "no longer made" in told["sentence"] and told["fits"] and not told["usable"]
    with pytest.raises(InputError, match="for the head 'builtin'"):
        make_regressor(tmp_path / "w", human_head())


def seen_by(regressor: KaoRegressor, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """What the network reads of ``pictures``."""
    seen: list[torch.Tensor] = []
    read = regressor._model.read
    monkeypatch.setattr(regressor._model, "read", lambda images: seen.append(images) or read(images))
    regressor.many(pictures)
    return torch.cat(seen)


def test_published_weights_read_what_the_published_inference_prepares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "w", tiny())
    cutouts = np.random.default_rng(0).integers(0, 256, (2, 90, 90, 4), np.uint8)
    seen = seen_by(KaoRegressor(tmp_path / "w", flame_of_any_name()), [on_white(rgba) for rgba in cutouts], monkeypatch)
    assert torch.equal(seen, torch.stack([prepare_cutout(rgba, 56) for rgba in cutouts]))


def test_the_small_default_reads_area_averages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its published figures belong to this preparation."""
    assert load_model().config.resize == "area"
    picture = np.random.default_rng(0).random((448, 448, 3), np.float32)
    config = load_model().config
    head = replace(make_head(shapes=config.shape_count, expressions=config.expression_count), family=config.head)
    regressor = make_regressor("auto", head)
    assert isinstance(regressor, KaoRegressor)
    want = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen_by(regressor, [picture], monkeypatch)[0].permute(1, 2, 0), want.clip(0, 1))

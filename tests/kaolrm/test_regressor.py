# SPDX-License-Identifier: Apache-2.0
"""KaoLRM as a fit's regressor: which heads its weights are for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blendsplat.errors import InputError
from blendsplat.heads.model import HeadModel
from blendsplat.kaolrm import save_model
from blendsplat.kaolrm.regressor import make_regressor
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


def test_the_shipped_weights_are_offered_to_the_builtin_family_alone() -> None:
    assert make_regressor("auto", flame_of_any_name()) is None

# SPDX-License-Identifier: Apache-2.0
"""How a render is compared with a capture: curves of movements, correlations, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acting import acted
from blendsplat.errors import FormatError, InputError
from blendsplat.evaluation.retargeting import (
    MOVEMENTS,
    Retargeted,
    benchmark_retargeting,
    coefficient,
    correlation,
    curve,
    table,
)
from blendsplat.heads.arkit import ARKIT, JAW_OPEN_ANGLE
from blendsplat.heads.load import load_head
from tiny_clip import tiny_avatar, tiny_head


def test_movements_are_arkits() -> None:
    assert {name for made, undone in MOVEMENTS.values() for name in (*made, *undone)} <= set(ARKIT)


def test_a_curve_of_a_performance() -> None:
    """The jaw's angle is jawOpen; brows that go down count against those that go up."""
    human = load_head("human", landmarks=False)
    played = acted(human, {"browDownLeft": 0.5, "browDownRight": 0.5}, frames=30)
    np.testing.assert_allclose(coefficient(played, "jawOpen"), played.jaw_pose[:, 0] / JAW_OPEN_ANGLE)
    values = {name: coefficient(played, name) for made, undone in MOVEMENTS.values() for name in (*made, *undone)}
    brows = curve("brows", values.__getitem__)
    ups = np.mean([values[name] for name in MOVEMENTS["brows"][0]], axis=0)
    np.testing.assert_allclose(brows, ups - (values["browDownLeft"] + values["browDownRight"]) / 2)


def test_correlation() -> None:
    one = np.sin(np.arange(50.0))
    assert correlation(one, 3 * one + 1) == pytest.approx(1) and correlation(one, -one) == pytest.approx(-1)
    assert correlation(one, np.zeros(50)) == 0 and correlation(one[:1], one[:1]) == 0


def test_what_cannot_be_measured(tmp_path: Path) -> None:
    tiny_avatar(tiny_head()).save(tmp_path / "a.avatar.npz")
    with pytest.raises(FormatError, match="There is no file"):
        benchmark_retargeting([tmp_path / "a.avatar.npz"], tmp_path / "gone.csv")
    names = [name for made, undone in MOVEMENTS.values() for name in (*made, *undone)]
    rows = [",".join("0" for _ in names)] * 12
    (tmp_path / "take.csv").write_text("\n".join([",".join(names), *rows]), encoding="utf-8")
    with pytest.raises(InputError, match="does not say how its own clip holds the head"):
        benchmark_retargeting([tmp_path / "a.avatar.npz"], tmp_path / "take.csv")


def test_the_table_has_a_row_each() -> None:
    assert table([Retargeted("ann", "jaw", 1.0, 0.9, 0.2, 100)]).row_count == 1

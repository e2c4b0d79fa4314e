# SPDX-License-Identifier: Apache-2.0
"""Measuring mattes: figures that can be worked out by hand, and one generated person through the whole import."""

from __future__ import annotations

import numpy as np
import pytest

from blendsplat.evaluation.mattes import CAMERAS, WAYS, Filmed, MatteFigures, benchmark_mattes, compare, means, table


@pytest.fixture
def filmed() -> Filmed:
    """A soft edge that stands still for three frames."""
    alpha = np.zeros((3, 64, 64), np.uint8)
    alpha[:, :, 32:], alpha[:, :, 31] = 255, 128
    return Filmed(alpha, np.repeat(alpha[..., None] // 2, 3, -1))


def test_the_truth_has_no_error(filmed):
    assert compare(filmed, filmed.alpha, filmed.own) == (0, 0, 0, 0)


def test_figures_of_known_errors(filmed):
    darker = (filmed.alpha * (240 / 255)).astype(np.uint8)
    error, gradient, flicker, color = compare(filmed, darker, filmed.own)
    assert 0 < error < 1000 * 15 / 255 and gradient > 0 and flicker == 0 and color == 0
    blinking = filmed.alpha.copy()
    blinking[1] = darker[1]
    third, _, flicker, _ = compare(filmed, blinking, filmed.own)
    # of three frames one is off; both changes are
    assert third == pytest.approx(error / 3) and flicker == pytest.approx(error)
    grey = compare(filmed, filmed.alpha, filmed.own // 2)
    assert grey[:3] == (0, 0, 0) and grey[3] > 10
    assert compare(Filmed(filmed.alpha[:1], filmed.own[:1]), darker[:1], filmed.own[:1])[2] == 0


def test_means_are_of_each_camera_and_way():
    rows = [MatteFigures(str(n), camera, way, n, 2.0, 3.0, 4.0) for n in (1, 3) for camera in CAMERAS for way in WAYS]
    found = means(rows)
    assert len(found) == 6 and all(row.error == 2 and row.person == "mean" for row in found)
    assert table(rows).row_count == len(rows) + 6


def test_a_generated_person_through_the_import(tmp_path, monkeypatch):
    monkeypatch.setattr("blendsplat.evaluation.mattes.CAMERAS", ("still",))
    rows = {row.way: row for row in benchmark_mattes(1, 6, tmp_path, 192)}
    assert tuple(rows) == WAYS and (tmp_path / "0.still" / "clip.json").is_file()
    assert rows["import"].error < 0.7 * rows["mask"].error
    assert rows["import"].color < 0.8 * rows["mask"].color
    assert rows["import"].flicker < rows["mask"].flicker

# SPDX-License-Identifier: Apache-2.0
"""The dense fit: it finds a person of its own kind wherever he stands, uses what directions there are, and on a real
scan says what an independent measurement said; the protocol of evaluate-fit says about the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blendsplat.errors import InputError
from blendsplat.evaluation.fits import score_shape
from blendsplat.evaluation.scan_fit import POINTS, RADIUS, evaluate_head, fit_scan, nose_points, random_scan
from blendsplat.evaluation.scan_views import upright_scan
from blendsplat.evaluation.scans import Scan
from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


def moved(scan: Scan, scale: float) -> Scan:
    turn = Rotation.from_rotvec([0.3, -0.9, 0.2]).as_matrix()
    vertices, landmarks = (points * scale @ turn.T + [1.0, -0.4, 0.3] for points in (scan.vertices, scan.landmarks))
    return Scan(vertices, scan.faces, landmarks)


def test_a_person_of_its_own_kind_is_found(head: HeadModel) -> None:
    row = fit_scan(head, moved(random_scan(head, 3), 1.05)).as_row()
    assert row["mean_face_median_mm"] > 0.6
    assert row["fitted_median_mm"] < 0.25 and row["fitted_p95_mm"] < 0.8


def test_the_mean_face_itself_is_at_no_distance(head: HeadModel) -> None:
    scan = random_scan(head, 0)
    mean = moved(Scan(head.template.numpy().astype(float), scan.faces, _landmarks(head)), 0.95)
    found = fit_scan(head, mean, coefficients=0)
    assert found.mean.max() < 1e-5 and np.array_equal(found.mean, found.fitted) and found.shape.shape == (0,)


def _landmarks(head: HeadModel) -> np.ndarray:
    from blendsplat.evaluation.scan_metrics import neutral_mesh

    return neutral_mesh(head, np.zeros(head.shape_count))[1]


def test_more_directions_come_nearer_and_no_more_than_there_are_are_used(head: HeadModel) -> None:
    scan = random_scan(head, 4)
    few, all_ = fit_scan(head, scan, 5), fit_scan(head, scan, 500)
    assert few.shape.shape == (5,) and all_.shape.shape == (head.shape_count,)
    assert all_.fitted.mean() < 0.5 * few.fitted.mean() < 0.5 * few.mean.mean()


def test_the_points_are_even_and_near_the_noses_tip(head: HeadModel) -> None:
    """Half of the vertices of a denser half of a scan draw no more points than the other half."""
    scan = random_scan(head, 5)
    points = nose_points(scan)
    tip = scan.vertices[np.argmax(scan.vertices[:, 2] - 10 * np.abs(scan.vertices[:, 0]))]
    assert points.shape == (POINTS, 3)
    assert np.linalg.norm(points - tip, axis=1).max() < RADIUS + 0.004
    left = scan.faces[(scan.vertices[scan.faces][:, :, 0] > 0).all(1)]
    centre = scan.vertices[left].mean(1)
    new = len(scan.vertices) + np.arange(len(left))[:, None]
    split = [np.concatenate([left[:, [a, b]], new], 1) for a, b in ((0, 1), (1, 2), (2, 0))]
    rest = scan.faces[~(scan.vertices[scan.faces][:, :, 0] > 0).all(1)]
    denser = Scan(np.concatenate([scan.vertices, centre]), np.concatenate([rest, *split]), scan.landmarks)
    assert (nose_points(denser)[:, 0] > 0).mean() == pytest.approx((points[:, 0] > 0).mean(), abs=0.03)


def test_rows_of_people_and_their_mean(head: HeadModel) -> None:
    rows = evaluate_head("human", [], people_of="human", people=2, seed=7, coefficients=3)
    assert list(rows) == ["human 7", "human 8", "mean"]
    name = "fitted_mean_mm"
    assert rows["mean"][name] == pytest.approx((rows["human 7"][name] + rows["human 8"][name]) / 2)
    with pytest.raises(InputError, match="Name a scan"):
        evaluate_head("human", [])
    with pytest.raises(InputError, match="belong to one scan"):
        evaluate_head("human", [Path("a.obj"), Path("b.obj")], Path("l.txt"))


def test_a_real_scan(head: HeadModel, test_data: Callable[[str], Path]) -> None:
    """An independent ICP and dense fit found 1.93 / 2.95 and 0.56 / 1.05 mm (median / mean) for this head; they counted
    the scan's mouth cavity, and the protocol of evaluate-fit once said 4.1 / 7.4."""
    scan = upright_scan(test_data("heads/lee_perry_smith/LeePerrySmith.glb"), None, None, None)[1]
    assert np.linalg.norm(scan.landmarks[0] - scan.landmarks[3]) == pytest.approx(0.09)
    row = fit_scan(head, scan).as_row()
    assert row["mean_face_median_mm"] == pytest.approx(1.45, abs=0.35)
    assert row["mean_face_mean_mm"] == pytest.approx(2.95, abs=0.75)
    assert row["fitted_median_mm"] == pytest.approx(0.56, abs=0.12) and row["fitted_mean_mm"] < 1.05
    judged = score_shape(head, np.zeros(head.shape_count), scan)
    assert judged["median_mm"] == pytest.approx(row["mean_face_median_mm"], abs=0.4)
    assert judged["mean_mm"] == pytest.approx(row["mean_face_mean_mm"], abs=0.8)

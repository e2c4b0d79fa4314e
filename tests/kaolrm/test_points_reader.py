# SPDX-License-Identifier: Apache-2.0
"""The reader of landmarks: blind to pose, exact where the truth is linear, and no other weights' reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blendsplat.errors import FormatError
from blendsplat.heads.human import human_head
from blendsplat.heads.load import load_head
from blendsplat.kaolrm.points_reader import FILE, NUMBERS, PointsReader, laid_on, load_reader
from blendsplat.kaolrm.regressor import make_regressor
from blendsplat.kaolrm.training.fit_points import fit_points
from blendsplat.landmarks import points as pts


@pytest.fixture(scope="module")
def rest() -> np.ndarray:
    head = load_head("human")
    return head.landmarks_of(head.template[None])[0].double().numpy()


def seen(rest: np.ndarray, turn: tuple[float, float, float], scale: float, shift: tuple[float, float]) -> np.ndarray:
    """As the detector gives a face [478,3]: x right, y down, z away from the viewer, pixels."""
    turned = rest @ Rotation.from_rotvec(turn).as_matrix().T
    return turned * [scale, -scale, -scale] + [*shift, 3.0]


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.3, -0.7, 0.1), (-0.2, 0.9, 0.8)])
def test_a_face_is_laid_on_the_resting_one_from_any_pose(rest: np.ndarray, turn: tuple[float, float, float]) -> None:
    laid = laid_on(rest, seen(rest, turn, 2500.0, (240.0, -31.0))[None])[0]
    assert np.abs(laid - rest).max() < 1e-6


def test_a_mirrored_face_is_not_the_same(rest: np.ndarray) -> None:
    crooked = rest.copy()
    crooked[list(pts.LEFT_BROW), 1] += 0.01
    laid = [laid_on(rest, seen(face, (0, 0.4, 0), 900.0, (0, 0))[None])[0] for face in (crooked, crooked * [-1, 1, 1])]
    assert np.abs(laid[0] - laid[1]).max() > 0.005


def test_a_linear_truth_is_found_from_points_and_numbers(rest: np.ndarray) -> None:
    head, rng = load_head("human"), np.random.default_rng(0)
    shapes, numbers = rng.normal(size=(600, 3)), rng.normal(size=(600, 5))
    numbers[:, 0] = shapes[:, 2]  # which only they tell
    directions = head.landmarks_of(head.shape_directions[:2]).double().numpy()
    faces = rest + np.tensordot(shapes[:, :2], directions, 1)
    points = np.stack([seen(f, tuple(rng.normal(size=3) * 0.3), 700.0, (9.0, 5.0)) for f in faces])
    reader = fit_points(head, points[:500], numbers[:500], shapes[:500], 100.0, 1e-6)
    assert np.abs(reader.read(points[500:], numbers[500:]) - shapes[500:]).max() < 0.1


def test_there_and_back_and_no_other_weights(tmp_path: Path, rest: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(NUMBERS + 12, 4)).astype(np.float16).astype(np.float32)
    assert load_reader(tmp_path, 12, 4) is None
    PointsReader(rest.astype(np.float32), weight, np.ones(4, np.float32)).save(tmp_path)
    back = load_reader(tmp_path, 12, 4)
    assert back is not None and np.array_equal(back.weight, weight) and np.array_equal(back.bias, np.ones(4))
    for numbers, shapes in ((13, 4), (12, 5)):
        with pytest.raises(FormatError, match="does not belong"):
            load_reader(tmp_path, numbers, shapes)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:500])
    with pytest.raises(FormatError):
        load_reader(tmp_path, 12, 4)


def test_the_shipped_network_reads_points_where_it_gets_them(rest: np.ndarray) -> None:
    regressor = make_regressor("auto", human_head())
    assert regressor is not None
    picture = np.full((224, 224, 3), 0.7, np.float32)
    wide = seen(rest * [1.1, 1.0, 1.0], (0, 0, 0), 800.0, (100.0, 100.0))
    narrow = seen(rest * [0.9, 1.0, 1.0], (0, 0, 0), 800.0, (100.0, 100.0))
    alone, broad, slim = (regressor.many([picture], given)[0].shape for given in (None, [wide], [narrow]))
    assert not np.allclose(alone, broad)
    head = human_head()
    face = head.regions["face"]
    across = (head.shape_directions[:, face, 0] * np.sign(head.template[face, 0])).mean(1)
    assert float(across.numpy() @ (broad - slim)) > 0.0005, "a broad face is read as a broader one"

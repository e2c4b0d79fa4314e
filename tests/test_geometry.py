# SPDX-License-Identifier: Apache-2.0
"""Rotations against scipy's, round trips at the awkward angles, and gradients that stay finite at zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from blendsplat import geometry


@pytest.fixture(scope="module")
def rotvecs() -> torch.Tensor:
    """Random rotations, tiny ones, half turns about every axis and nearly half turns [P,3] float64."""
    rng = np.random.default_rng(0)
    random = Rotation.random(200, random_state=1).as_rotvec()
    tiny = rng.standard_normal((20, 3)) * 1e-9
    half = np.pi * np.concatenate([np.eye(3), np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1]]) / np.sqrt([[2], [2], [3]])])
    return torch.tensor(np.concatenate([random, tiny, half, half * (1 - 1e-7), np.zeros((1, 3))]))


def test_matrices_are_scipys(rotvecs):
    expected = Rotation.from_rotvec(rotvecs.numpy()).as_matrix()
    np.testing.assert_allclose(geometry.rotvec_to_matrix(rotvecs).numpy(), expected, atol=1e-9)


def test_round_trips(rotvecs):
    matrices = geometry.rotvec_to_matrix(rotvecs)
    quats = geometry.matrix_to_quat(matrices)
    torch.testing.assert_close(quats.norm(dim=-1), torch.ones(len(quats), dtype=quats.dtype))
    torch.testing.assert_close(geometry.quat_to_matrix(quats), matrices, atol=1e-9, rtol=0)
    again = geometry.rotvec_to_matrix(geometry.matrix_to_rotvec(matrices))
    torch.testing.assert_close(again, matrices, atol=1e-9, rtol=0)
    assert (geometry.matrix_to_rotvec(matrices).norm(dim=-1) <= np.pi + 1e-9).all()


def test_the_product_of_quaternions_is_the_product_of_rotations(rotvecs):
    a, b = geometry.rotvec_to_matrix(rotvecs), geometry.rotvec_to_matrix(rotvecs.flip(0))
    product = geometry.quat_multiply(geometry.matrix_to_quat(a), geometry.matrix_to_quat(b))
    torch.testing.assert_close(geometry.quat_to_matrix(product), a @ b, atol=1e-9, rtol=0)


def test_gradients_at_zero_and_elsewhere(rotvecs):
    points = torch.cat([torch.zeros(1, 3, dtype=torch.float64), rotvecs[:5]]).requires_grad_()
    assert torch.autograd.gradcheck(geometry.rotvec_to_matrix, (points,), atol=1e-6)
    geometry.rotvec_to_matrix(points).sum().backward()
    assert torch.isfinite(points.grad).all()


def test_projection_of_a_known_point():
    viewmat = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))[None]
    viewmat[0, 2, 3] = 2.0
    K = torch.tensor([[[100.0, 0, 50], [0, 100, 60], [0, 0, 1]]])
    point = torch.tensor([[[0.5, 0.25, 1.0]]])  # one metre in front of the camera, up and to the right
    torch.testing.assert_close(geometry.project_points(point, viewmat, K), torch.tensor([[[100.0, 35.0]]]))

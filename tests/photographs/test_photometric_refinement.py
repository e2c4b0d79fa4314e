# SPDX-License-Identifier: Apache-2.0
"""The refinement on pixels against heads whose shading is known, and against pictures that show none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.photographs.photometric_refinement import _light, _Scene, cut_out, harmonics, refine_on_pixels
from blendsplat.splatting.mesh_layers import render_mesh
from blendsplat.tracking.metrics import rigid_alignment
from synthetic_head import make_truth

SIZE = 400
LIGHT = torch.tensor([0.5, -0.25, 0.2, -0.35, 0.05, 0.02, 0.08, -0.04, 0.03])


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


def truth_of(head: HeadModel) -> Performance:
    """One frame of a person before a camera, facing it."""
    still = make_truth(head, 1, size=SIZE, fov=20)
    rng = np.random.default_rng(4)
    moving = ("expression", "neck_pose", "jaw_pose", "translation")
    zero = {name: np.zeros_like(getattr(still, name)) for name in moving}
    return replace(still, **zero, shape=(0.8 * rng.normal(size=head.shape_count)).astype(np.float32))


def photographed(head: HeadModel, tracking: Performance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """image [H,W,3], matte [H,W] uint8 and landmarks [478,2] of an evenly coloured head under LIGHT."""
    vertices = torch.as_tensor(head_vertices(tracking, head))
    camera = torch.as_tensor(tracking.K)[None]
    drawn = render_mesh(vertices, head.faces, torch.ones(head.vertex_count, 1), torch.eye(4)[None], camera, SIZE, SIZE)
    lit = (harmonics(drawn.normals[0]) @ LIGHT).clamp(0.02, 1)[..., None] * torch.tensor([1.0, 0.75, 0.65])
    alpha = drawn.alpha[0].clamp(0, 1)
    image = lit * alpha + 0.2 * (1 - alpha)
    flat = head.landmarks_of(vertices)[0] @ camera[0].T
    points = (flat[:, :2] / flat[:, 2:]).numpy()
    return (image ** (1 / 2.2) * 255).to(torch.uint8).numpy(), (alpha[..., 0] * 255).to(torch.uint8).numpy(), points


def distance_mm(one: Performance, other: Performance, head: HeadModel) -> float:
    """Between the faces, aligned with scale."""
    have, want = (head_vertices(t, head)[:, head.regions["face"]] for t in (one, other))
    return 1000 * float(np.linalg.norm(rigid_alignment(have, want, True) - want, axis=-1).mean())


def test_shading_brings_the_shape_nearer_and_leaves_the_landmarks(head: HeadModel) -> None:
    truth = truth_of(head)
    image, matte, points = photographed(head, truth)
    start = replace(truth, shape=0.5 * truth.shape)
    cutout = cut_out(image, matte, 1.0, points, truth.K)
    found = refine_on_pixels([start], [cutout], head)[0]
    assert distance_mm(found, truth, head) < 0.85 * distance_mm(start, truth, head)
    assert np.isfinite(found.shape).all() and found.translation.shape == start.translation.shape


@pytest.mark.slow
def test_a_black_picture_and_an_empty_matte_do_no_harm(head: HeadModel) -> None:
    truth = truth_of(head)
    image, matte, points = photographed(head, truth)
    for dark, mask in ((np.zeros_like(image), matte), (image, np.zeros_like(matte))):
        found = refine_on_pixels([truth], [cut_out(dark, mask, 1.0, points, truth.K)], head)[0]
        assert np.isfinite(found.shape).all() and np.isfinite(found.translation).all()
        assert distance_mm(found, truth, head) < 2.5


def test_the_light_is_found_beside_a_beard_and_a_shadow() -> None:
    rng = np.random.default_rng(0)
    normals = torch.as_tensor(rng.normal(size=(1, 40, 40, 3)) + [0, 0, -1.5], dtype=torch.float32)
    basis = harmonics(torch.nn.functional.normalize(normals, dim=-1))
    seen = (basis @ LIGHT)[..., None] * torch.tensor([1.0, 0.8, 0.6])
    seen[:, :8] *= 0.3  # a fifth of the pixels
    light = _light(basis, seen, torch.ones(1, 40, 40, 1))
    clean = (basis @ LIGHT)[..., None] * torch.tensor([1.0, 0.8, 0.6])
    assert (basis[:, 8:] @ light[:, None] - clean[:, 8:]).abs().mean() < 0.03


def test_the_harmonics_span_what_spherical_harmonics_do() -> None:
    rng = np.random.default_rng(1)
    normal = rng.normal(size=(200, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    theta, phi = np.arccos(normal[:, 2]), np.arctan2(normal[:, 1], normal[:, 0])
    known = np.stack([sph_harm_y(n, m, theta, phi) for n in range(3) for m in range(n + 1)], 1)
    ours = harmonics(torch.as_tensor(normal)).numpy()
    for column in (*known.real.T, *known.imag.T):
        assert np.allclose(ours @ np.linalg.lstsq(ours, column, rcond=None)[0], column, atol=1e-9)
    assert np.linalg.matrix_rank(ours) == 9


def test_the_cost_falls_towards_the_truth(head: HeadModel) -> None:
    truth = truth_of(head)
    image, matte, points = photographed(head, truth)
    scene = _Scene(head, [truth], [cut_out(image, matte, 1.0, points, truth.K)])
    with torch.no_grad():
        costs = [float(scene.cost(replace(truth, shape=part * truth.shape).params())) for part in (0.0, 0.5, 1.0)]
    assert costs[0] > costs[1] > costs[2]

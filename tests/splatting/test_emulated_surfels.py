# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels of surfels and meshes, run by the emulation: bounds, races and thread orders are watched, buffers
start as NaN, and the numbers are the oracle's and the CPU's."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from blendsplat.splatting import rasterize_mesh, surfels_cuda
from blendsplat.splatting import surfels as surfels_module
from blendsplat.splatting.surfels_cuda import CudaSurfels

from .kernels import EMULATED
from .surfel_scenes import compare_surfels, hostile_surfels, random_surfels, render_surfels
from .test_emulated_cuda import emulation  # noqa: F401 - a fixture

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(EMULATED) is None, reason="this build has no emulated CUDA kernels (BLENDSPLAT_EMULATION)"
)


@pytest.fixture
def kernels(emulation, monkeypatch):  # noqa: F811
    from blendsplat.splatting import cuda as cuda_module

    monkeypatch.setattr(surfels_cuda, "address", cuda_module.address)
    monkeypatch.setattr(surfels_module, "surfel_backend", lambda device: CudaSurfels(emulation.backend))
    return emulation


@pytest.mark.parametrize("order", [0, -1, 7])
def test_matches_reference(kernels, order):
    kernels.configure(seed=order, check=True)
    compare_surfels(random_surfels(images=2, gaussians=40, seed=1), tolerance=3e-4)  # T is recovered by division


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 16), (17, 33)])
def test_sizes_that_are_no_multiple_of_the_tile(kernels, width, height):
    compare_surfels(
        random_surfels(images=2, gaussians=15, width=width, height=height, seed=5, size=0.4), tolerance=3e-4
    )


def test_long_lists_span_several_batches_of_a_block(kernels):
    scene = random_surfels(images=1, gaussians=600, width=20, height=16, seed=6, size=0.3)
    scene.gaussians[3] = 0.02 * scene.gaussians[3] + 0.004
    compare_surfels(scene, tolerance=1e-3)


def test_opaque_stack_stops_early(kernels):
    scene = random_surfels(images=1, gaussians=60, seed=7, size=0.8)
    scene.gaussians[3] = 0.85 + 0.13 * scene.gaussians[3]
    compare_surfels(scene, tolerance=3e-3)


@pytest.mark.parametrize("gaussians", [0, 1])
def test_few_surfels(kernels, gaussians):
    compare_surfels(random_surfels(images=1, gaussians=gaussians, seed=3))


def test_bad_surfels_are_skipped_with_zero_gradient(kernels):
    scene, skipped = hostile_surfels()
    leaves = [t.requires_grad_() for t in scene.gaussians]
    outputs = render_surfels(scene)
    sum(out.sum() for out in outputs).backward()
    assert all(torch.isfinite(out).all() for out in outputs)
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all() and (leaf.grad[0, skipped] == 0).all()


def test_meshes_are_the_cpus_to_the_bit(kernels):
    """Two images, faces that cut each other, two that coincide, one behind the camera, one without area."""
    g = torch.Generator().manual_seed(2)
    vertices = torch.randn(2, 60, 3, generator=g) * torch.tensor([1.0, 1, 0.5]) + torch.tensor([0.0, 0, 3])
    vertices[:, 57:] = vertices[:, 54:57]
    vertices[:, 0, 2] = -1
    vertices[:, 4] = vertices[:, 3]
    faces = torch.arange(60, dtype=torch.int32).reshape(20, 3)
    viewmats, Ks = torch.eye(4).repeat(2, 1, 1), torch.tensor([[20.0, 0, 9], [0, 20, 8], [0, 0, 1]]).repeat(2, 1, 1)
    expected = rasterize_mesh(vertices, faces, viewmats, Ks, 19, 15)
    drawn = kernels.backend.rasterize_mesh(vertices, faces, viewmats, Ks, 19, 15, 0.01)
    assert (expected[0] >= 0).any() and not (expected[0] == 19).any()
    for a, b in zip(expected, drawn, strict=True):
        assert torch.equal(a, b)
    nothing = kernels.backend.rasterize_mesh(vertices, faces[:0], viewmats, Ks, 19, 15, 0.01)
    assert (nothing[0] == -1).all() and not nothing[1].any() and not nothing[2].any()

# SPDX-License-Identifier: Apache-2.0
"""Surfels and meshes on a CUDA device against the oracle and the CPU; skipped where no device or no kernels are."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting import rasterize_mesh, render_mesh
from blendsplat.splatting.backend import available_kernels

from .surfel_scenes import compare_surfels, hostile_surfels, random_surfels, render_surfels
from .test_mesh_gradients import soup

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available_kernels()["cuda"], reason="no CUDA device, or the CUDA kernels are not built"),
]


@pytest.mark.parametrize("seed", range(3))
def test_matches_reference(seed):
    compare_surfels(random_surfels(seed=seed), device="cuda", tolerance=3e-4)  # T is recovered by division


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (16, 16), (64, 5)])
def test_sizes_that_are_no_multiple_of_the_tile(width, height):
    scene = random_surfels(images=2, gaussians=25, width=width, height=height, seed=5, size=0.4)
    compare_surfels(scene, device="cuda", tolerance=3e-4)


@pytest.mark.parametrize("gaussians", [0, 1])
def test_few_surfels(gaussians):
    compare_surfels(random_surfels(gaussians=gaussians, seed=3), device="cuda")


def test_bad_surfels_are_skipped_with_zero_gradient():
    scene, skipped = hostile_surfels()
    scene = scene.cast("cuda")
    leaves = [t.requires_grad_() for t in scene.gaussians]
    outputs = render_surfels(scene)
    sum(out.sum() for out in outputs).backward()
    assert all(torch.isfinite(out).all() for out in outputs)
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all() and (leaf.grad[0, skipped] == 0).all()


def test_meshes_agree_with_the_cpu():
    vertices, faces, viewmats, Ks = soup()
    viewmats[:, 2, 3] += 2
    on_cpu = rasterize_mesh(vertices, faces, viewmats, Ks, 24, 20)
    on_gpu = rasterize_mesh(vertices.cuda(), faces.cuda(), viewmats.cuda(), Ks.cuda(), 24, 20)
    same = on_cpu[0] == on_gpu[0].cpu()
    assert same.float().mean() > 0.999  # the compiler may fuse a product and a sum: a centre on an edge may turn over
    for a, b in zip(on_cpu[1:], on_gpu[1:], strict=True):
        assert (a - b.cpu())[same].abs().max() < 1e-5


def test_mesh_gradients_agree_with_the_cpu():
    vertices, faces, viewmats, Ks = soup()
    viewmats[:, 2, 3] += 2
    gradients = []
    for device in ("cpu", "cuda"):
        leaf = vertices.to(device).requires_grad_()
        drawn = render_mesh(leaf, faces.to(device), leaf.detach(), viewmats.to(device), Ks.to(device), 24, 20)
        (drawn.image.square().sum() + drawn.depth.sum() + drawn.normals.sum()).backward()
        gradients.append(leaf.grad.cpu())
    assert (gradients[0] - gradients[1]).abs().max() < 1e-3 * gradients[0].abs().max()

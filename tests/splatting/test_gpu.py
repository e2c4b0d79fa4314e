# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend against the oracle and the CPU backend; skipped where no device or no CUDA kernels are."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting import gaussian_pixel_weights
from blendsplat.splatting.backend import available_kernels

from .scenes import compare_with_reference, random_scene, render
from .test_gaussians import hostile_scene

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available_kernels()["cuda"], reason="no CUDA device, or the CUDA kernels are not built"),
]


@pytest.mark.parametrize("seed", range(3))
def test_matches_reference(seed):
    compare_with_reference(random_scene(seed=seed), device="cuda", tolerance=1e-4)  # T is recovered by division


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (16, 16), (64, 5)])
def test_sizes_that_are_no_multiple_of_the_tile(width, height):
    scene = random_scene(images=2, gaussians=25, width=width, height=height, seed=5, size=0.4)
    compare_with_reference(scene, device="cuda", tolerance=1e-4)


@pytest.mark.parametrize("gaussians", [0, 1])
def test_few_gaussians(gaussians):
    compare_with_reference(random_scene(gaussians=gaussians, seed=3), device="cuda")


def test_long_lists_span_several_batches_of_a_block():
    scene = random_scene(images=1, gaussians=900, width=32, height=32, seed=6, size=0.3)
    scene.gaussians[3] = 0.02 * scene.gaussians[3] + 0.004
    compare_with_reference(scene, device="cuda", tolerance=2e-4)


def test_opaque_stack_stops_early():
    scene = random_scene(gaussians=60, seed=7, size=0.8)
    scene.gaussians[3] = 0.9 + 0.2 * scene.gaussians[3]
    compare_with_reference(scene, device="cuda", tolerance=3e-4)


def test_bad_gaussians_are_skipped_with_zero_gradient():
    scene, skipped = hostile_scene()
    scene = scene.cast("cuda")
    leaves = [t.requires_grad_() for t in scene.gaussians]
    outputs = render(scene)
    sum(out.sum() for out in outputs).backward()
    assert all(torch.isfinite(out).all() for out in outputs)
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all() and (leaf.grad[0, skipped] == 0).all()


def test_agrees_with_the_cpu_backend():
    scene = random_scene(images=4, gaussians=3000, width=128, height=96, seed=40, size=0.05)
    for on_cpu, on_gpu in zip(render(scene), render(scene.cast("cuda")), strict=True):
        difference = (on_cpu - on_gpu.cpu()).abs()
        # A pixel whose alpha lies within rounding of 1/255 may count it on one side only: one grey level.
        assert difference.max() < 2 / 255 and (difference > 1e-4).float().mean() < 1e-3


def test_pixel_weights_agree_with_the_cpu_backend():
    scene = random_scene(images=3, gaussians=40, seed=30)
    means, quats, scales, opacities, _ = scene.gaussians
    images = torch.rand(3, scene.height, scene.width, 3)
    arguments = (means, quats, scales, opacities, scene.viewmats, scene.Ks, images)
    on_cpu = gaussian_pixel_weights(*arguments, threshold=0.0)
    on_gpu = gaussian_pixel_weights(*(t.cuda() for t in arguments), threshold=0.0)
    for a, b in zip(on_cpu, on_gpu, strict=True):
        assert (a - b.cpu()).abs().max() < 1e-3


def test_another_stream():
    """Work queued on a side stream sees that stream's inputs."""
    scene = random_scene(images=1, seed=41).cast("cuda")
    expected = render(scene)[0]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        scene.gaussians = [t.clone() for t in scene.gaussians]
        image = render(scene)[0]
    stream.synchronize()
    assert (image - expected).abs().max() < 1e-6

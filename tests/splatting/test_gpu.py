# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend against the oracle and the CPU backend; skipped where no device or no CUDA kernels are."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting import cuda as cuda_module
from blendsplat.splatting import gaussian_pixel_weights
from blendsplat.splatting.backend import available_kernels, make_pass

from .scenes import compare_with_reference, random_scene, render
from .test_gaussians import hostile_scene
from .test_pass import autograd, forward, plane_gradients

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available_kernels()["cuda"], reason="no CUDA device, or the CUDA kernels are not built"),
]


@pytest.mark.parametrize("seed", range(3))
def test_matches_reference(seed):
    compare_with_reference(random_scene(seed=seed), device="cuda", tolerance=1e-4)


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


def cuda_pass(scene):
    images, gaussians = scene.gaussians[0].shape[:2]
    return make_pass(images, gaussians, scene.width, scene.height, "cuda")


def test_pass_equals_the_autograd_function():
    scene = random_scene(images=3, gaussians=75, seed=60).cast("cuda")
    scene.gaussians[2], scene.gaussians[3] = scene.gaussians[2][:1].clone(), scene.gaussians[3][:1].clone()
    grads = [grad.cuda() for grad in plane_gradients(scene.cast("cpu"))]
    raster = cuda_pass(scene)
    for _ in range(2):
        forward(raster, scene)
        raster.backward(*grads)
    outputs, expected = autograd(scene, grads)
    for got, want in zip((raster.image, raster.alpha, raster.depth), outputs, strict=True):
        assert torch.equal(got, want)
    for got, want in zip(raster.grads, expected, strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() <= 1e-4 * want.abs().max()  # atomic sums, in any order


def test_steady_step_does_not_synchronise():
    scene = random_scene(seed=62).cast("cuda")
    grads = [grad.cuda() for grad in plane_gradients(scene.cast("cpu"))]
    raster = cuda_pass(scene)
    forward(raster, scene)
    raster.backward(*grads)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        forward(raster, scene)
        raster.backward(*grads)
        assert not raster.overflowed()
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_pass_in_a_cuda_graph_sees_new_numbers():
    scene = random_scene(images=2, gaussians=200, seed=64).cast("cuda")
    grads = [grad.cuda() for grad in plane_gradients(scene.cast("cpu"))]
    raster = cuda_pass(scene)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        forward(raster, scene)
        raster.backward(*grads)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward(raster, scene)
        raster.backward(*grads)
    scene.gaussians[0].mul_(0.9)
    graph.replay()
    torch.cuda.synchronize()
    outputs, expected = autograd(scene, grads)
    assert torch.equal(raster.image, outputs[0])
    assert (raster.grads.means - expected[0]).abs().max() <= 1e-4 * expected[0].abs().max()


def test_overflow_is_seen_a_step_later_and_redone(monkeypatch):
    monkeypatch.setattr(cuda_module, "LEAST_CAPACITY", 1)
    small = random_scene(images=2, gaussians=200, width=64, height=48, seed=63, size=0.02).cast("cuda")
    large = random_scene(images=2, gaussians=200, width=64, height=48, seed=63, size=0.3).cast("cuda")
    raster = cuda_pass(small)
    forward(raster, small)
    torch.cuda.synchronize()
    assert not raster.overflowed()
    forward(raster, large)
    raster.backward(torch.ones_like(raster.image))
    torch.cuda.synchronize()
    assert all(torch.isfinite(g).all() for g in raster.grads)
    assert raster.overflowed()
    forward(raster, large)
    assert torch.equal(raster.image, render(large)[0])

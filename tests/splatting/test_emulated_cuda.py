# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels run by the emulation: what only shows there. Every access is watched for bounds and races, threads
and blocks run in several orders, memory starts as NaN, and the host must never wait.
"""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch

from blendsplat.errors import BlendsplatError
from blendsplat.splatting import adam as adam_module
from blendsplat.splatting import cuda as cuda_module
from blendsplat.splatting import gaussian_pixel_weights
from blendsplat.splatting import gaussians as rasterizer_module
from blendsplat.splatting.adam import FusedAdam
from blendsplat.splatting.buffers import FreshBuffers
from blendsplat.splatting.cuda import CudaBackend, CudaLaunch

from .kernels import EMULATED
from .scenes import compare_with_reference, random_scene, render
from .test_gaussians import hostile_scene
from .test_pass import autograd, forward, plane_gradients

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(EMULATED) is None, reason="this build has no emulated CUDA kernels (BLENDSPLAT_EMULATION)"
)
IN_ORDER, REVERSED = 0, -1


def poisoned(*arguments, **options):
    """torch.empty, but full of what nobody wrote: NaN, or indices far outside."""
    tensor = torch.zeros(*arguments, **options)
    tensor.untyped_storage().fill_(0xFF)
    return tensor


@pytest.fixture
def emulation(monkeypatch):
    """The emulated kernels behind rasterize_gaussians, watching all memory: an address handed over is a buffer."""
    kernels = importlib.import_module(EMULATED)
    backend = CudaBackend(kernels)

    def watched_address(tensor):
        if tensor is None:
            return 0
        assert tensor.is_contiguous()
        kernels.watch(tensor.data_ptr(), tensor.numel() * tensor.element_size())
        return tensor.data_ptr()

    monkeypatch.setattr(cuda_module, "address", watched_address)
    monkeypatch.setattr(rasterizer_module, "backend_for", lambda device: backend)
    monkeypatch.setattr(torch, "empty", poisoned)
    kernels.forget()
    kernels.configure(seed=IN_ORDER, check=True)
    kernels.backend = backend
    yield kernels
    kernels.configure(seed=IN_ORDER, check=False)
    kernels.forget()


def make_pass(emulation, scene):
    images, gaussians = scene.gaussians[0].shape[:2]
    return emulation.backend.make_pass(images, gaussians, scene.width, scene.height, torch.device("cpu"))


@pytest.mark.parametrize("seed", [IN_ORDER, REVERSED, 1, 2])
def test_any_order_of_threads(emulation, seed):
    emulation.configure(seed=seed, check=True)
    compare_with_reference(random_scene(gaussians=90, seed=1), tolerance=1e-4)
    assert emulation.kernels()[:4] == ["project", "emit", "tile_ranges", "blend_forward"]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (16, 16), (64, 5)])
def test_sizes_that_are_no_multiple_of_the_tile(emulation, width, height):
    compare_with_reference(random_scene(gaussians=25, width=width, height=height, seed=5, size=0.4), tolerance=1e-4)


@pytest.mark.parametrize("gaussians", [0, 1, 31, 32, 33, 64, 65, 255, 257])
def test_lists_at_the_borders_of_buckets_and_batches(emulation, gaussians):
    """Every Gaussian covers the only tile, so its list is as long as the scene; all are faint: it is walked whole."""
    scene = random_scene(images=1, gaussians=gaussians, width=16, height=16, seed=6, size=0.1)
    scene.gaussians[2] = scene.gaussians[2] + 2.0
    scene.gaussians[3] = 0.004 + 0.02 * scene.gaussians[3]
    compare_with_reference(scene, tolerance=2e-4)


def test_opaque_stack_stops_early(emulation):
    scene = random_scene(images=1, gaussians=120, width=32, height=16, seed=7, size=0.8)
    scene.gaussians[3] = 0.9 + 0.2 * scene.gaussians[3]
    compare_with_reference(scene, tolerance=3e-4)
    assert (render(scene)[1] > 0.999).any()


def test_bad_gaussians_are_skipped_with_zero_gradient(emulation):
    scene, skipped = hostile_scene()
    leaves = [t.requires_grad_() for t in scene.gaussians]
    outputs = render(scene)
    sum(out.sum() for out in outputs).backward()
    assert all(torch.isfinite(out).all() for out in outputs)
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all() and (leaf.grad[0, skipped] == 0).all()


def test_nothing_is_kept_without_a_gradient(emulation):
    scene = random_scene(seed=2)
    expected = render(scene)
    scene.gaussians[0].requires_grad_()
    for a, b in zip(expected, render(scene), strict=True):
        assert torch.equal(a, b.detach())
    buffers = FreshBuffers("cpu")
    bins = emulation.backend.bin(scene.of(), buffers)
    for keep, count in ((False, 0), (True, 3)):
        emulation.backend.blend_forward(scene.of(), bins, buffers, keep_for_backward=keep)
        assert len(bins.kept) == count


def test_pixel_weights_agree_with_the_cpu_backend(emulation, monkeypatch):
    scene = random_scene(images=3, gaussians=40, seed=30)
    images = torch.rand(3, scene.height, scene.width, 3)
    arguments = (*scene.gaussians[:4], scene.viewmats, scene.Ks, images)
    emulated = gaussian_pixel_weights(*arguments, threshold=0.0)
    monkeypatch.undo()
    for a, b in zip(gaussian_pixel_weights(*arguments, threshold=0.0), emulated, strict=True):
        assert (a - b).abs().max() < 1e-3


# ---- the pass: buffers with head-room, nobody waits ----


def test_pass_weighs_pixels_as_the_function_does_and_not_at_all_after_an_overflow(emulation, monkeypatch):
    monkeypatch.setattr(cuda_module, "LEAST_CAPACITY", 1)
    scene = random_scene(images=2, gaussians=60, seed=67, size=0.3)
    images, mask = torch.rand(2, scene.height, scene.width, 3), torch.rand(2, scene.height, scene.width) > 0.3
    expected = gaussian_pixel_weights(*scene.gaussians[:4], scene.viewmats, scene.Ks, images, mask, 0.05)
    raster = make_pass(emulation, scene)
    arguments = (scene.of(), images, mask, 0.05)
    assert expected[0].any()
    for got, want in zip(raster.pixel_weights(*arguments), expected, strict=True):
        assert torch.equal(got, want)
    raster.capacity //= 2
    assert not any(sums.any() for sums in raster.pixel_weights(*arguments))
    assert raster.overflowed()
    assert torch.equal(raster.pixel_weights(*arguments)[0], expected[0])


def test_pass_equals_the_autograd_function(emulation):
    scene = random_scene(images=3, gaussians=75, seed=60)
    grads = plane_gradients(scene)
    raster = make_pass(emulation, scene)
    for _ in range(2):  # the second time in buffers that hold the first's numbers
        forward(raster, scene)
        raster.backward(*grads)
    outputs, expected = autograd(scene, grads)
    for got, want in zip((raster.image, raster.alpha, raster.depth), outputs, strict=True):
        assert torch.equal(got, want)
    for got, want in zip(raster.grads, expected, strict=True):
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_pass_forgets_a_step_with_more_entries(emulation):
    """Keys of the longer step still lie behind the shorter one's."""
    large = random_scene(gaussians=60, width=48, height=48, seed=66, size=0.4)
    small = random_scene(gaussians=60, width=48, height=48, seed=66, size=0.02)
    raster = make_pass(emulation, large)
    forward(raster, large)
    forward(raster, small)
    assert torch.equal(raster.image, render(small)[0])


def test_pass_sums_what_images_share(emulation):
    scene = random_scene(images=3, gaussians=50, seed=61)
    scene.gaussians[2], scene.gaussians[3] = scene.gaussians[2][:1].clone(), scene.gaussians[3][:1].clone()
    grads = plane_gradients(scene)
    raster = make_pass(emulation, scene)
    forward(raster, scene)
    raster.backward(*grads)
    outputs, expected = autograd(scene, grads)
    assert torch.equal(raster.image, outputs[0])
    for got, want in zip(raster.grads, expected, strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_steady_step_never_waits_and_allocates_nothing(emulation, monkeypatch):
    scene = random_scene(seed=62)
    raster = make_pass(emulation, scene)
    grads = plane_gradients(scene)
    forward(raster, scene)
    raster.backward(*grads)
    addresses = [t.data_ptr() for t in raster._buffers._buffers.values()]

    def refuse(*arguments, **options):
        raise AssertionError("this waits for the device, or allocates")

    for name in ("item", "__int__", "__bool__", "__float__", "cpu", "numpy", "nonzero", "__index__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    for name in ("empty", "zeros", "empty_like", "zeros_like", "nonzero"):
        monkeypatch.setattr(torch, name, refuse)
    # On a device the cameras' numbers are not looked at.
    monkeypatch.setattr("blendsplat.splatting.checks.checked_cameras", lambda *cameras: cameras[:2])
    forward(raster, scene)
    raster.backward(*grads)
    monkeypatch.undo()
    assert [t.data_ptr() for t in raster._buffers._buffers.values()] == addresses
    assert emulation.waits() == 0


def test_overflow_is_seen_a_step_later_and_redone(emulation, monkeypatch):
    monkeypatch.setattr(cuda_module, "LEAST_CAPACITY", 1)
    small = random_scene(images=2, gaussians=200, width=64, height=48, seed=63, size=0.02)
    large = random_scene(images=2, gaussians=200, width=64, height=48, seed=63, size=0.3)
    grads = plane_gradients(large)
    raster = make_pass(emulation, small)
    forward(raster, small)
    assert not raster.overflowed()
    before = raster.capacity
    forward(raster, large)
    raster.backward(*grads)  # in bounds, finite, but of too few Gaussians
    assert all(torch.isfinite(g).all() for g in raster.grads)
    outputs, expected = autograd(large, grads)
    assert not torch.equal(raster.image, outputs[0])
    assert raster.overflowed() and raster.capacity > before
    forward(raster, large)
    raster.backward(*grads)
    assert not raster.overflowed()
    assert torch.equal(raster.image, outputs[0])
    for got, want in zip(raster.grads, expected, strict=True):
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_overflow_takes_the_optimisers_step_away(emulation, monkeypatch):
    """Until there is more room no step changes a bit of parameters, moments and counts; then the next one does."""
    monkeypatch.setattr(cuda_module, "LEAST_CAPACITY", 1)
    monkeypatch.setattr(adam_module, "launch_on", lambda device: CudaLaunch(emulation, device))
    monkeypatch.setattr(adam_module, "address", cuda_module.address)
    small = random_scene(images=2, gaussians=200, width=64, height=48, seed=63, size=0.02)
    large = random_scene(images=2, gaussians=200, width=64, height=48, seed=63, size=0.3)
    raster, grads = make_pass(emulation, small), plane_gradients(large)
    adam = FusedAdam([torch.zeros_like(t) for t in large.gaussians])

    def step(scene):
        forward(raster, scene)
        raster.backward(*grads)
        adam.step(list(raster.grads), skip=raster.lost)
        return [t.clone() for t in (*adam.parameters, *adam.exp_avg, *adam.exp_avg_sq, adam.steps)]

    before = step(small)
    assert raster.lost.tolist() == [0] and all(t.any() for t in before)
    for scene in (large, small):  # the second one fits, but the host has not looked yet and will repeat it
        assert all(torch.equal(a, b) for a, b in zip(before, step(scene), strict=True))
        assert raster.lost.tolist() == [1]
    assert raster.overflowed()
    after = step(large)
    assert raster.lost.tolist() == [0] and not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert adam.steps.tolist() == [2] * 5


def test_more_entries_than_can_be_sorted_are_refused_with_a_sentence(emulation):
    scene = random_scene(seed=64)
    raster = make_pass(emulation, scene)
    forward(raster, scene)
    raster._seen.fill_(2**31)
    with pytest.raises(BlendsplatError, match="gigantic"):
        raster.overflowed()


# ---- the emulation itself: it must find what it is there to find ----


def test_an_access_outside_a_buffer_is_found(emulation, monkeypatch):
    scene = random_scene(seed=65)
    kernels_watch = emulation.watch

    def short(tensor):
        if tensor is not None and tensor.dim() == 2 and tensor.shape[1:] == (emulation.RECORD_SIZE,):
            kernels_watch(tensor.data_ptr(), tensor.numel() * 4 - 4)
        elif tensor is not None:
            kernels_watch(tensor.data_ptr(), tensor.numel() * tensor.element_size())
        return 0 if tensor is None else tensor.data_ptr()

    monkeypatch.setattr(cuda_module, "address", short)
    with pytest.raises(RuntimeError, match=r"project: thread \d+ of block \d+ writes .* outside every buffer"):
        render(scene)
    emulation.configure(check=False)
    render(scene)  # an error is told once and forgotten, as CUDA's is


FAULTS = {
    "shared race": "reads .* writes it: no barrier|writes .* reads it: no barrier",
    "warp race": "no barrier between them",
    "divergent barrier": "63 at .*faults.cpp:.* 1 have returned",
    "global race": "no barrier between them",
    "race of blocks": "block 1 writes .* of block 0 writes it",
    "partial warp": "does not name all lanes",
    "misaligned": "across a boundary of 16 bytes",
}


@pytest.mark.parametrize("seed", [IN_ORDER, REVERSED, 5])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_its_right_twin_passes(emulation, name, seed):
    emulation.configure(seed=seed, check=True)
    out = torch.zeros(64)
    emulation.watch(out.data_ptr(), 4 * 64)
    emulation.fault(name, True, out.data_ptr())
    assert out.any()
    sentence = FAULTS[name] if seed == IN_ORDER else "."
    with pytest.raises(RuntimeError, match=sentence):
        emulation.fault(name, False, out.data_ptr())


def test_shared_memory_that_nobody_wrote_is_nan(emulation):
    out = torch.zeros(64)
    emulation.watch(out.data_ptr(), 4 * 64)
    emulation.fault("unwritten", True, out.data_ptr())
    assert out[0] == 2
    emulation.fault("unwritten", False, out.data_ptr())
    assert torch.isnan(out[0])

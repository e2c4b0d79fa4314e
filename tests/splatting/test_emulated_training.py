# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels of a training step in the host emulation of CUDA, held to the oracles that the CPU kernels have."""

from __future__ import annotations

import importlib

import pytest
import torch
from tests.splatting import test_adam, test_bind_pass, test_image_loss, test_playback, test_tangent_frames
from tests.splatting import test_bind as bind_tests
from tests.splatting.kernels import EMULATED

from blendsplat.splatting import adam, bind, image_loss, playback, tangent_frames
from blendsplat.splatting.adam import FusedAdam, adam_reference
from blendsplat.splatting.bind import BindPass
from blendsplat.splatting.cuda import CudaLaunch

emulated = pytest.importorskip(EMULATED, reason="this build has no emulated CUDA kernels (BLENDSPLAT_EMULATION)")


def watched_address(tensor):
    """Tell the emulation of every buffer that a kernel is given: it may touch nothing else."""
    if tensor is None or not tensor.numel():
        return 0
    emulated.watch(tensor.data_ptr(), tensor.numel() * tensor.element_size())
    return tensor.data_ptr()


class NanWorkspace:
    """Scratch that tells when something is read before it was written."""

    def take(self, name, shape, dtype):
        return torch.full(shape, torch.nan, dtype=dtype)


@pytest.fixture(autouse=True, params=[0, -1, 1], ids=["in order", "reversed", "shuffled"])
def _emulated_kernels(request, monkeypatch):
    for module in (adam, bind, image_loss, playback, tangent_frames):
        monkeypatch.setattr(module, "launch_on", lambda device: CudaLaunch(emulated, device))
        monkeypatch.setattr(module, "address", watched_address)
    monkeypatch.setattr(image_loss, "_workspace", lambda device: NanWorkspace())
    emulated.forget()
    emulated.configure(seed=request.param, check=True)
    yield
    emulated.configure(seed=0, check=False)
    emulated.forget()


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 63, 3), (5, 65, 4), (10, 64, 2), (17, 9, 3), (33, 70, 2)], ids=str)
def test_bind(size):
    parameters, weights, carrier = test_bind_pass.bind_problem(*size)
    grads = test_bind_pass.random_grads(*size[:2])
    got = test_bind_pass.run(BindPass(*size, "cpu"), parameters, weights, carrier, grads)
    test_bind_pass.assert_same(got, test_bind_pass.oracle(parameters, weights, carrier, grads))


def test_bind_without_weights_or_gaussians():
    test_bind_pass.test_without_weights_only_the_base_learns()
    test_bind_pass.test_no_gaussians_and_no_blendshapes()


def test_bind_writes_all_its_buffers():
    test_bind_pass.test_buffers_stay_where_they_are_and_every_call_writes_them_anew()


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, True), (True, True, True)], ids=str)
def test_gradients_of_the_surface(wanted, monkeypatch):
    bind_tests.test_each_part_of_the_surface_gets_its_gradient_only_where_it_asks(wanted, monkeypatch)


def test_gradients_of_the_surface_equal_the_cpus(monkeypatch):
    arguments = bind_tests.problem(3, 90, 4)
    here = bind_tests.results(bind.blend_and_bind, *arguments, torch.float32)
    monkeypatch.undo()
    there = bind_tests.results(bind.blend_and_bind, *arguments, torch.float32)
    for got, want in zip([*here[0], *here[1]], [*there[0], *there[1]], strict=True):
        torch.testing.assert_close(got, want, atol=1e-5 * float(want.abs().max()), rtol=0)


def test_surfaces_that_carry_nothing():
    bind_tests.test_triangles_and_vertices_that_carry_nothing_get_zeros()
    bind_tests.test_without_weights_only_the_base_counts()
    bind_tests.test_no_gaussians()


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("size", [(1, 1, 1), (5, 300, 3), (4, 33, 20)], ids=str)
def test_playing(size, half):
    test_playback.test_equals_the_oracle_of_the_same_numbers(size, half)


def test_playing_the_base_and_nothing():
    test_playback.test_the_base_alone_and_nothing_at_all()


@pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True)], ids=["both", "frames", "quats"])
def test_gradients_of_frames(parts):
    test_tangent_frames.test_the_gradient_equals_the_references(3, 33, 1e-3, parts)
    test_tangent_frames.test_the_gradient_equals_the_references(1, 301, 1.0, parts)
    test_tangent_frames.test_every_formula_of_the_quaternion_passes_its_gradient_on()
    test_tangent_frames.test_triangles_without_area_have_finite_gradients()


@pytest.mark.parametrize("weights", test_image_loss.WEIGHTS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 33), (5, 50)], ids=str)
def test_loss_of_images(size, weights):
    arguments = test_image_loss.problem(3, 2, *size)
    test_image_loss.assert_same(
        test_image_loss.fused(*arguments, *weights), test_image_loss.oracle(*arguments, *weights)
    )


def test_loss_of_images_without_a_pixel_that_counts():
    test_image_loss.test_no_pixel_counts_at_all()


def test_fused_adam():
    """More tensors than one launch takes, some without gradient, sizes around a block's run."""
    shapes = [(1,), (2048,), (2049,), (3, 700), (0, 3), (255,)] * 6
    g = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, generator=g) for shape in shapes]
    oracle = [t.double() for t in ours]
    moments = [(torch.zeros_like(t), torch.zeros_like(t)) for t in oracle]
    optimiser = FusedAdam(ours)
    optimiser.rates.copy_(torch.logspace(-4, -1, len(shapes)))
    for step in range(3):
        grads = [torch.randn(shape, generator=g) if (i + step) % 3 else None for i, shape in enumerate(shapes)]
        optimiser.step(grads)
        for i, grad in enumerate(grads):
            if grad is not None and grad.numel():
                adam_reference(
                    oracle[i], grad.double(), *moments[i], int(optimiser.steps[i]), float(optimiser.rates[i])
                )
    assert optimiser.steps.tolist() == [2 if t.numel() else 0 for t in ours]
    for got, want in zip(ours, oracle, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=1e-6)


def test_adam_with_a_raised_flag():
    test_adam.test_a_raised_flag_leaves_everything_alone()


@pytest.mark.parametrize(("images", "faces", "size"), [(1, 1, 1.0), (3, 33, 1e-3), (2, 16, 50.0), (4, 301, 0.1)])
def test_frames_of_triangles(images, faces, size, monkeypatch):
    test_tangent_frames.test_equals_the_reference(images, faces, size)
    problem = test_tangent_frames.triangles(images, faces, size=size)
    here = test_tangent_frames.frames_of(*problem)
    monkeypatch.undo()
    for got, want in zip(here, test_tangent_frames.frames_of(*problem), strict=True):
        torch.testing.assert_close(got, want, atol=2e-4, rtol=0)  # the thin triangles of test_tangent_frames


def test_tangent_frames_of_odd_triangles():
    test_tangent_frames.test_triangles_without_area_give_some_rotation()
    test_tangent_frames.test_a_mirrored_uv_triangle_keeps_its_outward_normal_and_a_rotation()
    test_tangent_frames.test_a_vertex_that_is_not_a_number_spoils_only_its_own_triangles()
    test_tangent_frames.test_nothing_and_wrong_arguments()


def test_the_emulated_module_has_the_calls_of_the_cpu_module():
    kernels = importlib.import_module("blendsplat._kernels_cpu")
    names = "adam", "image_loss", "image_loss_sizes", "bind_forward", "bind_backward", "bind_scratch", "tangent_frames"
    names += ("tangent_frames_backward", "pose_triangles", "play")
    for name in names:
        assert hasattr(kernels, name) and hasattr(emulated, name)

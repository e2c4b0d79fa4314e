# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels of mesh pictures, run by the emulation: bounds, races and thread orders are watched, scratch starts
as NaN, and the planes and gradients are the CPU's to the bit."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting import mesh_fused
from blendsplat.splatting.cuda import CudaLaunch

from . import test_mesh_fused
from .kernels import EMULATED
from .test_mesh_fused import attributes_of, crowd, folded_strip, fused, hostile, random_planes, turned_ball

emulated = pytest.importorskip(EMULATED, reason="this build has no emulated CUDA kernels (BLENDSPLAT_EMULATION)")


def watched_address(tensor):
    """Tell the emulation of every buffer that a kernel is given: it may touch nothing else."""
    if tensor is None or not tensor.numel():
        return 0
    assert tensor.is_contiguous()
    emulated.watch(tensor.data_ptr(), tensor.numel() * tensor.element_size())
    return tensor.data_ptr()


class PoisonedWorkspace:
    """Scratch that tells when something is read before it was written: NaN, or marks of every kind."""

    def take(self, name, shape, dtype):
        tensor = torch.zeros(shape, dtype=dtype)
        tensor.untyped_storage().fill_(0xFF)
        return tensor


@pytest.fixture(params=[0, -1, 1], ids=["in order", "reversed", "shuffled"])
def emulation(request):
    """Patches to go over to the emulation with, when the CPU's answer is known."""
    with pytest.MonkeyPatch.context() as patch:
        emulated.forget()

        def begin():
            emulated.configure(seed=request.param, check=True)
            patch.setattr(mesh_fused, "launch_on", lambda device: CudaLaunch(emulated, device))
            patch.setattr(mesh_fused, "address", watched_address)
            patch.setattr(mesh_fused, "_workspace", lambda device: PoisonedWorkspace())

        yield begin
    emulated.configure(seed=0, check=False)
    emulated.forget()


@pytest.mark.parametrize("scene", [turned_ball, crowd, hostile, folded_strip], ids=lambda make: make.__name__)
@pytest.mark.parametrize(("channels", "shared"), [(3, True), (6, False), (0, False)])
def test_planes_and_gradients_are_the_cpus(emulation, scene, channels, shared):
    scene = scene()
    attributes = attributes_of(scene, channels, shared)
    expected, expected_grads = fused(scene, attributes)
    emulation()
    drawn, grads = fused(scene, attributes)
    for a, b in zip([*drawn, *grads], [*expected, *expected_grads], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("plane", range(4), ids=test_mesh_fused.PLANES)
def test_each_plane_alone(emulation, plane):
    emulation()
    test_mesh_fused.test_each_plane_alone_has_the_references_gradient(plane)


def test_empty_pictures(emulation):
    emulation()
    test_mesh_fused.test_empty_pictures("no faces")
    test_mesh_fused.test_empty_pictures("beside")
    test_mesh_fused.test_no_images()


def test_corners_by_vertex_as_on_a_device(monkeypatch):
    """Where no CPU kernel is at hand torch sorts: the same lists."""
    faces = torch.randint(0, 30, (50, 3), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    expected = mesh_fused.vertex_corners(faces, 33)
    found = mesh_fused.sorted_corners(faces, 33)
    for a, b in zip(expected, found, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def test_gradients_of_what_is_asked(emulation):
    scene = turned_ball()
    attributes = attributes_of(scene, 3, False)
    drawn, (by_vertex, by_value) = fused(scene, attributes)
    emulation()
    for asked, expected in ((0, by_vertex), (1, by_value)):
        inputs = [scene.vertices.clone(), attributes.clone()]
        inputs[asked].requires_grad_()
        planes = mesh_fused.fused_mesh_planes(
            test_mesh_fused.rasterize_mesh(scene.vertices, scene.faces, *scene[2:]), inputs[0], scene.faces, inputs[1],
            scene.viewmats, scene.Ks, test_mesh_fused.find_neighbours(scene.faces),
        )  # fmt: skip
        torch.autograd.backward(planes[: 4 if asked == 0 else 1], random_planes(drawn[:4])[: 4 if asked == 0 else 1])
        assert torch.equal(inputs[asked].grad, expected)

# SPDX-License-Identifier: Apache-2.0
"""Tangent frames of the kernel against plain torch in float64: random, mirrored and degenerate triangles."""

from __future__ import annotations

import pytest
import torch

from blendsplat.geometry import quat_to_matrix
from blendsplat.heads.tangent_frames import tangent_frames, tangent_frames_reference, uv_edges
from blendsplat.splatting.tangent_frames import fused_tangent_frames, fused_tangent_frames_backward


def frames_of(vertices, faces, edges):
    frames = torch.full((len(vertices), len(faces), 3, 3), torch.nan)
    quats = torch.full((len(vertices), len(faces), 4), torch.nan)
    fused_tangent_frames(vertices, faces, edges, frames, quats)
    return frames, quats


def triangles(images, faces, seed=0, size=1.0):
    g = torch.Generator().manual_seed(seed)
    vertices = size * torch.randn(images, 40, 3, generator=g)
    corners = torch.stack([torch.randperm(40, generator=g)[:3] for _ in range(faces)]).reshape(faces, 3)
    uvs = torch.rand(50, 2, generator=g)
    uv_faces = torch.stack([torch.randperm(50, generator=g)[:3] for _ in range(faces)]).reshape(faces, 3)
    return vertices, corners, uv_edges(uvs, uv_faces)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(("images", "faces", "size"), [(1, 1, 1.0), (3, 33, 1e-3), (2, 16, 50.0), (4, 301, 0.1)])
def test_equals_the_reference(images, faces, size) -> None:
    vertices, corners, edges = triangles(images, faces, size=size)
    frames, quats = frames_of(vertices, corners, edges)
    want_frames, want_quats = tangent_frames_reference(vertices.double(), corners, edges.double())
    # thin triangles lose digits to cancellation in float32: the error is the angle by which a short axis turns
    torch.testing.assert_close(frames.double(), want_frames, atol=2e-4, rtol=0)
    same_side = (quats.double() * want_quats).sum(-1).sign()[..., None]
    torch.testing.assert_close(quats.double() * same_side, want_quats, atol=2e-4, rtol=0)
    assert (frames.double() - want_frames).abs().median() < 1e-7


@pytest.mark.usefixtures("instruction_set")
def test_triangles_without_area_give_some_rotation() -> None:
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 0], [1e-12, 0, 0], [0, 1e-12, 0]]])
    # a point, a line, a triangle so small that its edges' products vanish, and a sound one with a UV line
    faces = torch.tensor([[0, 4, 0], [0, 1, 2], [4, 5, 6], [0, 1, 3]])
    uvs = torch.tensor([[0.0, 0], [1, 0], [0, 1], [2, 0]])
    uv_faces = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 3]])
    frames, quats = frames_of(vertices, faces, uv_edges(uvs, uv_faces))
    assert frames.isfinite().all()
    torch.testing.assert_close(quats.norm(dim=-1), torch.ones(1, 4))
    assert frames[0, 0].abs().max() == 0 and torch.equal(frames[0, 3, :, 2], torch.tensor([0.0, 0.0, 1.0]))


def test_a_mirrored_uv_triangle_keeps_its_outward_normal_and_a_rotation() -> None:
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    faces, uvs = torch.tensor([[0, 1, 2]]), torch.tensor([[0.0, 0], [-1, 0], [0, 1]])
    frames, quats = frames_of(vertices, faces, uv_edges(uvs, faces))
    torch.testing.assert_close(frames[0, 0].T, torch.tensor([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    rotation = quat_to_matrix(quats[0, 0])
    assert torch.det(rotation) > 0.999
    torch.testing.assert_close(rotation[:, 0], frames[0, 0, :, 0])
    torch.testing.assert_close(rotation[:, 2], frames[0, 0, :, 2])


def test_a_vertex_that_is_not_a_number_spoils_only_its_own_triangles() -> None:
    vertices, faces, edges = triangles(1, 40)
    clean, _ = frames_of(vertices, faces, edges)
    vertices[0, int(faces[7, 1])] = torch.nan
    frames, quats = frames_of(vertices, faces, edges)
    touched = (faces == faces[7, 1]).any(1)
    assert torch.equal(frames[0, ~touched], clean[0, ~touched]) and quats[0, ~touched].isfinite().all()


def sound_triangles(images, faces, size=1.0):
    """Well-shaped triangles, in space and in UV: their gradients keep their digits in float32."""
    g = torch.Generator().manual_seed(faces)
    corners = torch.arange(3 * faces).reshape(faces, 3) % (2 * faces + 1)
    turned = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.3, 1, 0]])
    uvs = turned[:, :2][torch.arange(2 * faces + 1) % 3] + 0.1 * torch.rand(2 * faces + 1, 2, generator=g)
    vertices = turned[torch.arange(2 * faces + 1) % 3] + 0.2 * torch.randn(images, 2 * faces + 1, 3, generator=g)
    spin = torch.linalg.qr(torch.randn(images, 3, 3, generator=g))[0]
    return size * vertices @ spin, corners, uv_edges(uvs, corners)


def random_grads(images, faces, seed=2):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(images, faces, 3, 3, generator=g), torch.randn(images, faces, 4, generator=g)


def reference_gradient(vertices, faces, edges, grad_frames, grad_quats):
    leaf = vertices.double().requires_grad_()
    frames, quats = tangent_frames_reference(leaf, faces, edges.double())
    total = leaf.sum() * 0
    if grad_frames is not None:
        total = total + (frames * grad_frames.double()).sum()
    if grad_quats is not None:
        total = total + (quats * grad_quats.double()).sum()
    return torch.autograd.grad(total, leaf)[0]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True)], ids=["both", "frames", "quats"])
@pytest.mark.parametrize(("images", "faces", "size"), [(1, 1, 1.0), (3, 33, 1e-3), (2, 16, 50.0), (4, 301, 0.1)])
def test_the_gradient_equals_the_references(images, faces, size, parts) -> None:
    problem = sound_triangles(images, faces, size)
    grads = [grad if part else None for grad, part in zip(random_grads(images, faces), parts, strict=True)]
    got = fused_tangent_frames_backward(*problem, *grads)
    want = reference_gradient(*problem, *grads)
    assert (got.double() - want).abs().max() <= 2e-4 * want.abs().max()
    assert (got.double() - want).abs().median() <= 2e-6 * want.abs().max()


@pytest.mark.usefixtures("instruction_set")
def test_every_formula_of_the_quaternion_passes_its_gradient_on() -> None:
    """Half turns about every axis, and in between: each of the four formulas is the best conditioned once."""
    axes = torch.tensor([[0.0, 0, 0], [3.0, 0.1, 0.2], [0.1, 3.0, -0.2], [0.2, -0.1, 3.0], [1.0, -1.0, 0.5]])
    turn = torch.linalg.matrix_exp(torch.cross(torch.eye(3)[None].expand(5, 3, 3), axes[:, None], dim=-1))
    vertices = torch.tensor([[0.0, 0, 0], [1, 0.1, 0], [0.2, 1, 0.3]]) @ turn
    faces, uvs = torch.tensor([[0, 1, 2]]), torch.tensor([[0.0, 0], [1, 0], [0.1, 1]])
    problem = vertices, faces, uv_edges(uvs, faces)
    grads = random_grads(5, 1)
    got, want = fused_tangent_frames_backward(*problem, *grads), reference_gradient(*problem, *grads)
    torch.testing.assert_close(got.double(), want, atol=2e-5, rtol=2e-5)
    chosen = tangent_frames_reference(*problem)[1][:, 0].abs().argmax(-1)
    assert set(chosen.tolist()) == {0, 1, 2, 3}


def test_the_gradient_agrees_with_finite_differences() -> None:
    vertices, faces, edges = sound_triangles(1, 12)
    grads = random_grads(1, 12)
    got = fused_tangent_frames_backward(vertices, faces, edges, *grads).double()
    direction = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values = []
    for step in (1e-5, -1e-5):
        frames, quats = tangent_frames_reference(vertices.double() + step * direction, faces, edges.double())
        values.append(float((frames * grads[0]).sum() + (quats * grads[1]).sum()))
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(float((got * direction).sum()), rel=1e-4)


@pytest.mark.usefixtures("instruction_set")
def test_triangles_without_area_have_finite_gradients() -> None:
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 0], [1e-12, 0, 0], [0, 1e-12, 0]]])
    faces = torch.tensor([[0, 4, 0], [0, 1, 2], [4, 5, 6], [0, 1, 3], [0, 3, 1]])
    uvs = torch.tensor([[0.0, 0], [1, 0], [0, 1], [2, 0]])
    uv_faces = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 3], [0, 0, 0]])
    edges = uv_edges(uvs, uv_faces)
    got = fused_tangent_frames_backward(vertices, faces, edges, *random_grads(1, 5))
    assert got.isfinite().all() and got.abs().max() > 0
    point = fused_tangent_frames_backward(vertices, faces[:1], edges[:1], *random_grads(1, 1))
    assert not point.any()


@pytest.mark.usefixtures("instruction_set")
def test_the_gradient_is_the_same_for_any_number_of_threads(set_threads) -> None:
    problem, grads = sound_triangles(3, 500), random_grads(3, 500)
    found = []
    for count in (1, 2, 7):
        set_threads(count)
        found.append(fused_tangent_frames_backward(*problem, *grads))
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_autograd_uses_the_kernels_and_follows_only_what_was_used() -> None:
    vertices, faces, _ = sound_triangles(2, 20)
    uvs = torch.rand(41, 2, generator=torch.Generator().manual_seed(4))
    leaf = vertices.clone().requires_grad_()
    frames, quats = tangent_frames(leaf, faces, uvs, faces)
    quats.sum().backward()
    ones = torch.ones_like(quats)
    assert torch.equal(leaf.grad, fused_tangent_frames_backward(vertices, faces, uv_edges(uvs, faces), None, ones))
    assert not tangent_frames(vertices, faces, uvs, faces)[0].requires_grad and frames.requires_grad


def test_nothing_and_wrong_arguments() -> None:
    vertices, faces, edges = triangles(2, 5)
    assert frames_of(vertices[:0], faces, edges)[0].shape == (0, 5, 3, 3)
    assert frames_of(vertices, faces[:0], edges[:0])[1].shape == (2, 0, 4)
    with pytest.raises(ValueError, match="faces: expected indices of 40 vertices"):
        frames_of(vertices, faces + 38, edges)
    with pytest.raises(ValueError, match="uv_edges"):
        frames_of(vertices, faces, edges.double())
    with pytest.raises(ValueError, match="faces"):
        frames_of(vertices, faces.int(), edges)
    with pytest.raises(ValueError, match="vertices"):
        frames_of(vertices.transpose(0, 1), faces, edges)
    grads = random_grads(2, 5)
    assert fused_tangent_frames_backward(vertices, faces[:0], edges[:0], None, None).abs().max() == 0
    with pytest.raises(ValueError, match="grad_quats"):
        fused_tangent_frames_backward(vertices, faces, edges, grads[0], grads[1][:1])
    with pytest.raises(ValueError, match="faces: expected indices of 40 vertices"):
        fused_tangent_frames_backward(vertices, faces + 38, edges, *grads)

# SPDX-License-Identifier: Apache-2.0
"""Tangent frames of the kernel against plain torch in float64: random, mirrored and degenerate triangles."""

from __future__ import annotations

import pytest
import torch

from blendsplat.geometry import quat_to_matrix
from blendsplat.heads.tangent_frames import tangent_frames_reference, uv_edges
from blendsplat.splatting.tangent_frames import fused_tangent_frames


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

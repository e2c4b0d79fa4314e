# SPDX-License-Identifier: Apache-2.0
"""Topology, the UV raster and the tangent frames: the surface that Gaussians are bound to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blendsplat import geometry
from blendsplat.errors import InputError
from blendsplat.geometry import quat_to_matrix
from blendsplat.heads import topology
from blendsplat.heads.tangent_frames import tangent_frames
from blendsplat.heads.uv import rasterize_uv, rasterize_uv_faces, uv_overlap
from small_head import grid_sphere, small_head


def test_topology_of_a_tube() -> None:
    vertices, faces, _, _ = grid_sphere(rows=5, columns=7)
    count, labels = topology.connected_components(faces, len(vertices) + 1)
    assert count == 2 and labels[-1] != labels[0]
    loops = topology.boundary_loops(faces)
    assert sorted(map(len, loops)) == [7, 7]
    for loop in loops:  # neighbours in the loop are neighbours in the mesh
        adjacency = topology.vertex_adjacency(faces, len(vertices))
        assert all(adjacency[a, b] == 1 for a, b in zip(loop, np.roll(loop, -1), strict=True))
    assert len(vertices) - len(topology.edges(faces)) + len(faces) == 0  # Euler's number of a tube


def test_laplacian() -> None:
    vertices, faces, _, _ = grid_sphere()
    matrix = topology.laplacian(torch.as_tensor(faces), len(vertices) + 1)
    np.testing.assert_allclose(matrix @ np.ones(len(vertices) + 1), 0, atol=1e-6)
    assert matrix[len(vertices)].nnz == 0 or not matrix[len(vertices)].toarray().any()
    neighbours = np.unique(faces[(faces == 30).any(1)])
    mean = vertices[neighbours[neighbours != 30]].mean(0)
    np.testing.assert_allclose((matrix[:-1, :-1] @ vertices)[30], vertices[30] - mean, atol=1e-7)


def test_normals_point_outwards() -> None:
    vertices, faces, _, _ = grid_sphere(rows=20, columns=40)
    normals = geometry.vertex_normals(torch.as_tensor(vertices)[None], torch.as_tensor(faces))[0].numpy()
    inner = slice(40, -40)  # the rims lean
    assert (np.sum(normals * vertices, 1)[inner] > 0.099).all()


def test_quads_and_padded_triangles() -> None:
    triangles, source = topology.triangulate_quads(np.array([[0, 1, 2, 3], [4, 5, 6, -1]]))
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6]] and source.tolist() == [0, 0, 1]


def texel_owner_by_loop(uvs: np.ndarray, uv_faces: np.ndarray, resolution: int) -> dict[int, int]:
    owner: dict[int, int] = {}
    for index, face in enumerate(uv_faces):
        a, b, c = uvs[face]
        matrix = np.array([b - a, c - a]).T
        if abs(np.linalg.det(matrix)) < 1e-15:
            continue
        inverse = np.linalg.inv(matrix)
        for row in range(resolution):
            for column in range(resolution):
                s, t = inverse @ (np.array([(column + 0.5) / resolution, (row + 0.5) / resolution]) - a)
                if min(s, t, 1 - s - t) >= -1e-9:
                    owner.setdefault(row * resolution + column, index)
    return owner


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_uv_raster_is_the_loop(seed: int, resolution: int) -> None:
    rng = np.random.default_rng(seed)
    uvs = rng.random((9, 2)) * 1.4 - 0.2  # partly outside
    uv_faces = rng.integers(0, 9, (5, 3))
    texels, triangles, barycentrics = rasterize_uv_faces(uvs, uv_faces, resolution)
    assert dict(zip(texels.tolist(), triangles.tolist(), strict=True)) == texel_owner_by_loop(uvs, uv_faces, resolution)
    points = (uvs[uv_faces[triangles]] * barycentrics[:, :, None]).sum(1) * resolution - 0.5
    np.testing.assert_allclose(points, np.stack([texels % resolution, texels // resolution], 1), atol=1e-6)


def test_shared_edges_give_one_sample() -> None:
    """Texel centres exactly on shared edges and corners of a full square belong to one triangle each."""
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]], float)
    fan = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    for resolution in (1, 5, 8):
        texels, _, _ = rasterize_uv_faces(uvs, fan, resolution)
        assert texels.tolist() == list(range(resolution**2))
    assert uv_overlap(uvs, fan, 64) == 0
    assert uv_overlap(uvs, np.concatenate([fan, fan[:1]]), 64) == pytest.approx(0.25, abs=0.02)


def test_rasterize_uv_of_a_head() -> None:
    head = small_head()
    triangles, barycentrics = rasterize_uv(head, 32)
    assert triangles.dtype == torch.int32 and barycentrics.dtype == torch.float32
    assert 0.9 * 32**2 * 0.96**2 < len(triangles) < 32**2
    np.testing.assert_allclose(barycentrics.sum(1), 1, atol=1e-6)
    with pytest.raises(InputError, match="resolution"):
        rasterize_uv(head, 0)


def frame_by_hand(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    e1, e2, d1, d2 = p[1] - p[0], p[2] - p[0], q[1] - q[0], q[2] - q[0]
    det = d1[0] * d2[1] - d2[0] * d1[1]
    t, b, n = (e1 * d2[1] - e2 * d1[1]) / det, (e2 * d1[0] - e1 * d2[0]) / det, np.cross(e1, e2)
    t, b, n = (v / np.linalg.norm(v) for v in (t, b, n))
    x = t - n * (n @ t)
    x /= np.linalg.norm(x)
    return np.stack([t, b, n], 1), np.stack([x, np.cross(n, x), n], 1)


def test_tangent_frames_are_the_formula() -> None:
    head = small_head()
    torch.manual_seed(0)
    vertices = head.template + torch.randn(2, head.vertex_count, 3, dtype=torch.float64) * 0.01
    uvs = torch.rand_like(head.uvs)  # random UVs: half the triangles are mirrored
    frames, quats = tangent_frames(vertices, head.faces, uvs, head.uv_faces)
    rotations = quat_to_matrix(quats)
    for f in range(0, len(head.faces), 5):
        frame, rotation = frame_by_hand(vertices[1][head.faces[f]].numpy(), uvs[head.uv_faces[f]].numpy())
        np.testing.assert_allclose(frames[1, f], frame, atol=1e-9)
        np.testing.assert_allclose(rotations[1, f], rotation, atol=1e-7)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(2, len(head.faces), dtype=torch.float64))


def test_tangent_frames_turn_with_the_head() -> None:
    head = small_head().to("cpu", torch.float32)
    params = head.neutral()
    params.root_pose = torch.tensor([[0.4, 1.0, -0.3]])
    rest, _ = tangent_frames(head(head.neutral()), head.faces, head.uvs, head.uv_faces)
    turned, quats = tangent_frames(head(params), head.faces, head.uvs, head.uv_faces)
    rotation = head.posed(params)[1][0, 0, :3, :3]
    np.testing.assert_allclose(turned[0], rotation @ rest[0], atol=2e-5)
    assert quats.shape == (1, len(head.faces), 4)


def test_degenerate_triangles_stay_finite() -> None:
    head = small_head().to("cpu", torch.float32)
    flat = dataclasses.replace(head, uvs=torch.zeros_like(head.uvs))
    for vertices in (head.template[None].clone(), torch.zeros_like(head.template)[None]):
        vertices.requires_grad_()
        for uvs in (head.uvs, flat.uvs):
            frames, quats = tangent_frames(vertices, head.faces, uvs, head.uv_faces)
            assert torch.isfinite(frames).all()
            np.testing.assert_allclose(quats.detach().norm(dim=-1), 1, atol=1e-5)
            (gradient,) = torch.autograd.grad(frames.sum() + quats.sum(), vertices)
            assert torch.isfinite(gradient).all()

# SPDX-License-Identifier: Apache-2.0
"""The mesh rasterizer against ray casting in float64, and at its borders."""

from __future__ import annotations

import numpy as np
import torch

from blendsplat.splatting import rasterize_mesh

from .scenes import cameras


def ray_cast(vertices, faces, viewmat, K, width, height):
    """Per pixel the nearest triangle hit by the ray through its centre (Moeller-Trumbore): ids, barycentrics, depth."""
    corners = (vertices @ viewmat[:3, :3].T + viewmat[:3, 3])[faces]
    rows, columns = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones_like(rows)], -1)[:, :, None]
    a, e1, e2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(rays, e2)
    determinant = (p * e1).sum(-1)
    u = (p * -a).sum(-1) / determinant
    q = np.cross(-a, e1)
    v = (rays * q).sum(-1) / determinant
    t = (e2 * q).sum(-1) / determinant
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    depth = np.where(hit, t, np.inf)
    best = depth.argmin(-1)
    take = lambda x: np.take_along_axis(x, best[..., None], -1)[..., 0]  # noqa: E731
    found = np.isfinite(take(depth))
    barycentrics = np.stack([1 - take(u) - take(v), take(u), take(v)], -1)
    return np.where(found, best, -1), np.where(found[..., None], barycentrics, 0), np.where(found, take(depth), 0)


def soup(seed=0, images=2, faces=40):
    g = torch.Generator().manual_seed(seed)
    vertices = 0.5 * torch.randn(images, faces * 3, 3, generator=g)
    return vertices, torch.arange(faces * 3).reshape(faces, 3), g


def test_matches_ray_casting():
    vertices, faces, g = soup()
    width, height = 37, 29
    viewmats, Ks = cameras(2, width, height, g)
    viewmats[:, 2, 3] += 2
    ids, barycentrics, depth = rasterize_mesh(vertices, faces, viewmats, Ks, width, height)
    for b in range(2):
        arrays = (vertices[b], viewmats[b], Ks[b])
        points, view, K = (t.double().numpy() for t in arrays)
        want_ids, want_barycentrics, want_depth = ray_cast(points, faces.numpy(), view, K, width, height)
        same = ids[b].numpy() == want_ids
        assert same.mean() > 0.999  # a pixel centre on an edge may fall on either side in float32
        assert np.abs(barycentrics[b].numpy() - want_barycentrics)[same].max() < 1e-4
        assert np.abs(depth[b].numpy() - want_depth)[same].max() < 1e-4


def test_barycentrics_give_back_the_point_on_the_ray():
    vertices, faces, g = soup(1, images=1)
    viewmats, Ks = cameras(1, 32, 32, g)
    viewmats[:, 2, 3] += 2
    ids, barycentrics, _ = rasterize_mesh(vertices, faces, viewmats, Ks, 32, 32)
    drawn = ids[0] >= 0
    points = (vertices[0][faces[ids[0][drawn].long()]] * barycentrics[0][drawn][..., None]).sum(1)
    camera = points @ viewmats[0, :3, :3].T + viewmats[0, :3, 3]
    pixel = camera @ Ks[0].T
    rows, columns = torch.nonzero(drawn, as_tuple=True)
    assert (pixel[:, 0] / pixel[:, 2] - columns - 0.5).abs().max() < 1e-3
    assert (pixel[:, 1] / pixel[:, 2] - rows - 0.5).abs().max() < 1e-3


def test_threads_and_batches_change_nothing():
    vertices, faces, g = soup(2, images=3)
    viewmats, Ks = cameras(3, 48, 48, g)
    together = rasterize_mesh(vertices, faces, viewmats, Ks, 48, 48)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for b in range(3):
            one = slice(b, b + 1)
            for a, c in zip(
                together, rasterize_mesh(vertices[one], faces, viewmats[one], Ks[one], 48, 48), strict=True
            ):
                assert torch.equal(a[one], c)
    finally:
        torch.set_num_threads(threads)


def test_degenerate_behind_and_bad_faces_are_left_out():
    vertices = torch.tensor([[[0.0, 0, 1], [1, 0, 1], [2, 0, 1], [0, 0, -1], [0, 1, 1], [float("nan"), 0, 1]]])
    faces = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 5]], dtype=torch.int32)
    viewmats, Ks = torch.eye(4)[None], torch.tensor([[[10.0, 0, 5], [0, 10, 5], [0, 0, 1]]])
    ids, barycentrics, depth = rasterize_mesh(vertices, faces, viewmats, Ks, 10, 10)
    assert (ids == -1).all() and not barycentrics.any() and not depth.any()
    ids, _, _ = rasterize_mesh(vertices, torch.zeros(0, 3, dtype=torch.int64), viewmats, Ks, 10, 10)
    assert (ids == -1).all()


def test_left_is_left():
    """A triangle at positive x of the camera appears in the right half, one at positive y in the lower half."""
    vertices = torch.tensor([[[0.1, 0.1, 1.0], [0.4, 0.1, 1], [0.1, 0.4, 1]]])
    viewmats, Ks = torch.eye(4)[None], torch.tensor([[[20.0, 0, 10], [0, 20, 10], [0, 0, 1]]])
    ids, _, _ = rasterize_mesh(vertices, torch.tensor([[0, 1, 2]]), viewmats, Ks, 20, 20)
    rows, columns = torch.nonzero(ids[0] >= 0, as_tuple=True)
    assert len(rows) > 5 and rows.min() >= 10 and columns.min() >= 10

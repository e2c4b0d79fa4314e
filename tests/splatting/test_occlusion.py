# SPDX-License-Identifier: Apache-2.0
"""What of a splatted picture a mesh hides: by hand, against rays, and where the mesh reaches behind the camera."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsplat.splatting.occlusion import in_front, visible_share

K = torch.tensor([[60.0, 0, 24], [0, 60, 16], [0, 0, 1]])
VIEW = torch.eye(4)


def wall(depth: float, left: float = -10.0, right: float = 10.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A rectangle across the view at a depth."""
    corners = [[left, -10, depth], [right, -10, depth], [right, 10, depth], [left, 10, depth]]
    return torch.tensor(corners), torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def share(depth: float, *mesh: torch.Tensor, alpha: float = 0.5) -> torch.Tensor:
    plane = torch.full((32, 48, 1), alpha)
    return visible_share(plane, plane * depth, *mesh, VIEW, K)


def test_a_wall_before_hides_all_and_one_behind_nothing() -> None:
    assert not share(2.0, *wall(1.9)).any()
    assert (share(2.0, *wall(2.1)) == 1).all()
    assert (share(2.0, torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32)) == 1).all()


def test_half_a_pixel_covered_is_half_seen() -> None:
    """The wall's right edge runs through the middle of column 10: x = 10.5 px."""
    got = share(2.0, *wall(1.0, right=(10.5 - 24) / 60))[5, :, 0]
    assert not got[:10].any() and got[10] == 0.5 and (got[11:] == 1).all()


def test_where_nothing_is_splatted_the_picture_stays_empty() -> None:
    plane = torch.zeros(32, 48, 1)
    assert torch.isfinite(visible_share(plane, plane, *wall(1.0), VIEW, K)).all()


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_a_floor_that_reaches_behind_the_camera_is_cut_not_dropped(turn: int, flip: bool) -> None:
    """Beside rays: a plane below the eye, whose near corners lie behind it."""
    vertices = torch.tensor([[-50.0, 0.5, -5], [50, 0.5, -5], [50, 0.5, 40], [-50, 0.5, 40]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32).roll(turn, 1)
    faces = faces.flip(1) if flip else faces
    got = share(3.0, vertices, faces)[..., 0].numpy()
    rows = np.arange(32) + 0.5
    slope = (rows - 16) / 60  # y over z of the ray
    hidden = (slope > 0) & (0.5 / np.maximum(slope, 1e-9) < 3.0)
    edge = np.abs(0.5 / np.maximum(slope, 1e-9) - 3.0) < 0.4
    assert (got[hidden & ~edge] == 0).all() and (got[~hidden & ~edge] == 1).all() and hidden.any()


def test_cutting_keeps_what_is_ahead_and_its_area() -> None:
    rng = np.random.default_rng(0)
    vertices = torch.from_numpy(rng.normal(0, 1, (60, 3)).astype(np.float32))
    faces = torch.from_numpy(rng.permutation(60).reshape(20, 3).astype(np.int32))
    cut, pieces = in_front(vertices, faces, VIEW, 0.01)
    assert (cut[pieces.long()][..., 2] > 0.01).all()
    assert torch.isclose(area(cut, pieces), area_ahead(vertices, faces), rtol=0.01)
    normals = lambda v, f: torch.linalg.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])  # noqa: E731
    whole = (vertices[faces.long()][..., 2] > 0.02).all(1)
    kept = normals(vertices, faces[whole].long())
    assert torch.allclose(normals(cut, pieces.long())[: len(kept)], kept)


def area(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    a, b, c = (vertices[faces[:, corner].long()] for corner in range(3))
    return torch.linalg.cross(b - a, c - a).norm(dim=1).sum() / 2


def area_ahead(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """By counting a fine grid of points on each face."""
    n = 200
    u, v = torch.meshgrid((torch.arange(n) + 0.5) / n, (torch.arange(n) + 0.5) / n, indexing="ij")
    inside = (u + v) < 1
    corner = torch.stack([1 - u - v, u, v], -1)[inside]
    total = torch.zeros(())
    for face in faces.long():
        z = corner @ vertices[face][:, 2]
        total = total + area(vertices, face[None]) * (z > 0.01).float().mean()
    return total

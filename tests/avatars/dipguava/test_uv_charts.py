# SPDX-License-Identifier: Apache-2.0
"""Where a place beside a triangle lies in UV, by its barycentrics; and the three ways for one that is beyond it:
affinely on, held at the border, or over the edges to the triangle that it comes to lie in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay
from torch import Tensor

from blendsplat.avatars.dipguava.surface import triangle_frames
from blendsplat.avatars.dipguava.uv_charts import LONGEST_WALK, STEEPEST, uv_charts
from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from tiny_dipguava import own_head


def local_of(head, triangle: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """World points of the rest head [N,3], in their triangles' frames and sizes (eq. 1, undone)."""
    frames = triangle_frames(head.template[None].double(), head.faces)
    away = points - frames.centroids[0, triangle]
    return (frames.rotations[0, triangle].mT @ away[..., None])[..., 0] / frames.sizes[0, triangle, None]


@pytest.mark.parametrize("reach", [0.0, 1.5], ids=["inside", "and outside"])
def test_a_point_lies_in_uv_where_its_barycentrics_say(reach: float) -> None:
    head, rng = own_head(), np.random.default_rng(3)
    triangle = torch.from_numpy(rng.integers(0, len(head.faces), 500))
    weights = torch.from_numpy(rng.dirichlet([1, 1, 1], 500) + reach * rng.normal(size=(500, 3)))
    weights /= weights.sum(1, keepdim=True)
    weights = weights.clamp(-3, 3)
    weights[:, 2] = 1 - weights[:, 0] - weights[:, 1]
    points = (head.template.double()[head.faces[triangle]] * weights[..., None]).sum(1)
    wanted = (head.uvs.double()[head.uv_faces[triangle]] * weights[..., None]).sum(1)
    assert not reach or (weights.min(1).values < -0.5).sum() > 100, "many are far outside of their triangles"
    local = local_of(head, triangle, points)
    found = uv_charts(head).uv(triangle, local.float())
    torch.testing.assert_close(found.double(), wanted.clamp(0, 1), atol=2e-6, rtol=0)
    lifted = local.float()
    lifted[:, 1] += torch.from_numpy(rng.normal(size=500)).float()
    assert torch.equal(uv_charts(head).uv(triangle, lifted), found), "how far off the surface does not matter"


def test_uv_stays_in_the_map_however_far_a_gaussian_goes() -> None:
    charts, triangle = uv_charts(own_head()), torch.arange(10)
    uv = charts.uv(triangle, torch.full((10, 3), 1e6) * torch.tensor([1.0, -1, 1]))
    assert uv.min() >= 0 and uv.max() <= 1


def test_charts_pass_gradients_on() -> None:
    charts, triangle = uv_charts(own_head()), torch.tensor([0, 5, 5, 40])
    doubles = charts.to(torch.float64)
    positions = (0.3 * torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(2))).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: doubles.uv(triangle, x), positions)


def test_triangles_without_area_and_steep_ones_stay_finite() -> None:
    head = own_head()
    template, uvs = head.template.clone(), head.uvs.clone()
    first, second = head.faces[0], head.faces[20]
    template[first[1]] = template[first[0]]
    template[second[2]] = template[second[0]] + 0.4 * (template[second[1]] - template[second[0]]) + 1e-7
    charts = uv_charts(replace(head, template=template, uvs=uvs))
    assert charts.slopes.isfinite().all() and charts.centres.isfinite().all()
    assert charts.slopes.flatten(1).norm(dim=1).max() <= STEEPEST * (1 + 1e-5)
    assert not charts.slopes[0].any(), "all of a triangle without area is one place in UV"
    torch.testing.assert_close(charts.centres, uvs[head.uv_faces].mean(1))


# --- held at the border


def scattered(head: HeadModel, count: int = 400, reach: float = 1.0) -> tuple[Tensor, Tensor, np.ndarray]:
    """(triangle [N], local positions [N,3], their barycentrics [N,3]): in the planes of random triangles, many of them
    beyond."""
    rng = np.random.default_rng(4)
    triangle = torch.from_numpy(rng.integers(0, len(head.faces), count))
    weights = rng.dirichlet([1, 1, 1], count) + reach * rng.normal(size=(count, 3))
    weights += (1 - weights.sum(1, keepdims=True)) / 3
    points = (head.template.double()[head.faces[triangle]] * torch.from_numpy(weights)[..., None]).sum(1)
    return triangle, local_of(head, triangle, points), weights


def test_clamped_places_have_no_negative_barycentrics() -> None:
    head = own_head()
    triangle, local, weights = scattered(head)
    assert 100 < (weights.min(1) < 0).sum() < 390
    held = np.maximum(weights, 0)
    held /= held.sum(1, keepdims=True)
    wanted = np.einsum("ni,nid->nd", held, head.uvs.double()[head.uv_faces[triangle]].numpy())
    found = uv_charts(head, "clamp").uv(triangle, local.float())
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-6)


@pytest.mark.parametrize("beyond", ["clamp", "walk"])
def test_inside_of_its_triangle_nothing_changes(beyond) -> None:
    head = own_head()
    triangle, local, weights = scattered(head, reach=0.0)
    assert weights.min() > 0
    both = [uv_charts(head, way).uv(triangle, local.float()) for way in ("extrapolate", beyond)]
    torch.testing.assert_close(both[0], both[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("beyond", ["extrapolate", "clamp", "walk"])
def test_gradients_are_those_of_finite_differences(beyond) -> None:
    """Of places that are not at an edge, where each of the ways has a kink."""
    head = own_head()
    triangle, local, weights = scattered(head, count=60)
    away = np.abs(weights).min(1) > 0.05
    charts = uv_charts(head, beyond).to(torch.float64)
    place = local[away].expand(2, -1, -1).clone().requires_grad_()
    chosen = triangle[away]
    if beyond == "walk":  # nor at an edge of where it ends
        arrived, plane = charts._walked(chosen, place.detach()[..., [0, 2]])
        clear = (charts._barycentrics(arrived, plane).abs().min(-1).values > 0.01).all(0)
        place, chosen = place.detach()[:, clear].requires_grad_(), chosen[clear]
    assert len(chosen) > 20
    assert torch.autograd.gradcheck(lambda x: charts.uv(chosen, x), place)
    charts.uv(chosen, place).sum().backward()
    assert (place.grad[..., 1] == 0).all(), "along the normal nothing changes"


@pytest.mark.parametrize("beyond", ["clamp", "walk"])
def test_every_way_is_steady_over_an_edge(beyond) -> None:
    """Two places on both sides of an edge and close to it lie close in UV."""
    head = own_head()
    charts, rng = uv_charts(head, beyond), np.random.default_rng(2)
    triangle = torch.from_numpy(rng.integers(0, len(head.faces), 300))
    on_edge = np.insert(rng.dirichlet([1, 1], 300), 0, 0, axis=1)[:, [0, 1, 2]]
    ends = []
    for side in (1e-4, -1e-4):
        weights = torch.from_numpy(on_edge + side * np.array([1, -0.5, -0.5]))
        points = (head.template.double()[head.faces[triangle]] * weights[..., None]).sum(1)
        ends.append(charts.uv(triangle, local_of(head, triangle, points).float()))
    assert (ends[0] - ends[1]).abs().max() < 2e-4


# --- over the edges


def sheet(seed: int) -> HeadModel:
    """A flat sheet, randomly triangulated, whose vertices lie anywhere in UV; turned in space, triangles begun at any
    corner."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 1, 7), indexing="ij")
    inner = (abs(x - 0.5) < 0.5) & (abs(y - 0.5) < 0.5)
    plane = np.stack([x, y], -1) + inner[..., None] * rng.uniform(-0.06, 0.06, (7, 7, 2))
    plane = plane.reshape(-1, 2)
    faces = Delaunay(plane).simplices.astype(np.int64)
    a, b, c = (plane[faces[:, i]] for i in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert abs(area).min() > 1e-3
    faces = np.where((area < 0)[:, None], faces[:, [0, 2, 1]], faces)
    faces = np.stack([np.roll(face, rng.integers(3)) for face in faces])
    points = 0.2 * np.insert(plane, 2, 0, axis=1)
    rotation = rotvec_to_matrix(torch.tensor([0.4, -1.1, 0.7]).double())
    template = torch.from_numpy(points) @ rotation.T + 0.03
    uvs = torch.from_numpy(0.2 + 0.6 * plane + 0.02 * rng.normal(size=plane.shape))
    count = len(plane)
    directions = torch.zeros(3, count, 3)
    return replace(
        own_head(), template=template.float(), faces=torch.from_numpy(faces), uvs=uvs.float(),
        uv_faces=torch.from_numpy(faces), expression_directions=directions,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_walked_on_a_sheet_a_place_lies_in_the_triangle_that_holds_it(seed: int) -> None:
    head = sheet(seed)
    triangle, local, _ = scattered(head, reach=0.6)
    frames = triangle_frames(head.template[None].double(), head.faces)
    scaled = frames.sizes[0, triangle, None] * local
    points = frames.centroids[0, triangle] + (frames.rotations[0, triangle] @ scaled[..., None])[..., 0]
    found = uv_charts(head, "walk").uv(triangle, local.float()).numpy()
    corners, uvs = head.template.double()[head.faces].numpy(), head.uvs.double()[head.uv_faces].numpy()
    checked = moved = 0
    for point, uv, start in zip(points.numpy(), found, triangle.tolist(), strict=True):
        for face, (a, b, c) in enumerate(corners):  # which triangle is it in
            u, v = np.linalg.lstsq(np.stack([b - a, c - a], 1), point - a, rcond=None)[0]
            if min(u, v, 1 - u - v) > 1e-4:
                np.testing.assert_allclose(
                    uv, (1 - u - v) * uvs[face, 0] + u * uvs[face, 1] + v * uvs[face, 2], atol=1e-5
                )
                checked, moved = checked + 1, moved + (face != start)
    assert moved > 60 and checked > moved, "the others are inside of their own, or beyond the sheet"


def test_a_fold_is_unfolded() -> None:
    """Two triangles at a right angle: as far beyond the edge as the place is on the plane, so far it is down the other
    side; their sizes, and their islands in UV, differ."""
    template = torch.tensor([[0.0, 0, 0], [0, 0.1, 0], [-0.3, 0.05, 0], [0, 0.05, -0.2]])
    head = replace(
        own_head(), template=template, faces=torch.tensor([[0, 1, 2], [1, 0, 3]]),
        uvs=torch.tensor([[0.1, 0.1], [0.1, 0.2], [0.4, 0.15], [0.6, 0.9], [0.6, 0.8], [0.9, 0.85]]),
        uv_faces=torch.tensor([[0, 1, 2], [3, 4, 5]]), expression_directions=torch.zeros(3, 4, 3),
    )  # fmt: skip
    along, down = torch.rand(2, 50, generator=torch.Generator().manual_seed(0)).double()
    down = 0.19 * down
    along = 0.05 + 0.9 * (along - 0.5) * 0.1 * (1 - down / 0.2)
    points = torch.stack([down, along, torch.zeros_like(down)], 1)  # straight on, off the edge at x = 0
    first = torch.zeros(50, dtype=torch.long)
    found = uv_charts(head, "walk").uv(first, local_of(head, first, points).float())
    wanted = torch.stack([0.6 + 0.3 * down / 0.2, 0.8 + along], 1)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=0)
    outside = torch.tensor([[-0.1, 0.2, 0.0]]).double()  # over an edge behind which nothing is
    ways = [
        uv_charts(head, way).uv(first[:1], local_of(head, first[:1], outside).float())
        for way in ("extrapolate", "walk")
    ]
    assert torch.equal(ways[0], ways[1])


def test_no_way_leads_where_the_surface_is_in_doubt() -> None:
    """Over an edge of three triangles, of two that turn against each other, or into one without area."""
    template = torch.tensor([[0.0, 0, 0], [0, 0.1, 0], [-0.1, 0.05, 0], [0.1, 0.05, 0], [0, 0.05, 0.1], [0, 0.2, 0]])
    uvs = 0.5 + 2 * template[:, :2]
    cases = {
        "two": ([[0, 1, 2], [1, 0, 3]], [1, -1]), "three": ([[0, 1, 2], [1, 0, 3], [1, 0, 4]], [-1, -1, -1]),
        "against": ([[0, 1, 2], [0, 1, 3]], [-1, -1]), "no area": ([[0, 1, 2], [1, 0, 5]], [-1, 0]),
    }  # fmt: skip
    for name, (faces, behind) in cases.items():
        made = torch.tensor(faces)
        head = replace(
            own_head(), template=template, faces=made, uvs=uvs, uv_faces=made,
            expression_directions=torch.zeros(3, 6, 3),
        )  # fmt: skip
        charts = uv_charts(head, "walk")
        assert charts.neighbours[0].tolist() == [-1, -1, behind[0]], name
        assert charts.carries.isfinite().all()
        assert charts.uv(torch.zeros(1, dtype=torch.long), torch.tensor([[0.0, 0, 50.0]])).isfinite().all()


def test_a_walk_ends() -> None:
    head = own_head()
    charts = uv_charts(head, "walk")
    triangle = torch.arange(len(head.faces))
    far = charts.uv(triangle, 1e4 * torch.randn(3, len(triangle), 3, generator=torch.Generator().manual_seed(1)))
    assert far.shape == (3, len(triangle), 2) and far.min() >= 0 and far.max() <= 1 and LONGEST_WALK < 20

# SPDX-License-Identifier: Apache-2.0
"""Mesh pictures and their gradients: against the kernels, finite differences, exact areas, and by fitting."""

from __future__ import annotations

import pytest
import torch

from blendsplat.geometry import vertex_normals
from blendsplat.splatting import rasterize_mesh
from blendsplat.splatting.mesh_layers import render_mesh
from blendsplat.splatting.mesh_reference import interpolate, surface_of
from blendsplat.splatting.silhouettes import antialias, find_neighbours

from .scenes import cameras

FRONT = torch.eye(4)[None]


def camera(size: int, focal: float = 40.0) -> torch.Tensor:
    return torch.tensor([[[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]])


def sphere(rows: int = 12, columns: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed ball of radius 0.5 around (0, 0, 2)."""
    theta = torch.linspace(0, torch.pi, rows + 1)[1:-1, None]
    phi = torch.arange(columns) * (2 * torch.pi / columns)
    ring = torch.stack(torch.broadcast_tensors(theta.sin() * phi.cos(), theta.cos(), theta.sin() * phi.sin()), -1)
    points = torch.cat([ring.reshape(-1, 3), torch.tensor([[0.0, 1, 0], [0, -1, 0]])]) * 0.5
    faces, top, bottom = [], (rows - 1) * columns, (rows - 1) * columns + 1
    for c in range(columns):
        n = (c + 1) % columns
        faces.append([top, n, c])
        faces.append([bottom, (rows - 2) * columns + c, (rows - 2) * columns + n])
        for r in range(rows - 2):
            a, b, d, e = r * columns + c, r * columns + n, (r + 1) * columns + c, (r + 1) * columns + n
            faces += [[a, b, d], [b, e, d]]
    return points[None] + torch.tensor([0.0, 0, 2]), torch.tensor(faces)


def soup(images: int = 2, count: int = 12, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    vertices = 0.5 * torch.randn(images, count * 3, 3, generator=g)
    return vertices, torch.arange(count * 3).reshape(count, 3), *cameras(images, 24, 20, g)


def area_on_screen(vertices: torch.Tensor, K: torch.Tensor) -> torch.Tensor:
    """Of a polygon [V,3] of the front camera, by the shoelace formula."""
    x, y = (vertices[:, :2] / vertices[:, 2:] * K[0, 0]).unbind(1)
    return 0.5 * (x * y.roll(-1) - y * x.roll(-1)).sum().abs()


def test_agrees_with_the_rasterizer():
    """Recomputing barycentrics and depth from the vertices changes nothing but rounding."""
    vertices, faces, viewmats, Ks = soup()
    viewmats[:, 2, 3] += 2
    ids, barycentrics, depth = rasterize_mesh(vertices, faces, viewmats, Ks, 24, 20)
    surface = surface_of(ids, vertices, faces, viewmats, Ks)
    assert (ids >= 0).float().mean() > 0.1
    assert (surface.barycentrics - barycentrics).abs().max() < 2e-4
    assert (surface.depth[..., 0] - depth).abs().max() < 2e-4


def test_interpolated_positions_lie_on_the_ray():
    vertices, faces, viewmats, Ks = soup(seed=1)
    viewmats[:, 2, 3] += 2
    drawn = render_mesh(vertices, faces, vertices, viewmats, Ks, 24, 20)
    inside = antialias(torch.ones(2, 20, 24, 1), drawn.face_ids, drawn.depth, vertices, faces, viewmats, Ks)
    assert torch.equal(inside, torch.ones_like(inside))  # mixing equals changes nothing
    ids = drawn.face_ids
    surface = surface_of(ids, vertices, faces, viewmats, Ks)
    world = interpolate(surface, faces, vertices)
    for b in range(2):
        point = world[b] @ viewmats[b, :3, :3].T + viewmats[b, :3, 3]
        seen = ids[b] >= 0
        pixel = (point @ Ks[b].T)[seen]
        rows, columns = torch.nonzero(seen, as_tuple=True)
        assert (pixel[:, 0] / pixel[:, 2] - columns - 0.5).abs().max() < 1e-2
        assert (pixel[:, 1] / pixel[:, 2] - rows - 0.5).abs().max() < 1e-2
        assert (point[seen][:, 2] - surface.depth[b][seen][:, 0]).abs().max() < 1e-3


def test_gradients_inside_match_finite_differences():
    vertices, faces, viewmats, Ks = soup(images=2, count=5, seed=2)
    viewmats[:, 2, 3] += 2
    viewmats, Ks = viewmats.double(), Ks.double()
    ids, _, _ = rasterize_mesh(vertices, faces, viewmats.float(), Ks.float(), 24, 20)
    attributes = torch.randn(2, 15, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def function(points, values):
        surface = surface_of(ids, points, faces, viewmats, Ks)
        return interpolate(surface, faces, values), surface.depth

    inputs = (vertices.double().requires_grad_(), attributes.requires_grad_())
    assert torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=1e-5, rtol=1e-4)


def test_gradients_at_silhouettes_match_finite_differences():
    """Faces that cover each other and the background: the mixing's derivative, which pixel shows what held fixed."""
    vertices, faces, viewmats, Ks = soup(images=1, count=6, seed=3)
    viewmats[:, 2, 3] += 2
    ids, _, depth = rasterize_mesh(vertices, faces, viewmats, Ks, 24, 20)
    g = torch.Generator().manual_seed(2)
    planes = torch.rand(1, 20, 24, 2, dtype=torch.float64, generator=g).requires_grad_()
    points = vertices.double().requires_grad_()

    def function(colours, corners):
        return antialias(colours, ids, depth[..., None].double(), corners, faces, viewmats.double(), Ks.double())

    assert torch.autograd.gradcheck(function, (planes, points), eps=1e-7, atol=1e-5, rtol=1e-4)
    (gradient,) = torch.autograd.grad(function(planes, points).square().sum(), points)
    assert (gradient.abs().amax((0, 2)) > 0).sum() > 10


def test_coverage_is_the_exact_area():
    """Summed alpha is a triangle's area to about a pixel, and its gradient the area's: edges of any slope."""
    g = torch.Generator().manual_seed(4)
    errors, slopes = [], []
    for _ in range(20):
        triangle = torch.tensor([[-0.4, -0.4, 1.0], [0.5, -0.3, 1], [0.1, 0.5, 1]]) + 0.1 * torch.randn(
            3, 3, generator=g
        )
        leaf = triangle[None].clone().requires_grad_()
        K = camera(64)
        drawn = render_mesh(leaf, torch.tensor([[0, 1, 2]]), torch.ones(3, 1), FRONT, K, 64, 64)
        drawn.alpha.sum().backward()
        exact = triangle.clone().requires_grad_()
        area_on_screen(exact, K[0]).backward()
        errors.append((drawn.alpha.sum() - area_on_screen(triangle, K[0])).abs().item())
        slopes.append(((leaf.grad[0] - exact.grad).norm() / exact.grad.norm()).item())
    assert max(errors) < 2 and sum(errors) / 20 < 0.6, errors  # of about 800 pixels, 120 of them on the border
    assert max(slopes) < 0.1 and sum(slopes) / 20 < 0.05, slopes


def test_moving_an_edge_moves_coverage_without_jumps():
    """A wall's border crosses several pixels in small steps: coverage follows it linearly."""
    wall = torch.tensor([[[-5.0, -5, 1], [0, -5, 1], [0, 5, 1], [-5, 5, 1]]])
    faces, K = torch.tensor([[0, 1, 2], [0, 2, 3]]), camera(16)
    covered = []
    for step in range(41):
        moved = wall.clone()
        moved[:, 1:3, 0] = step / 40 * 4 / 40  # four pixels in forty steps
        covered.append(render_mesh(moved, faces, torch.ones(4, 1), FRONT, K, 16, 16).alpha[0, 8].sum().item())
    steps = torch.tensor(covered).diff()
    assert (steps - 0.1).abs().max() < 1e-3


def test_inner_edges_are_no_silhouettes():
    vertices, faces = sphere()
    drawn = render_mesh(vertices, faces, torch.ones(vertices.shape[1], 1), FRONT, camera(48), 48, 48)
    border = torch.nn.functional.max_pool2d((drawn.face_ids < 0).float()[:, None], 3, 1, 1)[:, 0] > 0
    assert (drawn.alpha[..., 0][~border] == 1).all()
    mixed = drawn.alpha[(drawn.alpha > 0) & (drawn.alpha < 1)]
    assert len(mixed) > 40


def test_an_occluder_has_a_border_too():
    """Where one surface ends before another, colours mix; the nearer one's vertices feel it, the farther one's not."""
    near = torch.tensor([[-0.3, -0.35, 1.0], [0.32, -0.3, 1], [0.02, 0.33, 1]])
    far = torch.tensor([[-9.0, -9, 3], [9, -9, 3], [0, 18, 3]])
    leaf = torch.cat([near, far])[None].requires_grad_()
    colors = torch.cat([torch.ones(3, 1), torch.zeros(3, 1)])
    drawn = render_mesh(leaf, torch.tensor([[0, 1, 2], [3, 4, 5]]), colors, FRONT, camera(40), 40, 40)
    assert (drawn.alpha == 1).all()
    drawn.image.sum().backward()
    assert leaf.grad[0, :3, :2].abs().min() > 0.1
    assert not leaf.grad[0, 3:].any()


def test_normals_face_the_camera_and_follow_the_surface():
    vertices, faces = sphere(24, 40)
    drawn = render_mesh(vertices, faces, torch.zeros(vertices.shape[1], 1), FRONT, camera(40), 40, 40)
    seen = drawn.face_ids[0] >= 0
    rows, columns = torch.nonzero(seen, as_tuple=True)
    z = drawn.depth[0][seen][:, 0]
    points = torch.stack([(columns + 0.5 - 20) / 40 * z, (rows + 0.5 - 20) / 40 * z, z], 1)
    expected = (points - torch.tensor([0.0, 0, 2])) / 0.5
    assert (drawn.normals[0][seen] - expected).abs().max() < 0.1
    assert ((drawn.normals[0][seen] * points).sum(1) < 0.05).all()
    flipped = render_mesh(vertices, faces.flip(1), torch.zeros(vertices.shape[1], 1), FRONT, camera(40), 40, 40)
    assert (flipped.normals - drawn.normals).abs().max() < 1e-5


def test_a_sphere_is_fitted_to_a_silhouette():
    """Only alpha is given, and a start where more than half the target is not covered: the gradient finds it."""
    vertices, faces = sphere(10, 16)
    K = camera(48)
    with torch.no_grad():
        target = render_mesh(
            vertices * torch.tensor([1.2, 0.8, 1]), faces, torch.ones(1, vertices.shape[1], 1), FRONT, K, 48, 48
        ).alpha
    shift, size = torch.tensor([0.25, -0.2], requires_grad=True), torch.ones(2, requires_grad=True)
    optimiser = torch.optim.Adam([shift, size], lr=0.03)
    for _ in range(60):
        points = torch.cat([vertices[..., :2] * size + shift, vertices[..., 2:]], -1)
        loss = (render_mesh(points, faces, vertices, FRONT, K, 48, 48).alpha - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert shift.abs().max() < 0.01, shift
    assert (size - torch.tensor([1.2, 0.8])).abs().max() < 0.02, size


def test_depth_and_normals_pull_a_plane_into_place():
    """The binding of surfels to a mesh, mesh side: a tilted wall turns until depth and normals agree."""
    wall = torch.tensor([[[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]])
    faces, K = torch.tensor([[0, 1, 2], [0, 2, 3]]), camera(24)
    tilt = torch.tensor([0.4, -0.3, 0.2, -0.1], requires_grad=True)
    optimiser = torch.optim.Adam([tilt], lr=0.02)
    for _ in range(120):
        points = torch.cat([wall[..., :2], 2 + tilt.reshape(1, 4, 1)], -1)
        drawn = render_mesh(points, faces, wall, FRONT, K, 24, 24)
        seen = drawn.face_ids >= 0
        wanted = torch.tensor([0.0, 0, -1])
        loss = (drawn.depth[seen] - 2).abs().mean() + (drawn.normals[seen] - wanted).abs().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert tilt.abs().max() < 0.03, tilt


def test_neighbours_of_a_tetrahedron_and_of_bad_edges():
    faces = torch.tensor([[0, 1, 2], [0, 3, 1], [1, 3, 2], [0, 2, 3]])
    found = find_neighbours(faces)
    assert found.vertices.tolist() == [[3, 3, 3], [2, 2, 2], [0, 0, 0], [1, 1, 1]]
    assert found.faces.tolist() == [[2, 3, 1], [2, 0, 3], [3, 0, 1], [2, 1, 0]]
    assert (find_neighbours(faces[:1]).faces == -1).all()
    fan = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4]])  # three faces at one edge
    assert (find_neighbours(fan).vertices == -1).all()
    assert find_neighbours(torch.zeros(0, 3, dtype=torch.int64)).faces.shape == (0, 3)


def test_bad_vertices_leave_gradients_finite():
    vertices, faces = sphere()
    strange = torch.tensor([[[float("nan"), 0, 1], [0, 0, 0], [0, 0, -1], [float("inf"), 0, 1]]])
    leaf = torch.cat([vertices, strange], 1).requires_grad_()
    n = vertices.shape[1]
    faces = torch.cat([faces, torch.tensor([[n, 0, 1], [n + 1, 0, 1], [n + 2, 2, 3], [n + 3, 4, 5]])])
    colors = torch.rand(n + 4, 3)
    drawn = render_mesh(leaf, faces, colors, FRONT, camera(32), 32, 32)
    (drawn.image.sum() + drawn.depth.sum() + drawn.alpha.sum()).backward()
    assert torch.isfinite(drawn.image).all() and drawn.alpha.max() == 1
    assert torch.isfinite(leaf.grad).all() and leaf.grad.any() and not leaf.grad[0, n:].any()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (17, 33)])
def test_odd_sizes_and_empty_meshes(width, height):
    vertices, faces, viewmats, Ks = soup(images=2)
    drawn = render_mesh(vertices.requires_grad_(), faces, torch.ones(36, 2), viewmats, Ks, width, height)
    drawn.image.sum().backward()
    assert drawn.image.shape == (2, height, width, 2) and torch.isfinite(vertices.grad).all()
    empty = render_mesh(vertices, faces[:0], torch.ones(36, 2), viewmats, Ks, width, height)
    assert not empty.alpha.any() and not empty.depth.any() and not empty.normals.any()


def test_kept_neighbours_change_nothing():
    vertices, faces = sphere()
    arguments = (vertices, faces, vertices, FRONT, camera(24), 24, 24)
    for a, b in zip(render_mesh(*arguments), render_mesh(*arguments, neighbours=find_neighbours(faces)), strict=True):
        assert torch.equal(a, b)


def test_wrong_attributes_are_named():
    vertices, faces, viewmats, Ks = soup()
    for wrong in (torch.ones(5, 3), torch.ones(3, 36, 3), torch.ones(36), None):
        with pytest.raises(ValueError, match="attributes"):
            render_mesh(vertices, faces, wrong, viewmats, Ks, 8, 8)


def test_vertex_normals_of_a_sphere_point_outwards():
    vertices, faces = sphere()
    outwards = (vertices - torch.tensor([0.0, 0, 2])) / 0.5
    assert ((vertex_normals(vertices, faces) * outwards).sum(-1).abs() > 0.95).all()

# SPDX-License-Identifier: Apache-2.0
"""The fused mesh picture against its torch reference in float64: values and every gradient, and what it must not do."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from blendsplat.heads.human import human_head
from blendsplat.splatting import mesh_layers, rasterize_mesh
from blendsplat.splatting.mesh_fused import vertex_corners
from blendsplat.splatting.mesh_layers import MeshImage, render_mesh
from blendsplat.splatting.mesh_reference import mesh_planes
from blendsplat.splatting.silhouettes import Neighbours, find_neighbours

from .scenes import cameras
from .test_mesh_gradients import camera, soup, sphere

PLANES = ("image", "alpha", "depth", "normals")


class MeshScene(NamedTuple):
    vertices: torch.Tensor
    faces: torch.Tensor
    viewmats: torch.Tensor
    Ks: torch.Tensor
    width: int
    height: int


def turned_ball() -> MeshScene:
    """A closed ball of small faces, three images, each from another side and a little off the middle."""
    vertices, faces = sphere(20, 30)
    viewmats, Ks = cameras(3, 40, 36, torch.Generator().manual_seed(5))
    return MeshScene(vertices.repeat(3, 1, 1) - torch.tensor([0.0, 0, 2]), faces, viewmats, Ks, 40, 36)


def crowd() -> MeshScene:
    """Loose faces that cut and cover each other."""
    vertices, faces, viewmats, Ks = soup(images=2, count=14, seed=7)
    viewmats[:, 2, 3] += 2
    return MeshScene(vertices, faces, viewmats, Ks, 24, 20)


def small_head() -> MeshScene:
    """Faces far smaller than pixels."""
    head = human_head()
    flip = torch.diag(torch.tensor([1.0, -1, -1, 1]))[None]
    flip[:, 2, 3] = 1.0
    flip[:, 1, 3] = head.template[:, 1].mean()
    return MeshScene(head.template[None], head.faces.to(torch.int64), flip, camera(48, 110.0), 48, 48)


def hostile() -> MeshScene:
    """Faces before the near plane, behind the camera, with NaN and without area beside a ball."""
    vertices, faces = sphere()
    n = vertices.shape[1]
    strange = [[float("nan"), 0, 1], [0, 0, 0], [0.1, 0, -1], [float("inf"), 0, 1], [0, 0, 0.005], [0.2, 0.1, 1.3]]
    vertices = torch.cat([vertices, torch.tensor([strange])], 1)
    bad = [[n, 0, 1], [n + 1, 0, 1], [n + 2, 2, 3], [n + 3, 4, 5], [n + 4, 6, 7], [n + 5, n + 5, 8], [9, 9, 9]]
    return MeshScene(vertices, torch.cat([faces, torch.tensor(bad)]), torch.eye(4)[None], camera(32, 37.3), 32, 32)


def folded_strip() -> MeshScene:
    """Two faces that share an edge and lie one over the other: the shared edge is a silhouette."""
    vertices = torch.tensor([[[-0.4, -0.51, 2.0], [0.31, -0.2, 2.1], [0.28, 0.42, 2.2], [-0.1, 0.47, 2.6]]])
    return MeshScene(vertices, torch.tensor([[0, 1, 2], [2, 1, 3]]), torch.eye(4)[None], camera(32, 41.0), 32, 32)


SCENES = [turned_ball, crowd, small_head, folded_strip]


def random_planes(planes, seed: int = 3) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(plane.shape, generator=g).to(plane.device) for plane in planes]


def attributes_of(scene: MeshScene, channels: int, shared: bool) -> torch.Tensor:
    images, count = scene.vertices.shape[:2]
    shape = (count, channels) if shared else (images, count, channels)
    return torch.randn(shape, generator=torch.Generator().manual_seed(11))


def fused(scene: MeshScene, attributes: torch.Tensor, weights=None):
    """The picture, and the gradients of vertices and attributes."""
    points, values = scene.vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
    drawn = render_mesh(points, scene.faces, values, *scene[2:])
    return drawn, torch.autograd.grad(drawn[:4], (points, values), weights or random_planes(drawn[:4]))


def oracle(scene: MeshScene, attributes: torch.Tensor, weights=None):
    """The same of the reference in float64."""
    points, values = scene.vertices.double().requires_grad_(), attributes.double().requires_grad_()
    ids, _, depth = rasterize_mesh(scene.vertices, scene.faces, *scene[2:])
    cams = scene.viewmats.double(), scene.Ks.double()
    planes = mesh_planes(ids, depth.double(), points, scene.faces, values, *cams)
    weights = [w.double() for w in weights or random_planes(planes)]
    grads = torch.autograd.grad(planes, (points, values), weights, allow_unused=True)
    pairs = zip(grads, (points, values), strict=True)
    return MeshImage(*planes, ids), [torch.zeros_like(x) if g is None else g for g, x in pairs]


def assert_near(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 2e-5) -> None:
    got, expected = got.detach(), expected.detach()
    size = max(float(expected.abs().max()) if expected.numel() else 0.0, 1e-3)
    assert got.shape == expected.shape
    assert (got.double() - expected).abs().amax().item() < tolerance * size if got.numel() else True


@pytest.fixture(autouse=True)
def _kernels_alone(monkeypatch):
    """No test passes because the torch path was taken."""

    def never(*_):
        raise AssertionError("the torch path")

    monkeypatch.setattr(mesh_layers, "mesh_planes", never)


@pytest.mark.parametrize("scene", SCENES, ids=lambda make: make.__name__)
@pytest.mark.parametrize(("channels", "shared"), [(1, False), (3, True), (3, False), (8, True), (0, False)])
def test_planes_and_gradients_are_the_references(scene, channels, shared):
    scene = scene()
    attributes = attributes_of(scene, channels, shared)
    (drawn, grads), (expected, expected_grads) = fused(scene, attributes), oracle(scene, attributes)
    assert (drawn.face_ids >= 0).float().mean() > 0.05 and ((drawn.alpha > 0) & (drawn.alpha < 1)).sum() > 8
    for plane in PLANES:
        assert_near(getattr(drawn, plane), getattr(expected, plane))
    for got, wanted in zip(grads, expected_grads, strict=True):
        assert_near(got, wanted, 1e-4)


@pytest.mark.parametrize("plane", range(4), ids=PLANES)
def test_each_plane_alone_has_the_references_gradient(plane):
    """What has no gradient is not materialised; nothing of the other planes leaks in."""
    scene = turned_ball()
    attributes = attributes_of(scene, 3, True)
    points, values = scene.vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
    drawn = render_mesh(points, scene.faces, values, *scene[2:])
    weights = [torch.zeros_like(x) for x in drawn[:4]]
    weights[plane] = random_planes(drawn[:4])[plane]
    drawn[plane].backward(weights[plane])
    _, (by_vertex, by_value) = oracle(scene, attributes, weights)
    assert_near(points.grad, by_vertex, 1e-4)
    assert_near(values.grad, by_value, 1e-4)
    assert points.grad.any()


def test_gradients_only_where_asked():
    scene = turned_ball()
    attributes = attributes_of(scene, 3, False)
    both, (by_vertex, by_value) = fused(scene, attributes)
    weights = random_planes(both[:4])
    points, values = scene.vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
    torch.autograd.backward(render_mesh(points, scene.faces, attributes, *scene[2:])[:4], weights)
    assert torch.equal(points.grad, by_vertex)
    drawn = render_mesh(scene.vertices, scene.faces, values, *scene[2:])
    torch.autograd.backward(drawn[:4], weights)
    assert torch.equal(values.grad, by_value)
    assert not render_mesh(scene.vertices, scene.faces, attributes, *scene[2:]).image.requires_grad


@pytest.mark.parametrize("scene", [turned_ball, small_head, hostile], ids=lambda make: make.__name__)
def test_threads_change_nothing(scene, set_threads):
    scene, results = scene(), []
    for threads in (1, 2, 5):
        set_threads(threads)
        drawn, grads = fused(scene, attributes_of(scene, 3, True))
        results.append([*drawn, *grads])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_a_batch_is_its_images():
    scene = turned_ball()
    attributes = attributes_of(scene, 3, False)
    drawn, grads = fused(scene, attributes)
    weights = random_planes(drawn[:4])
    for b in range(3):
        one = slice(b, b + 1)
        alone = MeshScene(scene.vertices[one], scene.faces, scene.viewmats[one], scene.Ks[one], *scene[4:])
        image, image_grads = fused(alone, attributes[one], [w[one] for w in weights])
        for a, c in zip([*drawn, *grads], [*image, *image_grads], strict=True):
            assert torch.equal(a[one], c)


def test_bad_faces_leave_everything_finite():
    """Normals, too, and their gradients: faces that are not finite count in no vertex' normal."""
    scene = hostile()
    drawn, grads = fused(scene, attributes_of(scene, 3, False))
    good = sphere()[0].shape[1]
    for plane in PLANES:
        assert torch.isfinite(getattr(drawn, plane)).all()
    assert torch.isfinite(grads[0]).all() and torch.isfinite(grads[1]).all() and grads[0][:, :good].any()
    assert not grads[0][:, [good, good + 3]].any()  # not finite
    assert not grads[1][:, good:].any()


def test_beside_bad_faces_the_rest_is_the_references():
    """All but normals, which the reference loses where a face is not finite."""
    scene = hostile()
    attributes = attributes_of(scene, 3, True)
    ids, _, drawn_depth = rasterize_mesh(scene.vertices, scene.faces, *scene[2:])
    results = []
    for dtype in (torch.float32, torch.float64):
        points, values = scene.vertices.to(dtype).requires_grad_(), attributes.to(dtype).requires_grad_()
        if dtype == torch.float32:
            planes = render_mesh(points, scene.faces, values, *scene[2:])[:3]
        else:
            cams = scene.viewmats.double(), scene.Ks.double()
            planes = mesh_planes(ids, drawn_depth.double(), points, scene.faces, values, *cams)[:3]
        weights = [w.to(dtype) for w in random_planes(planes)]
        results.append([*planes, *torch.autograd.grad(planes, (points, values), weights)])
    for got, expected in zip(*results, strict=True):
        assert_near(got, expected, 1e-4)


def test_thin_faces_have_finite_gradients():
    """Slivers down to the least area that is drawn."""
    g = torch.Generator().manual_seed(1)
    direction = torch.randn(40, 1, 2, generator=g)
    along = torch.tensor([-0.5, 0.1, 0.6])[None, :, None] * direction
    width = 10.0 ** -torch.arange(40).div(4)[:, None, None]
    flat = along + width * torch.randn(40, 3, 2, generator=g)
    vertices = torch.cat([flat, 2 + 0.1 * torch.randn(40, 3, 1, generator=g)], -1).reshape(1, 120, 3)
    scene = MeshScene(vertices, torch.arange(120).reshape(40, 3), torch.eye(4)[None], camera(32), 32, 32)
    drawn, grads = fused(scene, attributes_of(scene, 2, True))
    assert all(torch.isfinite(x).all() for x in (*drawn, *grads)) and grads[0].any()


def test_borders_match_finite_differences():
    """Coverage and mixed colours by the vertices, but for steps that change which pixel shows what."""
    scene = folded_strip()
    attributes = attributes_of(scene, 2, True)
    drawn, _ = fused(scene, attributes)
    weights = random_planes(drawn[:2])

    def cost(points):
        found = render_mesh(points, scene.faces, attributes, *scene[2:])
        return sum((w * plane).sum().double() for w, plane in zip(weights, found[:2], strict=True)), found.face_ids

    leaf = scene.vertices.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cost(leaf)[0], leaf)
    step, checked = 1e-3, 0
    for i in range(leaf.numel()):
        sides = []
        for sign in (step, -step):
            moved = scene.vertices.clone()
            moved.view(-1)[i] += sign
            sides.append(cost(moved))
        if all(torch.equal(ids, drawn.face_ids) for _, ids in sides):
            slope = (sides[0][0] - sides[1][0]) / (2 * step)
            assert abs(slope - gradient.view(-1)[i]) < 0.02 * gradient.abs().max(), i
            checked += 1
    assert checked >= 4


def test_a_border_in_the_very_middle_keeps_its_gradient():
    """An edge exactly between two pixels' centres mixes nothing yet, but moves coverage either way."""
    wall = torch.tensor([[[-5.0, -5, 1], [0, -5, 1], [0, 5, 1], [-5, 5, 1]]], requires_grad=True)
    drawn = render_mesh(
        wall, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.ones(4, 1), torch.eye(4)[None], camera(16), 16, 16
    )
    assert torch.equal(drawn.alpha, (drawn.face_ids[..., None] >= 0).float())
    drawn.alpha.sum().backward()
    assert (wall.grad[0, 1:3, 0].sum() - 16 * 40).abs() < 1e-2  # sixteen rows, forty pixels a unit


@pytest.mark.parametrize("empty", ["no faces", "behind", "beside"])
def test_empty_pictures(empty):
    scene = turned_ball()
    if empty == "no faces":
        scene = scene._replace(faces=scene.faces[:0])
    else:
        shift = torch.tensor([0.0, 0, -50] if empty == "behind" else [500.0, 0, 0])
        viewmats = scene.viewmats.clone()
        viewmats[:, :3, 3] += shift
        scene = scene._replace(viewmats=viewmats)
    drawn, grads = fused(scene, attributes_of(scene, 3, True))
    assert (drawn.face_ids == -1).all()
    assert not any(x.any() for x in (*drawn[:4], *grads))


def test_no_images():
    scene = turned_ball()
    none = MeshScene(scene.vertices[:0], scene.faces, scene.viewmats[:0], scene.Ks[:0], *scene[4:])
    drawn, grads = fused(none, attributes_of(scene, 3, True))
    assert drawn.image.shape == (0, 36, 40, 3) and not grads[1].any()


def test_neighbours_that_do_not_fit_are_named():
    scene = turned_ball()
    found = find_neighbours(scene.faces)
    for wrong, name in (
        (Neighbours(found.faces[:-1], found.vertices[:-1]), "neighbours.faces"),
        (Neighbours(found.faces.int(), found.vertices), "neighbours.faces"),
        (Neighbours(found.faces, found.vertices + len(scene.faces)), "neighbours.vertices"),
        (Neighbours(found.faces - 2, found.vertices), "neighbours.faces"),
    ):
        with pytest.raises(ValueError, match=name):
            render_mesh(scene.vertices, scene.faces, scene.vertices, *scene[2:], neighbours=wrong)


def test_cameras_that_learn_go_through_torch(monkeypatch):
    """The kernels have no gradient of cameras; the torch path has, and is taken for them."""
    monkeypatch.setattr(mesh_layers, "mesh_planes", mesh_planes)
    scene = turned_ball()
    Ks = scene.Ks.clone().requires_grad_()
    drawn = render_mesh(scene.vertices, scene.faces, scene.vertices, scene.viewmats, Ks, *scene[4:])
    drawn.alpha.sum().backward()
    assert Ks.grad.any()


def test_corners_by_vertex():
    g = torch.Generator().manual_seed(1)
    faces = torch.randint(0, 30, (50, 3), generator=g, dtype=torch.int32)
    first, corners = vertex_corners(faces, 33)
    assert first[0] == 0 and first[-1] == 150 and corners.sort().values.tolist() == list(range(150))
    for vertex in range(33):
        own = corners[first[vertex] : first[vertex + 1]]
        assert own.tolist() == torch.nonzero(faces.reshape(-1) == vertex)[:, 0].tolist()

# SPDX-License-Identifier: Apache-2.0
"""The terms of the published loss against values worked out by hand, and where their gradients go."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from blendsplat.heads import load_head
from blendsplat.kaolrm.conventions import canonical_viewmat, intrinsics
from blendsplat.kaolrm.decoders import SurfaceGaussians
from blendsplat.kaolrm.training.draw_head import draw_mesh, draw_surfels
from blendsplat.kaolrm.training.losses import (
    alpha_loss,
    binding_losses,
    face_triangles,
    landmark_loss,
    pixel_loss,
    regulariser,
)

SIZE = 32


def test_landmarks_are_huber_in_pixels_at_192_and_count_eyes_and_lips_again():
    landmarks = torch.full((1, 68, 2), 40.0)
    off = landmarks.clone()
    off[..., 0] += 3  # 6 pixels at 192: Huber 5.5 in x, 0 in y
    assert float(landmark_loss(off, landmarks, 96)) == pytest.approx(3 * 5.5 / 2)
    one = landmarks.clone()
    one[0, 50, 1] -= 0.25  # half a pixel: Huber 0.125; a lip point is one of 68 and one of 20
    assert float(landmark_loss(one, landmarks, 96)) == pytest.approx(0.125 / 136 + 0.125 / 40)
    jaw = landmarks.clone()
    jaw[0, 3] += 3
    assert float(landmark_loss(jaw, landmarks, 96)) == pytest.approx(2 * 5.5 / 136)


def test_a_view_with_a_coordinate_that_is_not_positive_is_dropped():
    landmarks = torch.full((3, 68, 2), 40.0)
    landmarks[1, 7, 1] = 0.0
    landmarks[2, 0, 0] = float("nan")
    projected = (landmarks.nan_to_num(5.0) + torch.tensor([1.0, 100.0, 100.0])[:, None, None]).requires_grad_()
    loss = landmark_loss(projected, landmarks, 192)
    assert loss.item() == pytest.approx(3 * 0.5)  # 1 pixel in both coordinates
    loss.backward()
    assert projected.grad[0].abs().min() > 0 and (projected.grad[1:] == 0).all()
    assert landmark_loss(projected, -landmarks, 192).item() == 0


def test_pixels_alpha_and_regulariser():
    images, targets = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)
    images[0, 0, 0] = 0.5
    images[0, 1, 1] = 0.1
    mask = torch.zeros(1, 2, 2, 1)
    mask[0, 0, 0] = 1
    whole, face = (0.25 + 0.01) / 4, 0.25 / 4
    assert float(pixel_loss(images, targets, mask, 0.7)) == pytest.approx(0.3 * whole + 0.7 * face)
    assert float(alpha_loss(mask, torch.full_like(mask, 0.5))) == pytest.approx(0.5)
    assert float(regulariser(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))) == 14


def test_binding_counts_the_given_pixels_only():
    depth, normals, weights = torch.zeros(1, 1, 3, 1), torch.zeros(1, 1, 3, 3), torch.tensor([1.0, 1.0, 0.0])
    there = torch.tensor([0.2, 0.4, 9.0]).reshape(1, 1, 3, 1)
    turned = torch.tensor([[0.3, 0, 0], [0, 0.3, 0.3], [9, 9, 9]]).reshape(1, 1, 3, 3)
    lengths = binding_losses(depth, normals, there, turned, weights.reshape(1, 1, 3, 1))
    assert [float(x) for x in lengths] == pytest.approx([0.3, (0.1 + 0.2) / 2])
    assert [float(x) for x in binding_losses(depth, normals, there, turned, torch.zeros(1, 1, 3, 1))] == [0, 0]


def plane(tilt: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A square of side 1.2 in front of the canonical camera, its right side and its upper side nearer."""
    corners = [[-0.6, -0.6, 0], [0.6, -0.6, tilt], [0.6, 0.6, 1.5 * tilt], [-0.6, 0.6, 0.3 * tilt]]
    return torch.tensor([corners]), torch.tensor([[0, 1, 2], [0, 2, 3]])


def camera() -> tuple[torch.Tensor, torch.Tensor]:
    return (
        torch.tensor(canonical_viewmat()).float()[None, None],
        torch.tensor(intrinsics(SIZE)).float()[None, None],
    )


class FlatPainter:
    """A network whose every Gaussian lies in the plane z = 0, opaque and grey."""

    config = SimpleNamespace(focal=0.75)

    def gaussians(self, planes: torch.Tensor, points: torch.Tensor) -> SurfaceGaussians:
        size = points.shape[:2]
        quats = torch.tensor([1.0, 0, 0, 0]).expand(*size, 4)
        return SurfaceGaussians(torch.full((*size, 1), 0.9), torch.full((*size, 3), 0.05), quats, torch.ones(*size, 3))


def both_views(surfels_on: torch.Tensor, mesh: torch.Tensor, faces: torch.Tensor):
    drawn = draw_surfels(
        FlatPainter(), torch.zeros(1), surfels_on, faces, *camera(), SIZE, torch.zeros(1, 3), 600, seed=1
    )
    return drawn, draw_mesh(mesh, faces, *camera(), SIZE)


def test_surfels_that_lie_on_the_mesh_are_bound_to_it():
    """Depth and normals of both renderers mean the same: a wall at distance 2 that faces the camera."""
    vertices, faces = plane()
    surfels, mesh = both_views(vertices, vertices, faces)
    inside = (mesh.face_ids >= 0)[..., None].float()
    assert 0.15 < float(inside.mean()) < 0.25
    assert [float(x) for x in binding_losses(*surfels[2:], *mesh[:2], inside)] == pytest.approx([0, 0], abs=1e-4)
    assert float(((mesh.depth - 2) * inside).abs().max()) < 1e-5
    assert (mesh.normals[inside[..., 0] > 0] - torch.tensor([0, 0, -1.0])).abs().max() < 1e-5


def test_binding_pulls_mesh_and_surfels_towards_each_other():
    vertices, faces = plane()
    back = (vertices - torch.tensor([0, 0, 0.3])).requires_grad_()
    front = vertices.clone().requires_grad_()
    surfels, mesh = both_views(front, back, faces)
    inside = (mesh.face_ids >= 0)[..., None] * (surfels.depth.detach() > 0)
    depth, _ = binding_losses(*surfels[2:], *mesh[:2], inside)
    assert depth.item() == pytest.approx(0.3, abs=0.01)
    depth.backward()
    assert (back.grad[..., 2] < 0).all() and (front.grad[..., 2] > 0).all()  # a step against them brings both closer


@pytest.mark.parametrize("term", [0, 1])
def test_bindings_gradient_on_vertices_is_the_finite_difference(term: int):
    vertices, faces = plane(0.3)
    surfels, mesh = both_views(plane()[0], vertices, faces)
    inside = (mesh.face_ids >= 0)[..., None] * (surfels.depth > 0)
    # away from the border, where a finite step changes which pixels the mesh covers
    inside = inside & (torch.nn.functional.avg_pool2d(inside.permute(0, 3, 1, 2).float(), 3, 1, 1) > 0.99).permute(
        0, 2, 3, 1
    )
    direction = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 4, 3))).float()

    def loss(at: torch.Tensor) -> torch.Tensor:
        return binding_losses(*surfels[2:], *draw_mesh(at, faces, *camera(), SIZE)[:2], inside)[term]

    leaf = vertices.clone().requires_grad_()
    loss(leaf).backward()
    step = 2e-3
    numeric = float(loss(vertices + step * direction) - loss(vertices - step * direction)) / (2 * step)
    assert float((leaf.grad * direction).sum()) == pytest.approx(numeric, rel=0.02)
    assert abs(numeric) > 0.01


def test_far_cameras_see_only_the_points_in_front():
    vertices, faces = plane(0.3)
    painter = FlatPainter()
    painter.config = SimpleNamespace(focal=4.0)
    seen: list[torch.Tensor] = []
    painter.gaussians = lambda planes, points: seen.append(points) or FlatPainter.gaussians(painter, planes, points)
    draw_surfels(painter, torch.zeros(1), vertices, faces, *camera(), SIZE, torch.zeros(1, 3), 900, seed=1)
    assert seen[0].shape == (1, 500, 3) and float(seen[0][..., 2].min()) > 0.1


def test_the_face_is_ears_face_eyes_and_nose_without_the_forehead():
    head = load_head("human")
    face = face_triangles(head)
    corners = head.faces[face]
    allowed = set(np.concatenate([head.regions[n] for n in ("face", "nose", "left_ear", "right_ear")]).tolist())
    allowed |= {*head.regions["left_eyeball"].tolist(), *head.regions["right_eyeball"].tolist()}
    assert set(corners.flatten().tolist()) <= allowed and 1000 < int(face.sum()) < len(head.faces)
    other = replace(head, regions=head.regions | {"forehead": corners[0, :1].numpy()})  # `head` is everyone's
    assert not face_triangles(other)[face.nonzero()[0, 0]] and int(face_triangles(other).sum()) < int(face.sum())

# SPDX-License-Identifier: Apache-2.0
"""Images whose values are known without a rasterizer, so that the oracle's own reading of the papers is tested too."""

from __future__ import annotations

import math

import torch

from blendsplat.splatting.reference import rasterize_reference

from .kernels import Kernels
from .scenes import SceneData, random_scene


def single(width: int, height: int, seed: int = 70) -> SceneData:
    """One Gaussian two units in front of an upright camera with unequal focal lengths, no background."""
    scene = random_scene(images=1, gaussians=1, width=width, height=height, seed=seed)
    scene.viewmats[:] = torch.eye(4)
    scene.Ks[0] = torch.tensor([[40.0, 0, 12.25], [0, 60.0, 8.5], [0, 0, 1]])
    scene.gaussians[0][:] = torch.tensor([0.0, 0, 2.0])
    scene.gaussians[3][:] = 0.75
    scene.gaussians[4][:] = torch.tensor([0.2, 0.5, 1.0])
    scene.backgrounds[:] = 0
    return scene


def test_a_ball_on_the_axis(kernels: Kernels) -> None:
    """Radius 0.1 at depth 2: deviations of 40 * 0.1 / 2 = 2 and 60 * 0.1 / 2 = 3 pixels, 0.3 added to their squares."""
    scene = single(25, 17)
    scene.gaussians[2][:] = 0.1
    image, alpha, depth = kernels.render(scene)
    for row in range(17):
        for column in range(25):
            square = (column + 0.5 - 12.25) ** 2 / (2.0**2 + 0.3) + (row + 0.5 - 8.5) ** 2 / (3.0**2 + 0.3)
            value = 0.75 * math.exp(-0.5 * square)
            value = value if value >= 1 / 255 else 0.0
            assert abs(float(alpha[0, row, column, 0]) - value) < 1e-6
            assert abs(float(depth[0, row, column, 0]) - 2 * value) < 2e-6
            assert (image[0, row, column] - value * scene.gaussians[4][0, 0]).abs().max() < 1e-6


def test_two_layers(kernels: Kernels) -> None:
    """At the common centre: 0.6 of the near colour, 0.4 * 0.5 of the far one, 0.4 * 0.5 of the background."""
    scene = random_scene(images=1, gaussians=2, width=1, height=1)
    scene.viewmats[:], scene.Ks[0] = torch.eye(4), torch.tensor([[10.0, 0, 0.5], [0, 10, 0.5], [0, 0, 1]])
    scene.gaussians[0][0] = torch.tensor([[0.0, 0, 3], [0, 0, 1]])  # the far one first
    scene.gaussians[3][0] = torch.tensor([0.5, 0.6])
    scene.gaussians[4][0] = torch.tensor([[0.0, 1, 0], [1, 0, 0]])
    scene.backgrounds[0] = torch.tensor([0.0, 0, 1])
    image, alpha, depth = kernels.render(scene)
    assert (image[0, 0, 0] - torch.tensor([0.6, 0.2, 0.2])).abs().max() < 1e-6
    assert abs(float(alpha) - 0.8) < 1e-6 and abs(float(depth) - (0.6 + 0.2 * 3)) < 1e-6


def screen_covariance(scene: SceneData) -> torch.Tensor:
    """[2,2] of the only Gaussian: its three axes, turned by Rodrigues' rotation, moved through the pinhole."""
    mean, quat, scale = (t[0, 0].double() for t in scene.gaussians[:3])
    view, K = scene.viewmats[0].double(), scene.Ks[0].double()
    quat = quat / quat.norm()
    angle, axis = 2 * math.atan2(quat[1:].norm(), quat[0]), quat[1:] / quat[1:].norm()
    x, y, z = axis.tolist()
    rotation = torch.linalg.matrix_exp(angle * torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))

    def pixel(point: torch.Tensor) -> torch.Tensor:
        camera = K @ (view[:3, :3] @ point + view[:3, 3])
        return camera[:2] / camera[2]

    step = 1e-6
    sides = [(pixel(mean + step * rotation[:, i]) - pixel(mean - step * rotation[:, i])) / (2 * step) for i in range(3)]
    axes = torch.stack(sides, 1) * scale
    return axes @ axes.T + 0.3 * torch.eye(2, dtype=torch.float64)


def test_the_footprint_is_the_pinhole_image_of_the_axes(kernels: Kernels) -> None:
    """Any rotation, place and camera: the ellipse read off the pixels is the one that moving the axes gives."""
    for seed in range(6):
        scene = random_scene(images=1, gaussians=1, width=48, height=40, seed=80 + seed)
        scene.gaussians[0][:] *= 0.4
        scene.gaussians[2][:] = 0.02 + 0.1 * scene.gaussians[2] / 0.155
        scene.gaussians[3][:] = 0.9
        alpha = kernels.render(scene)[1][0, :, :, 0].double()
        rows, columns = torch.nonzero(alpha > 0.02, as_tuple=True)
        x, y = columns + 0.5, rows + 0.5
        powers = torch.stack([x * x, x * y, y * y, x, y, torch.ones_like(x)], 1).double()
        square = -2 * torch.log(alpha[rows, columns] / 0.9)
        a, b, c, *_ = torch.linalg.lstsq(powers, square[:, None], driver="gelsd").solution[:, 0]
        found = torch.linalg.inv(torch.stack([torch.stack([a, b / 2]), torch.stack([b / 2, c])]))
        wanted = screen_covariance(scene)
        assert len(rows) > 30
        assert (found - wanted).abs().max() < 2e-3 * wanted.abs().max()


def test_left_is_left_and_up_is_up(kernels: Kernels) -> None:
    """Positive x of the camera is to the right, positive y downwards; the oracle agrees."""
    scene = single(40, 30)
    scene.gaussians[0][:] = torch.tensor([0.5, 0.2, 2.0])
    scene.gaussians[2][:] = 0.01
    expected = (8.5 + 60 * 0.1, 12.25 + 40 * 0.25)
    reference = rasterize_reference(*scene.gaussians, scene.viewmats, scene.Ks, 40, 30)[1]
    for alpha in (kernels.render(scene)[1], reference):
        weight = alpha[0, :, :, 0].double() / alpha.double().sum()
        row = (weight.sum(1) * (torch.arange(30) + 0.5)).sum()
        column = (weight.sum(0) * (torch.arange(40) + 0.5)).sum()
        assert abs(row - expected[0]) < 0.05 and abs(column - expected[1]) < 0.05

# SPDX-License-Identifier: Apache-2.0
"""Colour initialisation's weights against the gradient of the rendered image, which is the same number."""

from __future__ import annotations

import torch

from blendsplat.splatting import gaussian_pixel_weights, rasterize_gaussians
from blendsplat.splatting.reference import rasterize_reference

from .scenes import random_scene


def test_without_threshold_it_is_the_gradient_of_the_colours():
    scene = random_scene(images=3, gaussians=40, seed=30)
    g = torch.Generator().manual_seed(1)
    images = torch.rand(3, scene.height, scene.width, 3, generator=g)
    mask = torch.rand(3, scene.height, scene.width, generator=g) > 0.4
    means, quats, scales, opacities, colors = scene.gaussians
    weight, rgb = gaussian_pixel_weights(
        means, quats, scales, opacities, scene.viewmats, scene.Ks, images, mask, threshold=0.0
    )
    for c in range(3):
        leaf = colors.clone().requires_grad_()
        image, _, _ = rasterize_gaussians(
            means, quats, scales, opacities, leaf, scene.viewmats, scene.Ks, scene.width, scene.height
        )
        image[..., c].backward(images[..., c] * mask, retain_graph=True)
        assert (leaf.grad[..., c].sum(0) - rgb[:, c]).abs().max() < 1e-4
        leaf.grad = None
        image[..., c].backward(mask.float())
        assert (leaf.grad[..., c].sum(0) - weight).abs().max() < 1e-4


def test_threshold_keeps_single_pixels():
    """One Gaussian, threshold between its weights: exactly the pixels above it count."""
    scene = random_scene(images=1, gaussians=1, width=15, height=15, seed=31)
    scene.viewmats[:] = torch.eye(4)
    scene.gaussians[0][:] = torch.tensor([0.0, 0, 2.0])
    scene.gaussians[3][:] = 0.8
    means, quats, scales, opacities, colors = scene.gaussians
    _, alpha, _ = rasterize_reference(means, quats, scales, opacities, colors, scene.viewmats, scene.Ks, 15, 15)
    images = torch.ones(1, 15, 15, 3)
    weight, rgb = gaussian_pixel_weights(
        means, quats, scales, opacities, scene.viewmats, scene.Ks, images, threshold=0.3
    )
    expected = alpha[alpha > 0.3].sum()
    assert 0 < expected < alpha.sum()
    assert abs(weight[0] - expected) < 1e-4 and (rgb[0] - expected).abs().max() < 1e-4

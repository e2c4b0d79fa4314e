# SPDX-License-Identifier: Apache-2.0
"""Metrics against slow, independent formulations, and what ignoring pixels means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from blendsplat.image_metrics.psnr_ssim import psnr, ssim, ssim_map
from blendsplat.systems import make_preset
from blendsplat.training.losses import image_loss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 40, 36, 3, generator=generator)
    return clean, (clean + 0.1 * torch.randn(clean.shape, generator=generator))


def test_psnr_by_hand() -> None:
    target = torch.zeros(1, 4, 4, 3)
    assert float(psnr(target + 0.1, target)) == pytest.approx(20, abs=1e-4)
    assert float(psnr(target + 2.0, target)) == pytest.approx(-10 * math.log10(4), abs=1e-4), "renders are not clamped"


def test_ssim_equals_the_definition_with_zero_padding(pair) -> None:
    images, targets = (t.double() for t in pair)

    def blur(x: np.ndarray) -> np.ndarray:  # 11 taps: truncate at 5 pixels = 3.33 sigma
        return gaussian_filter(x, 1.5, mode="constant", truncate=5 / 1.5)

    x, y = images[1, ..., 2].numpy(), targets[1, ..., 2].numpy()
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 1e-4, 9e-4
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    np.testing.assert_allclose(ssim_map(images, targets)[1, ..., 2].numpy(), expected, atol=1e-9)
    torch.testing.assert_close(ssim(images, images), torch.ones(2, dtype=torch.float64))


def test_ignored_pixels_change_nothing(pair) -> None:
    images, targets = pair
    valid = torch.ones(2, 40, 36, 1)
    valid[:, 25:] = 0
    spoiled = torch.where(valid > 0, images, torch.full_like(images, 7.0))
    for metric in (psnr, ssim):
        torch.testing.assert_close(metric(images, targets, valid), metric(spoiled, targets, valid))
    torch.testing.assert_close(psnr(images, targets, valid), psnr(images[:, :25], targets[:, :25]))
    preset = make_preset({"ssim_weight": 0.2})
    leaf = spoiled.clone().requires_grad_()
    image_loss(leaf, targets, valid, torch.ones(2), preset).backward()
    assert (leaf.grad[:, 25:] == 0).all() and (leaf.grad[:, :25] != 0).any()


def test_nothing_valid_is_no_loss_and_no_nan(pair) -> None:
    images, targets = pair
    assert float(image_loss(images, targets, torch.zeros(2, 40, 36, 1), torch.ones(2), make_preset({}))) == 0

# SPDX-License-Identifier: Apache-2.0
"""The fused image loss against the metrics in float64 torch: values and gradient, awkward sizes, weights and mattes."""

from __future__ import annotations

import pytest
import torch

from blendsplat.image_metrics.psnr_ssim import ssim, weighted_mean
from blendsplat.splatting.image_loss import TargetFrames, image_loss_into

pytestmark = pytest.mark.usefixtures("instruction_set")
# around whole lanes of pixels, steps of four rows, windows of eleven, strips of 128 rows
SIZES = ((1, 1), (17, 33), (5, 300), (131, 7), (16, 16), (270, 48))
WEIGHTS = ((1.0, 0.0), (0.0, 1.0), (0.8, 0.2))


def noise(*shape, seed=0):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def problem(frames, images, height, width, seed=0):
    g = torch.Generator().manual_seed(seed)
    targets = TargetFrames(
        noise(frames, height, width, 3, seed=seed), noise(frames, height, width, seed=seed + 1),
        noise(frames, height, width, seed=seed + 2),
    )  # fmt: skip
    rows = torch.randint(0, frames, (images,), generator=g)
    return torch.rand(images, height, width, 3, generator=g), targets, rows, torch.rand(images, 3, generator=g)


def fused(image, targets, rows, backgrounds, l1_weight, ssim_weight):
    grad = torch.full_like(image, torch.nan)
    losses, mean_squares = torch.full((2, len(image)), torch.nan, device=image.device)
    image_loss_into(image, targets, rows, backgrounds, l1_weight, ssim_weight, grad, losses, mean_squares)
    return losses, grad, mean_squares


def oracle(image, targets, rows, backgrounds, l1_weight, ssim_weight):
    x = image.detach().double().requires_grad_()
    premultiplied, alpha, valid = (
        t[rows].double() / 255 for t in (targets.premultiplied, targets.alpha[..., None], targets.valid[..., None])
    )
    y = premultiplied + (1 - alpha) * backgrounds[:, None, None].double()
    losses = l1_weight * weighted_mean((x - y).abs(), valid) + ssim_weight * (1 - ssim(x, y, valid))
    losses = losses * targets.frame_weights[rows].double()
    losses.mean().backward()
    return losses.detach(), x.grad, weighted_mean((x.detach() - y) ** 2, valid)


def assert_same(got, want):
    torch.testing.assert_close(got[0].double(), want[0], rtol=2e-6, atol=2e-6)
    assert (got[1].double() - want[1]).abs().max() <= 3e-5 * want[1].abs().max() + 1e-12
    torch.testing.assert_close(got[2].double(), want[2], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_matches_the_metrics(size, weights):
    arguments = problem(4, 3, *size)
    assert_same(fused(*arguments, *weights), oracle(*arguments, *weights))


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_a_frame_counts_as_often_as_its_weight_says(weights):
    """Loss and gradient do, the error that is reported does not; a weight of one changes no bit."""
    arguments = problem(4, 3, 37, 50)
    targets = arguments[1]
    plain = fused(*arguments, *weights)
    targets.frame_weights.copy_(torch.tensor([1e-3, 0.4, 1.0, 2.5]))
    targets.refresh(range(4))
    got = fused(*arguments, *weights)
    assert_same(got, oracle(*arguments, *weights))
    torch.testing.assert_close(got[2], plain[2], rtol=1e-6, atol=0)
    assert not torch.allclose(got[0], plain[0], rtol=1e-2)
    targets.frame_weights.fill_(1)
    targets.refresh(range(4))
    assert all(torch.equal(a, b) for a, b in zip(fused(*arguments, *weights), plain, strict=True))


def test_smooth_images_close_to_their_targets():
    """Flat windows, where SSIM's variances cancel, as at the end of a training."""
    row = torch.linspace(0, 255, 64).to(torch.uint8)
    color = row[None, None, :, None].expand(2, 40, 64, 3).contiguous()
    targets = TargetFrames(color, torch.full((2, 40, 64), 255, dtype=torch.uint8), noise(2, 40, 64) | 1)
    image = color / 255 + 1e-3 * torch.sin(torch.arange(64.0))[:, None]
    arguments = image, targets, torch.tensor([0, 1]), torch.zeros(2, 3)
    got, want = fused(*arguments, 0.8, 0.2), oracle(*arguments, 0.8, 0.2)
    torch.testing.assert_close(got[0].double(), want[0], rtol=0, atol=2e-5)
    assert (got[1].double() - want[1]).abs().max() <= 1e-2 * want[1].abs().max()


@pytest.mark.parametrize("alpha", [0, 255])
def test_mattes_at_their_ends(alpha):
    image, targets, rows, backgrounds = problem(2, 2, 20, 21)
    targets.alpha.fill_(alpha)
    arguments = image, targets, rows, backgrounds
    assert_same(fused(*arguments, 0.5, 0.5), oracle(*arguments, 0.5, 0.5))


def test_pixels_of_weight_zero_count_for_nothing():
    image, targets, rows, backgrounds = problem(1, 1, 40, 40)
    hidden = noise(1, 40, 40, seed=9) < 100
    targets = TargetFrames(targets.premultiplied, targets.alpha, (~hidden * 255).to(torch.uint8))
    first = fused(image, targets, rows, backgrounds, 0.7, 0.3)
    assert not first[1][hidden].any()
    other = image.clone()
    other[hidden] = 7.0
    for got, want in zip(fused(other, targets, rows, backgrounds, 0.7, 0.3), first, strict=True):
        assert torch.equal(got, want)
    assert_same(first, oracle(image, targets, rows, backgrounds, 0.7, 0.3))


def test_no_pixel_counts_at_all():
    image, targets, rows, backgrounds = problem(1, 1, 12, 18)
    targets = TargetFrames(targets.premultiplied, targets.alpha, torch.zeros_like(targets.valid))
    losses, grad, mean_squares = fused(image, targets, rows, backgrounds, 0.7, 0.3)
    assert losses.tolist() == pytest.approx([0.3]) and not grad.any() and not mean_squares.any()


def test_equal_images_have_no_loss_and_no_gradient():
    color = noise(1, 24, 30, 3)
    opaque = torch.full((1, 24, 30), 255, dtype=torch.uint8)
    arguments = color.float() * (1 / 255), TargetFrames(color, opaque, opaque), torch.tensor([0]), torch.rand(1, 3)
    losses, grad, mean_squares = fused(*arguments, 0.5, 0.5)
    assert losses.abs().max() < 1e-6 and grad.abs().max() < 1e-7 and mean_squares.max() < 1e-12


def test_gradient_is_the_slope_of_the_loss():
    """Central differences of the fused loss itself, in directions that pass through no kink of the L1 term."""
    image, targets, rows, backgrounds = problem(2, 2, 19, 23)
    _, grad, _ = fused(image, targets, rows, backgrounds, 0.0, 1.0)
    g = torch.Generator().manual_seed(3)
    for _ in range(3):
        direction = torch.randn(image.shape, generator=g)
        ends = [fused(image + h * direction, targets, rows, backgrounds, 0.0, 1.0)[0].mean() for h in (-1e-3, 1e-3)]
        slope, expected = (ends[1] - ends[0]) / 2e-3, (grad * direction).sum()
        assert abs(slope - expected) < 2e-3 * max(abs(expected), 0.05)


def test_a_batch_is_its_images_one_by_one_and_rows_may_repeat():
    image, targets, _, backgrounds = problem(3, 5, 37, 50)
    rows = torch.tensor([2, 0, 2, 2, 1])
    losses, grad, mean_squares = fused(image, targets, rows, backgrounds, 0.8, 0.2)
    for i in range(5):
        one = fused(image[i : i + 1].clone(), targets, rows[i : i + 1], backgrounds[i : i + 1].clone(), 0.8, 0.2)
        assert torch.equal(one[0][0], losses[i]) and torch.equal(one[2][0], mean_squares[i])
        torch.testing.assert_close(one[1][0], grad[i] * 5, rtol=1e-5, atol=1e-9)


def test_thread_count_changes_nothing(set_threads):
    arguments = problem(2, 3, 150, 40)
    results = []
    for threads in (1, 2, 5):
        set_threads(threads)
        results.append(fused(*arguments, 0.8, 0.2))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_no_images():
    image, targets, rows, backgrounds = problem(2, 0, 8, 8)
    assert fused(image, targets, rows, backgrounds, 1.0, 1.0)[0].shape == (0,)


def test_bad_arguments_are_named():
    image, targets, rows, backgrounds = problem(2, 2, 8, 9)
    good = [image, targets, rows, backgrounds, 1.0, 0.0, torch.empty_like(image), torch.empty(2), torch.empty(2)]
    cases = {
        0: (image.double(), "image: expected contiguous torch.float32"),
        2: (rows.int(), "rows: expected contiguous torch.int64"),
        3: (backgrounds[:1], r"backgrounds: expected .* \[2, 3\]"),
        6: (torch.empty(2, 9, 8, 3).transpose(1, 2), "grad_image: .* not contiguous"),
        7: (torch.empty(3), "losses"),
        8: (torch.empty(2, device="meta"), "mean_squares"),
    }
    for place, (bad, words) in cases.items():
        with pytest.raises(ValueError, match=words):
            image_loss_into(*[bad if i == place else value for i, value in enumerate(good)])
    for bad_rows in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="rows: expected numbers from 0 to 1"):
            image_loss_into(*good[:2], torch.tensor(bad_rows), *good[3:])
    with pytest.raises(ValueError, match="valid: expected"):
        TargetFrames(targets.premultiplied, targets.alpha, targets.valid.float())
    with pytest.raises(ValueError, match="premultiplied"):
        TargetFrames(targets.alpha, targets.alpha, targets.valid)

# SPDX-License-Identifier: Apache-2.0
"""The Gaussian rasterizer against its oracle: values, every gradient, batches, borders and hostile input."""

from __future__ import annotations

import pytest
import torch

from blendsplat.errors import BlendsplatError
from blendsplat.splatting import gaussian_pixel_weights, rasterize_gaussians
from blendsplat.splatting.reference import rasterize_reference

from .scenes import compare_with_reference, random_scene, render


@pytest.mark.parametrize("seed", range(3))
def test_matches_reference(raster_set, seed):
    compare_with_reference(random_scene(seed=seed))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (4, 4), (3, 64), (64, 5)])
def test_sizes_that_are_no_multiple_of_the_tile(width, height):
    compare_with_reference(random_scene(images=2, gaussians=25, width=width, height=height, seed=5, size=0.4))


def test_opaque_stack_stops_early(raster_set):
    """Sixty large, nearly opaque Gaussians: every pixel reaches the stop, most of the stack is never seen."""
    scene = random_scene(gaussians=60, seed=7, size=0.8)
    scene.gaussians[3] = 0.9 + 0.2 * scene.gaussians[3]  # above 0.99 too: the clamp
    compare_with_reference(scene)
    assert (render(scene)[1] > 0.999).any()


def test_needles_and_points():
    """Scales over four orders of magnitude in one Gaussian, and scale zero: only the low-pass is left."""
    scene = random_scene(gaussians=40, seed=8)
    scene.gaussians[2] = scene.gaussians[2] * torch.tensor([20.0, 0.01, 0.0])
    scene.gaussians[2][:, ::5] = 0
    compare_with_reference(scene, tolerance=2e-4)  # needles amplify the rounding of their direction by their length


def test_centres_on_tile_borders_and_pixel_centres():
    scene = random_scene(images=1, gaussians=64, width=32, height=32, seed=9)
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"), -1).reshape(-1, 2)
    scene.viewmats[:] = torch.eye(4)
    scene.Ks[:] = torch.tensor([[32.0, 0, 16], [0, 32, 16], [0, 0, 1]])
    pixels = grid * 4 + (grid[:, :1] % 2) * 0.5
    depth = 1 + torch.arange(64.0) / 64
    scene.gaussians[0][0] = torch.cat([(pixels - 16) / 32, torch.ones(64, 1)], 1) * depth[:, None]
    scene.gaussians[2] = scene.gaussians[2] * 0.2
    compare_with_reference(scene)


def test_partly_outside_and_beside_the_camera():
    """Centres far outside the image, where the Jacobian is clamped, and just behind the near plane."""
    scene = random_scene(gaussians=50, seed=10, size=0.6)
    scene.gaussians[0] = scene.gaussians[0] * 4
    compare_with_reference(scene, tolerance=2e-4)


def test_faint_gaussians_are_cut_at_one_grey_level():
    scene = random_scene(gaussians=80, seed=11)
    scene.gaussians[3] = scene.gaussians[3] * 0.02
    compare_with_reference(scene)


def hostile_scene():
    scene = random_scene(images=1, gaussians=24, seed=12)
    means, quats, scales, opacities, colors = scene.gaussians
    bad = 0
    for tensor in (means, quats, scales, opacities, colors):
        for value in (float("nan"), float("inf"), -float("inf")):
            tensor[0, bad, ...] = value
            bad += 1
    quats[0, bad] = 0
    means[0, bad + 1] = torch.tensor([0.0, 0, -5])  # behind
    means[0, bad + 2] = 1e30
    scales[0, bad + 3] = 1e25
    opacities[0, bad + 4] = 0
    means[0, bad + 5] = torch.tensor([50.0, 0, 0])  # off screen
    return scene, [*list(range(bad + 3)), bad + 4, bad + 5]


def test_bad_gaussians_are_skipped_with_zero_gradient(raster_set):
    scene, skipped = hostile_scene()
    leaves = [t.requires_grad_() for t in scene.gaussians]
    image, alpha, depth = render(scene)
    (image.sum() + alpha.sum() + depth.sum()).backward()
    assert torch.isfinite(image).all() and torch.isfinite(alpha).all() and torch.isfinite(depth).all()
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad[0, skipped] == 0).all()
    kept = [i for i in range(24) if i not in skipped and i != 18]  # 18: the gigantic one, drawn or not
    assert any((leaf.grad[0, kept] != 0).any() for leaf in leaves)


def test_all_zero_parameters_draw_nothing():
    scene = random_scene(gaussians=10)
    scene.gaussians = [torch.zeros_like(t, requires_grad=True) for t in scene.gaussians]
    image, alpha, depth = render(scene)
    image.sum().backward()
    assert torch.equal(image, scene.backgrounds[:, None, None].expand_as(image))
    assert not alpha.any() and not depth.any()
    assert all(not t.grad.any() for t in scene.gaussians)


@pytest.mark.parametrize("seed", range(6))
def test_any_magnitude_is_survived(raster_set, seed):
    """Parameters over forty orders of magnitude: images and gradients of what float32 can hold stay finite."""
    scene = random_scene(images=1, gaussians=300, seed=50 + seed)
    g = torch.Generator().manual_seed(seed)
    for which in (0, 1, 2):
        exponents = torch.empty(1, 300, 1).uniform_(-20, 20, generator=g)
        chosen = torch.rand(1, 300, 1, generator=g) < 0.4
        scene.gaussians[which] = torch.where(chosen, scene.gaussians[which] * 10**exponents, scene.gaussians[which])
    leaves = [t.requires_grad_() for t in scene.gaussians]
    outputs = render(scene)
    sum(out.clamp(-1e6, 1e6).sum() for out in outputs).backward()
    assert all(torch.isfinite(out).all() for out in outputs)
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


def test_too_many_gigantic_gaussians_are_refused_with_a_sentence():
    scene = random_scene(images=1, gaussians=140_000, width=512, height=512)
    scene.gaussians[2] = scene.gaussians[2] * 0 + 100.0
    scene.gaussians[3] = scene.gaussians[3] * 0 + 0.5
    with pytest.raises(BlendsplatError, match="gigantic"):
        render(scene)


def test_gigantic_gaussian_covers_the_image():
    scene = random_scene(images=1, gaussians=1, width=40, height=24, seed=1)
    scene.gaussians[0][:] = 0
    scene.gaussians[2][:] = 1e4
    scene.gaussians[3][:] = 0.7
    _, alpha, _ = render(scene)
    assert (alpha - 0.7).abs().max() < 1e-3


@pytest.mark.parametrize("gaussians", [0, 1])
def test_few_gaussians(gaussians):
    compare_with_reference(random_scene(gaussians=gaussians, seed=3))


def test_no_images():
    scene = random_scene(images=1)
    empty = [t[:0] for t in scene.gaussians]
    image, alpha, depth = rasterize_gaussians(*empty, scene.viewmats[:0], scene.Ks[:0], 8, 6)
    assert image.shape == (0, 6, 8, 3) and alpha.shape == (0, 6, 8, 1) and depth.shape == (0, 6, 8, 1)


def test_batch_equals_loop():
    scene = random_scene(images=3, gaussians=50, seed=13)
    together = render(scene)
    for b in range(3):
        for whole, single in zip(together, render(scene.image(b)), strict=True):
            assert torch.equal(whole[b : b + 1], single)


def test_order_of_input_does_not_matter():
    scene = random_scene(images=1, gaussians=70, seed=14)
    permutation = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    before = render(scene)
    scene.gaussians = [t[:, permutation] for t in scene.gaussians]  # also not contiguous in memory order
    for a, b in zip(before, render(scene), strict=True):
        assert (a - b).abs().max() < 1e-6


def test_equal_depths_keep_the_order_of_input():
    scene = random_scene(images=1, gaussians=20, seed=15)
    scene.viewmats[:] = torch.eye(4)
    scene.gaussians[0][..., 2] = 2.0
    compare_with_reference(scene)


def results_by_thread_count(images, counts=(1, 2, 5)):
    """Outputs, gradients and pixel weights of one scene with each number of threads."""
    scene = random_scene(images=images, gaussians=5000, width=90, height=70, seed=16, size=0.03)
    targets = torch.rand(images, 70, 90, 3, generator=torch.Generator().manual_seed(1))
    threads, results = torch.get_num_threads(), []
    try:
        for count in counts:
            torch.set_num_threads(count)
            leaves = [t.detach().clone().requires_grad_() for t in (*scene.gaussians, scene.backgrounds)]
            outputs = rasterize_gaussians(*leaves[:5], scene.viewmats, scene.Ks, 90, 70, leaves[5])
            (outputs[0] * outputs[0]).sum().backward()
            weights = gaussian_pixel_weights(*scene.gaussians[:4], scene.viewmats, scene.Ks, targets, threshold=0.0)
            results.append([*(o.detach() for o in outputs), *(leaf.grad for leaf in leaves), *weights])
    finally:
        torch.set_num_threads(threads)
    return results


@pytest.mark.parametrize("images", [1, 3])
def test_thread_count_changes_nothing_but_rounding(images):
    first, *others = results_by_thread_count(images)
    for other in others:
        for a, b in zip(first[:3], other[:3], strict=True):
            assert torch.equal(a, b)
        for a, b in zip(first[3:], other[3:], strict=True):  # sums over tiles, in another order
            assert (a - b).abs().max() <= 1e-5 * a.abs().max().clamp_min(1)


@pytest.mark.parametrize("images", [1, 3])
def test_deterministic_mode_does_not_know_the_thread_count(images):
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, *others = results_by_thread_count(images)
    finally:
        torch.use_deterministic_algorithms(before)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert torch.equal(a, b)


def test_non_contiguous_input():
    scene = random_scene(seed=17)
    expected = render(scene)
    scene.gaussians = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in scene.gaussians]
    scene.viewmats = scene.viewmats.mT.contiguous().mT
    for a, b in zip(expected, render(scene), strict=True):
        assert torch.equal(a, b)


def test_gradient_of_one_output_only():
    scene = random_scene(images=1, seed=18)
    for which in range(3):
        leaves = [t.detach().clone().requires_grad_() for t in scene.gaussians]
        doubles = [t.detach().double().requires_grad_() for t in scene.gaussians]
        arguments = (scene.viewmats, scene.Ks, scene.width, scene.height)
        rasterize_gaussians(*leaves, *arguments)[which].sum().backward()
        rasterize_reference(*doubles, *arguments)[which].sum().backward()
        for a, b in zip(leaves, doubles, strict=True):
            want = torch.zeros_like(b) if b.grad is None else b.grad
            assert (a.grad - want).abs().max() <= 3e-5 * want.abs().max().clamp_min(1)


def test_depth_over_alpha_is_the_distance():
    scene = random_scene(images=1, gaussians=1, seed=19)
    scene.viewmats[:] = torch.eye(4)
    scene.gaussians[0][:] = torch.tensor([0.0, 0, 3.0])
    _, alpha, depth = render(scene)
    seen = alpha > 0.01
    assert seen.any()
    assert (depth[seen] / alpha[seen] - 3).abs().max() < 1e-5


def test_near_plane_is_a_parameter():
    scene = random_scene(images=1, seed=20)
    assert render(scene, near_plane=0.01)[1].any()
    assert not render(scene, near_plane=100.0)[1].any()


def test_reference_gradients_match_finite_differences():
    """The oracle's own derivative, where the image is smooth in the parameters: autograd against differences."""
    scene = random_scene(images=1, gaussians=3, width=4, height=3, seed=21, size=0.5)
    inputs = tuple(t.double().requires_grad_() for t in scene.gaussians)

    def smooth(*gaussians):
        return rasterize_reference(*gaussians, scene.viewmats, scene.Ks, 4, 3, smooth=True)

    assert torch.autograd.gradcheck(smooth, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_kernel_gradients_match_finite_differences():
    """The kernels themselves, in directions through all parameters at once: no oracle in between. Opacities are low and
    Gaussians large, so that neither clamp nor stop is met and the cut-off's jumps lie far outside."""
    scene = random_scene(images=1, gaussians=5, width=12, height=12, seed=22, size=0.2)
    scene.gaussians[2] = scene.gaussians[2] + 1.5
    scene.gaussians[3] = 0.2 + 0.3 * scene.gaussians[3]
    g = torch.Generator().manual_seed(3)
    target = torch.rand(1, 12, 12, 3, generator=g)

    def loss(gaussians):
        image, alpha, depth = rasterize_gaussians(*gaussians, scene.viewmats, scene.Ks, 12, 12)
        return ((image - target).double() ** 2).mean() + alpha.double().mean() + 0.1 * depth.double().mean()

    leaves = [t.detach().clone().requires_grad_() for t in scene.gaussians]
    loss(leaves).backward()
    for trial in range(5):
        step = 1e-3
        directions = [torch.randn(t.shape, generator=g.manual_seed(trial)) for t in leaves]
        analytic = sum((t.grad.double() * d.double()).sum() for t, d in zip(leaves, directions, strict=True))
        with torch.no_grad():
            forward = loss([t + step * d for t, d in zip(leaves, directions, strict=True)])
            backward = loss([t - step * d for t, d in zip(leaves, directions, strict=True)])
        numeric = (forward - backward) / (2 * step)
        assert abs(analytic - numeric) < 2e-3 * max(1.0, abs(numeric)), (trial, analytic, numeric)

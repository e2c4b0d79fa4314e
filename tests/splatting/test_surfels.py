# SPDX-License-Identifier: Apache-2.0
"""The surfel rasterizer against its oracle: values, every gradient, grazing and hostile discs, batches and threads."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from blendsplat.geometry import matrix_to_quat, quat_to_matrix
from blendsplat.splatting.surfel_reference import rasterize_surfels_reference
from blendsplat.splatting.surfels import rasterize_surfels

from .surfel_scenes import compare_surfels, facing_surfels, hostile_surfels, random_surfels, render_surfels


@pytest.mark.parametrize("seed", range(4))
def test_matches_reference(raster_set, seed):
    compare_surfels(random_surfels(seed=seed))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33), (4, 4), (3, 64), (64, 5)])
def test_sizes_that_are_no_multiple_of_the_tile(width, height):
    compare_surfels(random_surfels(images=2, gaussians=25, width=width, height=height, seed=5, size=0.4))


def test_large_discs_overlap_in_perspective(raster_set):
    """Discs as large as their distance: the perspective term matters, some reach behind the camera."""
    scene = random_surfels(gaussians=25, seed=6, size=2.0)
    scene.gaussians[3] = 0.5 * scene.gaussians[3]
    compare_surfels(scene, tolerance=3e-4)


def test_small_discs_are_kept_by_the_low_pass(raster_set):
    """Far below a pixel, zero in one direction, zero in both: dots of the low-pass's size, gradients of their own."""
    scene = random_surfels(gaussians=40, seed=8)
    scales = scene.gaussians[2]
    scales *= 0.02
    scales[:, ::4, 0] = 0
    scales[:, ::8] = 0
    scales[:, 1::4] *= -1  # a sign is no more than a mirror
    compare_surfels(scene)
    assert render_surfels(scene)[1].max() > 0.5


def test_one_dot_has_the_size_of_the_low_pass():
    scene = facing_surfels(1, scale=1e-7)
    alpha = render_surfels(scene)[1][0, :, :, 0]
    assert abs(alpha[16, 16].item() - 0.8) < 1e-5
    assert abs(alpha[16, 17].item() - 0.8 * math.exp(-1)) < 1e-5  # exp(-d^2 / (2 sigma^2)), sigma^2 = 1/2


def grazing(angle: float):
    """Sixteen discs turned by ``angle`` degrees away from their rays, about different axes."""
    scene = random_surfels(images=1, gaussians=16, seed=9)
    g = torch.Generator().manual_seed(3)
    scene.viewmats[:] = torch.eye(4)
    scene.gaussians[0][..., 2] = 2 + 0.2 * torch.rand(1, 16, generator=g)
    ray = normalize(scene.gaussians[0][0], dim=1)
    across = normalize(torch.linalg.cross(ray, torch.randn(16, 3, generator=g)), dim=1)
    normal = math.cos(math.radians(angle)) * ray + math.sin(math.radians(angle)) * across
    u = torch.linalg.cross(ray, across)
    scene.gaussians[1][0] = matrix_to_quat(torch.stack([u, torch.linalg.cross(normal, u), normal], -1))
    return scene


@pytest.mark.parametrize("angle", [80.0, 88.0, 89.5, 89.95])
def test_grazing_discs(raster_set, angle):
    """Almost edge-on: the depth across the disc varies by its whole size."""
    # Gradients grow as 1 / cos of an angle that float32 knows to 1e-7, and so do their errors.
    compare_surfels(grazing(angle), tolerance=3e-4 if angle < 89 else 5e-3)


def test_edge_on_is_drawn_by_the_low_pass(raster_set):
    scene = grazing(90.0)
    leaves = [t.requires_grad_() for t in scene.gaussians]
    outputs = render_surfels(scene)
    sum(out.square().sum() for out in outputs).backward()
    assert outputs[1].max() > 0.3
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


def test_opaque_stack_stops_early(raster_set):
    scene = random_surfels(gaussians=60, seed=7, size=0.8)
    scene.gaussians[3] = 0.85 + 0.13 * scene.gaussians[3]  # two of 0.99 would end exactly at the stop's 1e-4
    compare_surfels(scene, tolerance=3e-4)
    assert (render_surfels(scene)[1] > 0.999).any()


def test_clamped_alpha(raster_set):
    scene = random_surfels(gaussians=20, seed=4)
    scene.gaussians[3][:, ::5] = 1.5
    scene.gaussians[3][:, 1::5] *= 0.5
    compare_surfels(scene)


def test_faint_surfels_are_cut_at_one_grey_level():
    scene = random_surfels(gaussians=80, seed=11)
    scene.gaussians[3] = scene.gaussians[3] * 0.02
    compare_surfels(scene, tolerance=4e-4)


def test_bad_surfels_are_skipped_with_zero_gradient(raster_set):
    scene, skipped = hostile_surfels()
    leaves = [t.requires_grad_() for t in scene.gaussians]
    outputs = render_surfels(scene)
    sum(out.sum() for out in outputs).backward()
    assert all(torch.isfinite(out).all() for out in outputs)
    kept = [i for i in range(24) if i not in skipped]
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad[0, skipped] == 0).all()
        assert (leaf.grad[0, kept] != 0).any()


@pytest.mark.parametrize("seed", range(6))
def test_any_magnitude_is_survived(raster_set, seed):
    """Parameters over forty orders of magnitude: images and gradients stay finite."""
    scene = random_surfels(images=1, gaussians=300, seed=50 + seed)
    g = torch.Generator().manual_seed(seed)
    for which in (0, 1, 2):
        exponents = torch.empty(1, 300, 1).uniform_(-20, 20, generator=g)
        chosen = torch.rand(1, 300, 1, generator=g) < 0.4
        scene.gaussians[which] = torch.where(chosen, scene.gaussians[which] * 10**exponents, scene.gaussians[which])
    leaves = [t.requires_grad_() for t in scene.gaussians]
    outputs = render_surfels(scene)
    sum(out.clamp(-1e6, 1e6).sum() for out in outputs).backward()
    assert all(torch.isfinite(out).all() for out in outputs)
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


def test_normals_face_the_camera_and_depth_is_the_plane():
    """One large disc, seen from both sides: depth over alpha is where each pixel's ray meets its plane."""
    for angle in (0.4, 0.4 + math.pi):
        scene = facing_surfels(1, scale=3.0)
        scene.gaussians[1][:] = torch.tensor([math.cos(angle / 2), math.sin(angle / 2), 0, 0])
        _, alpha, depth, normals = render_surfels(scene)
        expected = torch.tensor([0.0, math.sin(0.4), -math.cos(0.4)])
        assert (normals / alpha - expected).abs().max() < 1e-5
        rows, columns = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
        rays = torch.stack([(columns - 16.5) / 40, (rows - 16.5) / 40, torch.ones(32, 32)], -1)
        plane = 2 * expected[2] / (rays @ expected)
        assert ((depth / alpha)[0, :, :, 0] - plane).abs().max() < 1e-4


def test_a_disc_through_the_camera_plane_is_seen_only_in_front():
    scene = facing_surfels(1, scale=5.0)
    scene.gaussians[0][:] = torch.tensor([0.0, 0.5, 1.0])
    scene.gaussians[1][:] = torch.tensor([math.cos(math.pi / 4), math.sin(math.pi / 4), 0, 0])  # a floor
    _, alpha, depth, _ = render_surfels(scene)
    assert (alpha[0, 21:] > 0.5).all()  # below the horizon, everywhere
    assert not alpha[0, :16].any()
    seen = alpha[0, 17:] > 0
    assert (depth[0, 17:][seen] / alpha[0, 17:][seen] > 0.5).all()


def test_the_near_plane_cuts_discs(raster_set):
    """Not only discs whose means lie before it: of the others, the part that does."""
    scene = random_surfels(gaussians=12, seed=23, size=1.0)
    cameras = (scene.viewmats, scene.Ks, scene.width, scene.height)
    drawn = rasterize_surfels(*scene.gaussians, *cameras, near_plane=1.8)
    expected = rasterize_surfels_reference(*scene.gaussians, *cameras, near_plane=1.8)
    uncut = rasterize_surfels_reference(*scene.gaussians, *cameras, near_plane=0.01)
    assert (uncut[1] - expected[1]).abs().max() > 0.1
    for a, b in zip(drawn, expected, strict=True):
        assert ((a - b).abs() > 1e-4).float().mean() < 2e-3  # a pixel on the cut may round to either side


@pytest.mark.parametrize("gaussians", [0, 1])
def test_few_surfels(gaussians):
    compare_surfels(random_surfels(gaussians=gaussians, seed=3))


def test_no_images():
    scene = random_surfels(images=1)
    empty = [t[:0] for t in scene.gaussians]
    shapes = [out.shape for out in rasterize_surfels(*empty, scene.viewmats[:0], scene.Ks[:0], 8, 6)]
    assert shapes == [(0, 6, 8, 3), (0, 6, 8, 1), (0, 6, 8, 1), (0, 6, 8, 3)]


def test_batch_equals_loop():
    scene = random_surfels(images=3, gaussians=50, seed=13)
    together = render_surfels(scene)
    for b in range(3):
        for whole, single in zip(together, render_surfels(scene.image(b)), strict=True):
            assert torch.equal(whole[b : b + 1], single)


def test_thread_count_changes_nothing_but_rounding():
    scene = random_surfels(images=2, gaussians=200, width=64, height=64, seed=16)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            leaves = [t.detach().clone().requires_grad_() for t in scene.gaussians]
            outputs = rasterize_surfels(*leaves, scene.viewmats, scene.Ks, 64, 64)
            sum((out * out).sum() for out in outputs).backward()
            results.append([*(o.detach() for o in outputs), *(leaf.grad for leaf in leaves)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0][:4], other[:4], strict=True):
            assert torch.equal(a, b)
        for a, b in zip(results[0][4:], other[4:], strict=True):  # sums over tiles, in another order
            assert (a - b).abs().max() <= 1e-5 * a.abs().max().clamp_min(1)


def test_gradient_of_one_output_only():
    scene = random_surfels(images=1, seed=18)
    for which in range(4):
        leaves = [t.detach().clone().requires_grad_() for t in scene.gaussians]
        doubles = [t.detach().double().requires_grad_() for t in scene.gaussians]
        arguments = (scene.viewmats, scene.Ks, scene.width, scene.height)
        rasterize_surfels(*leaves, *arguments)[which].square().sum().backward()
        rasterize_surfels_reference(*doubles, *arguments)[which].square().sum().backward()
        for a, b in zip(leaves, doubles, strict=True):
            want = torch.zeros_like(b) if b.grad is None else b.grad
            assert (a.grad - want).abs().max() <= 1e-4 * want.abs().max().clamp_min(1)


def test_moving_the_camera_moves_nothing():
    """World and camera turned together: the same picture, and camera normals stay what they were."""
    scene = random_surfels(images=1, seed=19)
    before = render_surfels(scene)
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.4, 0.2], [0.4, 0, 0.7], [-0.2, -0.7, 0]]))
    rotated = matrix_to_quat(turn @ quat_to_matrix(scene.gaussians[1]))
    scene.gaussians[0] = scene.gaussians[0] @ turn.T
    scene.gaussians[1] = rotated
    scene.viewmats[:, :3, :3] = scene.viewmats[:, :3, :3] @ turn.T
    for a, b in zip(before, render_surfels(scene), strict=True):
        assert (a - b).abs().max() < 2e-4


def test_reference_gradients_match_finite_differences():
    scene = random_surfels(images=1, gaussians=3, width=4, height=3, seed=21, size=0.5)
    inputs = tuple(t.double().requires_grad_() for t in scene.gaussians)

    def smooth(*gaussians):
        return rasterize_surfels_reference(*gaussians, scene.viewmats, scene.Ks, 4, 3, smooth=True)

    assert torch.autograd.gradcheck(smooth, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_kernel_gradients_match_finite_differences():
    """The kernels themselves, in directions through all parameters at once: no oracle in between. Discs are large and
    faint, so that low-pass, clamp, stop and cut-off are not met."""
    scene = random_surfels(images=1, gaussians=4, width=12, height=12, seed=22, size=0.2)
    g = torch.Generator().manual_seed(3)
    scene.gaussians[1] = torch.tensor([1.0, 0, 0, 0]) + 0.15 * torch.randn(1, 4, 4, generator=g)
    scene.gaussians[2] = scene.gaussians[2] + 1.5
    scene.gaussians[3] = 0.2 + 0.3 * scene.gaussians[3]
    target = torch.rand(1, 12, 12, 3, generator=g)

    def loss(gaussians):
        image, alpha, depth, normals = rasterize_surfels(*gaussians, scene.viewmats, scene.Ks, 12, 12)
        first = ((image - target).double() ** 2).mean() + alpha.double().mean() + 0.1 * depth.double().mean()
        return first + (normals - target).double().square().mean()

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


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds"])
@pytest.mark.parametrize("change", [lambda t: t.double(), lambda t: t[..., :-1], lambda t: t.numpy()])
def test_wrong_tensor_is_named(name, change):
    scene = random_surfels(images=2, gaussians=5)
    given = dict(zip(("means", "quats", "scales", "opacities", "colors"), scene.gaussians, strict=True))
    given |= {"viewmats": scene.viewmats, "Ks": scene.Ks, "width": 8, "height": 8, "backgrounds": scene.backgrounds}
    given[name] = change(given[name])
    with pytest.raises(ValueError, match=name if name != "means" else ".") as error:
        rasterize_surfels(**given)
    assert "expected" in str(error.value)

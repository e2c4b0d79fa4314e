# SPDX-License-Identifier: Apache-2.0
"""Gaussians and images at the ends of what the rasterizer takes, each against the oracle, at all pixels or at some."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from blendsplat.splatting.reference import rasterize_reference

from .kernels import Kernels
from .oracle import Verdict, expect, judge, some_pixels
from .scenes import SceneData, random_scene

BOUND = 32.0  # units of error, see test_soak.py


def check(kernels: Kernels, scene: SceneData, pixels: int = 300, near_plane: float = 0.01) -> Verdict:
    expected = expect(scene, 1, some_pixels(scene, pixels), near_plane)
    verdict = judge(expected, scene, kernels.gradients, BOUND)
    assert max(verdict.worst.values()) <= BOUND and not verdict.unexplained, verdict
    return verdict


def not_emulated(kernels: Kernels) -> None:
    if kernels.name == "emulated":
        pytest.skip("too slow for every run, one emulated thread after the other")


def upright(scene: SceneData, focal: float) -> SceneData:
    """The camera at the origin, looking along z, principal point in the middle."""
    scene.viewmats[:] = torch.eye(4)
    scene.Ks[:] = torch.tensor([[focal, 0, scene.width / 2], [0, focal, scene.height / 2], [0, 0, 1]])
    return scene


@pytest.mark.parametrize("gaussians", [0, 1, 15, 16, 17, 33])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 33)])
def test_few_gaussians_and_odd_sizes(kernels: Kernels, gaussians: int, width: int, height: int) -> None:
    """Also one less, as many and one more than a block of lanes."""
    check(kernels, random_scene(2, gaussians, width, height, seed=100 + gaussians, size=0.4))


def test_two_hundred_thousand(kernels: Kernels) -> None:
    not_emulated(kernels)
    scene = random_scene(1, 200_000, 256, 256, seed=110, size=0.01)
    check(kernels, scene, pixels=12)


def test_four_megapixels(kernels: Kernels) -> None:
    not_emulated(kernels)
    check(kernels, random_scene(1, 800, 2048, 2048, seed=111, size=0.05), pixels=100)


def test_longest_image_of_one_row(kernels: Kernels) -> None:
    check(kernels, random_scene(1, 60, 32768, 1, seed=112, size=0.001), pixels=300)
    check(kernels, random_scene(1, 60, 1, 3000, seed=113, size=3.0), pixels=300)


def test_thousands_in_one_tile(kernels: Kernels) -> None:
    """4,000 faint Gaussians within four pixels: every list is long, and none reaches the stop."""
    count = 4000 if kernels.name != "emulated" else 300
    scene = upright(random_scene(1, count, 20, 20, seed=114, size=0.01), 20.0)
    g = torch.Generator().manual_seed(0)
    z = 1 + torch.rand(count, 1, generator=g)
    scene.gaussians[0][0] = torch.cat([(2 + 4 * torch.rand(count, 2, generator=g) - 10) / 20 * z, z], 1)
    scene.gaussians[3] = 0.004 + 0.004 * scene.gaussians[3]
    check(kernels, scene)


def test_one_depth_for_all(kernels: Kernels) -> None:
    """Nothing but the order of the input decides who is in front; the camera's arithmetic is exact here."""
    scene = upright(random_scene(2, 90, 24, 24, seed=115, size=0.4), 30.0)
    scene.gaussians[0][..., 2] = 2.0
    scene.gaussians[3][:] = 0.5
    backwards = dataclasses.replace(scene, gaussians=[t.flip(1) for t in scene.gaussians])
    pictures = [kernels.render(s)[0] for s in (scene, backwards)]
    assert (pictures[0] - pictures[1]).abs().max() > 0.05
    for picture, s in zip(pictures, (scene, backwards), strict=True):
        want = rasterize_reference(*s.gaussians, s.viewmats, s.Ks, 24, 24, s.backgrounds)[0]
        assert ((picture - want).abs() < 1e-5).float().mean() > 0.999  # the rest: pixels at the cut-off


@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e6])
def test_needles(kernels: Kernels, ratio: float) -> None:
    scene = random_scene(1, 40, 32, 32, seed=116)
    scene.gaussians[2] = torch.tensor([1.0, 1 / ratio, 1 / ratio]) * (0.3 + scene.gaussians[2])
    check(kernels, scene)
    scene.gaussians[2] = torch.tensor([0.02, 0.02 / ratio, 0.02]) * torch.ones(1, 40, 1)  # thin plates, some edge-on
    check(kernels, scene)


def test_points_and_subnormal_numbers(kernels: Kernels) -> None:
    """Only the low-pass is left; numbers below 1e-38 may count as zero or not, their squares are."""
    scene = random_scene(1, 60, 16, 16, seed=117)
    scene.gaussians[2][0, ::3] = 0
    scene.gaussians[2][0, 1::3] = 1e-41
    scene.gaussians[0][0, ::4, 0] = 1e-42
    scene.gaussians[4][0, ::5] = -1e-43
    scene.gaussians[3][0, ::7] = 1e-44
    check(kernels, scene)


@pytest.mark.parametrize("size", [3.0, 100.0, 3000.0])
def test_gigantic(kernels: Kernels, size: float) -> None:
    """Larger than the image by far: flat colour, and gradients that are tiny but right."""
    scene = random_scene(1, 12, 20, 20, seed=118)
    scene.gaussians[2][0, ::2] *= size / 0.15
    scene.gaussians[3][:] = 0.1 + 0.2 * scene.gaussians[3]
    check(kernels, scene)


def test_all_around_the_camera(kernels: Kernels) -> None:
    """Behind, beside and in front, a wide lens, large and small."""
    scene = upright(random_scene(2, 150, 30, 22, seed=119, size=0.5), 9.0)
    scene.gaussians[0] = scene.gaussians[0] * 4
    verdict = check(kernels, scene, near_plane=0.2)
    assert verdict.worst["means"] > 0


def test_just_beside_the_image(kernels: Kernels) -> None:
    """Centres up to twice the image away whose tails reach in: each tile list must hold them."""
    scene = upright(random_scene(1, 200, 21, 27, seed=120), 25.0)
    g = torch.Generator().manual_seed(2)
    z = 1 + torch.rand(200, 1, generator=g)
    pixel = (torch.rand(200, 2, generator=g) * 4 - 1.5) * torch.tensor([21.0, 27])
    scene.gaussians[0][0] = torch.cat([(pixel - torch.tensor([10.5, 13.5])) / 25 * z, z], 1)
    scene.gaussians[2] = 0.05 + 3 * scene.gaussians[2]
    check(kernels, scene)


def at_pixel_centres(opacities: Tensor, scale: float = 0.0) -> SceneData:
    """Points of these opacities [n], each at the centre of a pixel of its own, eight pixels apart in a row."""
    count = len(opacities)
    scene = upright(random_scene(1, count, 8 * count, 8), 64.0)
    x = 8 * torch.arange(count) + 4.5
    scene.gaussians[0][0] = torch.stack([(x - 4 * count) / 64, torch.full((count,), 0.5 / 64), torch.ones(count)], 1)
    scene.gaussians[2][:] = scale
    scene.gaussians[3][0] = opacities
    return scene


def offsets() -> Tensor:
    """Relative distances from a border: within rounding, just outside of it, well outside, on both sides."""
    near = torch.tensor([0.0, 3e-8, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 1e-4, 1e-3, 1e-2], dtype=torch.float64)
    return torch.cat([near, -near[1:]])


def test_pixels_at_the_cut_off(kernels: Kernels) -> None:
    """Alpha at 1/255, at the centre and one pixel beside it: in doubt only within rounding, and then one of two."""
    beside = torch.exp(torch.tensor(0.5 / 0.3, dtype=torch.float64))  # a neighbour of a point sees exp(-1 / 0.6)
    opacities = torch.cat([(1 + offsets()) / 255, (1 + offsets()) / 255 * beside]).float()
    verdict = check(kernels, at_pixel_centres(opacities), pixels=10**6)
    assert 9 * 5 <= verdict.doubtful <= 15 * 5  # those within 1e-6 are in doubt, those beyond 1e-4 are not


def test_pixels_at_the_stop(kernels: Kernels) -> None:
    """Piles whose transmittance falls to 1e-4: the Gaussian that would go below is not drawn, nor any behind it."""
    for last in (1 + offsets()).tolist():
        scene = upright(random_scene(1, 6, 3, 3, seed=121), 64.0)
        scene.gaussians[0][0] = torch.tensor([0.0, 0, 1]) * torch.arange(1, 7)[:, None]
        scene.gaussians[2][:] = 0.0
        scene.gaussians[3][0] = torch.tensor([0.9, 0.9, 0.9, 1 - 0.1 * last, 0.5, 0.5])
        verdict = check(kernels, scene)
        if not 2e-6 < abs(last - 1) < 9e-4:  # (1 - 0.9) of three Gaussians makes rounding tenfold each time
            assert verdict.doubtful == (1 if abs(last - 1) < 2e-6 else 0)


def test_pixels_at_the_clamp(kernels: Kernels) -> None:
    """Alpha at 0.99: the image is continuous there, the gradient of the opacity jumps to zero above."""
    scene = at_pixel_centres((0.99 * (1 + offsets())).float())
    alpha = kernels.render(scene)[1][0, 4, 4::8, 0]
    assert (alpha <= 0.99 + 1e-6).all() and (alpha > 0.98).all()
    check(kernels, scene, pixels=10**6)
    above, below = scene.gaussians[3][0] > 0.9901, scene.gaussians[3][0] < 0.9899
    at_centre = [torch.zeros(1, scene.height, scene.width, c) for c in (3, 1, 1)]
    at_centre[1][0, 4, 4::8] = 1
    gradient = kernels.gradients(scene, at_centre)[1][3][0]
    assert (gradient[above] == 0).all() and (gradient[below] - 1).abs().max() < 1e-5

# SPDX-License-Identifier: Apache-2.0
"""Random and hostile scenes of surfels, and their comparison with the float64 oracle."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.surfel_reference import rasterize_surfels_reference
from blendsplat.splatting.surfels import rasterize_surfels

from .scenes import SceneData, compare_with_reference, random_scene


def random_surfels(**options) -> SceneData:
    """As random_scene, with two scales."""
    scene = random_scene(**options)
    scene.gaussians[2] = scene.gaussians[2][..., :2].contiguous()
    return scene


def render_surfels(scene: SceneData, **options: float) -> tuple[Tensor, ...]:
    return rasterize_surfels(
        *scene.gaussians, scene.viewmats, scene.Ks, scene.width, scene.height, scene.backgrounds, **options
    )


def compare_surfels(scene: SceneData, device: str = "cpu", tolerance: float = 1e-4) -> None:
    """Tolerances are relative to the largest value of each array. A disc seen at a grazing angle turns rounding of its
    direction into displacement along the ray; on random scenes the error was 6e-5 at most, and mostly below 5e-6."""
    outputs = ("image", "alpha", "depth", "normals")
    compare_with_reference(scene, device, tolerance, rasterize_surfels, rasterize_surfels_reference, outputs)


def facing_surfels(count: int, depth: float = 2.0, scale: float = 0.1) -> SceneData:
    """Discs in front of an unturned camera, facing it, all at the origin of their image."""
    scene = random_surfels(images=1, gaussians=count, width=32, height=32, seed=1)
    means, quats, scales, opacities, _ = scene.gaussians
    scene.viewmats[:] = torch.eye(4)
    scene.Ks[:] = torch.tensor([[40.0, 0, 16.5], [0, 40, 16.5], [0, 0, 1]])
    means[:] = torch.tensor([0.0, 0, depth])
    quats[:] = torch.tensor([1.0, 0, 0, 0])
    scales[:] = scale
    opacities[:] = 0.8
    return scene


def hostile_surfels() -> tuple[SceneData, list[int]]:
    """Surfels with every kind of bad parameter, and the rows that must be skipped."""
    scene = random_surfels(images=1, gaussians=24, seed=12)
    means, quats, scales, opacities, _ = scene.gaussians
    bad = 0
    for tensor in scene.gaussians:
        for value in (float("nan"), float("inf"), -float("inf")):
            tensor[0, bad, ...] = value
            bad += 1
    quats[0, bad] = 0
    means[0, bad + 1] = torch.tensor([0.0, 0, -5])  # behind
    means[0, bad + 2] = 1e30
    scales[0, bad + 3] = 1e25  # larger than any screen
    opacities[0, bad + 4] = 0
    means[0, bad + 5] = torch.tensor([50.0, 0, 0])  # off screen
    return scene, list(range(bad + 6))

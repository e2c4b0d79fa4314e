# SPDX-License-Identifier: Apache-2.0
"""The head scene is the one that peers were measured on, and its work is counted as published."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blendsplat.bench.scene import contributing_pairs, head_scene, work_of
from blendsplat.geometry import quat_to_matrix
from blendsplat.splatting import rasterize_gaussians
from blendsplat.splatting.scene import Gaussians, Scene


def test_published_counts() -> None:
    scene = head_scene(60_000, 512)
    work = work_of(scene)
    assert (work.square_tiles, work.exact_tiles) == (160_272, 117_911)
    assert round(work.evaluated / 1e6) == 6
    assert round(contributing_pairs(scene) / 512**2, 2) == 9.43


def test_the_head_fills_the_picture_as_the_recipe_says() -> None:
    scene = head_scene(5000, 128)
    alpha = rasterize_gaussians(*scene.gaussians.tensors(), *cameras_of(scene))[1][0, ..., 0]
    rows, columns = np.nonzero(alpha.numpy() > 0.5)
    assert (rows.max() - rows.min() + 1) / 128 == pytest.approx(0.70, abs=0.03)
    assert abs(rows.mean() - 63.5) < 1 and abs(columns.mean() - 63.5) < 1
    assert torch.equal(head_scene(5000, 128).gaussians.means, scene.gaussians.means)


def test_axes_are_rotations_with_the_thin_one_along_the_normal() -> None:
    scene = head_scene(2000, 64)
    assert torch.allclose(scene.gaussians.quats.norm(dim=-1), torch.ones(1, 2000), atol=1e-5)
    normals = torch.nn.functional.normalize(scene.gaussians.means[0] / torch.tensor([0.09, 0.12, 0.10]) ** 2, dim=-1)
    assert ((quat_to_matrix(scene.gaussians.quats[0])[:, :, 2] * normals).sum(-1) > 0.9999).all()


def test_batches_turn_the_head() -> None:
    scene, alone = head_scene(300, 32, 3), head_scene(300, 32)
    views = scene.cameras.viewmats
    assert torch.equal(scene.gaussians.means[2], alone.gaussians.means[0])
    assert torch.equal(views[0], alone.cameras.viewmats[0]) and not torch.equal(views[0], views[1])
    assert work_of(scene).blocks > 2.5 * work_of(alone).blocks


@pytest.mark.parametrize("arguments", [(0, 8), (5, 0), (5, 8, 0)])
def test_nothing_to_draw_is_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        head_scene(*arguments)


def cameras_of(scene: Scene) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """As rasterize_gaussians takes them."""
    return scene.cameras.viewmats, scene.cameras.Ks, scene.width, scene.height


def brute_force(scene: Scene, tile: int) -> tuple[int, int]:
    """(tiles that hold a pixel of alpha 1/255, pixels that a Gaussian changes) by rendering each Gaussian alone."""
    touched = pixels = 0
    for n in range(scene.count):
        alone = [t[:, n : n + 1] for t in scene.gaussians.tensors()]
        drawn = rasterize_gaussians(*alone, *cameras_of(scene))[1][0, ..., 0] > 0
        pixels += int(drawn.sum())
        rows, columns = np.nonzero(drawn.numpy())
        touched += len({(row // tile, column // tile) for row, column in zip(rows, columns, strict=True)})
    return touched, pixels


def test_counts_against_drawing_each_gaussian_alone() -> None:
    """On an image whose size no tile divides, with Gaussians that reach over its border."""
    scene = head_scene(150, 45)
    moved = scene.cameras.Ks + torch.tensor([[0, 0, 14.0], [0, 0, -9], [0, 0, 0]])
    scene = Scene(replace(scene.gaussians, opacities=scene.gaussians.opacities * 0.1), replace(scene.cameras, Ks=moved))
    work = work_of(scene)
    for tile, counted in ((16, work.exact_tiles), (4, work.blocks)):
        touched, pixels = brute_force(scene, tile)
        # an ellipse may pass between the centres of a tile's pixels: the exact test may list a few tiles more
        assert touched <= counted <= 1.1 * touched + 2, tile
    assert 0.9 * pixels < contributing_pairs(scene) <= pixels  # few pixels of these faint Gaussians fill up


def test_hidden_gaussians_do_not_count() -> None:
    scene = head_scene(60, 24)
    count = contributing_pairs(scene)
    solid = replace(scene.gaussians, opacities=torch.full_like(scene.gaussians.opacities, 0.98))

    def seen(gaussians: Gaussians) -> Scene:
        return replace(scene, gaussians=gaussians)

    flat = seen(replace(solid, scales=solid.scales * 20))
    assert contributing_pairs(flat) < 8 * 24 * 24  # three of opacity 0.98 fill a pixel; the rims take a few more
    assert count > 0
    far = seen(replace(solid, means=solid.means + torch.tensor([9.0, 0, 0])))
    behind = seen(replace(solid, means=solid.means - torch.tensor([0, 0, 5.0])))
    for empty in (far, behind):
        assert work_of(empty).blocks == work_of(empty).square_tiles == contributing_pairs(empty) == 0

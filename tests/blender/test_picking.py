# SPDX-License-Identifier: Apache-2.0
"""Which Gaussians a click hits: beside a slow blend of all of them at a pixel, and in a view with other objects."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon.render import gather, picking
from blender_addon.space import quat_to_matrix


def scattered(count: int = 400, seed: int = 0) -> gather.Gaussians:
    rng = np.random.default_rng(seed)
    return gather.Gaussians(
        rng.normal(0, 0.1, (count, 3)).astype(np.float32), rng.normal(size=(count, 4)).astype(np.float32),
        np.exp(rng.normal(-4.5, 0.8, (count, 3))).astype(np.float32), rng.uniform(0, 1, count).astype(np.float32),
        np.ones((count, 3), np.float32),
    )  # fmt: skip


def perspective() -> np.ndarray:
    projection = np.zeros((4, 4))
    projection[0, 0], projection[1, 1], projection[0, 2], projection[1, 2] = 1.5, 2.0, 0.1, -0.2
    projection[2, 2], projection[2, 3], projection[3, 2] = -1.0, -0.02, -1.0
    return projection


def flat() -> np.ndarray:
    projection = np.diag([3.0, 4.0, -0.1, 1.0])
    projection[0, 3] = 0.15
    return projection


def slow(g: gather.Gaussians, view: np.ndarray, projection: np.ndarray, size, pixel) -> float | None:
    """Every Gaussian by itself, its projection differentiated numerically."""

    def screen(point: np.ndarray) -> np.ndarray:
        clip = projection @ np.append(point, 1)
        return (clip[:2] / clip[3] + 1) / 2 * np.array(size)

    hits = []
    for mean, quat, scale, opacity in zip(g.means, g.quats, g.scales, g.opacities, strict=True):
        camera = view[:3, :3] @ mean + view[:3, 3]
        step = 1e-5
        J = np.stack([(screen(camera + step * e) - screen(camera - step * e)) / (2 * step) for e in np.eye(3)], 1)
        A = J @ view[:3, :3] @ quat_to_matrix(quat[None].astype(float))[0] * scale
        offset = np.array(pixel) - screen(camera)
        alpha = opacity * np.exp(-0.5 * offset @ np.linalg.inv(A @ A.T + 0.3 * np.eye(2)) @ offset)
        hits.append((-camera[2], alpha))
    through = 1.0
    for distance, alpha in sorted(hits):
        through *= 1 - alpha
        if through < 0.5:
            return distance
    return None


@pytest.mark.parametrize(
    ("projection", "depth"),
    [(perspective(), -0.8), (flat(), -0.8), (flat(), 0.1)],
    ids=["perspective", "flat", "behind"],
)
def test_beside_a_slow_blend(projection, depth):
    """A flat view of Blender's reaches behind its eye."""
    g, view, size = scattered(), np.eye(4), (320, 240)
    view[:3, 3] = 0.02, -0.01, depth
    rng, found = np.random.default_rng(2), 0
    for pixel in rng.uniform([90, 40], [230, 200], (40, 2)):
        want, have = (
            slow(g, view, projection, size, pixel),
            picking.distance_at(g, view, projection, size, tuple(pixel)),
        )
        assert (want is None) == (have is None)
        assert want is None or abs(want - have) < 1e-4
        found += want is not None
    assert 5 < found < 40


def test_nothing_is_hit_of_nothing():
    assert picking.distance_at(scattered(0), np.eye(4), perspective(), (10, 10), (5, 5)) is None
    behind = scattered()
    view = np.eye(4)
    view[2, 3] = 2.0  # all of it behind the eye
    assert picking.distance_at(behind, view, perspective(), (10, 10), (5, 5)) is None


def test_no_view_no_click(scene):
    assert not bpy.ops.blendsplat.pick.poll()

# SPDX-License-Identifier: Apache-2.0
"""What 3D views need before anything is drawn: the order of splats, textures' contents, a view's limits. (What is drawn
needs a window: tests/ui/test_viewport.py.)"""

from __future__ import annotations

import re
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon.render import splat_cloud, splat_shader, viewport

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e6])
def test_the_farthest_comes_first_and_equals_stay_in_order(spread):
    rng = np.random.default_rng(3)
    means = (rng.normal(size=(5000, 3)) * spread).astype(np.float32)
    means[::7] = means[0]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    view = np.eye(4)
    view[:3, :3], view[2, 3] = turn, -spread
    order = splat_cloud.far_first(means, view)
    depth = means @ turn[2].astype(np.float32) + np.float32(-spread)
    assert np.array_equal(order, np.argsort(depth, kind="stable"))


def test_one_straggler_does_not_coarsen_the_order():
    """Two avatars a kilometre apart, or one Gaussian that flew away."""
    rng = np.random.default_rng(4)
    means = rng.normal(0, 1e-4, (1000, 3)).astype(np.float32)
    means[0] = 0, 0, -1e7
    depth = means[splat_cloud.far_first(means, np.eye(4))][:, 2]
    assert (np.diff(depth) >= 0).all()


def test_an_order_of_nothing_and_of_what_is_not_finite():
    assert len(splat_cloud.far_first(np.zeros((0, 3), np.float32), np.eye(4))) == 0
    means = np.array([[0, 0, np.nan], [0, 0, -1], [0, 0, -np.inf], [0, 0, np.inf], [0, 0, -2]], np.float32)
    order = splat_cloud.far_first(means, np.eye(4)).tolist()
    assert sorted(order) == [0, 1, 2, 3, 4] and order.index(4) < order.index(1) < order.index(3)


def test_texels_are_filled_up_with_nothing():
    values = np.arange(6, dtype=np.float32).reshape(2, 3) + 1
    whole = splat_cloud.texels(values, 1)
    assert whole.shape == (splat_shader.TEXELS, 4) and whole.dtype == np.float32
    assert np.array_equal(whole[:2, :3], values) and not whole[:2, 3].any() and not whole[2:].any()


def _seen(projection: np.ndarray) -> viewport._View:
    return viewport._View(np.eye(4), projection, (640, 480))


def _camera(kind: str, **settings: float) -> np.ndarray:
    """The projection matrix of a Blender camera at 640 x 480."""
    data = bpy.data.cameras.new("Camera")
    data.type = kind
    for name, value in settings.items():
        setattr(data, name, value)
    item = bpy.data.objects.new("Camera", data)
    bpy.context.scene.collection.objects.link(item)
    graph = bpy.context.evaluated_depsgraph_get()
    return np.array(item.evaluated_get(graph).calc_matrix_camera(graph, x=640, y=480, scale_x=1, scale_y=1))


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_a_view_ends_where_its_camera_clips(scene, kind):
    seen = _seen(_camera(kind, clip_start=0.25, clip_end=40.0))
    assert seen.orthographic == (kind == "ORTHO")
    assert np.allclose(seen.ends(), (0.25, 40.0), rtol=1e-3)


def test_nothing_is_drawn_nearer_than_the_engine_does(scene):
    assert _seen(_camera("PERSP", clip_start=1e-4)).ends()[0] == viewport._NEAREST == 0.01


def test_slopes_reach_a_little_beyond_the_picture(scene):
    """Beside the engine's own: its limits are a pinhole camera's pixels, 0.3 of half the field beyond each edge."""
    projection = _camera("PERSP", shift_x=0.2, shift_y=-0.1, lens=35)
    left, bottom, right, top = viewport.slopes(projection)
    K = np.array([[projection[0, 0] * 320, 0, 320 * (1 - projection[0, 2])],
                  [0, projection[1, 1] * 240, 240 * (1 + projection[1, 2])], [0, 0, 1]])  # fmt: skip
    margin_x, margin_y = 0.3 * 320 / K[0, 0], 0.3 * 240 / K[1, 1]
    assert np.isclose(left, -K[0, 2] / K[0, 0] - margin_x) and np.isclose(right, (640 - K[0, 2]) / K[0, 0] + margin_x)
    assert np.isclose(top, K[1, 2] / K[1, 1] + margin_y) and np.isclose(bottom, -(480 - K[1, 2]) / K[1, 1] - margin_y)


def test_the_constants_are_the_rasterizers():
    header = (ROOT / "cuda_ext" / "include" / "blendsplat" / "layout.h").read_text(encoding="utf-8")
    told = dict(re.findall(r"constexpr float (k\w+) = ([^;]+);", header))
    values = {name: eval(value.replace("f", "")) for name, value in told.items() if "e" not in value}
    assert values["kLowPass"] == splat_shader.LOW_PASS and values["kFrustumMargin"] == splat_shader.FRUSTUM_MARGIN
    assert values["kAlphaMin"] == splat_shader.MIN_ALPHA and values["kAlphaMax"] == splat_shader.MAX_ALPHA

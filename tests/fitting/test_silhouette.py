# SPDX-License-Identifier: Apache-2.0
"""The matte's term: silent inside, pushing back from outside, with the derivative that finite differences see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from blendsplat.fitting.fit import FitOptions, fit_clip
from blendsplat.fitting.landmark_model import pack
from blendsplat.fitting.silhouette import make_inside
from blendsplat.heads.model import HeadModel
from blendsplat.tracking.metrics import evaluate_tracking
from synthetic_head import landmarks_of, make_head, make_truth


def _disc(radius: float, size: int = 512) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    return np.where(np.hypot(x - size / 2, y - size / 2) < radius, 255, 0).astype(np.uint8)


def _rows(head: HeadModel, radius: float, shape: torch.Tensor | None = None, moved: torch.Tensor | None = None):
    clip = make_truth(head, 2)
    inside = make_inside(head, lambda _: _disc(radius), np.arange(2), head.shape_count, None, 1.0)
    unknowns = pack(clip.params())
    unknowns[:, 5] -= float(clip.viewmat[2, 3])
    unknowns = unknowns if moved is None else unknowns + moved
    shape = torch.as_tensor(clip.shape) if shape is None else shape
    focal, centre = torch.tensor(clip.K[0, 0]), torch.tensor([256.0, 256.0])
    return inside.rows(unknowns, torch.zeros(3), focal, centre, torch.full((2,), 3.0), shape)


def test_a_head_inside_is_left_alone():
    cost, values, rows, clip_rows = _rows(make_head(), 380)
    assert cost.abs().max() == 0 and values.abs().max() == 0
    assert rows.abs().max() == 0 and clip_rows.abs().max() == 0


def test_cost_falls_along_the_gradient():
    head = make_head()
    cost, values, rows, clip_rows = _rows(head, 110)
    assert (cost > 0).all()
    gradient = (rows * values[..., None]).sum(1)
    step = torch.zeros_like(gradient)
    step[:, 3:6] = -1e-7 * gradient[:, 3:6] / gradient[:, 3:6].norm(dim=1, keepdim=True) * 1e3
    after = _rows(head, 110, moved=step)[0]
    # cost = sum of squares: its derivative is twice the product of rows and values
    predicted = 2 * (gradient * step).sum(1)
    torch.testing.assert_close(after - cost, predicted, rtol=0.15, atol=1e-3)
    assert torch.isfinite(clip_rows).all()


def test_an_empty_matte_and_the_image_border_say_nothing():
    head = make_head()
    inside = make_inside(head, lambda _: np.zeros((64, 64), np.uint8), np.arange(1), head.shape_count, None, 1.0)
    assert inside.maps.abs().max() == 0
    full = make_inside(head, lambda _: np.full((64, 64), 255, np.uint8), np.arange(1), head.shape_count, None, 1.0)
    assert full.maps.abs().max() == 0


def test_matte_finds_a_skull_that_no_landmark_shows():
    """A narrow skull: only the silhouette can tell, and it does."""
    head = make_head(shapes=6)
    narrow = head.shape_directions.clone()
    narrow[0] = 0
    narrow[0, -24:, 0] = -0.25 * head.template[-24:, 0]  # shape 0 narrows what carries no landmark
    head = replace(head, shape_directions=narrow, regions={**head.regions, "neck": np.arange(478, 502)})
    truth = make_truth(head, 24, fov=24)
    truth.shape[:] = 0
    truth.shape[0] = 2.0
    pixels = landmarks_of(head, truth)
    vertices = head(truth.params())
    mattes = []
    for frame in range(24):
        camera = vertices[frame].numpy() * [1, -1, -1] + [0, 0, truth.viewmat[2, 3]]
        flat = camera[:, :2] / camera[:, 2:] * truth.K[0, 0] + 256
        import cv2

        matte = np.zeros((512, 512), np.uint8)
        cv2.fillConvexPoly(matte, cv2.convexHull(flat.astype(np.float32)).astype(np.int32), 255)
        mattes.append(matte)
    options = FitOptions(offsets=False)
    blind = fit_clip(head, pixels, truth.valid, truth.timestamps, 512, 512, options)
    seeing = fit_clip(head, pixels, truth.valid, truth.timestamps, 512, 512, options, mattes=mattes.__getitem__)
    assert abs(blind.shape[0]) < 0.3
    assert seeing.shape[0] > 1.0
    better, worse = evaluate_tracking(seeing, truth, head), evaluate_tracking(blind, truth, head)
    assert better["vertex_error_mm"] < worse["vertex_error_mm"]

# SPDX-License-Identifier: Apache-2.0
"""Mouth and eyes are looked at where they are, by the same scores as the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsplat.evaluation.face_boxes import GROWN, LPIPS_SIDE, face_boxes, score_boxes
from blendsplat.image_metrics.psnr_ssim import psnr, ssim_map
from blendsplat.landmarks import points as pts


def face(side: float = 200.0) -> np.ndarray:
    """Landmarks [478,2]: eyes 40 apart and 12 x 6 in size, mouth 40 x 20 around (100, 140), of a picture 200 wide."""
    points = np.full((478, 2), 100.0)
    for group, x in ((pts.LEFT_LIDS, 120), (pts.RIGHT_LIDS, 80)):
        angles = np.linspace(0, 2 * np.pi, len(group), endpoint=False)
        points[list(group)] = np.stack([x + 6 * np.cos(angles), 90 + 3 * np.sin(angles)], 1)
    points[list(pts.LEFT_IRIS)], points[list(pts.RIGHT_IRIS)] = [120, 90], [80, 90]
    angles = np.linspace(0, 2 * np.pi, len(pts.OUTER_LIPS), endpoint=False)
    points[list(pts.OUTER_LIPS)] = np.stack([100 + 20 * np.cos(angles), 140 + 10 * np.sin(angles)], 1)
    return points * side / 200


def test_boxes_hold_mouth_and_eyes_with_some_room() -> None:
    boxes = face_boxes(face(), 200, 200)
    room = GROWN * 40
    assert boxes["mouth"] == [(80 - room, 130 - room, 120 + room, 150 + room)]
    assert len(boxes["eyes"]) == 2 and all(abs((top + bottom) / 2 - 90) <= 1 for _, top, _, bottom in boxes["eyes"])
    left, right = (0.5 * (box[0] + box[2]) for box in boxes["eyes"])
    assert left == pytest.approx(120, abs=1) and right == pytest.approx(80, abs=1), "the person's left is first"


def test_boxes_end_at_the_picture_and_vanish_outside_of_it() -> None:
    moved = face() + [0, 65]
    assert face_boxes(moved, 200, 200)["mouth"][0][3] == 200
    assert "mouth" not in face_boxes(face() + [0, 90], 200, 200)
    assert len(face_boxes(face() - [105, 0], 200, 200)["eyes"]) == 1
    assert face_boxes(face() + 5000, 200, 200) == {}


def scores(image: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None = None, lpips=None) -> dict:
    valid = torch.ones_like(image[..., :1]) if valid is None else valid
    similarity = ssim_map((image * valid)[None], (target * valid)[None])[0]
    return score_boxes(image, target, valid, similarity, face_boxes(face(), 200, 200), lpips)


def test_an_error_in_the_mouth_is_the_mouths_alone() -> None:
    target = torch.rand(200, 200, 3)
    image = target.clone()
    left, top, right, bottom = face_boxes(face(), 200, 200)["mouth"][0]
    image[top:bottom, left:right] += 0.1
    found = scores(image, target)
    assert found["mouth_psnr"] == pytest.approx(20, abs=1e-3) and found["eyes_psnr"] == 100
    assert found["mouth_ssim"] < 0.99 and found["eyes_ssim"] == pytest.approx(1, abs=1e-5)
    whole = float(psnr(image[None], target[None]))
    share = (right - left) * (bottom - top) / 200**2
    assert whole == pytest.approx(20 - 10 * np.log10(share), abs=1e-3), "a mean over the picture hides it"


def test_pixels_that_do_not_count_do_not_count_here_either() -> None:
    target, valid = torch.rand(200, 200, 3), torch.ones(200, 200, 1)
    image = target + 0.1
    valid[140:] = 0
    image[140:] = 7.0
    assert scores(image, target, valid)["mouth_psnr"] == pytest.approx(20, abs=1e-3)
    valid[100:] = 0
    found = scores(image, target, valid)
    assert "mouth_psnr" not in found and found["eyes_psnr"] == pytest.approx(20, abs=1e-3)


def test_lpips_sees_each_box_by_itself_and_large() -> None:
    seen: list[tuple[int, ...]] = []

    def lpips(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape))
        assert images.min() >= 0 and images.max() <= 1
        return (images - targets).abs().mean((1, 2, 3))

    target = torch.rand(200, 200, 3)
    image = target.clone()
    left, top, right, bottom = face_boxes(face(), 200, 200)["eyes"][0]
    image[top:bottom, left:right] = 9.0
    found = scores(image, target, lpips=lpips)
    assert sorted(seen) == [(1, LPIPS_SIDE, LPIPS_SIDE, 3), (2, LPIPS_SIDE, LPIPS_SIDE, 3)]
    assert found["mouth_lpips"] == 0 and found["eyes_lpips"] == pytest.approx(
        float((1 - target[top:bottom, left:right]).mean()) / 2, abs=0.03
    )

# SPDX-License-Identifier: Apache-2.0
"""Where a frame's mouth and eyes are, told by the clip's landmarks: the parts of a face that a mean over the picture
hides and that everybody looks at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blendsplat.image_metrics.psnr_ssim import psnr, weighted_mean
from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import load_landmarks
from blendsplat.training.tracked_clip import TrackedClip

GROWN = 0.15  # of the distance between the irises: what is added to each side of a box
LPIPS_SIDE = 96  # pixels to which a box is resized for LPIPS, whose first layers need some room
PARTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "mouth": (pts.OUTER_LIPS,),
    "eyes": ((*pts.LEFT_LIDS, *pts.LEFT_IRIS), (*pts.RIGHT_LIDS, *pts.RIGHT_IRIS)),
}
Boxes = dict[str, list[tuple[int, int, int, int]]]  # part -> left, top, right, bottom, pixels; right and bottom outside


def face_boxes(landmarks: np.ndarray, width: int, height: int) -> Boxes:
    """Boxes of a picture with landmarks [478,2] in its pixels, cut to the picture; those that lie outside are left out,
    and a part without a box is too."""
    eyes = float(np.linalg.norm(landmarks[list(pts.LEFT_IRIS)].mean(0) - landmarks[list(pts.RIGHT_IRIS)].mean(0)))
    found: Boxes = {}
    for part, groups in PARTS.items():
        for group in groups:
            points = landmarks[list(group)]
            left, top = np.floor(points.min(0) - GROWN * eyes).astype(int)
            right, bottom = np.ceil(points.max(0) + GROWN * eyes).astype(int)
            box = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
            if box[0] < box[2] and box[1] < box[3]:
                found.setdefault(part, []).append(tuple(map(int, box)))  # type: ignore[arg-type]
    return found


def boxes_of(tracked: TrackedClip, width: int, height: int) -> Callable[[int], Boxes] | None:
    """Frame number -> boxes in its picture of width x height as TrackedClip.load reads it (a lens's zoom undone); empty
    where no face was detected. None: the clip has no landmarks."""
    path = tracked.clip.directory / "landmarks.npz"
    if not path.is_file():
        return None
    points, found = load_landmarks(path)
    if len(points) != tracked.clip.frame_count:
        return None
    scale = np.array([width / tracked.clip.width, height / tracked.clip.height])
    centre = tracked.tracking.K[:2, 2].astype(np.float64)

    def boxes(number: int) -> Boxes:
        if not found[number]:
            return {}
        straight = centre + (points[number, :, :2] - centre) / tracked.tracking.zoom[number]
        return face_boxes(straight * scale, width, height)

    return boxes


def score_boxes(
    image: Tensor, target: Tensor, valid: Tensor, similarity: Tensor, boxes: Boxes,
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, float]:  # fmt: skip
    """{"mouth_psnr", "mouth_ssim", "mouth_lpips" (with a metric), "eyes_psnr", ...} of one picture.

    image, target, similarity (SSIM's map) [H,W,3], valid [H,W,1]. PSNR and SSIM over the pixels of a part's boxes that
    count (SSIM's windows see what is around them), LPIPS of each box resized to LPIPS_SIDE, the mean over the part's
    boxes. What has no pixel that counts is left out.
    """
    scores: dict[str, float] = {}
    for part, places in boxes.items():
        inside = torch.zeros_like(valid)
        for left, top, right, bottom in places:
            inside[top:bottom, left:right] = valid[top:bottom, left:right]
        if not inside.any():
            continue
        scores[f"{part}_psnr"] = float(psnr(image[None], target[None], inside[None]))
        scores[f"{part}_ssim"] = float(weighted_mean(similarity[None], inside[None]))
        if lpips is not None:
            pair = [torch.stack([_cut(picture * valid, box) for box in places]) for picture in (image, target)]
            scores[f"{part}_lpips"] = float(lpips(*pair).mean())
    return scores


def _cut(picture: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """A box of [H,W,3], clamped to [0,1] and resized to LPIPS_SIDE x LPIPS_SIDE."""
    left, top, right, bottom = box
    part = picture[top:bottom, left:right].clamp(0, 1).permute(2, 0, 1)[None]
    size = (LPIPS_SIDE, LPIPS_SIDE)
    return interpolate(part, size, mode="bilinear", antialias=True, align_corners=False)[0].permute(1, 2, 0)

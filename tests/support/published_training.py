# SPDX-License-Identifier: Apache-2.0
"""What the tests of the published training share: a tiny preset, and data sets drawn in no time, a ball for a head."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.portrait import look_at
from blendsplat.kaolrm.conventions import blender_pose, canonical_viewmat, intrinsics
from blendsplat.kaolrm.training.presets import PublishedPreset

TINY = {
    "head": "human", "shape_count": 20, "expression_count": 10, "camera_embed_dim": 8, "transformer_dim": 16,
    "transformer_layers": 1, "transformer_heads": 2, "triplane_low_res": 4, "triplane_high_res": 8, "triplane_dim": 8,
    "encoder_model_name": "custom", "encoder_feat_dim": 16, "encoder_layers": 1, "encoder_heads": 2,
    "encoder_patch": 28, "encoder_grid": 2, "image_size": 56, "flame_widths": (16, 16, 8), "gaussian_width": 32,
}  # fmt: skip
STAGE_1 = {"landmarks": 1.0, "shape": 1e-2, "expression": 1e-2, "alpha": 0.1}
STAGE_2 = {
    "landmarks": 0.01, "shape": 1e-5, "expression": 1e-5, "pixel": 0.5, "lpips": 0.5, "ssim": 0.5, "depth": 0.5,
    "normal": 0.5,
}  # fmt: skip


def preset(**values) -> PublishedPreset:
    """The published training with everything small."""
    small = {
        "method": "published", "epochs": 4, "stage_1_epochs": 2, "batch": 2, "side_views": 1, "render_size": 40,
        "points": 400, "rate": 3e-3, "warm_up_steps": 2, "held_out": 1, "stage_1": STAGE_1, "stage_2": STAGE_2,
        "model": TINY | values.pop("model", {}),
    }  # fmt: skip
    return PublishedPreset.model_validate(small | values)


@cache
def own_head() -> HeadModel:
    return load_head("human")


def ball(viewmat: np.ndarray, K: np.ndarray, size: int) -> tuple[Image.Image, np.ndarray]:
    """A small grey ball off the middle, and 68 points about it, of which number 30 is its centre: RGBA, [68,2]."""
    centre, radius = np.array([0.15, 0.2, 0.1]), 0.25
    points = centre + 0.3 * np.random.default_rng(0).uniform(-1, 1, (68, 3))
    points[30] = centre
    in_camera = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixels = in_camera @ K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    rows, columns = np.mgrid[:size, :size] + 0.5
    distance = np.hypot(columns - pixels[30, 0], rows - pixels[30, 1])
    rgba = np.full((size, size, 4), 140, np.uint8)
    rgba[..., 3] = np.clip((radius * K[0, 0] / in_camera[30, 2] - distance) + 0.5, 0, 1) * 255
    return Image.fromarray(rgba), pixels


def write_multi_view(folder: Path, views: int, seed: int, size: int = 64) -> None:
    """One person in the published layout."""
    rng = np.random.default_rng(seed)
    for kind in ("rgba", "pose"):
        (folder / kind).mkdir(parents=True)
    landmarks = []
    for view in range(views):
        viewmat = look_at(np.zeros(3), rng.uniform(1.9, 2.6), *rng.uniform(-0.6, 0.6, 2))
        picture, points = ball(viewmat, intrinsics(size), size)
        picture.save(folder / "rgba" / f"{view:03d}.png")
        np.save(folder / "pose" / f"{view:03d}.npy", blender_pose(viewmat))
        landmarks.append(points)
    K = intrinsics(size)
    np.save(folder / "intrinsics.npy", np.array([[K[0, 0], K[1, 1]], [K[0, 2], K[1, 2]], [size, size]]))
    np.save(folder / "lmks2d.npy", np.stack(landmarks))


def write_mono(directory: Path, names: list[str], size: int = 96) -> None:
    """Some people in the published monocular layout, for a focal length of 4."""
    for kind in ("rgba", "mask"):
        (directory / kind).mkdir(parents=True)
    landmarks = {}
    for name in names:
        picture, points = ball(canonical_viewmat(8.0), intrinsics(size, 4.0), size)
        picture.save(directory / "rgba" / f"{name}.png")
        picture.getchannel("A").save(directory / "mask" / f"{name}.png")
        landmarks[name] = points
    np.savez(directory / "lmks.npz", **landmarks)

# SPDX-License-Identifier: Apache-2.0
"""The folder of an imported clip whose truth is known: the invented head's landmarks, flat pictures, mattes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, frame_intrinsics, head_vertices
from blendsplat.landmarks.detector import save_landmarks
from blendsplat.splatting import rasterize_mesh
from blendsplat.tracking import TrackOptions
from blendsplat.video.clip import ClipInfo, write_info, write_png
from synthetic_head import landmarks_of, make_head

FRAMES, SIZE = 12, 256


def head_with_neck() -> HeadModel:
    """The invented head with the regions that tracking cuts the neck by."""
    head, vertices = make_head(), np.arange(502)
    return replace(head, regions={**head.regions, "scalp": vertices[:30], "neck": vertices[478:]})


def make_folder(folder: Path, head: HeadModel, truth: Performance, found: np.ndarray | None = None) -> Path:
    """A clip folder: flat pictures, mattes of the mesh plus shoulders, true landmarks."""
    found = np.ones(FRAMES, bool) if found is None else found
    for name in ("images", "mattes"):
        (folder / name).mkdir(parents=True)
    vertices = head_vertices(truth, head)
    camera = torch.eye(4)[None].expand(FRAMES, 4, 4)
    K = torch.as_tensor(frame_intrinsics(truth))
    drawn, _, _ = rasterize_mesh(torch.as_tensor(vertices), head.faces, camera, K, SIZE, SIZE)
    for frame in range(FRAMES):
        matte = np.where(drawn[frame].numpy() >= 0, 255, 0).astype(np.uint8)
        matte[-30:, 20:-20] = 255
        image = np.full((SIZE, SIZE, 3), 90, np.uint8)
        image[matte > 0] = (200, 150, 120)
        image[-30:, 20:-20] = (20, 30, 90)
        write_png(folder / "images" / f"{frame:06d}.png", image)
        write_png(folder / "mattes" / f"{frame:06d}.png", matte)
    points = np.zeros((FRAMES, 478, 3), np.float32)
    centre = truth.K[:2, 2]
    points[..., :2] = centre + (landmarks_of(head, truth) - centre) * truth.zoom[:, None, None]
    save_landmarks(folder / "landmarks.npz", points * found[:, None, None], found, "truth")
    write_info(
        folder,
        ClipInfo("x.mp4", (SIZE, SIZE), 0.0, None, (0, 0, SIZE), SIZE, SIZE, 25.0, list(truth.timestamps), "external"),
    )
    return folder


def options(head: HeadModel, refine: str = "none", **more) -> TrackOptions:
    """By landmarks alone, unless said otherwise: these pictures show nothing to refine on."""
    return TrackOptions(head="synthetic", head_model=head, refine=refine, **more)

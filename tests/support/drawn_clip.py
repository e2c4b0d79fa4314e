# SPDX-License-Identifier: Apache-2.0
"""A tracked clip of the head that ships, drawn small and quickly, for what runs the engine in another process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from blendsplat.heads.human import human_head
from blendsplat.splatting import rasterize_mesh
from blendsplat.synthetic.clip import FPS, SIZE, clip_camera, clip_identity, truth_of
from blendsplat.synthetic.performance import talking_performance
from blendsplat.video.clip import ClipInfo, frame_path, write_info, write_png

SIDE = 48
PRESET = """
uv_resolution = 14
image_size = 48
images = 24
batch = 4
blendshapes = 4
mlp_width = 16
texel_scale = 0.7
decay_images = 0
"""  # of a second


def write_drawn_clip(folder: Path, frames: int = 6) -> Path:
    """Heads in grey, by their depth, with their masks as mattes and the truth as the tracking."""
    head = human_head()
    params = talking_performance(head, frames, FPS)
    params.shape = clip_identity(head, 1)
    K, viewmat = clip_camera()
    K[:2] *= SIDE / SIZE
    truth = truth_of(head, params, K, viewmat, size=SIDE)
    views, Ks = (torch.as_tensor(camera).expand(frames, *camera.shape) for camera in (viewmat, K))
    drawn, _, depth = rasterize_mesh(head(params), head.faces, views, Ks, SIDE, SIDE)
    for name in ("images", "mattes"):
        (folder / name).mkdir(parents=True)
    for frame in range(frames):
        inside = drawn[frame].numpy() >= 0
        grey = (900 * (1.15 - depth[frame].numpy())).clip(20, 235)
        write_png(
            frame_path(folder, "images", frame), np.where(inside, grey, 90)[..., None].repeat(3, -1).astype(np.uint8)
        )
        write_png(frame_path(folder, "mattes", frame), (inside * 255).astype(np.uint8))
    times = [float(second) for second in truth.timestamps]
    write_info(folder, ClipInfo("drawn", (SIDE, SIDE), 0.0, None, (0, 0, SIDE), SIDE, SIDE, FPS, times, "external"))
    truth.save(folder / "tracking.npz")
    return folder

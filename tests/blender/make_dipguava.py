# SPDX-License-Identifier: Apache-2.0
"""Run by the engine's Python: a DipGuava of a tiny clip, trained, and what the engine renders of its sliders.

    python make_dipguava.py FOLDER

Leaves FOLDER/clip, FOLDER/dip.avatar.npz and FOLDER/dip.npz (rgba of some frames).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from blendsplat.avatars.rendering import render_performance
from blendsplat.heads import load
from blendsplat.systems import load_avatar, make_preset, train_avatar
from tiny_clip import tiny_head, write_tiny_clip

ROWS = (0, 5, 11)
SIZE = 96
VALUES = {
    "system": "dipguava", "image_size": 32, "images": 120, "stage_images": 60, "batch": 4, "decay_images": 0,
    "rate": 1e-3, "residual_rate": 1e-3, "position_rate": 1e-2, "scale_rate": 1e-2, "lpips_weight": 0.0,
    "densify_every": 0,
    "avatar": {"uv_size": 16, "unet_width": 8, "mlp_width": 16, "mlp_layers": 2, "frequencies": 2, "texture_size": 16},
}  # fmt: skip


def make(folder: Path) -> None:
    load.load_head = lambda source, **_: tiny_head()
    performance = write_tiny_clip(folder / "clip")
    train_avatar(folder / "clip", make_preset(VALUES), folder / "dip.avatar.npz")
    avatar = load_avatar(folder / "dip.avatar.npz")
    avatar.show("sliders")
    frames = [rgba for rgba, _ in render_performance(avatar, performance, SIZE, SIZE)]
    np.savez(folder / "dip.npz", rows=ROWS, rgba=np.stack([frames[row] for row in ROWS]))


if __name__ == "__main__":
    make(Path(sys.argv[1]))

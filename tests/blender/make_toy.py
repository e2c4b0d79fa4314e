# SPDX-License-Identifier: Apache-2.0
"""Run by the engine's Python: the toy system's avatar of a tiny clip, trained, and what the engine renders of it.

    python make_toy.py FOLDER

Leaves FOLDER/clip, FOLDER/toy.avatar.npz and FOLDER/toy.npz (rgba of some frames).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from blendsplat.avatars.rendering import render_performance
from blendsplat.heads import load
from blendsplat.systems import SYSTEMS, load_avatar, make_preset, train_avatar
from tiny_clip import tiny_head, write_tiny_clip
from toy_system import TOY

ROWS = (0, 5, 11)
SIZE = 96


def make(folder: Path) -> None:
    SYSTEMS["toy"] = TOY
    load.load_head = lambda source, **_: tiny_head()
    performance = write_tiny_clip(folder / "clip")
    preset = make_preset({"system": "toy", "image_size": 32, "images": 200, "batch": 4, "decay_images": 0})
    train_avatar(folder / "clip", preset, folder / "toy.avatar.npz")
    frames = [rgba for rgba, _ in render_performance(load_avatar(folder / "toy.avatar.npz"), performance, SIZE, SIZE)]
    np.savez(folder / "toy.npz", rows=ROWS, rgba=np.stack([frames[row] for row in ROWS]))


if __name__ == "__main__":
    make(Path(sys.argv[1]))

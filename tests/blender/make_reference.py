# SPDX-License-Identifier: Apache-2.0
"""Run by the engine's Python: a made-up person on Blendsplat's own head, and what the engine itself renders of it.

    python make_reference.py FOLDER

Leaves a clip folder, an avatar file, a fitted photograph's folder and reference.npz (vertices and RGBA of some frames).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import synthetic_fit

import synthetic
from blendsplat.avatars.rendering import render_performance
from blendsplat.avatars.rig import rig_arrays
from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.photographs.fit_files import ImageFit, save_fit
from blendsplat.photographs.photograph import Face, Photograph
from blendsplat.systems import load_avatar

ROWS = (0, 6, 13)


def make(folder: Path) -> None:
    import torch

    head = load_head("human")
    rng = np.random.default_rng(1)
    frames, width, height = 16, 160, 160
    speed, phase = (
        rng.uniform(0.2, 0.6, (1, head.expression_count + 20)),
        rng.uniform(0, 6, (1, head.expression_count + 20)),
    )
    wave = np.sin(np.arange(frames)[:, None] * speed + phase)
    expression = np.clip(wave[:, 20:] - 0.4, 0, 1)
    view = np.diag([1.0, -1.0, -1.0, 1.0])
    view[:3, 3] = [0.0, float(head.template[:, 1].mean()), 0.9]
    zero = np.zeros((frames, 3))
    tracking = Performance(
        head="human", head_source="human", width=width, height=height, timestamps=np.arange(frames) / 25,
        valid=np.ones(frames, bool),
        shape=rng.normal(0, 0.5, head.shape_count).astype(np.float32),
        vertex_offsets=np.zeros((head.vertex_count, 3), np.float32),
        expression=expression.astype(np.float32), root_pose=(zero + [0.03, 0.1, 0]).astype(np.float32),
        neck_pose=(0.25 * wave[:, :3]).astype(np.float32),
        jaw_pose=(np.abs(wave[:, 3:4]) * [0.2, 0, 0]).astype(np.float32),
        eyes_pose=(0.2 * wave[:, 4:10]).reshape(frames, 2, 3).astype(np.float32),
        eyelids=np.zeros((frames, 2), np.float32),
        translation=(0.02 * wave[:, 10:13]).astype(np.float32),
        K=np.array([[420, 0, 84], [0, 420, 77], [0, 0, 1]], np.float32),
        viewmat=view.astype(np.float32), expression_names=head.expression_names,
    )  # fmt: skip
    clip = folder / "clip"
    clip.mkdir(parents=True)
    tracking.save(clip / "tracking.npz")
    person = head.personalise(torch.from_numpy(tracking.shape))
    meta = {
        "head": "human",
        "expression_names": list(head.expression_names),
        "expression_range": list(head.expression_range),
    }
    avatar = synthetic.write_avatar(folder / "person.avatar.npz", 4000, 6, rig=(meta, rig_arrays(person)))
    vertices = person(replace(tracking.params()[list(ROWS)], shape=torch.zeros(1, 0))).numpy()
    make_fit(tracking.select([ROWS[1]]), head, folder / "fit")
    rendered = [rgba for rgba, _ in render_performance(load_avatar(avatar), tracking, width, height)]
    np.savez(folder / "reference.npz", rows=ROWS, vertices=vertices, rgba=np.stack([rendered[row] for row in ROWS]))


def make_fit(tracking: Performance, head: HeadModel, folder: Path) -> None:
    """What fit-image leaves for a photograph on which the head looks like this."""
    picture = synthetic_fit.picture(tracking.width, tracking.height)
    whole = np.full(picture.shape[:2], 255, np.uint8)
    photograph = Photograph(folder / "Frau Ä.png", picture, None, 1.0, tracking.width, tracking.height, None)
    face = Face(np.full((478, 2), 80.0), np.zeros(478))
    save_fit(ImageFit(photograph, face, tracking, np.dstack([picture, whole]), whole, "landmarks"), head, folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))

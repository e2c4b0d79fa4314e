# SPDX-License-Identifier: Apache-2.0
"""Performances on the head that ships whose neutral face is known: somebody who rests, talks and blinks."""

from __future__ import annotations

import numpy as np

from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance

Habit = dict[str, float]


def acted(
    head: HeadModel, habit: Habit | None = None, frames: int = 120, fps: float = 30.0, resting: float = 0.3,
    seed: int = 0, talk: float = 0.3,
) -> Performance:  # fmt: skip
    """A clip of ``frames``: the face rests in its ``habit`` (coefficients by name) for the first ``resting`` of it with
    a little noise, talks for the rest (the jaw turns to ``talk`` radians, smiles, brows), and blinks every second. The
    head nods and sways; the last frame is not valid and holds the one before."""
    rng, index = np.random.default_rng(seed), head.expression_names.index
    time = np.arange(frames) / fps
    talking = np.clip((np.arange(frames) / frames - resting) * 20, 0, 1)
    expression = np.zeros((frames, head.expression_count))
    for name, value in (habit or {}).items():
        expression[:, index(name)] = value
    expression += 0.004 * np.abs(rng.normal(size=expression.shape))
    for name, rate in (("mouthSmileLeft", 1.1), ("mouthSmileRight", 1.1), ("mouthFunnel", 2.3), ("browInnerUp", 0.7)):
        expression[:, index(name)] += 0.4 * talking * np.sin(np.pi * rate * time) ** 2
    blink = np.exp(-((((time % 1.0) - 0.5) / 0.05) ** 2))
    for side in ("Left", "Right"):
        before = expression[:, index(f"eyeBlink{side}")]
        expression[:, index(f"eyeBlink{side}")] = before + (1 - before) * blink
    jaw = np.zeros((frames, 3))
    jaw[:, 0] = talk * talking * (0.35 + 0.65 * np.sin(2 * np.pi * 1.7 * time) ** 2)
    eyes = np.repeat(0.1 * np.sin(time)[:, None, None] * [0.2, 1.0, 0.0], 2, 1)
    neck = 0.2 * np.sin(time[:, None] * [1.0, 1.7, 0.6])
    K = np.array([[900, 0, 128], [0, 900, 128], [0, 0, 1]], np.float32)
    view = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    view[2, 3] = 1.0
    valid = np.ones(frames, bool)
    arrays = {
        "expression": expression, "jaw_pose": jaw, "eyes_pose": eyes, "neck_pose": neck,
        "root_pose": np.full((frames, 3), 0.02), "eyelids": np.zeros((frames, 2)),
        "translation": 0.02 * np.sin(time[:, None] * [0.7, 1.3, 0.9]) + [0.0, 0.01, -0.02],
    }  # fmt: skip
    if frames > 2:
        valid[-1] = False
        for array in arrays.values():
            array[-1] = array[-2]
    return Performance(
        head=head.name, head_source="human", width=256, height=256, timestamps=time, valid=valid,
        shape=np.zeros(head.shape_count, np.float32), vertex_offsets=np.zeros((head.vertex_count, 3), np.float32),
        K=K, viewmat=view, expression_names=head.expression_names, head_model=head.model_id, head_family=head.family,
        **{name: array.astype(np.float32) for name, array in arrays.items()},
    )  # fmt: skip

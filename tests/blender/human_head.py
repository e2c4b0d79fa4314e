# SPDX-License-Identifier: Apache-2.0
"""The head that ships as an avatar file holds it, read with numpy alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HEAD = Path(__file__).parents[2] / "engine" / "blendsplat" / "heads" / "human" / "human_head.npz"


def human_head() -> tuple[dict, dict[str, np.ndarray]]:
    """(meta, rig arrays) of the mean head with the shape built in."""
    with np.load(HEAD) as file:
        raw = {name: file[name] for name in file.files}

    def moves(name: str) -> np.ndarray:
        low, high = raw[name].astype(np.uint16)
        return (low | high << 8).astype(np.uint16).view(np.int16) * np.float32(0.004e-3)

    expressions = len(raw["expression_names"])
    arrays = {
        **{name: raw[name] for name in ("template", "uvs", "joints", "skin_weights")},
        **{name: raw[name].astype(np.int32) for name in ("faces", "uv_faces")},
        "expression_directions": moves("expression_directions"), "pose_directions": moves("pose_directions"),
        "eyelid_directions": np.zeros((2, *raw["template"].shape), np.float32),
        "joint_expression_directions": np.zeros((expressions, 5, 3), np.float32),
    }  # fmt: skip
    meta = {"head": "human", "expression_names": raw["expression_names"].tolist(), "expression_range": [0.0, 1.0]}
    return meta, {f"rig.{name}": value for name, value in arrays.items()}

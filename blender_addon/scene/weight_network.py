# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a head does to the weights of its Gaussian blendshapes: the features and the small network, in numpy.

The same numbers as the engine's (docs/formats.md), so that sliders and bones drive an avatar without the engine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..formats import AvatarFile, Performance
from ..space import rotvec_to_matrix
from .hold_back import SeenWeights, Strength, held_features

ROTATION_SIZE = 6  # a rotation as a feature: the first two rows of its matrix
# Features behind the expression, in the network's order (docs/formats.md, "feature_layout").
_SIZES_BEHIND_EXPRESSION = {
    "head_rotation": ROTATION_SIZE, "jaw": ROTATION_SIZE, "left_eye": ROTATION_SIZE, "right_eye": ROTATION_SIZE,
    "eyelids": 2, "translation": 3,
}  # fmt: skip


@dataclass
class HeadState:
    """What a head does in B frames; rotations are matrices in the engine's axes."""

    expression: np.ndarray  # [B,E]
    root: np.ndarray  # [B,3,3]
    neck: np.ndarray  # [B,3,3]
    jaw: np.ndarray  # [B,3,3]
    eyes: np.ndarray  # [B,2,3,3]
    eyelids: np.ndarray  # [B,2]
    translation: np.ndarray  # [B,3]

    @classmethod
    def of(cls, performance: Performance) -> HeadState:
        """Every row of a tracked performance."""
        p = performance
        return cls(
            p.expression, rotvec_to_matrix(p.root_pose), rotvec_to_matrix(p.neck_pose), rotvec_to_matrix(p.jaw_pose),
            rotvec_to_matrix(p.eyes_pose), p.eyelids, p.translation,
        )  # fmt: skip


@dataclass
class WeightNetwork:
    """The part of an avatar file that turns a HeadState into blendshape weights.

    feature_range [2,D]: lowest and highest features seen in training; None in files of version 1. seen: which weights
    were seen; None where a file (or a scene of an earlier version) does not say.
    """

    layers: list[tuple[np.ndarray, np.ndarray]]
    origin: np.ndarray  # [3]
    feature_range: np.ndarray | None = None
    seen: SeenWeights | None = None

    @property
    def expression_count(self) -> int:
        """E: what the network's input holds beside everything else."""
        return self.layers[0][0].shape[1] - sum(_SIZES_BEHIND_EXPRESSION.values())

    def features(self, state: HeadState) -> np.ndarray:
        """[B,D]: expression, head 6D (root times neck), jaw 6D, eyes 2 x 6D, eyelids, translation minus origin."""
        count = len(state.expression)

        def six(matrix: np.ndarray) -> np.ndarray:
            return matrix[..., :2, :].reshape(count, -1)

        return np.concatenate(
            [
                state.expression, six(state.root @ state.neck), six(state.jaw), six(state.eyes), state.eyelids,
                state.translation - self.origin,
            ],
            1,
        ).astype(np.float32)  # fmt: skip

    def weights(self, state: HeadState, *, inside: bool = False, hold: Strength = 0.0) -> np.ndarray:
        """[B,K] weights of the Gaussian blendshapes; ``inside``: features are kept in the range seen in training. hold:
        how firmly what was never shown is held back, 0 to 1, or [B] of them; what was shown never is."""
        x = self.features(state)
        if self.feature_range is not None:
            if inside:
                x = np.clip(x, *self.feature_range)
            elif self.seen is not None:
                x = held_features(x, self.feature_range, hold)
        for index, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if index + 1 < len(self.layers):
                x = np.maximum(x, 0)
        return x if self.seen is None else self.seen.held(x, hold)

    @classmethod
    def of(cls, avatar: AvatarFile) -> WeightNetwork | None:
        """None for an avatar without blendshapes."""
        if not avatar.layers:
            return None
        return cls(
            [(w.astype(np.float32), b.astype(np.float32)) for w, b in avatar.layers], avatar.arrays["feature_origin"],
            avatar.arrays.get("feature_range"), SeenWeights.of_file(avatar),
        )  # fmt: skip

    def pack(self) -> dict[str, Any]:
        """As custom properties (bytes and text), so that a .blend drives its avatar without the avatar file."""
        packed: dict[str, Any] = {"layout": json.dumps([list(w.shape) for w, _ in self.layers])}
        packed["origin"] = self.origin.astype("<f4").tobytes()
        if self.feature_range is not None:
            packed["feature_range"] = self.feature_range.astype("<f4").tobytes()
        for index, (weight, bias) in enumerate(self.layers):
            packed[f"weight{index}"] = weight.astype("<f4").tobytes()
            packed[f"bias{index}"] = bias.astype("<f4").tobytes()
        return packed | (self.seen.pack() if self.seen is not None else {})

    @classmethod
    def unpack(cls, packed: Any) -> WeightNetwork:
        """From what ``pack`` made, or an older version of it. Raises KeyError or ValueError when it is damaged."""
        layers = []
        for index, shape in enumerate(json.loads(packed["layout"])):
            weight = np.frombuffer(packed[f"weight{index}"], "<f4").reshape(shape)
            layers.append((weight, np.frombuffer(packed[f"bias{index}"], "<f4")))
        seen = packed.get("feature_range")
        seen = np.frombuffer(seen, "<f4").reshape(2, -1) if seen else None
        return cls(layers, np.frombuffer(packed["origin"], "<f4"), seen, SeenWeights.unpack(packed))

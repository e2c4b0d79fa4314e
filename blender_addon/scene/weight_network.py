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
class Driver:
    """The part of an avatar file that turns a HeadState into blendshape weights."""

    layers: list[tuple[np.ndarray, np.ndarray]]
    origin: np.ndarray  # [3]

    @property
    def expression_count(self) -> int:
        """E: what the network's input holds beside head, jaw and eyes (4 x 6D), eyelids and translation."""
        return self.layers[0][0].shape[1] - 4 * 6 - 2 - 3

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

    def weights(self, state: HeadState) -> np.ndarray:
        """[B,K] weights of the Gaussian blendshapes."""
        x = self.features(state)
        for index, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if index + 1 < len(self.layers):
                x = np.maximum(x, 0)
        return x

    @classmethod
    def of(cls, avatar: AvatarFile) -> Driver:
        return cls(
            [(w.astype(np.float32), b.astype(np.float32)) for w, b in avatar.layers], avatar.arrays["feature_origin"]
        )

    def pack(self) -> dict[str, Any]:
        """As custom properties (bytes and text), so that a .blend drives its avatar without the avatar file."""
        packed: dict[str, Any] = {"layout": json.dumps([list(w.shape) for w, _ in self.layers])}
        packed["origin"] = self.origin.astype("<f4").tobytes()
        for index, (weight, bias) in enumerate(self.layers):
            packed[f"weight{index}"] = weight.astype("<f4").tobytes()
            packed[f"bias{index}"] = bias.astype("<f4").tobytes()
        return packed

    @classmethod
    def unpack(cls, packed: Any) -> Driver:
        """From what ``pack`` made. Raises KeyError or ValueError when it is damaged."""
        layers = []
        for index, shape in enumerate(json.loads(packed["layout"])):
            weight = np.frombuffer(packed[f"weight{index}"], "<f4").reshape(shape)
            layers.append((weight, np.frombuffer(packed[f"bias{index}"], "<f4")))
        return cls(layers, np.frombuffer(packed["origin"], "<f4"))

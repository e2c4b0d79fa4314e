# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a head does to the weights of its Gaussian blendshapes: the features and the small network, in numpy.

The same numbers as the engine's (docs/formats.md), so that sliders and bones drive an avatar without the engine. A
performance of another clip is re-based first: what the network learned is relative to where its own clip was.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..formats import AvatarFile, Performance
from ..space import matrix_to_rotvec, rotvec_to_matrix

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
    """The part of an avatar file that turns a HeadState into blendshape weights, and what its training has seen.

    feature_range [2,D] (lowest, highest), neutral [3,3] (mean head rotation) and clip (id of the performance) are None
    or "" in files of version 1.
    """

    layers: list[tuple[np.ndarray, np.ndarray]]
    origin: np.ndarray  # [3]
    feature_range: np.ndarray | None = None
    neutral: np.ndarray | None = None
    clip: str = ""

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

    def weights(self, state: HeadState, *, inside: bool = False) -> np.ndarray:
        """[B,K] weights of the Gaussian blendshapes; ``inside``: features are kept in the range seen in training."""
        x = self.features(state)
        if inside and self.feature_range is not None:
            x = np.clip(x, *self.feature_range)
        for index, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T + bias
            if index + 1 < len(self.layers):
                x = np.maximum(x, 0)
        return x

    def knows(self, performance: Performance) -> bool:
        """It is the clip that the avatar was trained on.

        Files of version 1 do not say which: their origin is the translation of one of the clip's frames, to the bit.
        """
        if self.clip:
            return self.clip == performance_id(performance)
        return bool((performance.translation.astype("<f4") == self.origin.astype("<f4")).all(1).any())

    @classmethod
    def of(cls, avatar: AvatarFile) -> WeightNetwork | None:
        """None for an avatar without blendshapes."""
        if not avatar.layers:
            return None
        return cls(
            [(w.astype(np.float32), b.astype(np.float32)) for w, b in avatar.layers], avatar.arrays["feature_origin"],
            avatar.arrays.get("feature_range"), avatar.arrays.get("neutral_rotation"),
            str(avatar.meta.get("performance", "")),
        )  # fmt: skip

    def pack(self) -> dict[str, Any]:
        """As custom properties (bytes and text), so that a .blend drives its avatar without the avatar file."""
        packed: dict[str, Any] = {"layout": json.dumps([list(w.shape) for w, _ in self.layers]), "clip": self.clip}
        packed["origin"] = self.origin.astype("<f4").tobytes()
        for name, values in (("feature_range", self.feature_range), ("neutral", self.neutral)):
            packed[name] = b"" if values is None else values.astype("<f4").tobytes()
        for index, (weight, bias) in enumerate(self.layers):
            packed[f"weight{index}"] = weight.astype("<f4").tobytes()
            packed[f"bias{index}"] = bias.astype("<f4").tobytes()
        return packed

    @classmethod
    def unpack(cls, packed: Any) -> WeightNetwork:
        """From what ``pack`` made, or an older version of it. Raises KeyError or ValueError when it is damaged."""
        layers = []
        for index, shape in enumerate(json.loads(packed["layout"])):
            weight = np.frombuffer(packed[f"weight{index}"], "<f4").reshape(shape)
            layers.append((weight, np.frombuffer(packed[f"bias{index}"], "<f4")))
        seen = {
            name: np.frombuffer(packed[name], "<f4").reshape(shape) if packed.get(name) else None
            for name, shape in (("feature_range", (2, -1)), ("neutral", (3, 3)))
        }
        return cls(layers, np.frombuffer(packed["origin"], "<f4"), clip=packed.get("clip", ""), **seen)


def performance_id(performance: Performance) -> str:
    """The performance in 16 hex digits, by its content: the same wherever its file lies."""
    digest = hashlib.sha256(performance.expression.astype("<f4").tobytes())
    digest.update(performance.translation.astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def rebased(performance: Performance, network: WeightNetwork) -> Performance:
    """A performance of another clip as if it had happened where the avatar's own did (docs/formats.md).

    Its mean translation becomes the avatar's origin; its mean head rotation the avatar's, by turning the root: the neck
    does what it did.
    """
    p, rows = performance, performance.valid_rows
    arrays = dict(p.arrays)
    arrays["translation"] = (p.translation - p.translation[rows].mean(0) + network.origin).astype(np.float32)
    if network.neutral is not None:
        root = rotvec_to_matrix(p.root_pose)
        turn = network.neutral @ mean_rotation((root @ rotvec_to_matrix(p.neck_pose))[rows]).T
        arrays["root_pose"] = matrix_to_rotvec(turn @ root).astype(np.float32)
    return replace(p, arrays=arrays)


def mean_rotation(matrices: np.ndarray) -> np.ndarray:
    """The rotation [3,3] nearest to rotations [B,3,3], by the sum of squared differences of their entries."""
    u, _, vt = np.linalg.svd(np.mean(np.asarray(matrices, float), axis=0))
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt

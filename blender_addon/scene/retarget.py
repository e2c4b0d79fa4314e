# SPDX-License-Identifier: GPL-3.0-or-later
"""One person's performance on another person's avatar, as the engine's avatars/retarget.py (docs/formats.md).

A network that learned from one clip has seen that clip's translations and head rotations only. Another clip's
performance is re-based: it moves about the place and the posture about which the avatar's own clip moved.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..formats import AvatarFile, Performance
from ..space import matrix_to_rotvec, rotvec_to_matrix


@dataclass(frozen=True)
class Reference:
    """Where the avatar's own clip holds the head on average: translation [3] metres, rotation [3,3] (root times neck).
    performance: the id of that clip's performance."""

    performance: str
    translation: np.ndarray
    rotation: np.ndarray

    @classmethod
    def of(cls, performance: Performance) -> Reference:
        """Of a performance's valid frames."""
        p, rows = performance, performance.valid_rows
        rotations = rotvec_to_matrix(p.root_pose[rows]) @ rotvec_to_matrix(p.neck_pose[rows])
        return cls(performance_id(p), p.translation[rows].astype(float).mean(0), mean_rotation(rotations))

    @classmethod
    def of_file(cls, avatar: AvatarFile) -> Reference | None:
        """None for files that do not say (version 1)."""
        given, a = str(avatar.meta.get("performance") or ""), avatar.arrays
        known = bool(given) and "neutral_translation" in a and "neutral_rotation" in a
        return cls(given, a["neutral_translation"], a["neutral_rotation"]) if known else None

    def pack(self) -> dict[str, Any]:
        """As custom properties."""
        return {
            "performance": self.performance,
            "translation": self.translation.astype("<f4").tobytes(),
            "rotation": self.rotation.astype("<f4").tobytes(),
        }

    @classmethod
    def unpack(cls, packed: Any) -> Reference:
        """From what ``pack`` made. Raises KeyError or ValueError when it is damaged."""
        rotation = np.frombuffer(packed["rotation"], "<f4").reshape(3, 3)
        return cls(packed["performance"], np.frombuffer(packed["translation"], "<f4"), rotation)


def performance_id(performance: Performance) -> str:
    """The performance in 16 hex digits, by its content: the same wherever its file lies."""
    digest = hashlib.sha256(performance.expression.astype("<f4").tobytes())
    digest.update(performance.translation.astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def foreign(performance: Performance, reference: Reference | None) -> bool:
    """It is of another clip than the avatar's own; an avatar that does not know its clip takes all as its own."""
    return reference is not None and reference.performance != performance_id(performance)


def rebased(performance: Performance, reference: Reference, own: Reference | None = None) -> Performance:
    """``performance`` carried to where the avatar's own clip is, as one rigid motion: afterwards the valid frames' mean
    translation and mean head rotation are the reference's. The neck does what it did. A single frame, a photograph's,
    has no mean to turn about and keeps its rotation. own: of more than these frames, where that is known."""
    alone = own is None and len(performance.valid_rows) == 1
    own = own or Reference.of(performance)
    turn = np.eye(3) if alone else reference.rotation @ own.rotation.T
    shifted = (performance.translation - own.translation) @ turn.T + reference.translation
    root = matrix_to_rotvec(turn @ rotvec_to_matrix(performance.root_pose))
    moved = {"translation": shifted.astype(np.float32), "root_pose": root.astype(np.float32)}
    return replace(performance, arrays=performance.arrays | moved)


def mean_rotation(rotations: np.ndarray) -> np.ndarray:
    """The rotation [3,3] nearest to all of [B,3,3] (chordal mean: Hartley et al. 2013, section 5.3)."""
    u, _, vt = np.linalg.svd(np.asarray(rotations, float).mean(0))
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt

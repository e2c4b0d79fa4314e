# SPDX-License-Identifier: Apache-2.0
"""One person's performance on another person's avatar: where the head is held is the avatar's own clip's business.

A network that learned from one clip has seen that clip's translations and head rotations only. Another clip's camera
stands elsewhere and its person holds the head differently: its numbers would lie far outside. So a foreign performance
is re-based: it moves about the place and the posture about which the avatar's own clip moved, and its camera with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.face_motions import FaceMotions
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.neutral import Neutral
from blendsplat.heads.performance import Performance


@dataclass(frozen=True)
class Reference:
    """Where the avatar's own clip holds the head on average: translation [3] metres, rotation [3,3] (root times neck).
    performance: the identity of that clip's performance. face: that person's neutral face; None: an older file does
    not say, or the clip has too few frames."""

    performance: str
    translation: Tensor
    rotation: Tensor
    face: Neutral | None = None

    @classmethod
    def of(cls, params: HeadParams, performance: str = "", head: HeadModel | None = None) -> Reference:
        """Of the frames' parameters; with their head, the neutral face as well."""
        rotations = head_rotations(params).detach().cpu()
        face = None
        if head is not None:
            parts = (params.expression, params.jaw_pose, params.eyes_pose, params.eyelids)
            told = [part.detach().cpu().expand(params.batch, *part.shape[1:]).numpy() for part in parts]
            face = Neutral.of(told[0], told[1], told[2], told[3], FaceMotions.of(head))
        return cls(performance, params.translation.detach().cpu().mean(0), mean_rotation(rotations), face)

    def arrays(self) -> dict[str, np.ndarray]:
        """As the avatar file holds it, beside ``performance`` in its header."""
        where = {"neutral_translation": self.translation.numpy(), "neutral_rotation": self.rotation.numpy()}
        return where | (self.face.arrays() if self.face is not None else {})

    @classmethod
    def from_file(cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Reference | None:
        """Of an avatar file's checked header and arrays; None where they do not say."""
        if not meta.get("performance") or not {"neutral_translation", "neutral_rotation"} <= arrays.keys():
            return None
        translation, rotation = (torch.from_numpy(arrays[f"neutral_{name}"]) for name in ("translation", "rotation"))
        return cls(meta["performance"], translation, rotation, Neutral.from_file(arrays))


def rebased(performance: Performance, reference: Reference, root_joint: Tensor) -> Performance:
    """``performance`` carried to where the avatar's own clip is: one rigid motion of its whole world, camera included.

    Afterwards the valid frames' mean translation and mean head rotation are the reference's, and the camera sees the
    head as it did before. A single frame, a photograph's, has no mean to turn about and keeps its rotation. root_joint
    [3]: the avatar's own, about which the root turns.
    """
    params = performance.params()
    valid = torch.as_tensor(performance.valid, dtype=torch.bool)
    own = Reference.of(params[valid if bool(valid.any()) else torch.ones_like(valid)])
    turn = reference.rotation.to(own.rotation) @ own.rotation.T if int(valid.sum()) != 1 else torch.eye(3)
    shifted = (params.translation - own.translation) @ turn.T + reference.translation.to(own.translation)
    back = torch.eye(4)
    back[:3, :3] = turn.T
    back[:3, 3] = root_joint + own.translation - turn.T @ (root_joint + reference.translation.to(own.translation))
    return replace(
        performance, root_pose=matrix_to_rotvec(turn @ rotvec_to_matrix(params.root_pose)).numpy(),
        translation=shifted.numpy(), viewmat=performance.viewmat @ back.numpy(),
    )  # fmt: skip


def head_rotations(params: HeadParams) -> Tensor:
    """The head's rotation in the world [B,3,3]: root times neck."""
    return rotvec_to_matrix(params.root_pose) @ rotvec_to_matrix(params.neck_pose)


def mean_rotation(rotations: Tensor) -> Tensor:
    """The rotation nearest to all of [B,3,3] (chordal mean: Hartley et al. 2013, section 5.3)."""
    u, _, vt = torch.linalg.svd(rotations.double().mean(0))
    sign = torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ vt))], dtype=u.dtype))
    return (u @ sign @ vt).to(rotations.dtype)

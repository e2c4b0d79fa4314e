# SPDX-License-Identifier: Apache-2.0
"""Heads that are another one in disguise, so that what a conversion should give is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from synthetic_head import make_truth

LIDS = ("eyeBlinkLeft", "eyeBlinkRight")


def turned_head(
    head: HeadModel, pitch: float = 0.12, shift: tuple[float, ...] = (0.0, 0.03, -0.02), amount: float = 1.0
) -> HeadModel:
    """The same head whose own axes lie otherwise (radians, metres), with expressions of another amount. The eyes look
    along +z of these axes at rest, as on every head."""
    rotation, moved = rotvec_to_matrix(torch.tensor([pitch, 0.0, 0.0])), torch.tensor(shift)
    turn = torch.kron(rotation, rotation)  # of a row-major matrix R - I, to the other axes
    poses = torch.einsum("jab,jbvc->javc", turn.expand(4, 9, 9), head.pose_directions.reshape(4, 9, -1, 3))
    # whose joints' axes turn with the head, but for the eyes: their own axes are the new ones
    return replace(
        head, name="turned", family="", template=head.template @ rotation.T + moved,
        shape_directions=head.shape_directions @ rotation.T,
        expression_directions=amount * head.expression_directions @ rotation.T,
        pose_directions=(poses @ rotation.T).reshape(36, -1, 3), joints=head.joints @ rotation.T + moved,
        joint_shape_directions=head.joint_shape_directions @ rotation.T,
        joint_expression_directions=amount * head.joint_expression_directions @ rotation.T,
    )  # fmt: skip


def flame_like(head: HeadModel, seed: int = 0) -> HeadModel:
    """The same head with FLAME's way of moving: nameless mixtures from -3 to 3, lids of their own, a jaw that turns."""
    rng = np.random.default_rng(seed)
    lids = [head.expression_names.index(name) for name in LIDS]
    rest = [row for row in range(head.expression_count) if row not in lids]
    mix, _ = np.linalg.qr(rng.normal(size=(len(rest), len(rest))))
    mixed = torch.einsum("ab,bvc->avc", torch.tensor(0.4 * mix, dtype=torch.float32), head.expression_directions[rest])
    return replace(
        head, name="flame like", family="flame", expression_directions=mixed, expression_range=(-3.0, 3.0),
        expression_names=tuple(f"expression{row:03d}" for row in range(len(rest))),
        eyelid_directions=head.expression_directions[lids],
        joint_expression_directions=head.joint_expression_directions[rest],
    )  # fmt: skip


def lively(head: HeadModel, frames: int = 12, seed: int = 1) -> Performance:
    """A clip of ``head``, personal in shape: a third of its expressions at once, jaw, gaze, blinks, turns."""
    rng, performance = np.random.default_rng(seed), make_truth(head, frames, seed)
    some = rng.random(head.expression_count) < 0.3
    performance.expression = np.clip(performance.expression * some, *head.expression_range).astype(np.float32)
    performance.shape = (0.8 * performance.shape).astype(np.float32)
    if float(head.skin_weights[:, 2].max()) == 0:
        performance.jaw_pose[:] = 0
    if float(head.eyelid_directions.abs().max()) == 0:
        performance.eyelids[:] = 0
    return performance

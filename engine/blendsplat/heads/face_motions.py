# SPDX-License-Identifier: Apache-2.0
"""What a head's expressions and its jaw do to the whole face: how far they move it, how far they open the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from blendsplat.heads.arkit import JAW_OPEN_ANGLE
from blendsplat.heads.model import JAW_JOINT, HeadModel

TOUCH = 0.004  # metres within which the lips of a resting head meet
FOLLOWS, STAYS = 0.5, 0.25  # of the largest movement of an opening jaw: the lower lip does, the upper one does not
DEPTH = 0.01  # metres behind the foremost place where lips meet: beyond lie teeth, which meet as well
OPENER = "jawOpen"


@dataclass(frozen=True)
class FaceMotions:
    """Of E expressions and the jaw's rotation vector, in that order.

    sizes [E+3,E+3] turns their numbers (a row) into ones whose differences are as large as the vertices move, root mean
    square in metres: the root of the Gram matrix of their directions. Without it mouthClose, which undoes what jawOpen
    does, would count as movement. opening [E+3]: metres by which each parts the lips. opener: which of them opens the
    mouth; -1 for none.
    """

    sizes: np.ndarray
    opening: np.ndarray
    opener: int

    @classmethod
    def of(cls, head: HeadModel) -> FaceMotions:
        template, faces = _array(head.template), _array(head.expression_directions)
        follows = _array(head.skin_weights)[:, JAW_JOINT]
        arm = template - _array(head.joints)[JAW_JOINT]
        directions = np.concatenate([faces, np.stack([np.cross(a, arm) * follows[:, None] for a in np.eye(3)])])
        flat = directions.reshape(len(directions), -1)
        sizes = np.linalg.cholesky(flat @ flat.T / len(template) + 1e-12 * np.eye(len(flat)))
        opens, amount = len(faces), JAW_OPEN_ANGLE
        if not follows.max() > 0:
            opens, amount = (head.expression_names.index(OPENER), 1.0) if OPENER in head.expression_names else (-1, 0.0)
        lower, upper = lips(template, directions[opens] * amount)
        if not len(lower):
            return cls(sizes, np.zeros(len(flat)), -1)
        opening = (directions[:, upper, 1] - directions[:, lower, 1]).mean(1)
        return cls(sizes, opening, opens if opening[opens] > 0 else -1)


def lips(template: np.ndarray, opened: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [P] of the lower lip and those [P] of the upper lip that they meet, on a resting head [V,3] whose
    vertices move by ``opened`` [V,3] when its jaw opens. None are found on a head that has no mouth."""
    moved = np.linalg.norm(opened, axis=1)
    most = moved.max(initial=0)
    lower, upper = np.flatnonzero(moved > FOLLOWS * most), np.flatnonzero(moved < STAYS * most)
    if not len(lower) or not len(upper):
        return lower[:0], upper[:0]
    low, high = template[lower].min(0) - TOUCH, template[lower].max(0) + TOUCH
    upper = upper[((template[upper] >= low) & (template[upper] <= high)).all(1)]
    if not len(upper):
        return lower[:0], upper
    one, other = template[lower], template[upper]
    square = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    nearest = square.argmin(1)
    meets = square[np.arange(len(lower)), nearest] < TOUCH**2
    lower, upper = lower[meets], upper[nearest[meets]]
    front = template[lower, 2] > template[lower, 2].max(initial=-np.inf) - DEPTH
    return lower[front], upper[front]


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().double().numpy()
    return array

# SPDX-License-Identifier: Apache-2.0
"""The mesh and its people as the source alone gives them, before they are calibrated."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.bake_head.assemble import Assembly, assemble
from tools.bake_head.makehuman import MakeHuman
from tools.bake_head.mouth import Lips, find_lips
from tools.bake_head.parts import SEGMENTS, ball
from tools.bake_head.people import Faces, read_changes, sample_faces
from tools.bake_head.regions import name_regions

DIRECTIONS = 80
LIDS_FADE = (1.25, 2.0)  # eyeball radii from its middle, between which lids become face
FACE_BALL = 105.0  # mm round the nose: by this part heads are laid over each other


def sampled(wheel: Path) -> tuple[Assembly, Faces, dict[str, np.ndarray], Lips]:
    """The mesh, the sampled people before calibration, the regions, and what closes the lips."""
    source = MakeHuman.open(wheel)
    head = assemble(source)
    lips = find_lips(head)
    base = made_symmetric(head, head.points)
    skin = head.rows("skin")
    nose = skin[base[skin, 2].argmax()]
    face = skin[np.linalg.norm(base[skin] - base[nose], axis=1) < FACE_BALL]
    people = sample_faces(read_changes(source, head), base, lips.closed, face, DIRECTIONS)
    people.mean = made_symmetric(head, people.mean)
    people.child = made_symmetric(head, _lids_with_eyes(head, people.mean, people.child))
    return head, people, name_regions(source, head, people.mean), lips


def _lids_with_eyes(head: Assembly, mean: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """A direction [V,3] in which lids go where their eyeball goes, and grow as it does: a blink is the same for every
    head, and would not close eyes that open so much wider as a child's do."""
    moved, skin = moved.copy(), head.part == 0
    for side in ("left", "right"):
        rows = head.rows(f"{side}_eyeball")[-3 * SEGMENTS :]
        before, after = ball(mean[rows]), ball(mean[rows] + moved[rows])
        arm = mean - before[0]
        carried = after[0] - before[0] + (after[1] / before[1] - 1) * arm
        away = np.linalg.norm(arm, axis=1) / before[1]
        share = np.clip((LIDS_FADE[1] - away) / (LIDS_FADE[1] - LIDS_FADE[0]), 0, 1)[:, None]
        share = share * share * (3 - 2 * share)
        moved[skin] += (share * (carried - moved))[skin]
    return moved


def made_symmetric(head: Assembly, vectors: np.ndarray) -> np.ndarray:
    """Points or displacements [V,3] made the mean of themselves and their mirror image."""
    return np.asarray(0.5 * (vectors + vectors[head.mirror] * [-1, 1, 1]))

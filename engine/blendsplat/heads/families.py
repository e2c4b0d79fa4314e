# SPDX-License-Identifier: Apache-2.0
"""What a head is, told from its arrays and never from its file's name: its family, and the id of the very model.

Heads of one model share faces and expressions, so a performance of one moves the others; a family's models (FLAME 2020
and 2023) have equal counts but other expressions.
"""

from __future__ import annotations

import hashlib

import numpy as np

BUILTIN, FLAME, HUMAN, ICT = "builtin", "flame", "human", "ict"
FAMILIES = (BUILTIN, FLAME, HUMAN, ICT)  # BUILTIN: the head of earlier versions, whose avatars carry it; made no more
FLAME_VERTICES = 5023
ID_DIGITS = 16
# FLAME with and without the 60 vertices of teeth that heads.teeth adds, and the 120 of VHAP's
_VERTICES = {FLAME_VERTICES: FLAME, 5083: FLAME, 5143: FLAME, 6430: BUILTIN, 8773: HUMAN, 22298: ICT}


def family_of_vertices(count: int) -> str:
    """The family that has heads of ``count`` vertices; "" for none: for files that do not say whose they are."""
    return _VERTICES.get(count, "")


def model_id(faces: np.ndarray, expression_directions: np.ndarray) -> str:
    """16 hexadecimal digits of a model with faces [F,3] and expression directions [E,V,3] in metres.

    Directions count in whole micrometres. The add-on's formats.head_model_id computes the same.
    """
    digest = hashlib.sha256(np.ascontiguousarray(faces, "<i4").tobytes())
    digest.update(np.rint(np.asarray(expression_directions, np.float64) * 1e6).astype("<i4").tobytes())
    return digest.hexdigest()[:ID_DIGITS]

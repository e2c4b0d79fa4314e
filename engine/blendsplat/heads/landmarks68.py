# SPDX-License-Identifier: Apache-2.0
"""The 68 facial landmarks of the iBUG scheme, taken from a head's 478 embedded MediaPipe points.

Order: 0-16 jaw from the person's right ear to the left, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 lips (the last
eight along the mouth's opening). Static points of the surface, as KaoLRM uses them: the jaw line does not slide.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from blendsplat.heads.model import HeadModel

COUNT = 68
BROWS_TO_EYES = slice(17, 48)
LIPS = slice(48, 68)
# The MediaPipe point nearest to each of the 68.
OF_478 = np.array([
    127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
])  # fmt: skip


def landmarks68(head: HeadModel, vertices: Tensor) -> Tensor:
    """Vertices [B,V,3] of ``head`` -> the 68 landmarks [B,68,3]. Raises InputError without an embedding."""
    return head.landmarks_of(vertices)[:, OF_478]

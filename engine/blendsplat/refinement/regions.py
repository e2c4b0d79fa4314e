# SPDX-License-Identifier: Apache-2.0
"""The parts of a head whose confidence is told by itself, for every head alike (heads/face_places.py)."""

from __future__ import annotations

import numpy as np

from blendsplat.heads.face_places import PLACES, places_on
from blendsplat.heads.model import LEFT_EYE_JOINT, HeadModel
from blendsplat.refinement.surface_samples import SurfaceSamples

_PLACES = {
    "mouth": ("mouth", "mouth corner"), "chin": ("chin", "jaw"), "nose": ("nose",), "cheek": ("cheek",),
    "eye": ("eye",), "forehead": ("brow", "forehead"), "hair": ("side of the head", "hair"), "neck": ("neck",),
}  # fmt: skip
_SIDED = ("cheek", "eye")
REGIONS = tuple(
    name for whole in _PLACES for name in ((f"left {whole}", f"right {whole}") if whole in _SIDED else (whole,))
)  # left and right are the person's


def regions_on(head: HeadModel, points: np.ndarray) -> np.ndarray:
    """The region that points [P,3] of the head at rest lie in: indices into REGIONS [P]."""
    places = places_on(head, points)
    left = points[:, 0] > float(head.joints[LEFT_EYE_JOINT:, 0].mean())
    found = np.zeros(len(points), int)
    for whole, names in _PLACES.items():
        here = np.isin(places, [PLACES.index(name) for name in names])
        if whole in _SIDED:
            found[here & left] = REGIONS.index(f"left {whole}")
            found[here & ~left] = REGIONS.index(f"right {whole}")
        else:
            found[here] = REGIONS.index(whole)
    return found


def regions_of_samples(head: HeadModel, samples: SurfaceSamples) -> np.ndarray:
    """[N]: indices into REGIONS."""
    return regions_on(head, samples.at(head.template[None])[0].double().numpy())


def regions_of_faces(head: HeadModel) -> np.ndarray:
    """[T]: the region that the middle of each of the head's faces lies in, as an index into REGIONS."""
    return regions_on(head, head.template[head.faces].mean(1).double().numpy())

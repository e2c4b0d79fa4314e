# SPDX-License-Identifier: Apache-2.0
"""What is told to the fit of a clip, and what it assumes where nothing is told."""

from __future__ import annotations

from dataclasses import dataclass

from blendsplat.fitting.face_prior import FacePrior
from blendsplat.fitting.skin_border import SkinBorder

# A detector's bias is the same in every frame: about what all frames share they count as this many times fewer.
SHARED_BIAS = 6.0
KEYFRAMES = 32


@dataclass
class FitOptions:
    """focal in pixels of the clip's images; None: solved, with a prior of ``field_of_view`` degrees across
    ``view_pixels``."""

    focal: float | None = None
    field_of_view: float | None = None  # None: 28, the usual one of talking-head crops
    view_pixels: float | None = None  # None: the images' longer side
    focal_sigma: float = 0.1  # of log(focal): landmarks alone see perspective badly
    centre: tuple[float, float] | None = None  # principal point in pixels; None: the images' middle
    smoothing: float = 1.0  # 0 switches temporal terms off
    offsets: bool = True
    expression_sigma: float | None = None  # None: 1 for heads of components, 0.35 for blendshapes
    shape_sigma: float = 1.0
    prior: FacePrior | None = None  # None: the model's mean face
    outline: bool = False  # the outline tells how wide the face is; in a clip that turns, the face itself does
    border: SkinBorder | None = None  # of every frame: where its skin ends
    shared_bias: float = SHARED_BIAS
    keyframes: int = KEYFRAMES  # spread frames that shape and focal length are found from

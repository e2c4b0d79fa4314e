# SPDX-License-Identifier: Apache-2.0
"""Whether a face that was found and fitted may be none of a human: an animal's, a toy's, a pattern that looks like one.

The detector has learned people alone and answers for whatever it takes for a face. Two things then go wrong together:
its answers hang on how the picture lies before it (landmarks/turned_crops.py), and what they say is no head of a
person. People stay apart in both (docs/measures.md): hidden mouths and eyes scatter, but not half of the points; strong
grimaces fit badly, but are seen steadily.
"""

from __future__ import annotations

import numpy as np

# Of the distance between the eyes, and their product: beyond all three at once no person was seen, however blurred.
ODD_SPREAD, ODD_ERROR, ODD_BOTH = 0.020, 0.028, 7e-4
GUESSED = 0.06  # of the same: the detector sees no face at all
SIDEWAYS = 35.0  # degrees: beyond, the far side is guessed in people too

MAY_NOT_BE_HUMAN = (
    "This may not be a human face: its points hold together less than a person's do. The head that was fitted is of a "
    "human all the same; look at {} before you go on, or choose a picture in which a person's face is clearer."
)


def may_not_be_human(spread: np.ndarray, error: float, yaw: float) -> bool:
    """spread [478]: how far a point's detections stray; error: the fit's mean landmark error; both over the distance
    between the eyes as the picture shows it. yaw: degrees by which the face is turned."""
    facing = float(np.cos(np.radians(min(abs(yaw), 80.0))))  # eyes of a turned face lie nearer together in the picture
    middle, misfit = float(np.median(spread)) * facing, error * facing
    odd = middle > ODD_SPREAD and misfit > ODD_ERROR and middle * misfit > ODD_BOTH
    return (odd and abs(yaw) <= SIDEWAYS) or middle > GUESSED

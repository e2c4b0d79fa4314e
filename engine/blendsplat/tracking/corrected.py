# SPDX-License-Identifier: Apache-2.0
"""A tracked clip's corrections on disk: ``corrections.npz``, and ``uncorrected.npz``, the performance without them.

What is in tracking.npz is always made from these two, so corrections may be added and forgotten in any order.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from blendsplat.errors import InputError
from blendsplat.fitting.corrections import FILE, Corrections
from blendsplat.fitting.refit import Finish, refit
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.refinement.around_corrections import RefineAround
from blendsplat.tracking.one_lens import OneLens
from blendsplat.video import Clip

UNCORRECTED = "uncorrected.npz"


def load_corrections(directory: Path) -> Corrections | None:
    """The clip's corrections; None where nothing is corrected. Raises FormatError when the file is damaged."""
    corrections = Corrections.load(directory) if (directory / FILE).exists() else None
    return corrections if corrections is not None and len(corrections) else None


def corrected(
    clip: Clip, head: HeadModel, tracking: Performance, pixels: np.ndarray, found: np.ndarray,
    corrections: Corrections | None, finish: Finish | None = None,
) -> tuple[Performance, Performance | None]:  # fmt: skip
    """``tracking``, just fitted, as the clip's corrections want it, and itself where there are any (else None).

    Those of another head or another cut of the clip are left out with a note. pixels [F,478,2], found [F]: landmarks.
    """
    if corrections is None:
        return tracking, None
    try:
        corrections.check(tracking)
    except InputError as error:
        note = f"The corrections of this clip were left out. {error.sentence}"
        return replace(tracking, notes=(*tracking.notes, note)), None
    shots = np.asarray(clip.info.shots)
    return refit(head, tracking, pixels, found, corrections, shots, finish), tracking


def refine_around(view: OneLens, head: HeadModel, uncorrected: Performance, progress: Progress) -> Finish | None:
    """What refines corrected frames on the pictures, where those of the clip were: its regions say so."""
    if not uncorrected.regions:
        return None
    matte = view.matte_inside if view.clip.has_mattes else None
    return RefineAround(head, uncorrected, view.image, matte, view.points, progress)


def load_uncorrected(directory: Path) -> Performance:
    """The clip's performance without corrections: what lies beside tracking.npz where that one has some.

    Raises FormatError.
    """
    tracking = Performance.load(directory)
    if not tracking.figures.get("corrected_frames"):
        return tracking
    path = directory / UNCORRECTED
    if not path.exists():
        raise InputError(f"{path} is missing, from which the corrected frames were made: track the clip again.")
    return Performance.load(path)

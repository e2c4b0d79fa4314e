# SPDX-License-Identifier: Apache-2.0
"""Repeats the fit of a tracked clip around the frames that an artist corrected (corrections.npz in its folder)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blendsplat.errors import InputError
from blendsplat.fitting.corrections import FILE, Corrections
from blendsplat.fitting.refit import Finish, refit
from blendsplat.heads.load import load_head_of
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks.detector import load_landmarks
from blendsplat.progress import Progress
from blendsplat.tracking.corrected import UNCORRECTED, load_uncorrected, refine_around
from blendsplat.tracking.metrics import jitter
from blendsplat.tracking.one_lens import OneLens
from blendsplat.tracking.pipeline import TrackOptions, write_pictures
from blendsplat.video import Clip
from blendsplat.video.staged_folder import staged_results


@dataclass
class CorrectOptions:
    """corrections: a file that takes the place of the folder's once the fit has succeeded; forget: a corrected frame
    whose correction is taken back first; overlay: write overlay.mp4 anew as well; head_model: an already loaded head;
    finish: what refines the fit further (fitting/refit.py)."""

    corrections: Path | None = None
    forget: int | None = None
    overlay: bool = True
    head_model: HeadModel | None = None
    finish: Finish | None = None


def correct_clip(
    directory: Path | str, options: CorrectOptions | None = None, progress: Progress | None = None
) -> Performance:
    """Fit the clip in ``directory`` again as its corrections want it: writes tracking.npz, valid/ and overlay.mp4.

    All of it replaces what was there at the end: cancelled or failed, that is still there. Without corrections the
    uncorrected performance comes back. Raises FormatError (a damaged file), InputError (not tracked from landmarks,
    another head, nothing to correct), StorageError, Cancelled.
    """
    options, progress = options or CorrectOptions(), progress or Progress()
    clip = Clip.open(directory)
    source = options.corrections or clip.directory / FILE
    if options.corrections is None and not source.exists():
        raise InputError(f"There is no correction in {clip.directory} ({FILE}): correct a frame first.")
    corrections, uncorrected = Corrections.load(source), load_uncorrected(clip.directory)
    left = corrections if options.forget is None else corrections.without(options.forget)
    landmarks = clip.directory / "landmarks.npz"
    if not landmarks.exists():
        raise InputError(f"{clip.directory} has no landmarks.npz, to which a head is fitted: track the clip again.")
    points, found = load_landmarks(landmarks)
    if len(points) != uncorrected.frame_count:
        raise InputError(
            f"{landmarks} has {len(points)} frames and the tracking {uncorrected.frame_count}: track the clip again."
        )
    progress.update("correct", 0, 2, "around the corrected frames")
    left.check(uncorrected)
    head = options.head_model or load_head_of(uncorrected, landmarks=True, progress=progress)
    progress.check()
    shots = np.asarray(clip.info.shots)
    centre = (float(uncorrected.K[0, 2]), float(uncorrected.K[1, 2]))
    view = replace(OneLens.of(clip, points[..., :2], centre), zoom=uncorrected.zoom)
    finish = options.finish or refine_around(view, head, uncorrected, progress)
    tracking = refit(head, uncorrected, points[..., :2], found, left, shots, finish)
    if len(left):
        tracking.figures["jitter_px"] = jitter(tracking, head)
    progress.update("correct", 1, 2, "what counts in the pictures")
    drawn = TrackOptions(overlay=options.overlay)
    differing = _differ(Performance.load(directory), tracking)
    with staged_results(clip.directory, [] if len(left) else [UNCORRECTED]) as stage:
        write_pictures(clip, head, tracking, points[..., :2], drawn, progress, stage, differing)
        progress.check()
        if left is not corrections or options.corrections is not None:
            left.save(stage / FILE)
        if len(left):
            uncorrected.save(stage / UNCORRECTED)
        tracking.save(stage / "tracking.npz")
    return tracking


def _differ(before: Performance, after: Performance) -> np.ndarray:
    """Rows in which two performances of a clip differ."""
    names = ("valid", "neck_pose", "translation", "jaw_pose", "eyes_pose", "eyelids", "expression")
    parts = [getattr(before, name) != getattr(after, name) for name in names]
    return np.flatnonzero(np.any([part.reshape(len(part), -1).any(1) for part in parts], axis=0))

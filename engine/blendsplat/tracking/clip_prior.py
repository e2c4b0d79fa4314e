# SPDX-License-Identifier: Apache-2.0
"""What a regressor reads in a clip: expression and jaw of every frame, and one shape of the person, as the fit's prior.

Every unbroken run of frames (a shot, or what follows a loss of the face) is read from its first frame to its last and
by itself, so nothing is carried over a cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from blendsplat.fitting.face_crop import cut_square, framing, uprighted
from blendsplat.fitting.face_prior import FacePrior, Regressor
from blendsplat.fitting.initial_poses import segments_of, shot_cuts
from blendsplat.landmarks import points as pts
from blendsplat.progress import Progress
from blendsplat.video import Clip

BATCH = 8
SIZE = 256  # pixels of the pictures that are read: no default network sees more
FRONTAL = 35.0  # degrees of yaw up to which a frame tells of the shape
INSIDE = 0.98  # of the landmarks must lie in the picture


@dataclass
class ClipReading:
    """prior: of all F frames of the clip (zero where there is no face); read: how many frames the regressor saw;
    shape_scatter: median distance of single frames' shapes from the person's, over the root of their count."""

    prior: FacePrior
    read: int
    shape_scatter: float


def read_clip(
    clip: Clip, points: np.ndarray, found: np.ndarray, regressor: Regressor, progress: Progress
) -> ClipReading:
    """points [F,478,3] pixels, found [F]. Raises Cancelled, FormatError (a picture of the clip is damaged)."""
    eyes = eye_distances(points)
    starts = np.zeros(len(found), bool)
    starts[np.asarray(clip.info.shots, int)] = True
    cuts = starts | shot_cuts(points[..., :2], found, eyes)
    runs = segments_of(found, cuts, clip.timestamps)
    frames = frames_to_read(runs, clip.timestamps, regressor.step)
    seen: list[FacePrior] = []
    with_matte = _matting(clip)
    for start in range(0, len(frames), BATCH):
        progress.check()
        rows = frames[start : start + BATCH]
        pictures = [_picture(clip, row, points[row, :, :2], regressor, with_matte) for row in rows]
        seen += regressor.many(pictures, [points[row] for row in rows])
        progress.update("read faces", start + len(rows), len(frames))
    good = np.abs(yaws(points[frames])) < FRONTAL
    good &= ((points[frames, :, :2] >= 0) & (points[frames, :, :2] < (clip.width, clip.height))).all(2).mean(1) > INSIDE
    shape, scatter = person_shape(np.stack([one.shape for one in seen]), good)
    expression = between(np.concatenate([one.expression for one in seen]), frames, runs, clip.timestamps)
    jaw = between(np.concatenate([one.jaw_pose for one in seen]), frames, runs, clip.timestamps)
    return ClipReading(FacePrior(shape, expression, jaw), len(frames), scatter)


def eye_distances(points: np.ndarray) -> np.ndarray:
    """[F] pixels between the eyes, seen from the front: points [F,478,3] know the depth."""
    left, right = points[:, list(pts.LEFT_IRIS)].mean(1), points[:, list(pts.RIGHT_IRIS)].mean(1)
    return np.linalg.norm(left - right, axis=-1)


def yaws(points: np.ndarray) -> np.ndarray:
    """[F] degrees that faces [F,478,3] are turned sideways by, after the detector's own depths."""
    across = points[:, list(pts.LEFT_IRIS)].mean(1) - points[:, list(pts.RIGHT_IRIS)].mean(1)
    return np.degrees(np.arctan2(across[:, 2], across[:, 0]))


def frames_to_read(runs: np.ndarray, timestamps: np.ndarray, step: float) -> np.ndarray:
    """Frames of runs [F] (-1: no face): the first and the last of each run, between them one every ``step`` seconds;
    the others are interpolated."""
    chosen: list[int] = []
    for run in range(runs.max(initial=-1) + 1):
        rows = np.flatnonzero(runs == run)
        if not len(rows):
            continue
        due = np.floor((timestamps[rows] - timestamps[rows[0]]) / max(step, 1e-6) + 1e-6)
        wanted = np.append(True, due[1:] > due[:-1])
        wanted[-1] = True
        chosen += rows[wanted].tolist()
    return np.array(chosen, int)


def between(values: np.ndarray, frames: np.ndarray, runs: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Values [N,C] of ``frames`` [N] -> [F,C]: linear in time inside each run, zero outside runs [F]."""
    result = np.zeros((len(runs), values.shape[1]), np.float32)
    for run in np.unique(runs[frames]):
        rows, here = np.flatnonzero(runs == run), runs[frames] == run
        for column in range(values.shape[1]):
            result[rows, column] = np.interp(timestamps[rows], timestamps[frames[here]], values[here, column])
    return result


def person_shape(shapes: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, float]:
    """Shapes [N,S] of single frames -> (the person's [S], scatter): medians over ``good`` [N] frames, if there are."""
    if good.any():
        shapes = shapes[good]
    shape = np.median(shapes, 0)
    away = np.linalg.norm(shapes - shape, axis=1) / max(shapes.shape[1], 1) ** 0.5
    return shape.astype(np.float32), float(np.median(away))


def _picture(
    clip: Clip, frame: int, points: np.ndarray, regressor: Regressor, matte_of: Callable[[int, np.ndarray], np.ndarray]
) -> np.ndarray:
    """The face of a frame as the regressor wants it: [SIZE,SIZE,3] float32 on white."""
    square, image = framing(points, regressor.face_share), clip.image(frame)
    colours = cut_square(image, square, SIZE).astype(np.float32) / 255
    alpha = cut_square(matte_of(frame, image), square, SIZE)[..., None].astype(np.float32) / 255
    return uprighted(colours * alpha + 1 - alpha, points)


def _matting(clip: Clip) -> Callable[[int, np.ndarray], np.ndarray]:
    """(frame, image) -> matte [H,W] uint8: the clip's own; of a clip without mattes, segmented as it is read."""
    if clip.has_mattes:
        return lambda frame, image: clip.matte(frame)
    from blendsplat.video.matte import Segmenter

    segmenter = Segmenter()

    def segment(frame: int, image: np.ndarray) -> np.ndarray:
        segmenter.forget()
        return cv2.convertScaleAbs(segmenter(image), alpha=255)

    return segment

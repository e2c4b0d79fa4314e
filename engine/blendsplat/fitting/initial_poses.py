# SPDX-License-Identifier: Apache-2.0
"""What is known of a clip before any fit: rough head poses in closed form, cuts between shots, which points to believe.

All of it is linear or local, so it costs microseconds a frame and gives the solver a start it converges from.
"""

from __future__ import annotations

import numpy as np

from blendsplat.landmarks import points as pts

GAP = 0.11  # seconds without a frame that still are one movement, however uneven the frame rate is


def weak_perspective_poses(model_points: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head rotations [F,3,3], scales [F] (pixels per metre) and centres [F,2] (pixels of the points' mean).

    model_points [L,3] metres, pixels [F,L,2]: the affine camera through all points by least squares, made orthogonal.
    """
    rigid = list(pts.RIGID)
    centred = model_points[rigid] - model_points[rigid].mean(0)
    centres = pixels[:, rigid].mean(1)
    affine = np.linalg.pinv(centred) @ (pixels[:, rigid] - centres[:, None])  # [F,3,2]
    rows = affine.transpose(0, 2, 1) * np.array([1.0, -1.0])[:, None]  # image y points down
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    two = left @ right
    rotations = np.concatenate([two, np.cross(two[:, :1], two[:, 1:])], 1)
    return rotations, singular.mean(1), centres


def shot_cuts(pixels: np.ndarray, found: np.ndarray, eye_distance: np.ndarray) -> np.ndarray:
    """[F] bool: a new shot starts at this frame. pixels [F,L,2], eye_distance [F] pixels.

    A cut moves the whole face at once, and neither the frame before nor the one after moves like it.
    """
    frames = len(found)
    moved = np.zeros(frames)
    rigid = pixels[:, list(pts.RIGID)]
    step = np.median(np.linalg.norm(np.diff(rigid, axis=0), axis=-1), axis=1)
    moved[1:] = step / np.maximum(np.minimum(eye_distance[1:], eye_distance[:-1]), 1e-6)
    both = np.zeros(frames, bool)
    both[1:] = found[1:] & found[:-1]
    moved[~both] = 0
    before, after = np.roll(moved, 1), np.roll(moved, -1)
    around = np.maximum(np.maximum(before, after), 0.02)
    return both & ((moved > 0.9) | ((moved > 0.18) & (moved > 5 * around)))


def segments_of(valid: np.ndarray, cuts: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """[F] int: number of the unbroken run of frames that each belongs to, -1 where invalid.

    Runs end at cuts, at frames without a face and at gaps in time (more than three usual steps, and than GAP).
    """
    step = np.diff(timestamps, prepend=timestamps[0] if len(timestamps) else 0.0)
    usual = np.median(step[1:]) if len(step) > 1 else 1.0
    starts = valid & (cuts | ~np.roll(valid, 1) | (step > max(3 * usual, GAP)))
    if len(valid) and valid[0]:
        starts[0] = True
    return np.where(valid, np.cumsum(starts) - 1, -1)


def clip_runs(pixels: np.ndarray, valid: np.ndarray, timestamps: np.ndarray, shots: np.ndarray | None) -> np.ndarray:
    """segments_of for landmarks [F,478,2] and frames at which a shot is known to begin."""
    return segments_of(valid, clip_cuts(pixels, valid, shots), timestamps)


def clip_cuts(pixels: np.ndarray, valid: np.ndarray, shots: np.ndarray | None) -> np.ndarray:
    """[F] bool: a shot begins here, because it is known (``shots``: frame numbers) or the landmarks [F,478,2] jump."""
    cuts = np.zeros(len(valid), bool)
    cuts[np.asarray([] if shots is None else shots, int)] = True
    outer = pixels[:, [33, 263]]  # the eyes' outer corners, about 1.4 eye distances apart
    eye_distance = np.linalg.norm(outer[:, 0] - outer[:, 1], axis=-1) / 1.4
    return cuts | shot_cuts(pixels, valid, np.maximum(eye_distance, 1e-6))


def visibility(normals: np.ndarray, rotations: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Weights [F,L] in [0.03, 1] of points with outward normals [L,3] on heads turned by [F,3,3].

    directions [F,3]: unit vectors from the head to the camera. Points on the hidden side are the detector's guesses.
    """
    facing = np.einsum("fxy,fx,ly->fl", rotations, directions, normals)
    ramp = np.clip((facing + 0.05) / 0.4, 0, 1)
    return np.maximum(ramp * ramp * (3 - 2 * ramp), 0.03).astype(np.float32)


def eye_openings(pixels: np.ndarray, eye_distance: np.ndarray) -> np.ndarray:
    """[F,2] (left, right): mean opening of the lids over the distance between the eyes (about 0.16 when open)."""
    gaps = np.array([np.linalg.norm(pixels[:, up] - pixels[:, low], axis=-1) for up, low in pts.LID_PAIRS])
    half = len(pts.LID_PAIRS) // 2
    return np.stack([gaps[half : half + 3].mean(0), gaps[:3].mean(0)], 1) / np.maximum(eye_distance, 1e-6)[:, None]


def iris_confidence(openings: np.ndarray) -> np.ndarray:
    """Weights [F,478]: 1, but near 0 for the iris points of an eye that is closed."""
    weight = np.ones((len(openings), pts.COUNT), np.float32)
    ramp = np.clip((openings - 0.03) / 0.05, 0.02, 1)
    weight[:, list(pts.LEFT_IRIS)] = ramp[:, :1]
    weight[:, list(pts.RIGHT_IRIS)] = ramp[:, 1:]
    return weight


def spread_frames(features: np.ndarray, candidates: np.ndarray, count: int) -> np.ndarray:
    """Indices of at most ``count`` candidate frames: half evenly in time, half farthest apart in ``features`` [F,D]."""
    if len(candidates) <= count:
        return candidates
    chosen = list(candidates[np.linspace(0, len(candidates) - 1, count - count // 2).round().astype(int)])
    scaled = features / np.maximum(features[candidates].std(0), 1e-6)
    nearest = np.linalg.norm(scaled[candidates, None] - scaled[None, chosen], axis=-1).min(1)
    while len(chosen) < count:
        pick = int(nearest.argmax())
        chosen.append(candidates[pick])
        nearest = np.minimum(nearest, np.linalg.norm(scaled[candidates] - scaled[candidates[pick]], axis=-1))
    return np.unique(chosen)

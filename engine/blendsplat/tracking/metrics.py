# SPDX-License-Identifier: Apache-2.0
"""How good a tracking is: against a known truth where there is one, and how much it jitters in any case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from blendsplat.errors import InputError
from blendsplat.geometry import matrix_to_rotvec, project_points, rotvec_to_matrix
from blendsplat.heads.model import HeadModel, part_of
from blendsplat.heads.performance import Performance, frame_intrinsics, head_vertices


def rigid_alignment(source: np.ndarray, target: np.ndarray, with_scale: bool = False) -> np.ndarray:
    """Source points [F,V,3] moved onto target [F,V,3] by each frame's best rotation and shift (Umeyama 1991)."""
    source_mean, target_mean = source.mean(1, keepdims=True), target.mean(1, keepdims=True)
    a, b = source - source_mean, target - target_mean
    left, singular, right = np.linalg.svd(a.transpose(0, 2, 1) @ b)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * sign[:, None]) @ right
    scale = (singular * sign).sum(1) / np.maximum((a * a).sum((1, 2)), 1e-12) if with_scale else np.ones(len(a))
    return scale[:, None, None] * (a @ rotation) + target_mean


def evaluate_tracking(tracking: Performance, truth: Performance, head: HeadModel) -> dict[str, float]:
    """Compare with the truth of the same clip and head, over frames valid in both.

    vertex_error_mm: mean distance of all vertices after aligning each frame rigidly; face_error_mm: of the region
    "face" after the same alignment; similarity_error_mm: with scale aligned too (a single camera cannot see scale);
    rotation_error_deg, gaze_error_deg: mean angles; landmark_error_percent: projected landmarks, of the distance
    between the eyes; focal_error_percent: mean over frames, each with its zoom; jitter_px, truth_jitter_px: mean second
    difference of projected vertices.
    """
    if tracking.frame_count != truth.frame_count:
        raise InputError(
            f"The tracking has {tracking.frame_count} frames, the truth {truth.frame_count}: these are different clips."
        )
    frames = np.flatnonzero(tracking.valid & truth.valid)
    if not len(frames):
        raise InputError("The tracking and the truth have no valid frame in common.")
    have, want = head_vertices(tracking, head, frames), head_vertices(truth, head, frames)
    aligned = np.linalg.norm(rigid_alignment(have, want) - want, axis=-1)
    scaled = np.linalg.norm(rigid_alignment(have, want, True) - want, axis=-1)
    face = head.regions.get("face", np.arange(head.vertex_count))
    figures = {
        "frames_compared": float(len(frames)),
        "vertex_error_mm": 1000 * float(aligned.mean()),
        "face_error_mm": 1000 * float(aligned[:, face].mean()),
        "similarity_error_mm": 1000 * float(scaled.mean()),
        "rotation_error_deg": _mean_angle(_head_rotations(tracking, frames), _head_rotations(truth, frames)),
        "gaze_error_deg": _mean_angle(_gaze(tracking, frames), _gaze(truth, frames)),
        "focal_error_percent": 100 * float(np.abs(_focal(tracking, frames) / _focal(truth, frames) - 1).mean()),
        "jitter_px": jitter(tracking, head),
        "truth_jitter_px": jitter(truth, head),
    }
    if head.landmarks is not None:
        usable = head.landmarks.weights.numpy() > 0
        ours, theirs = tracking.select(frames), truth.select(frames)
        figures["landmark_error_percent"] = _landmark_error(ours, theirs, head, have, want, usable)
    return figures


def jitter(tracking: Performance, head: HeadModel, vertices_used: int = 400) -> float:
    """Mean length, in pixels, of the second difference of projected vertices over runs of valid frames."""
    middle = np.flatnonzero(tracking.valid[1:-1] & tracking.valid[:-2] & tracking.valid[2:]) + 1
    if not len(middle):
        return 0.0
    chosen = np.linspace(0, head.vertex_count - 1, min(vertices_used, head.vertex_count)).astype(int)
    few = replace(tracking, vertex_offsets=tracking.vertex_offsets[chosen])
    pixels = _to_pixels(head_vertices(few, part_of(head, torch.as_tensor(chosen))), tracking)
    second = pixels[middle - 1] - 2 * pixels[middle] + pixels[middle + 1]
    return float(np.linalg.norm(second, axis=-1).mean())


def _to_pixels(camera: np.ndarray, tracking: Performance) -> np.ndarray:
    """Points [F,P,3] in the camera's axes, of all the tracking's frames -> pixels [F,P,2]."""
    count = len(camera)
    return project_points(
        torch.as_tensor(camera), torch.eye(4).expand(count, 4, 4), torch.as_tensor(frame_intrinsics(tracking))
    ).numpy()


def _focal(tracking: Performance, frames: np.ndarray) -> np.ndarray:
    """Focal length [F] over the picture's width."""
    focal: np.ndarray = tracking.K[0, 0] * tracking.zoom[frames] / tracking.width
    return focal


def _landmark_error(
    tracking: Performance, truth: Performance, head: HeadModel, have: np.ndarray, want: np.ndarray, usable: np.ndarray
) -> float:
    """Per cent of the truth's projected distance between the eyeballs, were they seen from the front."""
    ours = _to_pixels(head.landmarks_of(torch.as_tensor(have)).numpy(), tracking) / tracking.width
    theirs = _to_pixels(head.landmarks_of(torch.as_tensor(want)).numpy(), truth) / truth.width
    left, right = (want[:, head.regions[name]].mean(1) for name in ("left_eyeball", "right_eyeball"))
    eyes = np.linalg.norm(left - right, axis=-1) / (left + right)[:, 2] * 2 * _focal(truth, np.arange(len(want)))
    return 100 * float((np.linalg.norm(ours - theirs, axis=-1)[:, usable].mean(1) / eyes).mean())


def _head_rotations(tracking: Performance, frames: np.ndarray) -> torch.Tensor:
    """Head in the camera's axes [F,3,3]."""
    params = tracking.params()
    view = torch.as_tensor(tracking.viewmat, dtype=torch.float32)[:3, :3]
    return (view @ rotvec_to_matrix(params.root_pose) @ rotvec_to_matrix(params.neck_pose))[torch.as_tensor(frames)]


def _gaze(tracking: Performance, frames: np.ndarray) -> torch.Tensor:
    """Eyes in the head [2F,3,3]."""
    return rotvec_to_matrix(tracking.params().eyes_pose)[torch.as_tensor(frames)].reshape(-1, 3, 3)


def _mean_angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.rad2deg(matrix_to_rotvec(a.transpose(-1, -2) @ b).norm(dim=-1)).mean())

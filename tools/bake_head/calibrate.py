# SPDX-License-Identifier: Apache-2.0
"""How real people spread over the sampled directions: ``python -m tools.bake_head.calibrate WHEEL ICT_PACKED_NPZ``.

Nobody has measured how MakeHuman's sliders are distributed among people. ICT-FaceKit's identities are statistics of
scans, so its mean face and its hundred directions are fitted with the sampled ones, and the numbers that come out (the
mean [80] and the covariance [80,80] of coefficients, nothing of its geometry) are kept in ``calibration.npz``. The bake
takes people to be half the sampled ones and half those.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.ict import load_ict
from tools.bake_head.bake import sampled
from tools.bake_head.parts import SEGMENTS, ball
from tools.bake_head.people import Faces

CALIBRATION = Path(__file__).with_name("calibration.npz")
ROUNDS = 10
SLIDING = 0.15  # weight of a distance along the surface: closest points slide
RIDGE = 0.15  # weight of a standard deviation against a millimetre
FACE_BALL, OUTSIDE = 105.0, 0.5  # mm round the nose; weight of what lies outside
FARTHEST, SAME_WAY = 15.0, 0.5  # mm, and the least cosine between normals, of points taken to be the same


@dataclass
class Target:
    """ICT-FaceKit's skin, mm."""

    mean: np.ndarray  # [V,3]
    directions: np.ndarray  # [100,V,3]
    faces: np.ndarray  # [F,3]

    def moved(self, scale: float, turn: np.ndarray, shift: np.ndarray) -> Target:
        """Scaled, turned, shifted."""
        return Target(scale * self.mean @ turn.T + shift, scale * self.directions @ turn.T, self.faces)


def fit_people(faces: Faces, mesh: np.ndarray, rows: np.ndarray, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Mean [K] and covariance [K,K] of the target's people, in coefficients of ``faces``.

    mesh [F,3]: the head's faces; rows: its vertices that count.
    """
    count = len(faces.directions)
    area = _vertex_areas(faces.mean, mesh)[rows]
    nose = faces.mean[rows[faces.mean[rows, 2].argmax()]]
    weight = np.sqrt(area) * np.where(np.linalg.norm(faces.mean[rows] - nose, axis=1) < FACE_BALL, 1, OUTSIDE)
    found = np.zeros(count)
    for _ in range(ROUNDS):
        points = faces.mean + np.tensordot(found, faces.directions, 1)
        face, barycentrics, distance = closest_on_mesh(points[rows], target.mean, target.faces)
        corners = target.faces[face]
        nearest = (target.mean[corners] * barycentrics[..., None]).sum(1)
        normal = (_normals(target.mean, target.faces)[corners] * barycentrics[..., None]).sum(1)
        alike = (_normals(points, mesh)[rows] * normal).sum(1) > SAME_WAY
        own = weight * (alike & (np.abs(distance) < FARTHEST))
        system = _System(points[rows], faces.directions[:, rows], normal, own)
        step = system.solve((nearest - points[rows])[None], found)[0]
        found = found + step[:count]
        turn, shift, scale = step[count : count + 3], step[count + 3 : count + 6], step[count + 6]
        x = target.mean
        target = Target(
            x - np.cross(turn, x) - shift - scale * x,
            target.directions - np.cross(turn, target.directions) - scale * target.directions,
            target.faces,
        )
    moved = (target.directions[:, corners] * barycentrics[None, ..., None]).sum(2)
    spread = system.solve(moved, np.zeros(count))[:, :count]
    return found, spread.T @ spread


class _System:
    """The least squares of coefficients and a small similarity [K+7] for vertices [P,3]."""

    def __init__(self, points: np.ndarray, directions: np.ndarray, normal: np.ndarray, weight: np.ndarray) -> None:
        turns = np.stack([np.cross(axis, points) for axis in np.eye(3)], -1)
        shifts = np.broadcast_to(np.eye(3), (len(points), 3, 3))
        columns = np.concatenate([np.moveaxis(directions, 0, -1), turns, shifts, points[..., None]], -1)
        self.normal, self.weight, self.count = normal, weight, len(directions)
        self.ridge = RIDGE * np.sqrt(weight.sum())
        prior = np.zeros((self.count, columns.shape[-1]))
        prior[:, : self.count] = np.eye(self.count) * self.ridge
        along = np.einsum("pck,pc->pk", columns, normal) * weight[:, None]
        sliding = (columns * (SLIDING * weight)[:, None, None]).reshape(-1, columns.shape[-1])
        matrix = np.concatenate([along, sliding, prior])
        self.solver = np.linalg.solve(matrix.T @ matrix, matrix.T)

    def solve(self, wanted: np.ndarray, so_far: np.ndarray) -> np.ndarray:
        """Displacements [T,P,3] -> unknowns [T,K+7]; so_far [K]: coefficients that the prior pulls back."""
        along = (wanted * self.normal).sum(-1) * self.weight
        sliding = (wanted * (SLIDING * self.weight)[:, None]).reshape(len(wanted), -1)
        pull = np.broadcast_to(-self.ridge * so_far, (len(wanted), self.count))
        return np.asarray(np.concatenate([along, sliding, pull], 1) @ self.solver.T)


def calibrated(faces: Faces, mean: np.ndarray, covariance: np.ndarray) -> Faces:
    """The people half of whom are ``faces``' own (mean 0, covariance 1) and half have the given mean and covariance."""
    count = len(mean)
    both = 0.5 * (np.eye(count) + covariance) + 0.25 * np.outer(mean, mean)
    values, vectors = np.linalg.eigh(both * _sizes(faces)[:, None] * _sizes(faces)[None])
    axes = (vectors / _sizes(faces)[:, None] * np.sqrt(values))[:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(count)] < 0, -1, 1)
    shift = 0.5 * np.tensordot(mean, faces.directions, 1)
    return Faces(faces.mean + shift, np.tensordot(axes.T, faces.directions, 1), faces.child)


def _sizes(faces: Faces) -> np.ndarray:
    """[K]: how far each direction moves a head, so that the axes are principal in millimetres."""
    return np.asarray(np.sqrt((faces.directions.astype(np.float64) ** 2).sum((1, 2))))


def _vertex_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    return np.asarray(np.bincount(faces.ravel(), np.repeat(area, 3), len(points)))


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = points[faces]
    across = np.repeat(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), 3, 0)
    total = np.stack([np.bincount(faces.ravel(), across[:, k], len(points)) for k in range(3)], 1)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def read_target(packed: Path, eyes: np.ndarray) -> Target:
    """ICT-FaceKit's skin laid over the head by the middles of the eyes [2,3], mm."""
    head = load_ict(packed)
    inside = np.zeros(head.vertex_count, bool)
    for name in ("left_eyeball", "right_eyeball", "mouth_interior", "teeth_upper", "teeth_lower"):
        inside[head.regions[name]] = True
    faces = head.faces.numpy()
    target = Target(head.template.numpy() * 1e3, head.shape_directions.numpy() * 1e3, faces[~inside[faces].any(1)])
    theirs = head.joints[3:].numpy() * 1e3
    scale = float(np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(theirs[0] - theirs[1]))
    return target.moved(scale, np.eye(3), eyes.mean(0) - scale * theirs.mean(0))


def main(wheel: Path, packed: Path) -> None:
    """Write calibration.npz."""
    head, faces, regions = sampled(wheel)
    eyes = np.stack([ball(faces.mean[head.rows(f"{s}_eyeball")[-3 * SEGMENTS :]])[0] for s in ("left", "right")])
    outside = np.ones(len(faces.mean), bool)
    for name in ("neck", "neck_ring", "mouth_interior", *(part.name for part in head.parts)):
        outside[regions[name]] = False
    mean, covariance = fit_people(faces, head.faces, np.flatnonzero(outside), read_target(packed, eyes))
    np.savez_compressed(CALIBRATION, mean=mean.astype(np.float32), covariance=covariance.astype(np.float32))
    print("mean, in standard deviations", mean.round(2), "deviations", np.sqrt(np.diag(covariance)).round(2), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

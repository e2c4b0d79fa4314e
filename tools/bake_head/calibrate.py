# SPDX-License-Identifier: Apache-2.0
"""How real people spread over the sampled directions: ``python -m tools.bake_head.calibrate WHEEL ICT_PACKED_NPZ``.

Nobody has measured how MakeHuman's sliders are distributed among people. ICT-FaceKit's identities are statistics of
scans, so its mean face and its hundred directions are fitted with the sampled ones, and the numbers that come out (the
mean [80] and the covariance [80,80] of coefficients, nothing of its geometry) are kept in ``calibration.npz``. The bake
takes their mean, and people to spread half as the sampled ones and half as those.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from blendsplat.geometry import vertex_normals
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.embedding import SHIPPED
from blendsplat.heads.load import load_head
from blendsplat.landmarks.points import OVAL
from tools.bake_head.parts import SEGMENTS, ball
from tools.bake_head.people import Faces
from tools.bake_head.sampled import sampled

CALIBRATION = Path(__file__).with_name("calibration.npz")
ROUNDS = 10
SLIDING = 0.15  # weight of a distance along the surface: closest points slide
LANDMARK = 60.0  # mm² of surface that a landmark counts like, in all directions: it says what does not slide
TRUSTED = 0.5  # of an embedding's weight: from here on a landmark counts
RIDGE = 0.15  # weight of a standard deviation against a millimetre
FACE_BALL, OUTSIDE = 105.0, 0.5  # mm round the nose; weight of what lies outside
FARTHEST, SAME_WAY = 15.0, 0.5  # mm, and the least cosine between normals, of points taken to be the same


@dataclass
class Marks:
    """Where L landmarks lie: corners [L,3] of their triangles, barycentrics [L,3], trust [L]."""

    corners: np.ndarray
    barycentrics: np.ndarray
    trust: np.ndarray

    def of(self, vertices: np.ndarray) -> np.ndarray:
        """Places [...,L,3] on vertices or displacements [...,V,3]."""
        return np.asarray((vertices[..., self.corners, :] * self.barycentrics[..., None]).sum(-2))


@dataclass
class Target:
    """ICT-FaceKit's skin, mm."""

    mean: np.ndarray  # [V,3]
    directions: np.ndarray  # [100,V,3]
    faces: np.ndarray  # [F,3]
    marks: Marks

    def moved(self, scale: float, turn: np.ndarray, shift: np.ndarray) -> Target:
        """Scaled, turned, shifted."""
        mean, directions = scale * self.mean @ turn.T + shift, scale * self.directions @ turn.T
        return replace(self, mean=mean, directions=directions)


def fit_people(
    faces: Faces, mesh: np.ndarray, rows: np.ndarray, marks: Marks, target: Target
) -> tuple[np.ndarray, np.ndarray]:
    """Mean [K] and covariance [K,K] of the target's people, in coefficients of ``faces``.

    mesh [F,3]: the head's faces; rows: its vertices that count; marks: its landmarks, the same as the target's.
    """
    count = len(faces.directions)
    area = _vertex_areas(faces.mean, mesh)[rows]
    nose = faces.mean[rows[faces.mean[rows, 2].argmax()]]
    weight = np.sqrt(area) * np.where(np.linalg.norm(faces.mean[rows] - nose, axis=1) < FACE_BALL, 1, OUTSIDE)
    both = (marks.trust > TRUSTED) & (target.marks.trust > TRUSTED)
    both[list(OVAL)] = False  # these slide
    found = np.zeros(count)
    for _ in range(ROUNDS):
        points = faces.mean + np.tensordot(found, faces.directions, 1)
        face, barycentrics, distance = closest_on_mesh(points[rows], target.mean, target.faces)
        corners = target.faces[face]
        nearest = (target.mean[corners] * barycentrics[..., None]).sum(1)
        normal = (_normals(target.mean, target.faces)[corners] * barycentrics[..., None]).sum(1)
        alike = (_normals(points, mesh)[rows] * normal).sum(1) > SAME_WAY
        near = alike & (np.abs(distance) < FARTHEST)
        surface = _Rows(points[rows], faces.directions[:, rows], weight * near, normal)
        seen = _Rows(marks.of(points)[both], marks.of(faces.directions)[:, both], np.full(both.sum(), LANDMARK**0.5))
        system = _System(surface, seen)
        wanted = (nearest - points[rows])[None], (target.marks.of(target.mean) - marks.of(points))[None, both]
        step = system.solve(*wanted, found)[0]
        found = found + step[:count]
        turn, shift, scale = step[count : count + 3], step[count + 3 : count + 6], step[count + 6]
        target = replace(
            target,
            mean=target.mean - np.cross(turn, target.mean) - shift - scale * target.mean,
            directions=target.directions - np.cross(turn, target.directions) - scale * target.directions,
        )
    moved = (target.directions[:, corners] * barycentrics[None, ..., None]).sum(2)
    spread = system.solve(moved, target.marks.of(target.directions)[:, both], np.zeros(count))[:, :count]
    return found, spread.T @ spread


@dataclass
class _Rows:
    """P points that are drawn somewhere: directions [K,P,3], weight [P]; normal [P,3] of those that may slide."""

    points: np.ndarray
    directions: np.ndarray
    weight: np.ndarray
    normal: np.ndarray | None = None

    def matrix(self) -> np.ndarray:
        """[R,K+7]: by coefficients, turn, shift and growth."""
        turns = np.stack([np.cross(axis, self.points) for axis in np.eye(3)], -1)
        shifts = np.broadcast_to(np.eye(3), (len(self.points), 3, 3))
        columns = np.concatenate([np.moveaxis(self.directions, 0, -1), turns, shifts, self.points[..., None]], -1)
        free = (columns * self._free()[:, None, None]).reshape(-1, columns.shape[-1])
        if self.normal is None:
            return np.asarray(free)
        return np.concatenate([np.einsum("pck,pc->pk", columns, self.normal) * self.weight[:, None], free])

    def values(self, wanted: np.ndarray) -> np.ndarray:
        """Displacements [T,P,3] -> [T,R]."""
        free = (wanted * self._free()[:, None]).reshape(len(wanted), -1)
        if self.normal is None:
            return np.asarray(free)
        return np.concatenate([(wanted * self.normal).sum(-1) * self.weight, free], 1)

    def _free(self) -> np.ndarray:
        return self.weight if self.normal is None else SLIDING * self.weight


class _System:
    """The least squares of coefficients and a small similarity [K+7]."""

    def __init__(self, surface: _Rows, seen: _Rows) -> None:
        self.surface, self.seen, self.count = surface, seen, len(surface.directions)
        self.ridge = RIDGE * np.sqrt(surface.weight.sum())
        prior = np.concatenate([np.eye(self.count) * self.ridge, np.zeros((self.count, 7))], 1)
        matrix = np.concatenate([surface.matrix(), seen.matrix(), prior])
        self.solver = np.linalg.solve(matrix.T @ matrix, matrix.T)

    def solve(self, surface: np.ndarray, seen: np.ndarray, so_far: np.ndarray) -> np.ndarray:
        """Displacements [T,P,3] and [T,L,3] -> unknowns [T,K+7]; so_far [K]: coefficients that the prior pulls back."""
        pull = np.broadcast_to(-self.ridge * so_far, (len(surface), self.count))
        return np.asarray(
            np.concatenate([self.surface.values(surface), self.seen.values(seen), pull], 1) @ self.solver.T
        )


def calibrated(faces: Faces, mean: np.ndarray, covariance: np.ndarray) -> Faces:
    """People about the given mean, half of whom spread as ``faces``' own (covariance 1) and half as given."""
    count, sizes = len(mean), np.sqrt((faces.directions.astype(np.float64) ** 2).sum((1, 2)))
    both = 0.5 * (np.eye(count) + covariance)
    # axes are principal in millimetres: coefficients count by how far they move a head
    values, vectors = np.linalg.eigh(both * sizes[:, None] * sizes[None])
    axes = (vectors / sizes[:, None] * np.sqrt(values))[:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(count)] < 0, -1, 1)
    shifted = faces.mean + np.tensordot(mean, faces.directions, 1)
    return Faces(shifted, np.tensordot(axes.T, faces.directions, 1), faces.child)


def _vertex_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    return np.asarray(np.bincount(faces.ravel(), np.repeat(area, 3), len(points)))


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return vertex_normals(torch.from_numpy(points)[None], torch.from_numpy(faces))[0].numpy()


def read_target(packed: Path, eyes: np.ndarray) -> Target:
    """ICT-FaceKit's skin laid over the head by the middles of the eyes [2,3], mm."""
    head = load_head(packed)
    inside = np.zeros(head.vertex_count, bool)
    for name in ("left_eyeball", "right_eyeball", "mouth_interior", "teeth_upper", "teeth_lower"):
        inside[head.regions[name]] = True
    faces, found = head.faces.numpy(), head.landmarks
    assert found is not None
    marks = Marks(faces[found.faces.numpy()], found.barycentrics.numpy().astype(np.float64), found.weights.numpy())
    vertices, directions = head.template.numpy() * 1e3, head.shape_directions.numpy() * 1e3
    target = Target(vertices, directions, faces[~inside[faces].any(1)], marks)
    theirs = head.joints[3:].numpy() * 1e3
    scale = float(np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(theirs[0] - theirs[1]))
    return target.moved(scale, np.eye(3), eyes.mean(0) - scale * theirs.mean(0))


def main(wheel: Path, packed: Path) -> None:
    """Write calibration.npz."""
    head, faces, regions, _ = sampled(wheel)
    eyes = np.stack([ball(faces.mean[head.rows(f"{s}_eyeball")[-3 * SEGMENTS :]])[0] for s in ("left", "right")])
    outside = np.ones(len(faces.mean), bool)
    for name in ("neck", "neck_ring", "mouth_interior", *(part.name for part in head.parts)):
        outside[regions[name]] = False
    with np.load(SHIPPED) as own:  # the landmarks stay in their triangles, whatever the mean is
        marks = Marks(head.faces[own["faces"]], own["barycentrics"].astype(np.float64), own["weights"])
    mean, covariance = fit_people(faces, head.faces, np.flatnonzero(outside), marks, read_target(packed, eyes))
    np.savez_compressed(CALIBRATION, mean=mean.astype(np.float32), covariance=covariance.astype(np.float32))
    print("mean, in standard deviations", mean.round(2), "deviations", np.sqrt(np.diag(covariance)).round(2), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

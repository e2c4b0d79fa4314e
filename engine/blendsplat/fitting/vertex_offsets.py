# SPDX-License-Identifier: Apache-2.0
"""Per-person vertex offsets: a small smooth basis for what a head's shape directions lack, and its prior.

Control points spread over the face, in mirrored pairs, each push their neighbourhood with a bell-shaped weight. The
prior asks for little displacement, little bending (the mesh Laplacian of the displacement) and left-right symmetry.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
import scipy.spatial
import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.fitting.landmark_model import LandmarkModel
from blendsplat.heads.model import HeadModel
from blendsplat.landmarks import points as pts

CONTROL_PAIRS = 18
USUAL_OFFSET = 0.002  # metres: one sigma of the displacement
USUAL_BENDING = 0.0006  # metres: one sigma of the Laplacian (vertex minus its neighbours' mean), averaged over the face
NEAR_EYES, BEYOND_EYES = 0.004, 0.014  # metres from an eyeball between which offsets begin
USUAL_DRIFT = (
    0.0003  # metres: one sigma of all control points moving, turning or growing as one: pose and shape do that
)
USUAL_ASYMMETRY = 0.0015  # metres: one sigma of a control point's difference from its mirror image


@dataclass
class OffsetBasis:
    """weights [V,K]: how much each control point moves each vertex; precision [3K,3K] of the prior on the K pushes."""

    weights: Tensor
    precision: Tensor

    def offsets(self, pushes: Tensor) -> Tensor:
        """Pushes [3K] (control points first, then axes) -> vertex offsets [V,3] in metres."""
        return self.weights @ pushes.reshape(-1, 3)


_last_made: tuple[weakref.ref[HeadModel], OffsetBasis] | None = None


def offset_basis(head: HeadModel) -> OffsetBasis:
    """The basis for a head with a landmark embedding, which fit and refinement both need: the last one is kept."""
    global _last_made
    last = _last_made
    if last is not None and last[0]() is head:
        return last[1]
    basis = _make_offset_basis(head)
    _last_made = weakref.ref(head), basis
    return basis


def _make_offset_basis(head: HeadModel) -> OffsetBasis:
    vertices = head.template.double().numpy()
    landmarks = head.landmarks_of(head.template[None])[0].double().numpy()
    assert head.landmarks is not None  # landmarks_of has checked it
    controls, mirror = _control_points(landmarks, head.landmarks.weights.numpy() > 0)
    spacing = np.sort(np.linalg.norm(controls[:, None] - controls[None], axis=-1), axis=1)[:, 1]
    radius = 1.2 * np.median(spacing)
    weights = _bells(vertices, controls, radius)
    weights *= _away_from_eyes(head, vertices)[:, None]
    return OffsetBasis(
        torch.as_tensor(weights, dtype=torch.float32),
        torch.as_tensor(_precision(head, weights, controls, mirror), dtype=torch.float32),
    )


def with_offsets(model: LandmarkModel, head: HeadModel, basis: OffsetBasis) -> LandmarkModel:
    """The landmark model whose shape coefficients are followed by the basis' 3K pushes. The joints stay."""
    if head.landmarks is None:
        raise InputError(
            f"The head {head.name!r} has no landmark embedding yet; make one with blendsplat.heads.embed_head."
        )
    corners = head.faces[head.landmarks.faces]
    return with_pushes(model, (basis.weights[corners] * head.landmarks.barycentrics[..., None]).sum(1))


def with_pushes(model: LandmarkModel, weights: Tensor) -> LandmarkModel:
    """The same for any points: weights [L,K] of the control points at them."""
    directions = torch.einsum("lk,xy->lxky", weights, torch.eye(3)).reshape(len(weights), 3, -1)
    still = directions.new_zeros(5, 3, directions.shape[-1])
    return replace(
        model,
        shape_directions=torch.cat([model.shape_directions, directions], -1),
        joint_shape_directions=torch.cat([model.joint_shape_directions, still], -1),
    )


def _control_points(landmarks: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Farthest-point sample of half of the face, mirrored: (controls [K,3], index of each one's mirror image [K])."""
    inner = np.ones(pts.COUNT, bool)
    inner[[*pts.RIGHT_IRIS, *pts.LEFT_IRIS, *pts.MIDDLE_LIPS, *pts.INNER_LIPS]] = False
    half = landmarks[usable & inner]
    half = half * np.where(half[:, :1] < 0, [[-1.0, 1.0, 1.0]], 1.0)
    chosen = [half[half[:, 2].argmax()] * [0.0, 1.0, 1.0]]
    for _ in range(min(CONTROL_PAIRS, len(half)) - 1):
        nearest = np.linalg.norm(half[:, None] - np.array(chosen)[None], axis=-1).min(1)
        pick = half[nearest.argmax()]
        chosen.append(pick * [0.0, 1.0, 1.0] if pick[0] < 0.006 else pick)
    controls: list[np.ndarray] = []
    mirror: list[int] = []
    for point in chosen:
        index = len(controls)
        if point[0] == 0:
            controls, mirror = [*controls, point], [*mirror, index]
        else:
            controls, mirror = [*controls, point, point * [-1.0, 1.0, 1.0]], [*mirror, index + 1, index]
    return np.array(controls), np.array(mirror)


def _bells(points: np.ndarray, controls: np.ndarray, radius: float) -> np.ndarray:
    squared = ((points[:, None] - controls[None]) ** 2).sum(-1)
    return np.exp(-squared / (2 * radius**2))


def _precision(head: HeadModel, weights: np.ndarray, controls: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    count = len(mirror)
    bending = _laplacian(head) @ weights
    moved = weights.max(1) > 0.05
    share = count / max(
        moved.sum(), 1
    )  # what counts is the face's displacement, however many vertices or bells make it
    per_axis = share * (
        weights[moved].T @ weights[moved] / USUAL_OFFSET**2 + bending[moved].T @ bending[moved] / USUAL_BENDING**2
    )
    per_axis += np.eye(count) * 0.01 / USUAL_OFFSET**2  # neighbouring bells must not fight each other
    difference = np.kron(np.eye(count), np.eye(3)) - np.kron(np.eye(count)[mirror], np.diag([-1.0, 1.0, 1.0]))
    drift = _similarity_modes(controls)
    symmetry = difference.T @ difference / (2 * USUAL_ASYMMETRY**2)
    return np.kron(per_axis, np.eye(3)) + symmetry + drift.T @ drift / USUAL_DRIFT**2


def _similarity_modes(controls: np.ndarray) -> np.ndarray:
    """[7,3K]: unit pushes that shift, turn and scale the control points as one."""
    centred = controls - controls.mean(0)
    shifts = [np.tile(axis, len(controls)) for axis in np.eye(3)]
    turns = [np.cross(axis, centred).reshape(-1) for axis in np.eye(3)]
    return np.linalg.qr(np.stack([*shifts, *turns, centred.reshape(-1)], 1))[0].T


def _away_from_eyes(head: HeadModel, vertices: np.ndarray) -> np.ndarray:
    """[V]: 0 on eyeballs and lids, whose fit and whose centre of turning only shape directions know, 1 beyond."""
    rows = np.concatenate([head.regions.get(eye, np.zeros(0, int)) for eye in ("left_eyeball", "right_eyeball")])
    if not len(rows):
        return np.ones(len(vertices))
    distance, _ = scipy.spatial.cKDTree(vertices[rows]).query(vertices)
    ramp = np.clip((distance - NEAR_EYES) / (BEYOND_EYES - NEAR_EYES), 0, 1)
    ramp[rows] = 0
    away: np.ndarray = ramp * ramp * (3 - 2 * ramp)
    return away


def _laplacian(head: HeadModel) -> scipy.sparse.csr_matrix:
    """Vertex minus the mean of its neighbours [V,V]."""
    faces = head.faces.numpy()
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    count = head.vertex_count
    neighbours = scipy.sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    degree = np.maximum(np.asarray(neighbours.sum(1))[:, 0], 1)
    alone = np.asarray(neighbours.sum(1))[:, 0] == 0
    return scipy.sparse.diags(np.where(alone, 0.0, 1.0)) - scipy.sparse.diags(1 / degree) @ neighbours

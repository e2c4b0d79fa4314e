# SPDX-License-Identifier: Apache-2.0
"""How near a head model can come to a real person: a scan against the model's mean face, and against its best shape.

Independent of photographs and of how they are fitted: the mean face is laid on the scan by a similarity (ICP), then up
to 80 identity coefficients are fitted to the scan's points, held equally. Distances are from the scan to the mesh, of
points spread evenly over what of the scan can be seen within a ball round the tip of the nose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blendsplat.errors import InputError
from blendsplat.evaluation.scan_metrics import CANDIDATES, ICP_POINTS, figures, icp, neutral_mesh
from blendsplat.evaluation.scan_views import upright_scan
from blendsplat.evaluation.scans import Scan
from blendsplat.evaluation.surface import face_axes, outside_faces, with_rim
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.human import CHILD
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.progress import Progress

RADIUS, POINTS = 0.095, 5000  # metres round the tip of the nose, and points in it
COEFFICIENTS, HELD = 80, 1e-3  # square millimetres that one squared coefficient costs, beside the points' mean square
STEPS = 30
ROBUST = 0.005  # metres beyond which a point pulls less and less
ALONG = 0.1  # how much a point is held along the surface, beside across it
NOSE = 0.03  # metres from the landmark under the nose within which its tip lies


@dataclass(frozen=True)
class ScanFit:
    """Distances [P] in metres from the mean face and from the fitted shape, and the latter's coefficients [K]."""

    mean: np.ndarray
    fitted: np.ndarray
    shape: np.ndarray

    def as_row(self) -> dict[str, float]:
        """median_mm and mean_mm of both, and p95_mm."""
        row: dict[str, float] = {}
        for name, distances in (("mean_face", self.mean), ("fitted", self.fitted)):
            found = figures(distances)
            row |= {f"{name}_median_mm": found["median_mm"], f"{name}_mean_mm": found["mean_mm"]}
            row[f"{name}_p95_mm"] = 1000 * float(np.quantile(distances, 0.95))
        return row


def fit_scan(
    head: HeadModel, scan: Scan, coefficients: int = COEFFICIENTS, held: float = HELD, progress: Progress | None = None
) -> ScanFit:
    """A head with landmarks against a scan. coefficients: of identity, all where there are fewer."""
    progress = progress or Progress()
    points = nose_points(scan)
    vertices, landmarks = neutral_mesh(head, np.zeros(head.shape_count))
    faces = head.faces.numpy()
    faces = faces[with_rim(faces, outside_faces(vertices, faces, landmarks))]
    scale, rotation, shift = icp(points[:ICP_POINTS], vertices, faces, landmarks, scan.landmarks)
    mean = closest_on_mesh(points, scale * vertices @ rotation.T + shift, faces)[2]
    directions = head.shape_directions[:coefficients].numpy().astype(np.float64)
    shape = np.zeros(len(directions))
    for step in range(STEPS if len(directions) else 0):
        progress.check()
        change, scale, rotation, shift = _step(
            points, vertices, faces, directions, held, shape, scale, rotation, shift
        )  # fmt: skip
        shape = shape + change
        progress.update("fit scan", step + 1, STEPS)
        if np.abs(change).max() < 1e-2:
            break
    moved = scale * (vertices + np.tensordot(shape, directions, 1)) @ rotation.T + shift
    return ScanFit(mean, closest_on_mesh(points, moved, faces)[2], shape)


def _step(
    points: np.ndarray, template: np.ndarray, faces: np.ndarray, directions: np.ndarray, held: float,
    shape: np.ndarray, scale: float, rotation: np.ndarray, shift: np.ndarray,
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:  # fmt: skip
    """One Gauss-Newton step on shape and similarity -> the shape's change, and the new similarity."""
    from scipy.spatial.transform import Rotation

    person = template + np.tensordot(shape, directions, 1)
    moved = scale * person @ rotation.T + shift
    face, weights, distance = closest_on_mesh(points, moved, faces, CANDIDATES)
    corners = faces[face]
    nearest = (moved[corners] * weights[:, :, None]).sum(1)
    normal = np.cross(moved[corners[:, 1]] - moved[corners[:, 0]], moved[corners[:, 2]] - moved[corners[:, 0]])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    by_shape = sum(directions[:, corners[:, k]] * weights[:, k, None] for k in range(3))  # [K,P,3]
    by_shape = scale * (by_shape @ rotation.T).transpose(1, 2, 0)  # [P,3,K]
    arm = nearest - shift
    zero = np.zeros(len(points))
    turn = np.stack([
        np.stack([zero, arm[:, 2], -arm[:, 1]], 1), np.stack([-arm[:, 2], zero, arm[:, 0]], 1),
        np.stack([arm[:, 1], -arm[:, 0], zero], 1),
    ], 1)  # fmt: skip
    place = np.concatenate([turn, np.broadcast_to(np.eye(3), (len(points), 3, 3)), arm[:, :, None]], 2)
    jacobian = np.concatenate([by_shape, place], 2) * 1000  # millimetres
    residual = (points - nearest) * 1000
    weight = 1 / (1 + (distance / ROBUST) ** 2)
    across = np.einsum("pc,pck->pk", normal, jacobian), (normal * residual).sum(1)
    flat = jacobian.reshape(-1, jacobian.shape[2])
    along = np.repeat(weight * ALONG**2, 3)
    hessian = (across[0].T * weight) @ across[0] + (flat.T * along) @ flat
    gradient = across[0].T @ (weight * across[1]) + flat.T @ (along * residual.ravel())
    count, penalty = len(shape), held * len(points)
    hessian[np.arange(count), np.arange(count)] += penalty
    gradient[:count] -= penalty * shape
    hessian[np.arange(len(hessian)), np.arange(len(hessian))] += 1e-9 * np.trace(hessian) / len(hessian)
    change = np.linalg.solve(hessian, gradient)
    turned = Rotation.from_rotvec(change[count : count + 3]).as_matrix()
    grown = 1 + change[-1]
    # The similarity about the shift: turning and growing act on what is measured from it.
    return change[:count], float(scale * grown), turned @ rotation, shift + change[count + 3 : count + 6]


def nose_points(scan: Scan, count: int = POINTS, radius: float = RADIUS, seed: int = 0) -> np.ndarray:
    """``count`` points [P,3] spread evenly by area over the outside of the scan within a ball round its nose's tip."""
    faces = scan.faces[outside_faces(scan.vertices, scan.faces, scan.landmarks)]
    forward = face_axes(scan.landmarks)[2]
    beneath = scan.landmarks[4]
    near = np.linalg.norm(scan.vertices - beneath, axis=1) < NOSE
    near &= np.isin(np.arange(len(scan.vertices)), faces)
    tip = scan.vertices[near][np.argmax(scan.vertices[near] @ forward)] if near.any() else beneath
    rng = np.random.default_rng(seed)
    corners = scan.vertices[faces]
    reach = np.linalg.norm(corners - tip, axis=2).min(1) <= radius
    corners = corners[reach]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    found = np.zeros((0, 3))
    while len(found) < count:
        chosen = corners[rng.choice(len(corners), 2 * count, p=area / area.sum())]
        u, v = rng.random((2, len(chosen), 1))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        some = chosen[:, 0] + u * (chosen[:, 1] - chosen[:, 0]) + v * (chosen[:, 2] - chosen[:, 0])
        found = np.concatenate([found, some[np.linalg.norm(some - tip, axis=1) <= radius]])
    return found[:count]


def random_scan(head: HeadModel, seed: int) -> Scan:
    """A random adult of a head with landmarks (unit variance in every identity coefficient) as a scan."""
    shape = np.random.default_rng(seed).normal(size=head.shape_count)
    if CHILD in head.shape_names:
        shape[head.shape_names.index(CHILD)] = 0
    vertices, landmarks = neutral_mesh(head, shape)
    return Scan(vertices, head.faces.numpy(), landmarks)


def evaluate_head(
    source: str, scans: list[Path], landmarks: Path | None = None, unit: float | None = None,
    people_of: str | None = None, people: int = 10, seed: int = 0, coefficients: int = COEFFICIENTS,
    progress: Progress | None = None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """The head of ``source`` (see load_head) against scans (their seven landmarks are detected, unless given for a
    single one), and against ``people`` random people of the head ``people_of`` (seed, seed + 1, ...).

    -> {name: ScanFit.as_row()}, the last the "mean" of several. Raises InputError without anything to measure against,
    and as load_head and upright_scan.
    """
    progress = progress or Progress()
    if not scans and people_of is None:
        raise InputError("Name a scan, or with --people-of a head whose random people are measured against.")
    if landmarks is not None and len(scans) != 1:
        raise InputError("Landmarks belong to one scan: name one, or leave them out.")
    head = load_head(source, progress=progress)
    rows: dict[str, dict[str, float]] = {}
    for path in scans:
        scan = upright_scan(path, None, landmarks, unit)[1]
        rows[str(path)] = fit_scan(head, scan, coefficients, HELD, progress).as_row()
    if people_of is not None:
        other = load_head(people_of, progress=progress)
        for number in range(seed, seed + people):
            scan = random_scan(other, number)
            rows[f"{other.name} {number}"] = fit_scan(head, scan, coefficients, HELD, progress).as_row()
    if len(rows) > 1:
        some = list(rows.values())
        rows["mean"] = {name: float(np.mean([row[name] for row in some])) for name in some[0]}
    return rows

# SPDX-License-Identifier: Apache-2.0
"""How far a fitted face lies from a scan, and how much fits of one person differ between views.

Scan-to-mesh distance as NoW measures it (Sanyal et al. 2019), Chamfer distance as KaoLRM's table 1 does on FaceVerse,
and the paper's variance over views (equation 5).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from blendsplat.errors import InputError
from blendsplat.evaluation.scans import Scan
from blendsplat.evaluation.surface import outside_faces, with_rim
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.landmarks68 import OF_478
from blendsplat.heads.model import HeadModel

# The protocol's seven: outer and inner eye corners, nose, mouth corners of the 68
OF_68 = (36, 39, 42, 45, 33, 48, 54)
CENTRE, RADIUS = 0.3, 1.4  # of the face that counts
ICP_POINTS, ICP_STEPS, JUDGED = 2000, 60, 20000
CANDIDATES = 12  # faces that each point looks at in a step of ICP
# Share of the nearest points that ICP believes. A larger one lets ears and cheeks that a model lacks blow it up: by a
# quarter at 0.95 (the mean face of earlier versions on the Lee Perry-Smith scan).
TRIMMED = 0.8


def neutral_mesh(head: HeadModel, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V,3] of the neutral, unposed person of ``shape`` [S], and its seven landmarks [7,3]."""
    import torch

    if head.landmarks is None:
        raise InputError(f"The head {head.name!r} has no landmark embedding; load it with landmarks.")
    vertices = head.template + torch.einsum("s,svc->vc", torch.as_tensor(shape, dtype=torch.float32),
                                            head.shape_directions)  # fmt: skip
    return vertices.numpy().astype(np.float64), head.landmarks_of(vertices[None])[0, OF_478[list(OF_68)]].numpy()


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(scale, rotation [3,3], shift [3]) that takes source [N,3] nearest to target: s R x + t (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    left, singular, right = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    scale = float((singular * sign).sum() / max((a * a).sum(), 1e-30))
    return scale, rotation, target.mean(0) - scale * rotation @ source.mean(0)


def face_part(scan: Scan) -> np.ndarray:
    """[V] bool: the scan's vertices that count: on its outside, within a ball round the middle of the face."""
    lm = scan.landmarks
    bridge, nose = (lm[1] + lm[2]) / 2, lm[4]
    radius = RADIUS * (np.linalg.norm(lm[0] - lm[3]) + np.linalg.norm(bridge - nose)) / 2
    inside = np.linalg.norm(scan.vertices - (nose + CENTRE * (bridge - nose)), axis=1) <= radius
    if inside.sum() < 50:
        raise InputError("The scan has hardly any vertices around its landmarks; do they belong together?")
    outside = np.zeros(len(scan.vertices), bool)
    outside[scan.faces[outside_faces(scan.vertices, scan.faces, lm)]] = True
    return inside & outside


def scan_to_mesh(scan: Scan, vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Distances [P] in metres of the scan's face from a mesh (vertices [V,3], faces [F,3], seven landmarks [7,3]).

    The mesh is aligned by a similarity on the landmarks, then by ICP with scale; at most JUDGED scan points are taken.
    """
    points = _spread(scan.vertices[face_part(scan)], JUDGED)
    faces = faces[with_rim(faces, outside_faces(vertices, faces, landmarks))]
    scale, rotation, shift = icp(_spread(points, ICP_POINTS), vertices, faces, landmarks, scan.landmarks)
    return closest_on_mesh(points, scale * vertices @ rotation.T + shift, faces)[2]


def icp(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray, wanted: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """(scale, rotation [3,3], shift [3]) that lays a mesh (vertices [V,3], faces [F,3]) on points [P,3]: first its
    landmarks [7,3] on the ``wanted`` ones, then TRIMMED of the points on what of the mesh is nearest to each."""
    scale, rotation, shift = similarity(landmarks, wanted)
    last = np.inf
    for _ in range(ICP_STEPS):
        moved = scale * vertices @ rotation.T + shift
        face, weights, distance = closest_on_mesh(points, moved, faces, CANDIDATES)
        kept = distance <= np.quantile(distance, TRIMMED)
        nearest = (vertices[faces[face]] * weights[:, :, None]).sum(1)
        scale, rotation, shift = similarity(nearest[kept], points[kept])
        now = float(distance[kept].mean())
        if last - now < 1e-4 * last:
            break
        last = now
    return scale, rotation, shift


def chamfer(scan: Scan, vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray) -> float:
    """Mean of both directions' mean distances, metres, over the cropped faces, aligned by the landmarks alone."""
    scale, rotation, shift = similarity(landmarks, scan.landmarks)
    moved = scale * vertices @ rotation.T + shift
    there = closest_on_mesh(_spread(scan.vertices[face_part(scan)], JUDGED), moved, faces)[2]
    mesh = Scan(moved, faces, scan.landmarks)
    back = cKDTree(scan.vertices).query(moved[_reachable(mesh)])[0]
    return 0.5 * float(there.mean() + back.mean())


def _reachable(mesh: Scan) -> np.ndarray:
    """[V] bool: the mesh's vertices in the face's ball that look forward; the mouth's inside and the skull's do not."""
    lm = mesh.landmarks
    corners = mesh.vertices[mesh.faces]
    normals = np.zeros_like(mesh.vertices)
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for corner in range(3):
        np.add.at(normals, mesh.faces[:, corner], flat)
    forward = np.cross(lm[3] - lm[0], (lm[1] + lm[2]) / 2 - (lm[5] + lm[6]) / 2)
    return face_part(mesh) & (normals @ forward > 0)


def view_variance(coefficients: np.ndarray, first: int | None = None) -> float:
    """Variance over views of coefficients [V,C] of one person, averaged over the (first) coefficients (equation 5)."""
    if len(coefficients) < 2:
        raise InputError("The variance over views needs at least two fits of one person.")
    return float(coefficients[:, :first].var(axis=0).mean())


def figures(distances: np.ndarray) -> dict[str, float]:
    """median_mm, mean_mm, std_mm of distances in metres."""
    mm = 1000 * distances
    return {"median_mm": float(np.median(mm)), "mean_mm": float(mm.mean()), "std_mm": float(mm.std())}


def _spread(points: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the points [N,3], evenly through their order."""
    return points if len(points) <= most else points[np.linspace(0, len(points) - 1, most).astype(int)]

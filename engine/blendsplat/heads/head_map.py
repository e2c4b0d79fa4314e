# SPDX-License-Identifier: Apache-2.0
"""Which points of two heads are the same place of a face: every vertex of one head's skin on the other head's surface.

The heads' 478 landmarks bring one onto the other; then it is bent until its skin lies on the other's, a little softer
in every round (Amberg et al. 2007, "Optimal Step Nonrigid ICP", with a Laplacian for the stiffness). Mouths are a
little open meanwhile, so that no lip lands on the other one. What has no counterpart is left out: the mouth's inside,
teeth, eyeballs, nostrils that the other head lacks, and skin beyond the other head's edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.geometry import vertex_normals
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.model import HeadModel, LandmarkEmbedding
from blendsplat.heads.portrait import eye_distance, opened_mouth, region_mask
from blendsplat.heads.topology import half_edges, laplacian
from blendsplat.progress import Progress

STIFFNESS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.5, 0.5)  # of the bending, one a round
USABLE = 0.3  # weight of a landmark from which on it is looked at
FEWEST = 50  # usable landmarks without which two heads cannot be laid onto each other
REACH = 0.05  # of the eyes' distance: where a counterpart may lie, a few times more in the first rounds
FACING = 0.5  # cosine between the two normals, below which two places are not the same
FLATTENED = 0.2  # area over the usual one, below which skin was pressed flat: a nostril that the other head lacks
LEADS = (0.5, 0.05)  # a landmark's weight in the first rounds and the last, over that of the skin it stands for
EAR_GROWS = 1.5  # at most, along each axis
_INSIDE = ("left_eyeball", "right_eyeball", "teeth_upper", "teeth_lower", "tongue", "mouth_interior")
FACE = ("face", "nose", "lips", "left_eyelids", "right_eyelids")


@dataclass(frozen=True)
class HeadMap:
    """P places that two heads share, as float64 arrays. trust is 1 where they surely are the same place, towards 0
    where they may not be; places that are in doubt altogether are not listed."""

    vertices: np.ndarray  # [P] of the target head
    corners: np.ndarray  # [P,3] vertices of the source head
    barycentrics: np.ndarray  # [P,3] between them
    trust: np.ndarray  # [P] in (0,1]
    area: np.ndarray  # [P] m^2 of the target's template around the vertex
    face: np.ndarray  # [P] bool: of the face, lids and lips included


def map_heads(source: HeadModel, target: HeadModel, progress: Progress | None = None) -> HeadMap:
    """The places that ``source`` and ``target`` share, found on their neutral heads. Some seconds.

    Raises InputError where a head has no landmark embedding, or one that is too poor; Cancelled.
    """
    progress = progress or Progress()
    for head in (source, target):
        usable_landmarks(head)
    (skin, own), (_, theirs) = skin_of(target), skin_of(source)
    area = vertex_areas(target.template.double().numpy(), target.faces.numpy())
    grown = np.ones(target.vertex_count)
    # the coarser head is bent, whichever way is asked, so that there and back is the same place
    if len(own) <= len(theirs):
        place, moved = _opened(source)[0], _laid_onto(target, source, progress)
        grown = vertex_areas(moved, own) / np.maximum(vertex_areas(_opened(target)[0], own), 1e-12)
    else:
        place, moved = _laid_onto(source, target, progress), _opened(target)[0]
    index = np.flatnonzero(skin)
    face, barycentrics, distance = closest_on_mesh(moved[index], place, theirs)
    normals = _mixed(_normals(place, theirs), theirs[face], barycentrics)
    reach = REACH * eye_distance(target if len(own) > len(theirs) else source)
    trust = np.exp(-((distance / reach) ** 2)) * ((_normals(moved, own)[index] * normals).sum(1) > FACING)
    trust[_on_border(theirs, face, barycentrics) & (distance > 0.3 * reach)] = 0
    trust[grown[index] < FLATTENED * np.median(grown[index])] = 0
    kept = trust > 0.1
    index = index[kept]
    return HeadMap(
        index, theirs[face[kept]], barycentrics[kept], trust[kept], area[index], region_mask(target, *FACE)[index]
    )


def usable_landmarks(head: HeadModel) -> LandmarkEmbedding:
    """The head's landmark embedding. Raises InputError where there is none, or too little of one."""
    if head.landmarks is None:
        raise InputError(
            f"The head {head.name!r} has no landmark embedding yet; load it with load_head, or make one with "
            "blendsplat.heads.embed_head."
        )
    if int((head.landmarks.weights > USABLE).sum()) < FEWEST:
        raise InputError(
            f"The landmark embedding of the head {head.name!r} has fewer than {FEWEST} usable points; make it anew "
            "with blendsplat.heads.embed_head."
        )
    return head.landmarks


def skin_of(head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """(mask [V], faces [F',3]) of the head's outer skin, lips and lids included."""
    inside = region_mask(head, *_INSIDE) & ~region_mask(head, "lips")
    inside |= region_mask(head, *_INSIDE[:5])
    faces = head.faces.numpy()
    faces = faces[~inside[faces].any(1)]
    skin = np.zeros(head.vertex_count, bool)
    skin[faces] = True
    return skin, faces


def vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V]: a third of the area of the faces around each vertex."""
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(area, 3), len(vertices))


def rigid_motion(
    points: np.ndarray, goals: np.ndarray, weights: np.ndarray, scaled: bool = False
) -> tuple[float, np.ndarray, np.ndarray]:
    """(scale, rotation [3,3], shift [3]) that bring points [P,3] nearest to goals [P,3] (Umeyama 1991); scale is 1
    unless ``scaled``. Never a reflection."""
    share = (weights / weights.sum())[:, None]
    from_middle, to_middle = (points * share).sum(0), (goals * share).sum(0)
    a, b = points - from_middle, goals - to_middle
    u, sizes, vt = np.linalg.svd((b * share).T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((sizes * sign).sum() / (share * a * a).sum()) if scaled else 1.0
    return scale, rotation, to_middle - scale * rotation @ from_middle


def spread_over(
    places: sp.csr_matrix, values: np.ndarray, weights: np.ndarray, bending: sp.csr_matrix, stiffness: float
) -> np.ndarray:
    """The smooth field [V,3] whose values at ``places`` [N,V] (a vertex, or barycentrics, a row) are near ``values``
    [N,3], as ``weights`` [N] ask; bending [V,V] is the Laplacian. Where nothing is asked it is flat."""
    weighted = sp.diags(weights) @ places
    count = places.shape[1]
    system = places.T @ weighted + stiffness * (bending.T @ bending) + 1e-6 * sp.identity(count)
    # the system is symmetric and positive definite: its pattern may be reordered as it is, and nothing needs a pivot
    how: dict[str, Any] = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    return np.asarray(splu(sp.csc_matrix(system), **how).solve(weighted.T @ values))


def landmark_rows(head: HeadModel, rows: np.ndarray) -> sp.csr_matrix:
    """[len(rows),V]: the barycentrics of those of the 478 landmarks."""
    embedding = usable_landmarks(head)
    corners = head.faces[embedding.faces].numpy()[rows]
    values = embedding.barycentrics.double().numpy()[rows]
    where = (np.repeat(np.arange(len(rows)), 3), corners.ravel())
    return sp.csr_matrix((values.ravel(), where), shape=(len(rows), head.vertex_count))


def _laid_onto(moving: HeadModel, fixed: HeadModel, progress: Progress) -> np.ndarray:
    """Vertices [V,3] of ``moving``, its mouth open, bent onto the skin of ``fixed``, whose mouth is open too."""
    trusts = [usable_landmarks(head).weights.double().numpy() for head in (moving, fixed)]
    rows = np.flatnonzero(np.minimum(*trusts) > USABLE)
    if len(rows) < FEWEST:
        raise InputError(
            f"The heads {moving.name!r} and {fixed.name!r} share {len(rows)} usable landmarks, too few to lay one onto "
            "the other; make their embeddings anew with blendsplat.heads.embed_head."
        )
    goal, goal_normals = _opened(fixed)
    start, _ = _opened(moving)
    at, trust = landmark_rows(moving, rows), np.minimum(*trusts)[rows]
    landmarks = landmark_rows(fixed, rows) @ goal
    scale, rotation, shift = rigid_motion(at @ start, landmarks, trust, scaled=True)
    start = scale * start @ rotation.T + shift

    (skin, faces), theirs = skin_of(moving), skin_of(fixed)[1]
    index, bending = np.flatnonzero(skin), laplacian(faces, moving.vertex_count).astype(np.float64)
    own = sp.identity(moving.vertex_count, format="csr")
    ears, ear_goals = _ears(moving, start, fixed, goal)
    reach, early = 4 * REACH * eye_distance(fixed), len(STIFFNESS) // 2
    leading = sp.vstack([at, own[ears]], format="csr")
    lead = np.concatenate([trust * len(index) / len(rows), np.ones(len(ears))])
    led = np.concatenate([landmarks, ear_goals]) - leading @ start
    moved = start + spread_over(leading, led, lead, bending, STIFFNESS[0] / 10)
    for number, stiffness in enumerate(STIFFNESS):
        progress.check()
        progress.update("map heads", number, len(STIFFNESS))
        face, barycentrics, distance = closest_on_mesh(moved[index], goal, theirs)
        found = _mixed(goal, theirs[face], barycentrics)
        facing = (_normals(moved, faces)[index] * _mixed(goal_normals, theirs[face], barycentrics)).sum(1)
        good = (facing > FACING) & (distance < reach) & ~_on_border(theirs, face, barycentrics)
        # landmarks are good to a millimetre or two, and ears differ: they lead, and in the end the surfaces do
        share = lead * LEADS[0] if number < early else lead * LEADS[1] * (np.arange(len(lead)) < len(rows))
        places, values = sp.vstack([own[index], leading], format="csr"), np.concatenate([found - start[index], led])
        moved = start + spread_over(places, values, np.concatenate([good.astype(float), share]), bending, stiffness)
        reach = max(0.7 * reach, REACH * eye_distance(fixed))
    progress.update("map heads", len(STIFFNESS), len(STIFFNESS))
    return moved


def _ears(moving: HeadModel, start: np.ndarray, fixed: HeadModel, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [E] of the moving head's ears and where they belong [E,3]: box onto box, as no landmark tells."""
    ears, goals = [np.zeros(0, np.int64)], [np.zeros((0, 3))]
    for name in ("left_ear", "right_ear"):
        own, theirs = (head.regions.get(name, np.zeros(0, np.int64)) for head in (moving, fixed))
        if len(own) and len(theirs):
            (low, high), (to_low, to_high) = ((p.min(0), p.max(0)) for p in (start[own], goal[theirs]))
            grown = np.clip((to_high - to_low) / np.maximum(high - low, 1e-6), 1 / EAR_GROWS, EAR_GROWS)
            ears.append(own)
            goals.append((start[own] - (low + high) / 2) * grown + (to_low + to_high) / 2)
    return np.concatenate(ears), np.concatenate(goals)


def _opened(head: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """(vertices, normals [V,3] of the skin) of the neutral head with an open mouth."""
    vertices = head(opened_mouth(head))[0].double().numpy()
    return vertices, _normals(vertices, skin_of(head)[1])


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    normals: Tensor = vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(faces))[0]
    return normals.numpy()


def _mixed(values: np.ndarray, corners: np.ndarray, barycentrics: np.ndarray) -> np.ndarray:
    """Vertex values [V,C] at points with corners, barycentrics [P,3] -> [P,C]."""
    mixed: np.ndarray = (values[corners] * barycentrics[..., None]).sum(1)
    return mixed


def _on_border(faces: np.ndarray, face: np.ndarray, barycentrics: np.ndarray) -> np.ndarray:
    """Whether points [P] on ``faces``, each in ``face`` [P], lie on an edge that no second face shares."""
    directed = half_edges(faces)
    size = int(directed.max(initial=0)) + 1
    reverse = directed[:, 1] * size + directed[:, 0]
    open_edges = ~np.isin(directed[:, 0] * size + directed[:, 1], reverse).reshape(-1, 3)  # edges 01, 12, 20
    opposite = barycentrics[:, [2, 0, 1]] < 1e-6
    on_edge: np.ndarray = (open_edges[face] & opposite).any(1)
    return on_edge

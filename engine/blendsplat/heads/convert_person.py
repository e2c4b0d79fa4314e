# SPDX-License-Identifier: Apache-2.0
"""The person of a performance on another head: shape, offsets for the rest, and eyeballs of the tracked ones' size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from scipy.spatial import cKDTree

from blendsplat.heads.arkit import SIDES
from blendsplat.heads.head_map import HeadMap, rigid_motion, spread_over
from blendsplat.heads.model import (
    LEFT_EYE_JOINT,
    HeadModel,
)
from blendsplat.heads.performance import Performance
from blendsplat.heads.topology import laplacian

MM = 1e-3
NEAR = 1.0 * MM  # one sigma of a place's distance from where it should be
PERSON_WITNESSES = 20.0  # independent places that a face is worth to its shape: more ask for people who do not exist
BEYOND_FACE = 0.2  # how much ears, scalp and neck count in the person's shape, where the face counts 1
FOLLOWS = 0.05  # stiffness of the vertex offsets, in areas of a vertex
NEIGHBOURS, SOFT = 64, 5 * MM  # places that a vertex without a counterpart goes along with; nearer ones count as this
ALONG = 0.02  # how much it is held to that, where a place with a counterpart is held with 1
EYE_WITNESSES = 2.0  # places that each eye's centre is worth
FEWEST_OF_BALL = 10  # vertices that tell a sphere
AHEAD = 0.6  # cosine to straight ahead, up to which an eyeball must lie behind closed lids
LEAST_EYEBALL = 0.85  # of the source's: smaller it is not made
EYEBALLS = ("left_eyeball", "right_eyeball")


@dataclass
class Person:
    """The target's shape [S] and vertex offsets [V,3]; rotation [3,3] and shift [3] from the source's resting frame to
    the target's."""

    shape: np.ndarray
    offsets: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray


def fit_person(performance: Performance, source: HeadModel, target: HeadModel, head_map: HeadMap) -> Person:
    person = built_in(source, performance.shape, performance.vertex_offsets)
    own, eyes = person.template.double().numpy(), [_eyeball(person, side) for side in range(2)]
    goal = np.concatenate([_mix(own, head_map), np.stack([eye.centre for eye in eyes])])
    weights = head_map.trust * head_map.area * np.where(head_map.face, 1.0, BEYOND_FACE)
    witnesses = np.append(PERSON_WITNESSES * weights / weights.sum(), [EYE_WITNESSES] * 2)
    rows, count = torch.from_numpy(head_map.vertices), target.shape_count
    mean = torch.cat([target.template[rows], target.joints[LEFT_EYE_JOINT:]]).double().numpy()
    directions = torch.cat([target.shape_directions[:, rows], target.joint_shape_directions[:, LEFT_EYE_JOINT:]], 1)
    flat = directions.double().numpy().reshape(count, -1)
    precision = np.repeat(witnesses, 3) / NEAR**2
    system = (flat * precision) @ flat.T + np.eye(count)
    shape, on_face = np.zeros(count), witnesses * np.append(head_map.face, [True] * 2)
    rotation, shift = np.eye(3), np.zeros(3)
    for _ in range(20):
        shaped = mean + (shape @ flat).reshape(-1, 3)
        _, rotation, shift = rigid_motion(goal, shaped, on_face)
        placed = goal @ rotation.T + shift
        shape = np.linalg.solve(system, flat @ (precision * (placed - mean).ravel()))
    missing = placed - mean - (shape @ flat).reshape(-1, 3)
    offsets = _offsets(target, head_map, missing[:-2])
    for side, eye in enumerate(eyes):
        _move_eyeball(offsets, target, shape, side, _Ball(eye.centre @ rotation.T + shift, eye.radius))
    return Person(shape, offsets, rotation, shift)


def _mix(vertices: np.ndarray, head_map: HeadMap) -> np.ndarray:
    """The places [P,3] on the source's vertices [V,3]."""
    mixed: np.ndarray = (vertices[head_map.corners] * head_map.barycentrics[..., None]).sum(1)
    return mixed


def _offsets(target: HeadModel, head_map: HeadMap, missing: np.ndarray) -> np.ndarray:
    """Vertex offsets [V,3] that bring the P places by ``missing`` [P,3]; what has no counterpart (teeth, the mouth's
    inside, the neck's end) goes along with the places around it."""
    count, faces = target.vertex_count, target.faces.numpy()
    template = target.template.double().numpy()
    others = np.setdiff1d(np.arange(count), head_map.vertices)
    near = min(NEIGHBOURS, len(missing))
    distance, index = cKDTree(template[head_map.vertices]).query(template[others], k=range(1, near + 1))
    share = 1 / (distance**2 + SOFT**2)
    along = (missing[index] * (share / share.sum(1, keepdims=True))[..., None]).sum(1)
    rows = np.concatenate([head_map.vertices, others])
    places = sp.identity(count, format="csr")[rows]
    weights = np.concatenate([head_map.trust, np.full(len(others), ALONG)])
    bending = laplacian(faces, count).astype(np.float64)
    return spread_over(places, np.concatenate([missing, along]), weights, bending, FOLLOWS)


@dataclass(frozen=True)
class _Ball:
    """An eyeball: centre [3]; radius 0 where the head does not say which vertices are its eye's."""

    centre: np.ndarray
    radius: float


def _eyeball(person: HeadModel, side: int) -> _Ball:
    """Of a personal resting head: the sphere nearest to its vertices, which may lie off the joint."""
    region = person.regions.get(EYEBALLS[side], np.zeros(0, np.int64))
    if len(region) < FEWEST_OF_BALL:
        return _Ball(person.joints[LEFT_EYE_JOINT + side].double().numpy(), 0.0)
    points = person.template.double().numpy()[region]
    matrix = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solution = np.linalg.lstsq(matrix, (points**2).sum(1), rcond=None)[0]
    return _Ball(solution[:3], float(np.sqrt(max(solution[3] + solution[:3] @ solution[:3], 0.0))))


def _move_eyeball(offsets: np.ndarray, target: HeadModel, shape: np.ndarray, side: int, goal: _Ball) -> None:
    """Give the target's eyeball the source's place and size, or a little less, so that its lids close over it as they
    do over the eyeball that the target has by itself (lids have an inner side, which reaches into it)."""
    bare = built_in(target, shape, offsets * 0)
    own = _eyeball(bare, side)
    if own.radius == 0:
        return
    region = bare.regions[EYEBALLS[side]]
    points = bare.template.double().numpy()[region]
    placed = (goal.radius / own.radius if goal.radius > 0 else 1.0) * (points - own.centre)
    by_itself = _clearance(points - own.centre, _closed_lids(bare, side) - own.centre)
    here = _clearance(placed, _closed_lids(built_in(target, shape, offsets), side) - goal.centre)
    if by_itself is not None and here is not None:
        placed = placed * np.clip(here / min(by_itself, 1.0), LEAST_EYEBALL, 1.0)
    offsets[region] = goal.centre + placed - points


def _clearance(ball: np.ndarray, lids: np.ndarray) -> float | None:
    """How far from the eye's centre closed lids [N,3] lie, over how far the eyeball [M,3] reaches, both from that
    centre and straight ahead; None where nothing lies ahead."""
    ahead, covered = (
        np.linalg.norm(part, axis=1)[part[:, 2] > AHEAD * np.linalg.norm(part, axis=1)] for part in (ball, lids)
    )
    if not len(ahead) or not len(covered):
        return None
    return float(np.quantile(covered, 0.05) / ahead.max())


def _closed_lids(person: HeadModel, side: int) -> np.ndarray:
    """Where the lids' vertices [N,3] of a resting head lie when that eye is shut."""
    directions = person.eyelid_directions[side]
    if (blink := f"eyeBlink{SIDES[side]}") in person.expression_names:
        directions = person.expression_directions[person.expression_names.index(blink)]
    region = person.regions.get(("left_eyelids", "right_eyelids")[side], np.zeros(0, np.int64))
    closed: np.ndarray = (person.template + directions)[torch.from_numpy(region)].double().numpy()
    return closed


def built_in(head: HeadModel, shape: np.ndarray, offsets: np.ndarray) -> HeadModel:
    dtype = head.template.dtype
    return head.personalise(torch.as_tensor(shape, dtype=dtype), torch.as_tensor(offsets, dtype=dtype))

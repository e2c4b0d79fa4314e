# SPDX-License-Identifier: Apache-2.0
"""A performance of one head as a performance of another: the same person, at the same place before the same camera.

The places that two heads share (head_map.py) carry everything over:

- The person: a rigid motion and the target's shape coefficients by least squares with their prior, and vertex offsets
  for what the coefficients lack, smooth over the mesh.
- Where the head is: the same rigid motion in every frame, in closed form, so that nothing jitters. The gaze keeps its
  direction in the world.
- Expressions of two heads that have ARKit's: by name. The same coefficient moves different heads by different amounts,
  so coefficients are scaled by the ratio of the two (lids excepted: closed is closed); what has no name on the other
  head is spread over what it has by least squares.
- Expressions of other heads (FLAME): least squares of the face's movements, frame by frame, within the target's range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from scipy.spatial import cKDTree

from blendsplat.errors import InputError
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.arkit import EYE_LOOKS, SIDES, counterparts, has_jaw, is_arkit, joint_rotations
from blendsplat.heads.head_map import FACE, HeadMap, map_heads, rigid_motion, spread_over
from blendsplat.heads.model import (
    JAW_JOINT,
    JOINTS,
    LEFT_EYE_JOINT,
    NECK_JOINT,
    RIGHT_EYE_JOINT,
    ROOT_JOINT,
    HeadModel,
    HeadParams,
)
from blendsplat.heads.performance import Performance, check_same_head
from blendsplat.heads.portrait import region_mask
from blendsplat.heads.topology import laplacian
from blendsplat.progress import Progress

How = Literal["auto", "names", "vertices"]
HOWS: tuple[How, ...] = ("auto", "names", "vertices")
MM = 1e-3
NEAR = 1.0 * MM  # one sigma of a place's distance from where it should be
WITNESSES = 300.0  # how many independent places a face is worth to its expression, however many vertices it has
PERSON_WITNESSES = 20.0  # and to the shape, the rest of which are offsets: more ask for people who do not exist
BEYOND_FACE = 0.2  # how much ears, scalp and neck count in the person's shape, where the face counts 1
FOLLOWS = 0.05  # stiffness of the vertex offsets, in areas of a vertex
LOOKED_AT, FEATURES_COUNT = ("lips", "left_eyelids", "right_eyelids"), 4.0  # what speaks counts so much more by area
PLACES = 1500  # of the face, whose movements are compared
SIGMA = 1.0  # of an expression's coefficient about what its name says, or about zero
LID_SIGMA = 0.2  # of a lid's: a millimetre of a lid is little to a face and all to an eye
JAW_SIGMA = (0.3, 0.1, 0.1)  # radians
JAW_RANGE = ((-0.1, 0.8), (-0.3, 0.3), (-0.3, 0.3))
BATCH = 64  # frames at once
ROUNDS = 8  # of the frames' least squares, where the jaw turns and the problem is not linear
SWEEPS, SETTLED = 200, 1e-6  # over the coefficients of a bounded least squares; the change at which it ends
NEIGHBOURS, SOFT = 64, 5 * MM  # places that a vertex without a counterpart goes along with; nearer ones count as this
ALONG = 0.02  # how much it is held to that, where a place with a counterpart is held with 1
EYE_WITNESSES = 2.0  # the same, of each eye's centre
FEWEST_OF_BALL = 10  # vertices that tell a sphere
AHEAD = 0.6  # cosine to straight ahead, up to which an eyeball must lie behind closed lids
LEAST_EYEBALL = 0.85  # of the source's: smaller it is not made
EYEBALLS = ("left_eyeball", "right_eyeball")
ONE_TO_ONE = ("eyeBlink", "eyeLook")  # their 1 is an end, not an amount


def convert_performance(
    performance: Performance,
    source: HeadModel,
    target: HeadModel,
    target_source: str = "",
    how: How = "auto",
    head_map: HeadMap | None = None,
    progress: Progress | None = None,
) -> Performance:
    """``performance`` of ``source`` as one of ``target``, which was loaded from ``target_source``.

    how: expressions by "names", by "vertices", or "auto": by names where both heads have ARKit's. head_map: of
    map_heads(source, target), to make it once for many. Timestamps, valid flags and camera stay; frames that are not
    valid repeat the nearest valid one. figures gain conversion_error_mm and conversion_error_95_mm: how far apart
    corresponding places of the face are in the valid frames, mean and 95th percentile.

    Raises InputError (another head than ``source``, no landmark embedding, no such ``how``), Cancelled.
    """
    progress = progress or Progress()
    if how not in HOWS:
        raise InputError(f"Expressions cannot be carried over by {how!r}; choose {', '.join(HOWS)}.")
    check_same_head(source, performance)
    names: dict[str, Any] = {
        "head": target.name, "head_source": target_source or target.name, "head_model": target.model_id,
        "head_family": target.family, "expression_names": target.expression_names, "part_of": "",
    }  # fmt: skip
    figures = {**performance.figures, "conversion_error_mm": 0.0, "conversion_error_95_mm": 0.0}
    if _is_same(source, target):
        return replace(performance, **names, figures=figures)
    if how == "names" and not (is_arkit(source) and is_arkit(target)):
        lacks = source if not is_arkit(source) else target
        raise InputError(f"The head {lacks.name!r} does not have ARKit's expressions; carry them over by vertices.")
    head_map = head_map or map_heads(source, target, progress)
    shown = _shown_frames(performance)
    person = _fit_person(performance, source, target, head_map)
    distinct, back = np.unique(shown, return_inverse=True)
    frames = _Frames.of(performance, distinct)
    places = _Places.of(head_map, source, target, performance, person)
    measured = _Places.measured(head_map, source, target, performance, person)
    by_names = how == "names" or (how == "auto" and is_arkit(source) and is_arkit(target))
    carried = _carry(frames, places, _Names.of(measured), person, by_names, progress)
    kept = performance.valid[distinct] if performance.valid.any() else np.ones(len(distinct), bool)
    if kept.any():
        errors = _errors(frames.params(kept), carried.params(kept), places) / MM
        figures |= {
            "conversion_error_mm": float(errors.mean()),
            "conversion_error_95_mm": float(np.quantile(errors, 0.95)),
        }
    note = f"Carried over from the head {performance.head!r}."
    arrays: dict[str, Any] = {name: value[back].astype(np.float32) for name, value in carried.arrays().items()}
    return replace(
        performance, **names, **arrays, shape=person.shape.astype(np.float32), figures=figures,
        vertex_offsets=person.offsets.astype(np.float32), notes=(*performance.notes, note),
    )  # fmt: skip


def _is_same(source: HeadModel, target: HeadModel) -> bool:
    """Whether coefficients mean the same on both heads."""
    return (
        source.model_id == target.model_id
        and source.shape_directions.shape == target.shape_directions.shape
        and torch.allclose(source.template, target.template, atol=1e-6)
        and torch.allclose(source.shape_directions, target.shape_directions, atol=1e-6)
    )


def _shown_frames(performance: Performance) -> np.ndarray:
    """[F]: the frame whose values each frame repeats: itself, or the nearest valid one."""
    every, valid = np.arange(performance.frame_count), np.flatnonzero(performance.valid)
    if not len(valid):
        return every
    after = np.clip(np.searchsorted(valid, every), 0, len(valid) - 1)
    before = np.clip(after - 1, 0, None)
    nearer = np.abs(valid[before] - every) <= np.abs(valid[after] - every)
    return np.where(performance.valid, every, np.where(nearer, valid[before], valid[after]))


@dataclass
class _Frames:
    """F frames' parameters, float64; shape is built into the heads."""

    expression: np.ndarray
    root_pose: np.ndarray
    neck_pose: np.ndarray
    jaw_pose: np.ndarray
    eyes_pose: np.ndarray
    eyelids: np.ndarray
    translation: np.ndarray

    @classmethod
    def of(cls, performance: Performance, rows: np.ndarray) -> _Frames:
        # a clip without any valid frame may hold anything
        return cls(**{
            name: np.nan_to_num(getattr(performance, name)[rows].astype(np.float64), posinf=0.0, neginf=0.0)
            for name in cls.__dataclass_fields__
        })  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(vars(self))

    @property
    def count(self) -> int:
        return len(self.expression)

    def params(self, rows: np.ndarray | slice = slice(None), in_head: bool = False) -> HeadParams:
        """As HeadParams without shape. in_head: in the head's own frame, root and neck at rest."""
        get = {name: torch.from_numpy(np.ascontiguousarray(value[rows])) for name, value in vars(self).items()}
        if in_head:
            get |= {name: torch.zeros_like(get[name]) for name in ("root_pose", "neck_pose", "translation")}
        return HeadParams(shape=torch.zeros(1, 0, dtype=torch.float64), **get)


@dataclass
class _Person:
    """The target's shape [S] and vertex offsets [V,3]; rotation [3,3] and shift [3] from the source's resting frame to
    the target's."""

    shape: np.ndarray
    offsets: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray


def _fit_person(performance: Performance, source: HeadModel, target: HeadModel, head_map: HeadMap) -> _Person:
    person = _built_in(source, performance.shape, performance.vertex_offsets)
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
    return _Person(shape, offsets, rotation, shift)


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
    bare = _built_in(target, shape, offsets * 0)
    own = _eyeball(bare, side)
    if own.radius == 0:
        return
    region = bare.regions[EYEBALLS[side]]
    points = bare.template.double().numpy()[region]
    placed = (goal.radius / own.radius if goal.radius > 0 else 1.0) * (points - own.centre)
    by_itself = _clearance(points - own.centre, _closed_lids(bare, side) - own.centre)
    here = _clearance(placed, _closed_lids(_built_in(target, shape, offsets), side) - goal.centre)
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


def _built_in(head: HeadModel, shape: np.ndarray, offsets: np.ndarray) -> HeadModel:
    dtype = head.template.dtype
    return head.personalise(torch.as_tensor(shape, dtype=dtype), torch.as_tensor(offsets, dtype=dtype))


@dataclass
class _Places:
    """Both persons' heads reduced to the same P places of the face, float64 (their faces no longer mean anything), and
    how much each place counts, [P] of sum WITNESSES over NEAR squared."""

    source: HeadModel
    target: HeadModel
    weights: np.ndarray

    @classmethod
    def of(
        cls, head_map: HeadMap, source: HeadModel, target: HeadModel, performance: Performance, person: _Person
    ) -> _Places:
        """PLACES of the target's face: what is compared frame by frame."""
        rows = np.flatnonzero(head_map.face)
        if not len(rows):
            rows = np.arange(len(head_map.vertices))
        if len(rows) > PLACES:
            rows = np.sort(np.random.default_rng(0).choice(rows, PLACES, replace=False))
        looked_at = region_mask(target, *LOOKED_AT)[head_map.vertices[rows]]
        return cls._at_rows(head_map, source, target, performance, person, rows, looked_at.astype(np.float64))

    @classmethod
    def measured(
        cls, head_map: HeadMap, source: HeadModel, target: HeadModel, performance: Performance, person: _Person
    ) -> _Places:
        """Every place that is face on both heads: what expressions' amounts are measured on. Few places, or a forehead
        that only one head counts to its face, say another ratio on the way back than on the way there."""
        rows = np.flatnonzero(head_map.face & (_share_of_source(head_map, source, *FACE) > 0.5))
        if not len(rows):
            rows = np.arange(len(head_map.vertices))
        ours = region_mask(target, *LOOKED_AT)[head_map.vertices[rows]]
        looked_at = (ours + _share_of_source(head_map, source, *LOOKED_AT)[rows]) / 2
        return cls._at_rows(head_map, source, target, performance, person, rows, looked_at)

    @classmethod
    def _at_rows(
        cls, head_map: HeadMap, source: HeadModel, target: HeadModel, performance: Performance, person: _Person,
        rows: np.ndarray, looked_at: np.ndarray,
    ) -> _Places:  # fmt: skip
        """The map's places ``rows`` [P]; looked_at [P]: how far each belongs to what speaks, 0 to 1."""
        weights = head_map.trust[rows] * head_map.area[rows] * (1 + (FEATURES_COUNT - 1) * looked_at)
        corners, mix = head_map.vertices[rows][:, None], np.ones((len(rows), 1))
        return cls(
            _at(_built_in(source, performance.shape, performance.vertex_offsets), head_map.corners[rows],
                head_map.barycentrics[rows]),
            _at(_built_in(target, person.shape, person.offsets), corners, mix),
            WITNESSES / NEAR**2 * weights / weights.sum(),
        )  # fmt: skip


def _share_of_source(head_map: HeadMap, source: HeadModel, *regions: str) -> np.ndarray:
    """How far each place [P] lies in these regions of the source, 0 to 1."""
    inside = region_mask(source, *regions).astype(np.float64)
    share: np.ndarray = (inside[head_map.corners] * head_map.barycentrics).sum(1)
    return share


def _at(head: HeadModel, corners: np.ndarray, mix: np.ndarray) -> HeadModel:
    """The head whose vertices are the points with ``corners`` and weights ``mix`` [P,C], float64."""
    index, share = torch.from_numpy(corners), torch.from_numpy(mix)

    def mixed(values: torch.Tensor) -> torch.Tensor:
        return (values.double()[..., index, :] * share[..., None]).sum(-2)

    return replace(
        head.to("cpu", torch.float64),
        template=mixed(head.template),
        shape_directions=mixed(head.shape_directions),
        expression_directions=mixed(head.expression_directions),
        eyelid_directions=mixed(head.eyelid_directions),
        pose_directions=mixed(head.pose_directions),
        skin_weights=mixed(head.skin_weights),
        regions={},
    )


def _carry(
    frames: _Frames, places: _Places, names: _Names, person: _Person, by_names: bool, progress: Progress
) -> _Frames:
    """The frames' expressions, jaw, eyes, and where the head is, for the target."""
    source, target = places.source, places.target
    eyes = _rotvecs(person.rotation @ _matrices(frames.eyes_pose))  # their axes look ahead at rest on both heads
    named = names.carried(frames)
    solver = _ExpressionFit.of(places)
    carried = _Frames(
        named.expression, frames.root_pose, frames.neck_pose, named.jaw_pose, eyes, named.eyelids, frames.translation
    )
    for start in range(0, frames.count, BATCH):
        progress.check()
        rows = slice(start, min(start + BATCH, frames.count))
        now = source(frames.params(rows, in_head=True)).numpy()
        if by_names:
            shared = replace(frames, expression=frames.expression * ~named.nameless, jaw_pose=named.understood)
            moved = (now - source(shared.params(rows, in_head=True)).numpy()) @ person.rotation.T
            goals = target(carried.params(rows, in_head=True)).numpy() + moved
        else:
            # relative to the face at rest: there the places agree but for what the offsets smooth away
            goals = target.template.numpy() + (now - source.template.numpy()) @ person.rotation.T
        solver.fit(carried, rows, goals, turn_jaw=not by_names)
        progress.update("convert", rows.stop, frames.count)
    _place(frames, carried, source, target, person)
    return carried


def _matrices(rotvecs: np.ndarray) -> np.ndarray:
    return rotvec_to_matrix(torch.from_numpy(rotvecs)).numpy()


def _rotvecs(matrices: np.ndarray) -> np.ndarray:
    return matrix_to_rotvec(torch.from_numpy(matrices)).numpy()


def _place(frames: _Frames, carried: _Frames, source: HeadModel, target: HeadModel, person: _Person) -> None:
    """Root, neck and translation of ``carried`` that put the target's head where the source's is: x goes to
    rotation x + shift between the resting heads, and what a frame does to one it does to the other."""
    root, neck = _matrices(frames.root_pose), _matrices(frames.neck_pose)
    back = person.rotation.T
    carried.root_pose, carried.neck_pose = _rotvecs(root @ back), _rotvecs(person.rotation @ neck @ back)
    carried.translation = np.zeros_like(frames.translation)
    at = _head_shift(frames, source)
    turned = root @ neck @ back
    carried.translation = at - turned @ person.shift - _head_shift(carried, target)


def _head_shift(frames: _Frames, head: HeadModel) -> np.ndarray:
    """[F,3]: where the resting head's origin lies in the world, of a point that follows the neck joint wholly."""
    moved = np.einsum("fe,ejc->fjc", frames.expression, head.joint_expression_directions.numpy())
    joints = head.joints.numpy() + moved
    root, neck = _matrices(frames.root_pose), _matrices(frames.neck_pose)
    arm = joints[:, NECK_JOINT] - joints[:, ROOT_JOINT]
    shift = np.einsum("fij,fj->fi", root, arm) - np.einsum("fij,fj->fi", root @ neck, joints[:, NECK_JOINT])
    placed: np.ndarray = shift + joints[:, ROOT_JOINT] + frames.translation
    return placed


@dataclass
class _Named:
    """What names say of F frames: the target's expression, jaw and lids; which of the source's expressions have no
    name there, [E] bool, and the part of the source's jaw pose that was understood [F,3]."""

    expression: np.ndarray
    jaw_pose: np.ndarray
    eyelids: np.ndarray
    nameless: np.ndarray
    understood: np.ndarray


@dataclass
class _Names:
    """How coefficients of equal names go from one head to the other."""

    places: _Places
    arkit: bool

    @classmethod
    def of(cls, places: _Places) -> _Names:
        return cls(places, is_arkit(places.source) and is_arkit(places.target))

    def carried(self, frames: _Frames) -> _Named:
        source, target = self.places.source, self.places.target
        low, high = target.expression_range
        expression = np.zeros((frames.count, target.expression_count))
        used = np.zeros(source.expression_count, bool)
        jaw, understood = np.zeros_like(frames.jaw_pose), np.zeros_like(frames.jaw_pose)
        for column, name in enumerate(target.expression_names):
            theirs = counterparts(name, source.expression_names) if self._means_the_same(name) else ()
            index = [source.expression_names.index(other) for other in theirs]
            if index:
                expression[:, column] = frames.expression[:, index].mean(1) * self._amount(name, theirs)
                used[index] = True
            elif name in EYE_LOOKS:
                expression[:, column] = _turn_of(name, frames.eyes_pose, source)
            elif name == "jawOpen" and self.arkit and name in joint_rotations(source):
                expression[:, column] = _turn_of(name, frames.jaw_pose, source) * self._opening()
                understood[:, 0] = np.maximum(frames.jaw_pose[:, 0], 0)
        for column, side in enumerate(SIDES):  # lids that are no expressions
            blink = f"eyeBlink{side}"
            if blink in target.expression_names and _moves(source.eyelid_directions[column]):
                expression[:, target.expression_names.index(blink)] += frames.eyelids[:, column]
        eyelids = self._eyelids(frames, used)
        if self.arkit and has_jaw(target):
            theirs_turns, ours_turns = (joint_rotations(head).get("jawOpen") for head in (source, target))
            if has_jaw(source):
                jaw, understood = frames.jaw_pose.copy(), frames.jaw_pose
            if theirs_turns and ours_turns:
                jaw[:, 0] *= self._opening() * ours_turns[1][0] / theirs_turns[1][0]
            elif theirs_turns:  # the shape above opens the mouth
                jaw[:, 0] = 0
            elif ours_turns and "jawOpen" in source.expression_names:
                index = [source.expression_names.index("jawOpen")]
                jaw += frames.expression[:, index] * self._opening() * np.array(ours_turns[1])
                used[index] = True
        for name in EYE_LOOKS:  # here lids follow the eyes by themselves
            if name in source.expression_names and name not in target.expression_names:
                used[source.expression_names.index(name)] = True
        nameless = ~used if self.arkit else np.ones_like(used)
        return _Named(np.clip(expression, low, high), jaw, eyelids, nameless, understood)

    def _means_the_same(self, name: str) -> bool:
        """Of a target's name: FLAME's numbers mean nothing beyond the one model."""
        return self.arkit or name.startswith(ONE_TO_ONE)

    def _eyelids(self, frames: _Frames, used: np.ndarray) -> np.ndarray:
        source, target = self.places.source, self.places.target
        eyelids = np.zeros((frames.count, 2))
        for column, side in enumerate(SIDES):
            if not _moves(target.eyelid_directions[column]):
                continue
            if _moves(source.eyelid_directions[column]):
                eyelids[:, column] = frames.eyelids[:, column]
            elif (blink := f"eyeBlink{side}") in source.expression_names:
                index = source.expression_names.index(blink)
                eyelids[:, column] = frames.expression[:, index]
                used[index] |= blink not in target.expression_names
        return np.clip(eyelids, 0, 1)

    def _amount(self, name: str, theirs: tuple[str, ...]) -> float:
        """Coefficient of the target for one of the source's: as much movement, over all that belongs together."""
        if name.startswith(ONE_TO_ONE):
            return 1.0
        ours = counterparts(theirs[0], self.places.target.expression_names)
        if name == "jawOpen":
            return self._opening()
        return self._ratio(_summed(self.places.source, theirs), _summed(self.places.target, ours))

    def _opening(self) -> float:
        return self._ratio(_opened(self.places.source), _opened(self.places.target))

    def _ratio(self, theirs: np.ndarray, ours: np.ndarray) -> float:
        lengths = [float(np.sqrt((self.places.weights[:, None] * moved**2).sum())) for moved in (theirs, ours)]
        return lengths[0] / lengths[1] if min(lengths) > 1e-9 else 1.0


def _summed(head: HeadModel, names: tuple[str, ...]) -> np.ndarray:
    """Movement [P,3] with all of ``names`` at 1."""
    index = [head.expression_names.index(name) for name in names]
    moved: np.ndarray = head.expression_directions[index].sum(0).numpy()
    return moved


def _opened(head: HeadModel) -> np.ndarray:
    """Movement [P,3] of jawOpen at 1, be it a shape or a turn."""
    params = head.neutral()
    turn = joint_rotations(head).get("jawOpen")
    if turn is not None:
        params.jaw_pose = params.jaw_pose + torch.tensor(turn[1], dtype=torch.float64)
    elif "jawOpen" in head.expression_names:
        params.expression[0, head.expression_names.index("jawOpen")] = 1
    moved: np.ndarray = (head(params)[0] - head.template).numpy()
    return moved


def _turn_of(name: str, poses: np.ndarray, head: HeadModel) -> np.ndarray:
    """Coefficients [F] of an expression that is a turn on ``head``, from jaw poses [F,3] or eyes' [F,2,3]."""
    joint, rotation = joint_rotations(head)[name]
    if joint != "jaw":
        poses = poses[:, JOINTS.index(joint) - LEFT_EYE_JOINT]
    axis = np.array(rotation)
    coefficients: np.ndarray = np.clip(poses @ axis / (axis @ axis), 0, None)
    return coefficients


def _moves(directions: torch.Tensor) -> bool:
    return float(directions.abs().max()) > 1e-6


@dataclass
class _ExpressionFit:
    """Bounded least squares of expression, lids and jaw of the target: unknowns [U] in that order, those of them that
    move nothing held still. sigma [U] about what is there before; low, high [U]; curvature [U',U'] of the expressions
    and lids, which no turn of the jaw changes much."""

    places: _Places
    directions: np.ndarray  # [U',P,3] expressions, lids
    sigma: np.ndarray
    low: np.ndarray
    high: np.ndarray
    curvature: np.ndarray

    @classmethod
    def of(cls, places: _Places) -> _ExpressionFit:
        target = places.target
        directions = torch.cat([target.expression_directions, target.eyelid_directions]).numpy()
        count, (low, high) = target.expression_count, target.expression_range
        lid_like = [name.startswith(ONE_TO_ONE) for name in target.expression_names]
        sigma = np.concatenate([np.where(lid_like, LID_SIGMA, SIGMA), [LID_SIGMA] * 2, JAW_SIGMA])
        least = np.concatenate([np.full(count, low), np.zeros(2), np.array(JAW_RANGE)[:, 0]])
        most = np.concatenate([np.full(count, high), np.ones(2), np.array(JAW_RANGE)[:, 1]])
        flat = directions.reshape(len(directions), -1)
        curvature = (flat * np.repeat(places.weights, 3)) @ flat.T
        return cls(places, directions, sigma, least, most, curvature)

    def fit(self, frames: _Frames, rows: slice, goals: np.ndarray, turn_jaw: bool) -> None:
        """Change the frames' ``rows`` so that the target's places come near ``goals`` [B,P,3] (in the head's frame);
        what is there is expected. turn_jaw: whether the jaw may turn, too."""
        expected = self._unknowns(frames, rows)
        turn_jaw = turn_jaw and has_jaw(self.places.target)
        values = expected.copy()
        count = values.shape[1] if turn_jaw else values.shape[1] - 3
        precision = 1 / self.sigma[:count] ** 2
        low, high = np.minimum(self.low, expected)[:, :count], np.maximum(self.high, expected)[:, :count]
        bends = has_jaw(self.places.target)
        for _ in range(ROUNDS if bends else 1):
            residual, turns, jaw = self._linearised(frames, rows, goals, turn_jaw)
            system, right = self._normal_equations(residual, turns, jaw)
            system = system + np.diag(precision)
            right = right - precision * (values - expected)[:, :count]
            step = bounded_step(system, right, low - values[:, :count], high - values[:, :count])
            values[:, :count] += step
            self._write(frames, rows, values)
            if np.abs(step).max(initial=0) < 1e-4:
                break

    def _unknowns(self, frames: _Frames, rows: slice) -> np.ndarray:
        return np.concatenate([frames.expression[rows], frames.eyelids[rows], frames.jaw_pose[rows]], 1)

    def _write(self, frames: _Frames, rows: slice, values: np.ndarray) -> None:
        count = frames.expression.shape[1]
        frames.expression[rows], frames.eyelids[rows] = values[:, :count], values[:, count : count + 2]
        frames.jaw_pose[rows] = values[:, count + 2 :]

    def _linearised(
        self, frames: _Frames, rows: slice, goals: np.ndarray, turn_jaw: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """residual [B,P,3]; how each place is turned by jaw and eyes [B,P,3,3]; movement per jaw angle [B,P,3,3]."""
        params, target = frames.params(rows, in_head=True), self.places.target
        now = target(params)
        weights = target.skin_weights
        turns = (1 - weights[:, JAW_JOINT:].sum(1))[None, :, None, None] * torch.eye(3, dtype=torch.float64)
        poses = {JAW_JOINT: params.jaw_pose, LEFT_EYE_JOINT: params.eyes_pose[:, 0]}
        poses[RIGHT_EYE_JOINT] = params.eyes_pose[:, 1]
        for joint, pose in poses.items():
            turns = turns + weights[None, :, joint, None, None] * rotvec_to_matrix(pose)[:, None]
        jaw = np.zeros((len(goals), goals.shape[1], 3, 0))
        if turn_jaw:
            columns = []
            for axis in torch.eye(3, dtype=torch.float64) * 1e-4:
                moved = replace(params, jaw_pose=params.jaw_pose + axis)
                columns.append(((target(moved) - now) / 1e-4).numpy())
            jaw = np.stack(columns, -1)
        return goals - now.numpy(), turns.numpy(), jaw

    def _normal_equations(
        self, residual: np.ndarray, turns: np.ndarray, jaw: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Curvature [B,U,U] and slope [B,U]. A turn changes no lengths, so the expressions' curvature is always that of
        the resting jaw; the slope is exact, and with it the end that the rounds come to."""
        batch, extra, unknowns = len(residual), jaw.shape[-1], len(self.directions)
        flat = self.directions.reshape(unknowns, -1).T
        weighted = self.places.weights[None, :, None] * residual
        unturned = np.einsum("bpij,bpi->bpj", turns, weighted).reshape(batch, -1)
        right = [unturned @ flat]
        system = np.zeros((batch, unknowns + extra, unknowns + extra))
        system[:, :unknowns, :unknowns] = self.curvature
        if extra:
            turned_jaw = np.einsum("bpij,bpik->bkpj", turns, self.places.weights[None, :, None, None] * jaw)
            cross = turned_jaw.reshape(batch, extra, -1) @ flat
            system[:, unknowns:, :unknowns], system[:, :unknowns, unknowns:] = cross, cross.transpose(0, 2, 1)
            system[:, unknowns:, unknowns:] = np.einsum("bpik,p,bpil->bkl", jaw, self.places.weights, jaw)
            right.append(np.einsum("bpik,bpi->bk", jaw, weighted))
        return system, np.concatenate(right, 1)


def bounded_step(system: np.ndarray, right: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The steps [B,U] between low and high [B,U] that make x system x / 2 - right x least, for systems [B,U,U] that are
    positive definite: coordinate by coordinate, all B at once, until none moves by more than SETTLED."""
    step = np.clip(np.zeros_like(right), low, high)
    slope = right - np.einsum("bij,bj->bi", system, step)
    diagonal = np.einsum("bii->bi", system)
    for _ in range(SWEEPS):
        largest = 0.0
        for unknown in range(right.shape[1]):
            wanted = step[:, unknown] + slope[:, unknown] / diagonal[:, unknown]
            change = np.clip(wanted, low[:, unknown], high[:, unknown]) - step[:, unknown]
            largest = max(largest, float(np.abs(change).max(initial=0)))
            step[:, unknown] += change
            slope -= change[:, None] * system[:, :, unknown]
        if largest < SETTLED:
            break
    return step


def _errors(source: HeadParams, target: HeadParams, places: _Places) -> np.ndarray:
    """Distances [F,P] in metres between the places in the world."""
    parts = [np.zeros((0, len(places.weights)))]
    for start in range(0, source.batch, BATCH):
        rows = slice(start, start + BATCH)
        moved = places.source(source[rows]) - places.target(target[rows])
        parts.append(moved.norm(dim=-1).numpy())
    return np.concatenate(parts)

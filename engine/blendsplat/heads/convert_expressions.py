# SPDX-License-Identifier: Apache-2.0
"""What a face does, carried over to another head: by ARKit's names, or by least squares of its movements."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.arkit import EYE_LOOKS, SIDES, counterparts, has_jaw, is_arkit, joint_rotations
from blendsplat.heads.convert_person import NEAR, Person, built_in
from blendsplat.heads.head_map import FACE, HeadMap
from blendsplat.heads.model import (
    JAW_JOINT,
    JOINTS,
    LEFT_EYE_JOINT,
    RIGHT_EYE_JOINT,
    HeadModel,
    HeadParams,
)
from blendsplat.heads.performance import Performance
from blendsplat.heads.portrait import region_mask

WITNESSES = 300.0  # how many independent places a face is worth to its expression, however many vertices it has
LOOKED_AT, FEATURES_COUNT = ("lips", "left_eyelids", "right_eyelids"), 4.0  # what speaks counts so much more by area
PLACES = 1500  # of the face, whose movements are compared
SIGMA = 1.0  # of an expression's coefficient about what its name says, or about zero
LID_SIGMA = 0.2  # of a lid's: a millimetre of a lid is little to a face and all to an eye
JAW_SIGMA = (0.3, 0.1, 0.1)  # radians
JAW_RANGE = ((-0.1, 0.8), (-0.3, 0.3), (-0.3, 0.3))
ROUNDS = 8  # of the frames' least squares, where the jaw turns and the problem is not linear
SWEEPS, SETTLED = 200, 1e-6  # over the coefficients of a bounded least squares; the change at which it ends
ONE_TO_ONE = ("eyeBlink", "eyeLook")  # their 1 is an end, not an amount


@dataclass
class Frames:
    """F frames' parameters, float64; shape is built into the heads."""

    expression: np.ndarray
    root_pose: np.ndarray
    neck_pose: np.ndarray
    jaw_pose: np.ndarray
    eyes_pose: np.ndarray
    eyelids: np.ndarray
    translation: np.ndarray

    @classmethod
    def of(cls, performance: Performance, rows: np.ndarray) -> Frames:
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
class Places:
    """Both persons' heads reduced to the same P places of the face, float64 (their faces no longer mean anything), and
    how much each place counts, [P] of sum WITNESSES over NEAR squared."""

    source: HeadModel
    target: HeadModel
    weights: np.ndarray

    @classmethod
    def of(
        cls, head_map: HeadMap, source: HeadModel, target: HeadModel, performance: Performance, person: Person
    ) -> Places:
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
        cls, head_map: HeadMap, source: HeadModel, target: HeadModel, performance: Performance, person: Person
    ) -> Places:
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
        cls, head_map: HeadMap, source: HeadModel, target: HeadModel, performance: Performance, person: Person,
        rows: np.ndarray, looked_at: np.ndarray,
    ) -> Places:  # fmt: skip
        """The map's places ``rows`` [P]; looked_at [P]: how far each belongs to what speaks, 0 to 1."""
        weights = head_map.trust[rows] * head_map.area[rows] * (1 + (FEATURES_COUNT - 1) * looked_at)
        corners, mix = head_map.vertices[rows][:, None], np.ones((len(rows), 1))
        return cls(
            _at(built_in(source, performance.shape, performance.vertex_offsets), head_map.corners[rows],
                head_map.barycentrics[rows]),
            _at(built_in(target, person.shape, person.offsets), corners, mix),
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
class Names:
    """How coefficients of equal names go from one head to the other."""

    places: Places
    arkit: bool

    @classmethod
    def of(cls, places: Places) -> Names:
        return cls(places, is_arkit(places.source) and is_arkit(places.target))

    def carried(self, frames: Frames) -> _Named:
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

    def _eyelids(self, frames: Frames, used: np.ndarray) -> np.ndarray:
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
class ExpressionFit:
    """Bounded least squares of expression, lids and jaw of the target: unknowns [U] in that order, those of them that
    move nothing held still. sigma [U] about what is there before; low, high [U]; curvature [U',U'] of the expressions
    and lids, which no turn of the jaw changes much."""

    places: Places
    directions: np.ndarray  # [U',P,3] expressions, lids
    sigma: np.ndarray
    low: np.ndarray
    high: np.ndarray
    curvature: np.ndarray

    @classmethod
    def of(cls, places: Places) -> ExpressionFit:
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

    def fit(self, frames: Frames, rows: slice, goals: np.ndarray, turn_jaw: bool) -> None:
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

    def _unknowns(self, frames: Frames, rows: slice) -> np.ndarray:
        return np.concatenate([frames.expression[rows], frames.eyelids[rows], frames.jaw_pose[rows]], 1)

    def _write(self, frames: Frames, rows: slice, values: np.ndarray) -> None:
        count = frames.expression.shape[1]
        frames.expression[rows], frames.eyelids[rows] = values[:, :count], values[:, count : count + 2]
        frames.jaw_pose[rows] = values[:, count + 2 :]

    def _linearised(
        self, frames: Frames, rows: slice, goals: np.ndarray, turn_jaw: bool
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

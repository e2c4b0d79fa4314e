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

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from blendsplat.errors import InputError
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.arkit import is_arkit
from blendsplat.heads.convert_expressions import ExpressionFit, Frames, Names, Places
from blendsplat.heads.convert_person import MM, Person, fit_person
from blendsplat.heads.head_map import HeadMap, map_heads
from blendsplat.heads.model import (
    NECK_JOINT,
    ROOT_JOINT,
    HeadModel,
    HeadParams,
)
from blendsplat.heads.performance import Performance, check_same_head, shown_frames
from blendsplat.progress import Progress

How = Literal["auto", "names", "vertices"]
HOWS: tuple[How, ...] = ("auto", "names", "vertices")
BATCH = 64  # frames at once


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
    shown = shown_frames(performance)
    person = fit_person(performance, source, target, head_map)
    distinct, back = np.unique(shown, return_inverse=True)
    frames = Frames.of(performance, distinct)
    places = Places.of(head_map, source, target, performance, person)
    measured = Places.measured(head_map, source, target, performance, person)
    by_names = how == "names" or (how == "auto" and is_arkit(source) and is_arkit(target))
    carried = _carry(frames, places, Names.of(measured), person, by_names, progress)
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


def _carry(frames: Frames, places: Places, names: Names, person: Person, by_names: bool, progress: Progress) -> Frames:
    """The frames' expressions, jaw, eyes, and where the head is, for the target."""
    source, target = places.source, places.target
    eyes = _rotvecs(person.rotation @ _matrices(frames.eyes_pose))  # their axes look ahead at rest on both heads
    named = names.carried(frames)
    solver = ExpressionFit.of(places)
    carried = Frames(
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


def _place(frames: Frames, carried: Frames, source: HeadModel, target: HeadModel, person: Person) -> None:
    """Root, neck and translation of ``carried`` that put the target's head where the source's is: x goes to
    rotation x + shift between the resting heads, and what a frame does to one it does to the other."""
    root, neck = _matrices(frames.root_pose), _matrices(frames.neck_pose)
    back = person.rotation.T
    carried.root_pose, carried.neck_pose = _rotvecs(root @ back), _rotvecs(person.rotation @ neck @ back)
    carried.translation = np.zeros_like(frames.translation)
    at = _head_shift(frames, source)
    turned = root @ neck @ back
    carried.translation = at - turned @ person.shift - _head_shift(carried, target)


def _head_shift(frames: Frames, head: HeadModel) -> np.ndarray:
    """[F,3]: where the resting head's origin lies in the world, of a point that follows the neck joint wholly."""
    moved = np.einsum("fe,ejc->fjc", frames.expression, head.joint_expression_directions.numpy())
    joints = head.joints.numpy() + moved
    root, neck = _matrices(frames.root_pose), _matrices(frames.neck_pose)
    arm = joints[:, NECK_JOINT] - joints[:, ROOT_JOINT]
    shift = np.einsum("fij,fj->fi", root, arm) - np.einsum("fij,fj->fi", root @ neck, joints[:, NECK_JOINT])
    placed: np.ndarray = shift + joints[:, ROOT_JOINT] + frames.translation
    return placed


def _errors(source: HeadParams, target: HeadParams, places: Places) -> np.ndarray:
    """Distances [F,P] in metres between the places in the world."""
    parts = [np.zeros((0, len(places.weights)))]
    for start in range(0, source.batch, BATCH):
        rows = slice(start, start + BATCH)
        moved = places.source(source[rows]) - places.target(target[rows])
        parts.append(moved.norm(dim=-1).numpy())
    return np.concatenate(parts)

# SPDX-License-Identifier: Apache-2.0
"""All steps in order: from the source's wheel to the arrays that ship."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.bake_head.assemble import Assembly
from tools.bake_head.calibrate import CALIBRATION, calibrated
from tools.bake_head.layout import lay_out
from tools.bake_head.makehuman import MakeHuman
from tools.bake_head.mouth import MOUTH
from tools.bake_head.parts import tongue_lift
from tools.bake_head.people import Faces
from tools.bake_head.regions import name_regions
from tools.bake_head.rig import Rig, make_rig
from tools.bake_head.sampled import made_symmetric, sampled

EYES_AHEAD = 70.0  # mm: how far before the origin the eyes lie; it is in the head's middle
BLINK = 0.92  # of the source's: at 1 its upper lid hangs over the lower one
# turned by joints, or held by them
JOINT_ACTIONS = ("jawOpen", *(f"eyeLook{d}{s}" for d in ("Up", "Down", "In", "Out") for s in ("Left", "Right")))


@dataclass
class Baked:
    """The head in the source's frame, mm."""

    head: Assembly
    faces: Faces
    rig: Rig
    expressions: dict[str, np.ndarray]  # [V,3] by name
    regions: dict[str, np.ndarray]
    uvs: np.ndarray
    uv_faces: np.ndarray


def bake(wheel: Path) -> Baked:
    """Half a minute."""
    source = MakeHuman.open(wheel)
    head, people, _, lips = sampled(wheel)
    with np.load(CALIBRATION) as numbers:
        people = calibrated(people, numbers["mean"].astype(np.float64), numbers["covariance"].astype(np.float64))
    people.mean = made_symmetric(head, people.mean)
    actions = _symmetric(head, {name: head.moved(moved) for name, moved in source.actions().items()})
    inside = np.setdiff1d(head.skin.faces[head.skin.island == MOUTH], head.skin.faces[head.skin.island != MOUTH])
    for name, moved in actions.items():
        _hold_bones(head, name, moved)
        if not name.startswith(("mouth", "jaw", "tongue", "cheekPuff")):
            moved[inside] = 0
    for side in ("Left", "Right"):
        actions[f"eyeBlink{side}"] *= BLINK
    _put_out(actions["tongueOut"], head.rows("tongue"), tongue_lift(source))
    directions = np.concatenate([people.directions, people.child[None]])
    rig = make_rig(source, head, people.mean, directions, actions)
    closing = actions["mouthClose"]
    closing += lips.closed(people.mean + actions["jawOpen"] + closing) - people.mean - actions["jawOpen"] - closing
    actions["mouthClose"] = rig.before_opening(closing)
    regions = name_regions(source, head, people.mean)
    uvs, uv_faces = lay_out(head, people.mean, regions)
    expressions = {name: moved for name, moved in sorted(actions.items()) if name not in JOINT_ACTIONS}
    return Baked(head, people, rig, expressions, regions, uvs, uv_faces)


def _symmetric(head: Assembly, actions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each side's shape is the mirror image of the other's."""
    other = {name: name.replace("Left", "*").replace("Right", "Left").replace("*", "Right") for name in actions}
    return {name: 0.5 * (moved + actions[other[name]][head.mirror] * [-1, 1, 1]) for name, moved in actions.items()}


def _hold_bones(head: Assembly, name: str, moved: np.ndarray) -> None:
    """Eyeballs and upper teeth stay; the lower teeth go with the jaw's shapes, in one piece."""
    for part in ("left_eyeball", "right_eyeball", "teeth_upper"):
        moved[head.rows(part)] = 0
    rows = head.rows("teeth_lower")
    if name != "jawOpen":
        moved[rows] = moved[rows].mean(0)


def _put_out(moved: np.ndarray, tongue: np.ndarray, lift: np.ndarray) -> None:
    """The tongue that comes out does so at the height that the shape was made for."""
    far = np.linalg.norm(moved[tongue], axis=1, keepdims=True)
    moved[tongue] += far / far.max() * lift


def arrays_of(baked: Baked) -> dict[str, np.ndarray]:
    """What ships: metres about the head's middle, for blendsplat.heads.human."""
    mean, rig = baked.faces.mean, baked.rig
    eyes = rig.joints[3:].mean(0)
    origin = np.array([0.0, eyes[1], eyes[2] - EYES_AHEAD])

    def metres(values: np.ndarray) -> np.ndarray:
        return np.asarray(values * 1e-3, np.float32)

    return {
        "template": metres(mean - origin),
        "faces": baked.head.faces.astype(np.uint16),
        "uvs": baked.uvs.astype(np.float32),
        "uv_faces": baked.uv_faces.astype(np.uint16),
        "shape_directions": steps(np.concatenate([baked.faces.directions, baked.faces.child[None]])),
        "expression_directions": steps(np.stack(list(baked.expressions.values()))),
        "expression_names": np.array(list(baked.expressions)),
        "pose_directions": steps(rig.correctives),
        "joints": metres(rig.joints - origin),
        "joint_shape_directions": metres(rig.joint_directions),
        "skin_weights": rig.weights.astype(np.float32),
        "jaw_open": np.float32(rig.jaw_open),
    } | {f"region_{name}": rows.astype(np.uint16) for name, rows in baked.regions.items()}


STEP_MM = 0.004  # what displacements are counted in


def steps(displacements: np.ndarray) -> np.ndarray:
    """Displacements [K,V,3] in mm -> whole steps as bytes [2,K,V,3], low bytes first: they pack better apart."""
    counted = np.rint(displacements / STEP_MM)
    if np.abs(counted).max() > 32767:
        raise ValueError("A displacement is longer than the file's steps can say.")
    return np.ascontiguousarray(np.moveaxis(counted.astype("<i2")[..., None].view(np.uint8), -1, 0))

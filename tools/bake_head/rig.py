# SPDX-License-Identifier: Apache-2.0
"""Joints, weights and correctives of the mean head, derived from the source's shapes.

The source opens the jaw and turns the gaze by shapes. The jaw's joint is the axis about which its lower teeth turn, its
weights say how far a vertex follows that turn, and what is left over is a pose corrective; so jawOpen at 1 is the
shape itself. The eyes' joints are the middles of the eyeballs, and what the shapes do to the
lids becomes correctives of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from blendsplat.evaluation.scan_metrics import similarity
from tools.bake_head.assemble import Assembly
from tools.bake_head.makehuman import MakeHuman
from tools.bake_head.parts import SEGMENTS, ball

LOOK_ANGLES = {"Up": (-0.45, 0.0), "Down": (0.50, 0.0), "In": (0.0, -0.55), "Out": (0.0, 0.55)}  # of the left eye: x, y
NECK_FADE = (4.0, 60.0)  # mm above the neck's end over which the neck's joint takes over
NECK, JAW, LEFT_EYE, RIGHT_EYE = range(4)  # blocks of nine correctives
ARM = 6.0  # mm: where the jaw's turn moves a vertex less than this, its weight fades


@dataclass
class Rig:
    """Of V vertices, in mm."""

    joints: np.ndarray  # [5,3] root, neck, jaw, left eye, right eye
    joint_directions: np.ndarray  # [K,5,3] of the identity directions
    weights: np.ndarray  # [V,5], rows sum to 1
    correctives: np.ndarray  # [36,V,3] per unit of R - I
    jaw_open: float  # radians about x of jawOpen = 1

    def before_opening(self, moved: np.ndarray) -> np.ndarray:
        """Displacements of the head with its jaw open -> those of the resting head that become them [V,3]."""
        return np.asarray(np.linalg.solve(_blend(self.weights[:, 2], self.jaw_open), moved[..., None])[..., 0])


def make_rig(
    source: MakeHuman, head: Assembly, mean: np.ndarray, directions: np.ndarray, actions: dict[str, np.ndarray]
) -> Rig:
    """mean [V,3] and directions [K,V,3]: the people's; actions: displacements [V,3] by ARKit's names."""
    angle, pivot = _jaw_axis(head, mean, actions["jawOpen"])
    follows = _jaw_weights(head, mean, actions["jawOpen"], angle, pivot)
    height = _above_ring(head, mean)
    low, high = NECK_FADE
    neck = np.clip((height - low) / (high - low), 0, 1)
    neck = neck * neck * (3 - 2 * neck)
    neck[head.part > 0] = 1
    neck[head.skin.neck_ring] = 0
    left, right = (np.isin(np.arange(len(mean)), head.rows(f"{side}_eyeball")) * 1.0 for side in ("left", "right"))
    jaw = follows * neck * (1 - left) * (1 - right)
    weights = np.stack([1 - neck, neck - jaw - left - right, jaw, left, right], -1)

    find = _joint_finder(source, head, mean, pivot)
    joints = find(mean)
    joints[2] = pivot
    moved = np.stack([find(mean + d) - find(mean) for d in directions])
    correctives = np.zeros((4, 3, 3, *mean.shape))
    left_over = _left_over(mean, actions["jawOpen"], jaw, angle, pivot)
    left_over[head.rows("teeth_lower")] = 0  # a bone
    _about_x(correctives[JAW], left_over / np.sin(angle))
    _keep_girth(correctives[NECK], mean, neck * (head.part == 0), joints[1])
    for block, side in ((LEFT_EYE, "Left"), (RIGHT_EYE, "Right")):
        _follow_gaze(correctives[block], head, actions, side)
    return Rig(joints, moved, weights, correctives.reshape(36, *mean.shape), angle)


def _jaw_axis(head: Assembly, mean: np.ndarray, opening: np.ndarray) -> tuple[float, np.ndarray]:
    """Angle about x (radians) and a point [3] of the axis of the lower teeth's turn."""
    rows = head.rows("teeth_lower")
    start, end = mean[rows], mean[rows] + opening[rows]
    a, b = start - start.mean(0), end - end.mean(0)
    angle = np.arctan2((a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]).sum(), (a[:, 1:] * b[:, 1:]).sum())
    turn = Rotation.from_rotvec([angle, 0, 0]).as_matrix()
    shift = end.mean(0) - turn @ start.mean(0)
    pivot = np.linalg.solve((np.eye(3) - turn)[1:, 1:], shift[1:])
    return float(angle), np.array([0.0, *pivot])


def _jaw_weights(head: Assembly, mean: np.ndarray, opening: np.ndarray, angle: float, pivot: np.ndarray) -> np.ndarray:
    """[V]: how far each vertex follows the turn."""
    turned = (mean - pivot) @ Rotation.from_rotvec([angle, 0, 0]).as_matrix().T + pivot - mean
    reach = (turned**2).sum(1)
    share = np.clip((opening * turned).sum(1) / np.maximum(reach, 1e-9), 0, 1)
    trust = np.clip(np.sqrt(reach) / ARM - 1, 0, 1)
    weight = share * trust
    weight[head.part > 0] = 0
    for name in ("teeth_lower", "tongue"):
        weight[head.rows(name)] = 1
    tongue = head.rows("tongue")
    z = mean[tongue, 2]
    weight[tongue] = np.clip(0.35 + (z - z.min()) / (0.4 * np.ptp(z)), 0, 1)
    return weight


def _above_ring(head: Assembly, mean: np.ndarray) -> np.ndarray:
    """Height [V] above the plane through the neck's end, mm."""
    ring = mean[head.skin.neck_ring]
    plane = np.linalg.lstsq(np.stack([ring[:, 2], np.ones(len(ring))], 1), ring[:, 1], rcond=None)[0]
    return np.asarray(mean[:, 1] - plane[0] * mean[:, 2] - plane[1])


def _joint_finder(
    source: MakeHuman, head: Assembly, mean: np.ndarray, pivot: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of a head's vertices [V,3] that returns its joints [5,3]; linear in the vertices but for the eyes,
    which are spheres."""
    skin = head.part == 0
    ring = head.skin.neck_ring
    beside = skin & (np.abs(mean[:, 0]) > 45) & (np.linalg.norm((mean - pivot)[:, 1:], axis=1) < 20)
    scale, turn, shift = similarity(head.points[skin], mean[skin])  # people stand higher or lower than the base mesh
    neck_at = scale * turn @ source.middle("joint-neck") + shift
    collar = skin & (np.abs(mean[:, 1] - neck_at[1]) < 14) & (np.abs(mean[:, 2] - neck_at[2]) < 70)
    spheres = {name: head.rows(name) for name in ("left_eyeball", "right_eyeball")}

    def find(points: np.ndarray) -> np.ndarray:
        root = points[ring].mean(0)
        neck = neck_at + points[collar].mean(0) - mean[collar].mean(0)
        jaw = pivot + points[beside].mean(0) - mean[beside].mean(0)
        eyes = [_eye_middle(points[rows]) for rows in spheres.values()]
        for point in (root, neck, jaw):
            point[0] = 0.0
        return np.stack([root, neck, jaw, *eyes])

    return find


def _eye_middle(points: np.ndarray) -> np.ndarray:
    """The middle of an eyeball [V,3]: of its last three rings, which are white and round."""
    return ball(points[-3 * SEGMENTS :])[0]


def _about_x(block: np.ndarray, per_sine: np.ndarray) -> None:
    """A corrective proportional to the sine of a rotation about x: R[2,1] = sin, R[1,2] = -sin."""
    block[2, 1] += 0.5 * per_sine
    block[1, 2] -= 0.5 * per_sine


def _left_over(mean: np.ndarray, opening: np.ndarray, jaw: np.ndarray, angle: float, pivot: np.ndarray) -> np.ndarray:
    """What must be added before skinning [V,3] so that the turned jaw gives the shape."""
    turn = Rotation.from_rotvec([angle, 0, 0]).as_matrix()
    shift = jaw[:, None] * (pivot - turn @ pivot)
    before = np.linalg.solve(_blend(jaw, angle), (mean + opening - shift)[..., None])[..., 0]
    return np.asarray(before - mean)


def _blend(jaw: np.ndarray, angle: float) -> np.ndarray:
    """[V,3,3]: what the turned jaw does to vertices that follow it by ``jaw`` [V]."""
    turn = Rotation.from_rotvec([angle, 0, 0]).as_matrix()
    return np.asarray((1 - jaw)[:, None, None] * np.eye(3) + jaw[:, None, None] * turn)


def _keep_girth(block: np.ndarray, mean: np.ndarray, neck: np.ndarray, joint: np.ndarray) -> None:
    """Blended turns shrink what lies between two joints by w (1 - w) (1 - cos): add that again, across the axis."""
    between = (neck * (1 - neck))[:, None]
    for axis in range(3):
        out = mean - joint
        out[:, axis] = 0
        # under a turn about ``axis`` the other two diagonal entries of R - I are cos - 1 each
        for entry in range(3):
            block[entry, entry] += between * out * (-0.5 if entry != axis else 0.5)


def _follow_gaze(block: np.ndarray, head: Assembly, actions: dict[str, np.ndarray], side: str) -> None:
    """The lids' part of eyeLook*: odd parts go with the sine of the turn, even ones with 1 - cosine."""
    skin = (head.part == 0)[:, None]
    up, down, inwards, outwards = (actions[f"eyeLook{d}{side}"] * skin for d in ("Up", "Down", "In", "Out"))
    s = {d: np.sin(max(np.abs(LOOK_ANGLES[d]))) for d in LOOK_ANGLES}
    pitch = 0.5 * (down / s["Down"] - up / s["Up"])
    _about_x(block, pitch)
    # about y: R[0,2] = sin, R[2,0] = -sin; the left eye looks outwards by a positive turn, the right one inwards
    sign = 1 if side == "Left" else -1
    yaw = 0.5 * sign * (outwards / s["Out"] - inwards / s["In"])
    block[0, 2] += 0.5 * yaw
    block[2, 0] -= 0.5 * yaw
    # 1 - cos of a pitch is -(R[1,1] - 1); yaws do not touch that entry
    rest = [up - (-s["Up"]) * pitch, down - s["Down"] * pitch]
    bends = [1 - np.cos(LOOK_ANGLES["Up"][0]), 1 - np.cos(LOOK_ANGLES["Down"][0])]
    block[1, 1] -= (rest[0] * bends[0] + rest[1] * bends[1]) / (bends[0] ** 2 + bends[1] ** 2)

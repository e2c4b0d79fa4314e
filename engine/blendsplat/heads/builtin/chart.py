# SPDX-License-Identifier: Apache-2.0
"""What identity and expression fields see: every vertex with its chart, and a few probes beside them.

Probes stand for things that must move as one piece: the eyes (their joints and the balls), the ears and the other
joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blendsplat.heads.builtin import ears, eyes
from blendsplat.heads.builtin.curves import Array, fade
from blendsplat.heads.builtin.mesh import Mesh
from blendsplat.heads.builtin.relief import MOUTH_X, MOUTH_Y
from blendsplat.heads.builtin.skull import jaw_lift

JOINTS_MM = np.array(
    [
        [0, -195, -35],
        [0, -135, -30],
        [0, -18, 8],
        [eyes.EYE_X, eyes.EYE_Y, eyes.EYE_Z],
        [-eyes.EYE_X, eyes.EYE_Y, eyes.EYE_Z],
    ],
    float,
)
_EYE_FRONT = 13.0  # the eyes' probes lie where their corneas are


@dataclass(frozen=True)
class Chart:
    """P = V vertices + 5 joints + 2 ears. Millimetres; masks are floats in [0,1]."""

    vertex_count: int
    x: Array
    ax: Array  # |x|
    side: Array  # sign of x
    y: Array
    z: Array
    height: Array
    angle: Array  # unsigned degrees
    flat_y: Array  # y before the jaw line climbs: what features in front view are drawn on
    depth: Array  # 0 on the skin, towards 1 inside the mouth
    normal: Array  # [P,3]
    skin: Array  # skin, lid rims, and the probes on the skin
    front: Array  # skin, fading out towards the ears
    below_mouth: Array  # 1 under the mouth's slit, 0 above it; smooth beside it
    mouth: Array  # lining of the mouth
    ears: Array  # the ears' own vertices
    jaw: Array  # weight of the jaw joint

    @property
    def soft(self) -> Array:
        """Skin that lips carry with them: the skin, and the lining less and less inwards."""
        return self.skin + self.mouth * np.clip(1 - 2 * self.depth, 0, 1)

    def left(self, softness: float = 7.0) -> Array:
        """1 on the person's left, 0 on the right, smooth across the middle."""
        return fade(-softness, softness, self.x)

    def right(self, softness: float = 7.0) -> Array:
        """The mirror image of ``left``."""
        return fade(softness, -softness, self.x)


def _below_mouth(ax: Array, height: Array) -> Array:
    """A step at the slit, which past the mouth's corners becomes a ramp."""
    past_corner = fade(MOUTH_X - 9, MOUTH_X + 1, ax)
    return (height < MOUTH_Y) * (1 - past_corner) + fade(MOUTH_Y + 12, MOUTH_Y - 12, height) * past_corner


def vector(x: Array | float = 0.0, y: Array | float = 0.0, z: Array | float = 0.0) -> Array:
    """Components -> [P,3]."""
    return np.stack(np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float), np.asarray(z, float)), -1)


def make_chart(mesh: Mesh, jaw_weight: Array) -> Chart:
    """The chart of a mesh; jaw_weight [V]."""
    probes = JOINTS_MM.copy()
    probes[3:, 2] += _EYE_FRONT
    ear = np.array(ears.EAR_CENTRE)
    probes = np.concatenate([probes, [ear, ear * [-1, 1, 1]]])
    on_skin = np.array([0, 0, 0, 1, 1, 1, 1.0])
    points = np.concatenate([mesh.points, probes])
    x, y, z = points.T
    height = np.concatenate([mesh.height, probes[:, 1]])
    angle = np.abs(np.concatenate([mesh.angle, [0, 0, 0, 26, -26, 92, -92]]))
    skin = np.concatenate([mesh.of("skin", "lid_rims"), on_skin])
    is_mouth = np.concatenate([mesh.of("mouth"), np.zeros(7)])
    return Chart(
        vertex_count=len(mesh.points),
        x=x,
        ax=np.abs(x),
        side=np.sign(x),
        y=y,
        z=z,
        height=height,
        angle=angle,
        flat_y=np.where(skin > 0, y - 0.65 * jaw_lift(angle, height), y),
        depth=np.concatenate([mesh.depth, np.zeros(7)]),
        normal=np.concatenate([vertex_normals(mesh.points, mesh.faces), np.zeros((7, 3))]),
        skin=skin,
        front=skin * fade(92, 62, angle),
        below_mouth=_below_mouth(np.abs(x), height),
        mouth=is_mouth,
        ears=np.concatenate([mesh.of("left_ear", "right_ear"), np.zeros(7)]),
        jaw=np.concatenate([jaw_weight, np.zeros(7)]),
    )


def vertex_normals(points: Array, faces: np.ndarray) -> Array:
    """Area-weighted unit normals [V,3]."""
    corners = points[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

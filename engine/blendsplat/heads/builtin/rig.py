# SPDX-License-Identifier: Apache-2.0
"""How the head moves by its joints: skinning weights, and the correctives that skinning alone gets wrong.

Correctives are linear in R - I of neck, jaw and eyes: the jaw's condyles slide forwards, cheeks hollow over an open
mouth, a twisted neck keeps its girth, and the lids follow the gaze up and down.
"""

from __future__ import annotations

import numpy as np

from blendsplat.heads.builtin import eyes
from blendsplat.heads.builtin.chart import JOINTS_MM, Chart
from blendsplat.heads.builtin.curves import Array, band, bump, fade, spot
from blendsplat.heads.builtin.mesh import Mesh
from blendsplat.heads.builtin.relief import MOUTH_X, MOUTH_Y
from blendsplat.heads.builtin.skin import bare_skin

NECK, JAW, LEFT_EYE, RIGHT_EYE = range(4)  # blocks of 9 in pose_directions
_LID_FOLLOW = 1.05  # closure of the upper lid per sine of the downward gaze


def skin_weights(mesh: Mesh) -> Array:
    """Weights [V,5] for root, neck, jaw, left eye, right eye; rows sum to one."""
    jaw = _jaw_weight(mesh)
    neck = fade(-198, -122, mesh.height)
    neck[mesh.named["neck_ring"]] = 0.0
    left, right = mesh.of("left_eyeball").astype(float), mesh.of("right_eyeball").astype(float)
    is_inside = ~mesh.of("skin")
    neck = np.where(is_inside, 1.0, neck)
    head = neck * (1 - jaw) - left - right
    return np.stack([1 - neck, head, neck * jaw, left, right], -1)


def _jaw_weight(mesh: Mesh) -> Array:
    ax, height, angle = np.abs(mesh.points[:, 0]), mesh.height, np.abs(mesh.angle)
    below = (height < MOUTH_Y).astype(float)
    soft = fade(-40, -97, height)
    at_corner = fade(9, MOUTH_X + 2, ax)
    skin = below * (1 - at_corner) + soft * at_corner
    skin = np.where(height > MOUTH_Y, np.minimum(skin, soft), skin)
    skin = skin * fade(100, 58, angle) * fade(-152, -116, height)
    lining = below * (1 - at_corner) + 0.5 * at_corner
    lining = lining + mesh.depth * (0.15 - 0.35 * lining)  # the throat opens less
    weight = np.where(mesh.of("skin"), skin, 0.0)
    weight = np.where(mesh.of("mouth"), lining, weight)
    return np.where(mesh.of("teeth_lower", "tongue"), 1.0, weight)


def pose_directions(mesh: Mesh, chart: Chart) -> Array:
    """Correctives [36,V,3] in millimetres per unit of R - I."""
    directions = np.zeros((4, 3, 3, len(mesh.points), 3))
    _about_x(directions[JAW], _jaw_opening(chart))
    _neck_girth(directions[NECK], chart)
    for block, side in ((LEFT_EYE, 1), (RIGHT_EYE, -1)):
        _about_x(directions[block], _lids_following(mesh, side))
    return directions.reshape(36, len(mesh.points), 3)


def _about_x(block: Array, per_sine: Array) -> None:
    """A corrective proportional to the sine of a rotation about x: R[2,1] = sin, R[1,2] = -sin."""
    block[2, 1] += 0.5 * per_sine
    block[1, 2] -= 0.5 * per_sine


def _jaw_opening(chart: Chart) -> Array:
    n = chart.vertex_count
    slide = chart.jaw[:n, None] * np.array([0.0, -5.0, 9.5])
    hollow = 9.0 * spot(chart.ax, chart.flat_y, (41, -62), (12, 20)) * chart.front
    throat = 10.0 * band(-135, -116, 9, chart.height) * fade(62, 25, chart.angle) * chart.skin
    return slide + (throat - hollow)[:n, None] * chart.normal[:n]


def _neck_girth(block: Array, chart: Chart) -> None:
    n = chart.vertex_count
    between = (band(-175, -140, 18, chart.height) * chart.skin)[:n, None]
    outwards = np.stack([chart.x[:n], np.zeros(n), chart.z[:n] - JOINTS_MM[1, 2]], -1)
    for axis in (0, 2):  # diagonal entries are cos - 1 < 0 under a twist about y
        block[axis, axis] -= 0.35 * between * outwards
    fold = (band(-150, -128, 12, chart.height) * fade(70, 20, chart.angle) * chart.skin)[:n, None]
    _about_x(block, 6.0 * fold * chart.normal[:n])
    # Turning the head stretches the muscle that ends behind the ear it turns away from.
    strap = (
        bump(chart.angle - np.interp(-chart.height, (118, 200), (88, 16)), 15)
        * band(-182, -130, 14, chart.height)
        * chart.skin
    )[:n, None]
    for side, entry, sign in ((1, (0, 2), -1), (-1, (0, 2), 1)):
        on_side = (chart.side[:n] == side)[:, None]
        block[entry] += sign * 3.0 * strap * on_side * chart.normal[:n]


def _lids_following(mesh: Mesh, side: int) -> Array:
    """Displacement per sine of the downward gaze: the upper lid comes along, the lower one makes way."""
    return _LID_FOLLOW * lid_direction(mesh, side, 1.0, -0.35)


def lid_direction(mesh: Mesh, side: int, upper: float, lower: float) -> Array:
    """Displacement [V,3] of one eye's lids from open to the given closures (1 = shut at the meeting line)."""
    on_side = np.sign(mesh.points[:, 0]) == side
    skin = np.flatnonzero(mesh.of("skin") & on_side & (np.abs(mesh.height) < 30) & (np.abs(mesh.angle) < 76))
    bare = bare_skin(mesh.angle[skin], np.where(np.abs(mesh.height[skin]) < 0.1, 0.0, mesh.height[skin]))
    moved = mesh.points.copy()
    moved[skin] = eyes.drape(bare, mesh.height[skin], mesh.angle[skin], upper, lower)
    name = "left" if side > 0 else "right"
    rim, ring = mesh.named[f"{name}_lid_rim"], mesh.named[f"{name}_lid_ring"]
    moved[rim] = eyes.lid_rim(moved[ring])
    return moved - mesh.points

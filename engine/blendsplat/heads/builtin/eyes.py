# SPDX-License-Identifier: Apache-2.0
"""Eyeballs, and the lids that lie on them: the skin round the eye is draped over a sphere a little larger than the eye.

Closing a lid is evaluated by draping again with the margin somewhere else, so a closed lid is round as the eye is.
"""

from __future__ import annotations

import numpy as np

from blendsplat.heads.builtin.curves import Array, band, bump, fade
from blendsplat.heads.builtin.mesh import MeshBuilder, disc_to_square

EYE_X, EYE_Y, EYE_Z = 31.5, 0.3, 70.0
EYE_RADIUS = 12.0
CORNEA = 0.8  # bulge of the cornea, mm
IRIS_RADIUS = 5.9
INNER_CANTHUS, OUTER_CANTHUS = 16.0, 47.0
LID_RADIUS = 13.6
# A blink is linear in its coefficient, so half-way the lid is on the chord, not on the arc: the closed lid stands off
# by this much, and the chord's middle still clears the cornea.
CLOSED_LIFT = 1.1
REACH = 19.0  # rows within this height move with the lid margin

_SEGMENTS = 24
_RINGS = np.concatenate([np.arcsin(np.array([1.2, 2.3, 3.9, 5.3, 6.2]) / EYE_RADIUS), [0.64, 0.82, 1.05, 1.35, 1.75]])
_RING_UV = np.array(
    [0.10, 0.19, 0.32, 0.44, 0.52, 0.60, 0.71, 0.82, 0.92, 1.0]
)  # the iris gets half of the island's width


def upper_margin(ax: Array) -> Array:
    """Height of the open upper lid's margin over the line through the canthi."""
    t = np.clip((ax - INNER_CANTHUS) / (OUTER_CANTHUS - INNER_CANTHUS), 0, 1)
    return 5.3 * np.clip(np.sin(np.pi * t**0.92), 0, 1) ** 0.72


def lower_margin(ax: Array) -> Array:
    """Depth of the open lower lid's margin under the line through the canthi."""
    t = np.clip((ax - INNER_CANTHUS) / (OUTER_CANTHUS - INNER_CANTHUS), 0, 1)
    return 4.9 * np.clip(np.sin(np.pi * t**1.15), 0, 1) ** 0.8


def canthal_tilt(ax: Array) -> Array:
    """The outer corner of the eye is a little higher than the inner one."""
    return 1.8 * np.clip((ax - INNER_CANTHUS) / (OUTER_CANTHUS - INNER_CANTHUS), 0, 1.3) - 0.6


def lid_sphere(r: Array, radius: Array | float) -> Array:
    """z of the surface the lids lie on, at distance r from the eye's axis: a sphere that runs out into a cone."""
    rim = 0.78 * np.asarray(radius)
    cap = np.sqrt(np.clip(np.square(radius) - np.minimum(r, rim) ** 2, 1e-9, None))
    slope = 0.78 / np.sqrt(1 - 0.78**2)
    return EYE_Z + cap - slope * np.clip(r - rim, 0, None) - 0.2 * np.clip(r - 17.5, 0, None) ** 2


def drape(points: Array, height: Array, angle: Array, upper_closure: float = 0.0, lower_closure: float = 0.0) -> Array:
    """Skin points [...,3] without lids -> with lids. Closure 0: open; 1: the lids meet; negative: wider."""
    x, y, z = np.moveaxis(points, -1, 0)
    ax, rows = np.abs(x), np.abs(height)
    is_upper = height >= 0
    closure = np.where(is_upper, upper_closure, lower_closure)
    is_open = np.where(is_upper, upper_margin(ax), -lower_margin(ax))
    meeting = -0.40 * lower_margin(ax)
    near = (ax > 9) & (ax < 58) & (np.abs(angle) < 75)
    reach = np.clip(1 - rows / REACH, 0, 1)
    tilt = canthal_tilt(ax) * band(16, 47, 9, ax)
    y = y + near * (reach * (is_open + closure * (meeting - is_open)) + tilt * np.clip(1 - rows / 20, 0, 1))

    radius = LID_RADIUS + np.where(is_upper, CLOSED_LIFT, 0.5 * CLOSED_LIFT) * np.clip(closure, 0, 1)
    sphere = lid_sphere(np.hypot(ax - EYE_X, y - EYE_Y), radius)
    softness = 2.0
    over = np.where(near, np.logaddexp(z / softness, sphere / softness) * softness, z)
    at_margin = fade(6, 0, rows) * ((ax > INNER_CANTHUS - 2) & (ax < OUTER_CANTHUS + 2) & near)
    z = over * (1 - at_margin) + sphere * at_margin
    crease = 1.5 * (1 - 0.8 * np.clip(upper_closure, 0, 1)) * bump(height - 6.2, 1.7) * bump(ax - EYE_X, 15, 4)
    return np.stack([x, y, z - crease * (is_upper & near)], -1)


def lid_rim(margin: Array) -> Array:
    """The margin's inner edge: the margin [...,3] pulled in until it touches the eyeball."""
    side = np.sign(margin[..., :1].mean())
    centre = np.array([side * EYE_X, EYE_Y, EYE_Z])
    arm = margin - centre
    return centre + arm * ((EYE_RADIUS + 0.05) / np.linalg.norm(arm, axis=-1, keepdims=True))


def add_eyeball(builder: MeshBuilder, side: int) -> None:
    """One eyeball, open behind where nobody sees; side +1 is the person's left."""
    part = "left_eyeball" if side > 0 else "right_eyeball"
    centre = np.array([side * EYE_X, EYE_Y, EYE_Z])
    # Seen from in front the ring runs clockwise for one eye and counter-clockwise for the other: mirror images.
    around = np.linspace(0, 2 * np.pi, _SEGMENTS + 1)
    polar, longitude = np.meshgrid(_RINGS, around[:-1], indexing="ij")
    radius = EYE_RADIUS + CORNEA * np.clip(1 - (np.sin(polar) * EYE_RADIUS / 6.2) ** 2, 0, 1) * (polar < 1.5)
    direction = np.stack(
        [side * np.sin(polar) * np.cos(longitude), np.sin(polar) * np.sin(longitude), np.cos(polar)], -1
    )
    rings = builder.vertices(centre + radius[..., None] * direction, part, 0.0, side * 26.0)
    rings = np.concatenate([rings, rings[:, :1]], 1)
    pole = int(builder.vertices((centre + np.array([0, 0, EYE_RADIUS + CORNEA]))[None], part, 0.0, side * 26.0)[0])
    s, t = disc_to_square(_RING_UV[:, None], around[None])
    builder.fan(pole, rings[0], np.array([0.5, 0.5]), s[0], t[0], part, inside_out=side < 0)
    builder.sheet(rings, None, s, t, part, inside_out=side < 0)

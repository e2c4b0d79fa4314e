# SPDX-License-Identifier: Apache-2.0
"""The ears: a polar grid round the ear canal with concha, antihelix, helix, tragus and lobe, sunk into the head."""

from __future__ import annotations

import numpy as np

from blendsplat.heads.builtin.curves import bump, fade
from blendsplat.heads.builtin.mesh import MeshBuilder, disc_to_square

EAR_CENTRE = (66.0, -11.0, -9.0)

_SEGMENTS = 24
_BACK_RIM = 0.97  # where the helix turns over to the back of the ear
_RADII = np.array([0.14, 0.30, 0.44, 0.58, 0.71, 0.83, 0.93, 1.0, _BACK_RIM, 0.72])
_RELIEF = np.array([1.0, 1.6, 5.0, 8.2, 7.0, 8.2, 10.2, 9.4, 6.5, -4.0])  # off the head; the last two rings go behind


def add_ear(builder: MeshBuilder, side: int) -> None:
    """One ear; side +1 is the person's left."""
    part = "left_ear" if side > 0 else "right_ear"
    around = np.linspace(0, 2 * np.pi, _SEGMENTS + 1)
    phi, radius = np.meshgrid(around[:-1], _RADII, indexing="xy")
    sine, cosine = np.sin(phi), np.cos(phi)
    relief = np.broadcast_to(_RELIEF[:, None], phi.shape).copy()

    lobe = fade(-0.35, -0.85, sine)
    flat = np.where(
        radius > 0.4, np.where(radius == _BACK_RIM, np.minimum(relief, 1.5), np.minimum(relief, 6.5)), relief
    )
    relief = relief * (1 - lobe) + flat * lobe
    front = fade(0.25, 0.85, cosine)
    relief = np.where((radius > 0.4) & (relief > 0), relief * (1 - 0.80 * front), relief)
    relief = (
        relief
        + 4.0 * bump(phi - 0.05, 0.5) * bump(radius - 0.5, 0.2)
        + 4.0 * bump(phi - 2 * np.pi + 0.05, 0.5) * bump(radius - 0.5, 0.2)
    )

    rounder = 1 - 0.5 * fade(0, -0.5, sine)  # a lobe is blunter than an ellipse
    forward = radius * np.sign(cosine) * np.abs(cosine) ** rounder * (15.5 + 3.5 * sine)
    up = 29.0 * radius * sine * (1 - 0.06 * (sine < 0))
    flare = np.maximum(0, 7 - forward) * 0.34 * (1 - 0.35 * lobe)
    tilt = np.deg2rad(13)
    y = EAR_CENTRE[1] + forward * np.sin(tilt) + up * np.cos(tilt)
    z = EAR_CENTRE[2] + forward * np.cos(tilt) - up * np.sin(tilt)
    x = side * (EAR_CENTRE[0] + relief + np.where(relief > 0, flare, 0.35 * flare))
    rings = builder.vertices(np.stack([x, y, z], -1), part, -10.0, side * 95.0)
    rings = np.concatenate([rings, rings[:, :1]], 1)
    bottom = np.array([side * (EAR_CENTRE[0] + 0.5 + 2.5), EAR_CENTRE[1], EAR_CENTRE[2]])
    centre = int(builder.vertices(bottom[None], part, -10.0, side * 95.0)[0])

    order = np.array([0.10, 0.22, 0.34, 0.46, 0.58, 0.70, 0.80, 0.88, 0.94, 1.0])
    s, t = disc_to_square(order[:, None], around[None])
    builder.fan(centre, rings[0], np.array([0.5, 0.5]), s[0], t[0], part, inside_out=side > 0)
    builder.sheet(rings, None, s, t, part, inside_out=side > 0)

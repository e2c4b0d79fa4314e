# SPDX-License-Identifier: Apache-2.0
"""Strands that grow over a skin, and the ribbons that they are drawn as.

A strand follows a field of combing directions, keeps its height over the skin, and is drawn as a narrow ribbon whose
normals are those of a lock. Many thousand of them are hair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.heads.render import Props
from blendsplat.synthetic.surface import Array, Skin, as_tensor, smoothstep, unit

Rng = np.random.Generator
# (points [N,3], skin normals [N,3], shorter than 1 away from the skin and 0 far from it) -> unit directions [N,3]
Field = Callable[[Array, Array], Array]
_NEAR = 0.02  # metres: farther from the skin a strand hears nothing of it


@dataclass(frozen=True)
class Strands:
    """N strands of K points: points [N,K,3], outward normals [N,K,3], width [N], colour [N,K,3] sRGB."""

    points: Array
    normals: Array
    width: Array
    colour: Array


def grow(
    roots: Array, normals: Array, length: Array, height: Array, field: Field, skin: Skin, steps: int,
    stand: float = 0.5, bend: float = 0.015, hug: float = 0.6, keep_out: Callable[[Array], Array] | None = None,
    lift: Callable[[Array], Array] | None = None, rise: float = 0.012,
) -> tuple[Array, Array]:  # fmt: skip
    """Points and outward normals [N,steps+1,3] of strands from ``roots`` [N,3] with ``normals`` [N,3].

    length, height [N]: metres along the strand, and over the skin. stand: how upright a strand leaves the skin; bend:
    metres in which it follows the field; hug: how strongly it comes back to its height; keep_out moves points [N,3];
    lift adds to the height at points [N,3];
    rise: metres of a strand until it has its height.
    """
    here = roots - 0.001 * normals
    step = (length / steps)[:, None]
    toward = unit(field(here, normals) * (1 - stand) + normals * stand)
    points, outward = [here], [normals]
    follow = 1 - np.exp(-step / bend)
    for number in range(1, steps + 1):
        here = here + toward * step
        if keep_out is not None:
            here = keep_out(here)
        over, near_normals = skin.height(here)
        tall = height if lift is None else height + lift(here)
        wanted = tall * smoothstep(0, rise, number * step[:, 0]) + 0.0006
        near = smoothstep(_NEAR + 0.02, _NEAR, over - tall)
        back = np.clip(wanted - over, 0, None) - hug * near * np.clip(over - wanted, 0, 0.006)
        here = here + near_normals * back[:, None]
        points.append(here)
        outward.append(unit(near_normals + 1e-9))
        toward = unit(toward * (1 - follow) + field(here, near_normals * near[:, None]) * follow)
        into = np.minimum((toward * near_normals).sum(1, keepdims=True), 0) * near[:, None]
        toward = unit(toward - into * near_normals)
    return np.stack(points, 1), np.stack(outward, 1)


def curled(points: Array, normals: Array, radius: Array, pitch: Array, phase: Array, start: float = 0.01) -> Array:
    """Strands [N,K,3] wound into helices of ``radius`` and ``pitch`` [N] in metres, from ``start`` metres on."""
    along = arc(points)
    tangent = tangents(points)
    normal = unit(normals - (normals * tangent).sum(-1, keepdims=True) * tangent)
    angle = 2 * np.pi * along / pitch[:, None] + phase[:, None]
    reach = radius[:, None] * smoothstep(0, start * 2, along)
    sideways = np.cross(tangent, normal)
    return points + (reach * np.cos(angle))[..., None] * normal + (reach * np.sin(angle))[..., None] * sideways


def clumped(points: Array, leaders: Array, amount: float) -> Array:
    """Strands [N,K,3] drawn to their leader's (index [N]) towards the tips: locks."""
    share = amount * np.linspace(0, 1, points.shape[1])[None, :, None] ** 1.5
    return points + share * (points[leaders] - points)


def arc(points: Array) -> Array:
    """Length [N,K] from the root to every point."""
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    return np.concatenate([np.zeros((len(points), 1)), np.cumsum(steps, 1)], 1)


def tangents(points: Array) -> Array:
    """Unit directions [N,K,3] along strands."""
    return unit(np.gradient(points, axis=1))


def ribbons(strands: Strands, rng: Rng, twist: float = 0.6, taper: float = 0.25) -> tuple[Props, Tensor]:
    """Two triangles between any two points of a strand; both sides show. The ribbon's normals bulge like a lock's.
    Returns the props and the strands' own normals at their points."""
    count, steps = strands.points.shape[:2]
    tangent = tangents(strands.points)
    normal = unit(strands.normals - (strands.normals * tangent).sum(-1, keepdims=True) * tangent)
    side = np.cross(tangent, normal)
    roll = rng.normal(0, twist, (count, 1, 1))
    flat = np.cos(roll) * side + np.sin(roll) * normal
    t = np.linspace(0, 1, steps)[None]
    width = strands.width[:, None] * (0.6 + 0.4 * smoothstep(0, 0.2, t)) * (taper + (1 - taper) * smoothstep(1, 0.7, t))
    half = 0.5 * width[..., None] * flat
    points = np.stack([strands.points - half, strands.points + half], 2)
    bulge = np.stack([unit(normal - 0.55 * flat), unit(normal + 0.55 * flat)], 2)
    index = np.arange(count * steps * 2).reshape(count, steps, 2)
    a, b, c, d = index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 0], index[:, 1:, 1]
    faces = np.concatenate([np.stack(q, -1).reshape(-1, 3) for q in ((a, b, c), (b, d, c))])
    pair = (count, steps, 2, 3)
    # Light changes slowly along a strand: every third point gathers it for both edges.
    lit = index[:, np.minimum(np.arange(steps) // 3 * 3 + 1, steps - 1), :1]
    props = Props(
        as_tensor(points.reshape(-1, 3)), torch.from_numpy(faces),
        as_tensor(np.broadcast_to(strands.colour[:, :, None], pair).reshape(-1, 3)),
        normals=as_tensor(bulge.reshape(-1, 3)),
        tangents=as_tensor(np.broadcast_to(tangent[:, :, None], pair).reshape(-1, 3)),
        lit_as=torch.from_numpy(np.broadcast_to(lit, (count, steps, 2)).reshape(-1).copy()),
    )  # fmt: skip
    return props, as_tensor(np.broadcast_to(normal[:, :, None], pair).reshape(-1, 3))

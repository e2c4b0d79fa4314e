# SPDX-License-Identifier: Apache-2.0
"""People who do not exist: random identity, expression, colours, hair, shirt and light on any head model.

They are the licence-free training data of whatever must learn to see heads; the head's parameters are the truth.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.geometry import vertex_normals
from blendsplat.heads.builtin.appearance import Look, paint_head
from blendsplat.heads.families import BUILTIN
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.portrait import Palette, painted_texture
from blendsplat.heads.render import Light, Props

IDENTITY_SPREAD = 0.85  # standard deviations of a head's identity coefficients
EXPRESSIONS_AT_ONCE = 7
SKINS = (
    (0.93, 0.76, 0.68), (0.87, 0.67, 0.57), (0.80, 0.58, 0.46),
    (0.66, 0.45, 0.34), (0.50, 0.33, 0.25), (0.36, 0.23, 0.17),
)  # fmt: skip
HAIRS = (
    (0.06, 0.05, 0.05), (0.15, 0.10, 0.07), (0.28, 0.18, 0.11), (0.45, 0.31, 0.18),
    (0.66, 0.52, 0.33), (0.45, 0.19, 0.10), (0.55, 0.55, 0.55),
)  # fmt: skip
EYES = ((0.22, 0.14, 0.08), (0.35, 0.24, 0.13), (0.30, 0.36, 0.22), (0.35, 0.46, 0.58), (0.42, 0.45, 0.46))

Rng = np.random.Generator


@dataclass
class Person:
    """One random person in one pose: parameters (B = 1), texture [H,W,3] sRGB, vertices to draw [V,3] (posed, the
    scalp raised by hair), the shirt and loose hair, the light, and what stands behind [3] sRGB."""

    params: HeadParams
    texture: Tensor
    drawn: Tensor
    props: Props | None
    light: Light
    backdrop: tuple[float, float, float]


def random_person(head: HeadModel, rng: Rng, texture_size: int = 512) -> Person:
    """A person on ``head`` (whose identity must not be built in). The same rng state gives the same person."""
    params = random_params(head, rng)
    vertices = head(params)[0]
    look = random_look(rng)
    if head.family == BUILTIN:
        texture = torch.from_numpy(paint_head(look, texture_size))
    else:
        texture = painted_texture(head, Palette(look.skin, look.lips, look.hair, look.eyes), texture_size)
    drawn = _raise_scalp(head, vertices, rng)
    props = [_shirt(head, vertices, look.skin, rng)]
    if rng.random() < 0.45:
        props.append(_loose_hair(head, vertices, look.hair, rng))
    backdrop = _tuple(rng.uniform(0, 1) * 0.6 + 0.4 * rng.uniform(0, 1, 3))
    return Person(params, texture, drawn, _together(props), random_light(rng), backdrop)


def random_params(head: HeadModel, rng: Rng) -> HeadParams:
    """Identity, expression and jaw of one person, upright at the origin; eyes and neck turn a little."""
    params = head.neutral()
    params.shape = torch.as_tensor(IDENTITY_SPREAD * rng.standard_normal((1, head.shape_count)), dtype=torch.float32)
    params.expression = torch.as_tensor(_expression(head, rng)[None], dtype=torch.float32)
    if float(head.skin_weights[:, 2].sum()) > 0:
        params.jaw_pose[0, 0] = max(0.0, rng.normal(0.03, 0.09))
        params.jaw_pose[0, 1] = rng.normal(0, 0.015)
    params.eyes_pose = torch.as_tensor(rng.normal(0, [0.06, 0.14, 0.0], (1, 1, 3)), dtype=torch.float32).repeat(1, 2, 1)
    return params


def _expression(head: HeadModel, rng: Rng) -> np.ndarray:
    """Blendshapes: a few at once, most of them on both sides alike. Linear bases: a normal with fading deviations."""
    low, high = head.expression_range
    if low < 0:
        fade = 1 / (1 + np.arange(head.expression_count) / 10)
        return np.clip(rng.standard_normal(head.expression_count) * fade * rng.uniform(0, 1.2), low, high)
    weights = np.zeros(head.expression_count)
    for index in rng.integers(head.expression_count, size=rng.integers(EXPRESSIONS_AT_ONCE + 1)):
        amount = high * rng.beta(1.2, 1.8)
        weights[index] = amount
        other = _other_side(head.expression_names[index])
        if other in head.expression_names and rng.random() < 0.75:
            weights[head.expression_names.index(other)] = amount * rng.uniform(0.8, 1.0)
    return weights


def _other_side(name: str) -> str:
    for here, there in (("Left", "Right"), ("_L", "_R")):
        if here in name:
            return name.replace(here, there)
        if there in name:
            return name.replace(there, here)
    return name


def random_look(rng: Rng) -> Look:
    """Colours between the anchors of SKINS, HAIRS and EYES."""
    skin = _between(SKINS, rng)
    lips = np.clip(np.array(skin) * [0.92, 0.62, 0.64] * rng.uniform(0.9, 1.1), 0, 1)
    return Look(
        skin=skin, hair=_between(HAIRS, rng), eyes=_between(EYES, rng), lips=_tuple(lips),
        blush=rng.uniform(0.2, 1.3), stubble=max(0.0, rng.uniform(-0.8, 1.0)),
        freckles=max(0.0, rng.uniform(-1.5, 0.8)), seed=int(rng.integers(1 << 16)),
    )  # fmt: skip


def random_light(rng: Rng) -> Light:
    """A key light from the front half of the sky, with a fill and a sky of related colours."""
    warmth = rng.normal(0, 0.08)
    tint = np.array([1 + warmth, 1, 1 - warmth])
    level = rng.uniform(0.75, 1.2)
    key = rng.uniform(0.5, 1.3)
    side = rng.normal(0, 0.7)
    return Light(
        direction=(side, rng.uniform(0.0, 1.0), rng.uniform(0.4, 1.0)),
        key=_tuple(1.65 * level * key * tint),
        fill_direction=(-side, rng.uniform(-0.2, 0.5), 0.6),
        fill=_tuple(level * rng.uniform(0.1, 0.5) / tint),
        sky=_tuple(level * rng.uniform(0.4, 0.9) / tint),
        ground=_tuple(level * rng.uniform(0.2, 0.5) * tint),
        softness=rng.uniform(0.12, 0.4),
    )


def _raise_scalp(head: HeadModel, vertices: Tensor, rng: Rng) -> Tensor:
    """Short hair: the scalp lifted along its normals by up to 3 cm, unevenly."""
    if "scalp" not in head.regions or rng.random() < 0.2:
        return vertices
    rows = torch.from_numpy(head.regions["scalp"])
    normals = vertex_normals(vertices[None], head.faces)[0, rows]
    rest = head.template[rows]
    waves = torch.as_tensor(rng.normal(0, 45, (3, 4)), dtype=torch.float32)  # wavelengths of a hand's breadth
    bumps = torch.sin(rest @ waves + torch.as_tensor(rng.uniform(0, 6.3, 4), dtype=torch.float32)).mean(1, keepdim=True)
    # Hair begins flat at its line: the lift grows with the distance above it.
    line = rest[:, 1:2].amin()
    rise = ((rest[:, 1:2] - line) / (rest[:, 1:2].amax() - line)).clamp(0, 1).sqrt()
    lifted = vertices.clone()
    lifted[rows] += normals * rise * (1 + 0.5 * bumps) * rng.uniform(0.0, 0.02)
    return lifted


def _shirt(head: HeadModel, vertices: Tensor, skin: tuple[float, float, float], rng: Rng) -> Props:
    """Neck and shoulders: rings that widen from a little above the neck's lowest ring to a bust's width."""
    ring = vertices[torch.from_numpy(head.regions["neck_ring"])].numpy()
    centre, lowest = ring.mean(0), ring[:, 1].min()
    around = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    neck = 0.5 * np.ptp(ring[:, [0, 2]], axis=0) * 1.02
    shoulders = np.array([rng.uniform(0.17, 0.24), rng.uniform(0.085, 0.12)])
    start, drop = lowest + rng.uniform(0.02, 0.065), rng.uniform(0.10, 0.18)
    slope = rng.uniform(0.4, 0.9)
    rings = []
    for t in np.linspace(0, 1, 14):
        spread = np.sin(min(t / 0.45, 1) * np.pi / 2) ** (1 / slope)
        radius = neck * 0.9 + (shoulders - neck) * spread
        y = start - drop * t
        power = 2 + 1.2 * spread  # an ellipse at the neck, squarer at the shoulders
        c, s = np.cos(around), np.sin(around)
        shape = (np.abs(c) ** power + np.abs(s) ** power) ** (-1 / power)
        forward = centre[2] - 0.012 * spread
        x, z = centre[0] + radius[0] * shape * c, forward + radius[1] * shape * s
        rings.append(np.stack([x, np.full_like(c, y), z], -1))
    points = np.concatenate(rings)
    skin_until = rng.uniform(0.0, 0.25)
    depth = (start - points[:, 1:2]) / drop
    cloth = np.array(colorsys.hsv_to_rgb(rng.random(), rng.beta(1.2, 2.5), rng.uniform(0.05, 0.95)))
    colours = np.where(depth < skin_until, np.array(skin), cloth) * rng.uniform(0.95, 1.0, (len(points), 1))
    return Props(_tensor(points), _grid_faces(len(rings), len(around), closed=True), _tensor(colours))


def _loose_hair(head: HeadModel, vertices: Tensor, colour: tuple[float, float, float], rng: Rng) -> Props:
    """Long hair: a curtain round the head, open at the face."""
    skull = vertices[torch.from_numpy(head.regions["scalp"])].numpy()
    centre = 0.5 * (skull.min(0) + skull.max(0))
    size = 0.5 * np.ptp(skull, axis=0) * rng.uniform(1.06, 1.22)
    opening = np.radians(rng.uniform(62, 85))  # from straight ahead
    around = np.linspace(opening, 2 * np.pi - opening, 40)
    down = np.linspace(0, 1, 16)
    length = rng.uniform(0.06, 0.26)
    top, bottom = centre[1] + size[1] * 0.9, vertices[:, 1].min().item() + 0.14 - length
    t, a = np.meshgrid(down, around, indexing="ij")
    y = top + (bottom - top) * t
    cap = np.sqrt(np.clip(1 - ((y - centre[1]) / size[1]).clip(0, 1) ** 2, 0.05, 1))
    strands = 1 + 0.03 * np.sin(a * rng.integers(9, 30) + rng.uniform(0, 6)) * t
    flare = 1 + rng.uniform(-0.15, 0.25) * t**2
    x = centre[0] + size[0] * cap * strands * flare * np.sin(a)
    z = centre[2] + size[2] * cap * strands * flare * np.cos(a)
    points = np.stack([x, y, z], -1).reshape(-1, 3)
    shade = 0.75 + 0.5 * rng.random((1, len(around), 1)) + np.zeros((len(down), 1, 1))
    colours = (np.array(colour) * shade).reshape(-1, 3)
    faces = _grid_faces(len(down), len(around), closed=False)
    # Seen from both sides: the curtain's inside shows beside the cheeks.
    return Props(_tensor(points), torch.cat([faces, faces.flip(1)]), _tensor(colours))


def _grid_faces(rows: int, columns: int, closed: bool) -> Tensor:
    """Triangles [Q,3] of a grid of points, row by row; closed: the last column joins the first."""
    index = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, axis=1)
    if not closed:
        index, right = index[:, :-1], right[:, :-1]
    a, b, c, d = index[:-1].ravel(), right[:-1].ravel(), index[1:].ravel(), right[1:].ravel()
    return torch.from_numpy(np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]))


def _together(props: list[Props]) -> Props:
    starts = np.cumsum([0, *(len(p.points) for p in props[:-1])])
    return Props(
        torch.cat([p.points for p in props]),
        torch.cat([p.faces + int(start) for p, start in zip(props, starts, strict=True)]),
        torch.cat([p.colors for p in props]),
    )


def _between(anchors: tuple[tuple[float, float, float], ...], rng: Rng) -> tuple[float, float, float]:
    one, other = (np.array(anchors[i]) for i in rng.integers(len(anchors), size=2))
    part = rng.random() * 0.5
    return _tuple(np.clip((one * (1 - part) + other * part) * rng.uniform(0.9, 1.1), 0, 1))


def _tuple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))

# SPDX-License-Identifier: Apache-2.0
"""Eyeballs, teeth and tongue: own geometry that moves as the source's coarse parts move.

A part's displacements are linear in those of the source's part: an eyeball is shifted and scaled, an arch of teeth is
moved by the affine map that fits best, the tongue is the source's own, lowered a little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tools.bake_head.makehuman import MakeHuman

SEGMENTS = 28
IRIS_RADIUS, PUPIL_RADIUS = 5.9, 2.0  # mm, people's
CORNEA = 0.5  # mm: how far the cornea stands out of the eyeball
TONGUE_DROP, TONGUE_FLAT = 4.0, 0.8  # mm; share of its height: the source's tongue rides on the upper teeth
EYE_SMALLER = 0.5  # mm off the radius: a lid that closes on straight lines must clear the cornea
UPPER_DROP, LOWER_DROP, LOWER_BACK = 3.5, 2.0, 2.0  # mm: upper teeth show under the lip, and bite before the lower
# widths of the crowns from the middle to the last molar, mm (usual values of dental anatomy)
UPPER_CROWNS = (8.5, 6.8, 7.6, 7.0, 6.6, 9.5, 8.5)
LOWER_CROWNS = (5.3, 5.9, 6.9, 7.0, 7.1, 10.0, 9.5)
COLUMNS = 3  # of quads a crown


@dataclass
class Part:
    """V vertices of one part."""

    name: str
    points: np.ndarray  # [V,3] at rest, mm
    moved: Callable[[np.ndarray], np.ndarray]  # displacements of the source's body [...,N,3] -> of the part [...,V,3]
    faces: np.ndarray  # [F,3], counter-clockwise seen from outside
    uvs: np.ndarray  # [T,2] in the unit square
    uv_faces: np.ndarray  # [F,3]


def make_parts(source: MakeHuman) -> list[Part]:
    """Left and right eyeball, upper and lower teeth, tongue."""
    return [
        make_eyeball(source, 1),
        make_eyeball(source, -1),
        make_teeth(source, upper=True),
        make_teeth(source, upper=False),
        make_tongue(source),
    ]


def make_eyeball(source: MakeHuman, side: int) -> Part:
    """An eyeball of rings about the axis that looks ahead, open behind; side 1 is the person's left."""
    vertices = np.unique(source.quads("helper-l-eye" if side > 0 else "helper-r-eye")[0])
    centre, radius = ball(source.points[vertices])
    radius -= EYE_SMALLER
    iris, pupil = np.arcsin(IRIS_RADIUS / radius), np.arcsin(PUPIL_RADIUS / radius)
    polar = np.array(
        [0.5 * pupil, pupil, 0.5 * (pupil + iris), 0.85 * iris, iris, 1.2 * iris, 0.6, 0.78, 1.0, 1.3, 1.65]
    )
    around = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)
    p, a = np.meshgrid(np.concatenate([[0], polar]), around, indexing="ij")
    bulge = CORNEA * np.clip(1 - (p / (1.2 * iris)) ** 2, 0, 1)
    direction = np.stack([side * np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], -1)
    grid = centre + (radius + bulge)[..., None] * direction
    points = np.concatenate([grid[:1, 0], grid[1:].reshape(-1, 3)])
    index = 1 + np.arange(len(polar) * SEGMENTS).reshape(len(polar), SEGMENTS)
    faces = [[0, int(index[0, k]), int(index[0, (k + 1) % SEGMENTS])] for k in range(SEGMENTS)]
    faces += _grid_faces(index, closed=True)
    far = np.interp(polar, [0, iris, 0.78, polar[-1]], [0, 0.27, 0.40, 0.5])  # the iris takes half of the width
    disc = 0.5 + far[:, None, None] * np.stack([side * np.cos(around), np.sin(around)], -1)[None]
    uvs = np.concatenate([[[0.5, 0.5]], disc.reshape(-1, 2)])
    own, arms = points - centre, source.points[vertices] - centre

    def moved(displacements: np.ndarray) -> np.ndarray:
        here = displacements[..., vertices, :]
        scale = (here * arms).sum((-1, -2)) / (arms**2).sum()
        return here.mean(-2)[..., None, :] + scale[..., None, None] * own

    triangles = np.array(faces)[:, :: 1 if side > 0 else -1]
    return Part("left_eyeball" if side > 0 else "right_eyeball", points, moved, triangles, uvs, triangles)


def ball(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle [3] and radius of the sphere through points [K,3]."""
    matrix = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solution = np.linalg.lstsq(matrix, (points**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def make_teeth(source: MakeHuman, upper: bool) -> Part:
    """An arch of fourteen crowns with gum, along the arch of the source's strip of teeth."""
    vertices = np.unique(source.quads("helper-upper-teeth" if upper else "helper-lower-teeth")[0])
    strip = source.points[vertices]
    line = _arch(strip, upper)
    widths = np.array(UPPER_CROWNS if upper else LOWER_CROWNS)
    half = np.concatenate([w * np.arange(COLUMNS) / COLUMNS + start for w, start in _starts(widths)] + [[widths.sum()]])
    along = np.concatenate([-half[:0:-1], half])  # arc length from the middle, the person's right first
    x, z, outwards = _on_arch(line, along)
    crown = np.concatenate([np.tile([0.0, 1.0, 1.0], len(widths)), [0.0]])
    crown = np.concatenate([crown[:0:-1], crown])  # 0 between two teeth, 1 on a crown
    number = np.clip(np.searchsorted(np.cumsum(widths), np.abs(along) + 1e-6), 0, len(widths) - 1)
    length = np.array((10.0, 8.8, 10.2, 8.6, 7.8, 7.2, 7.0) if upper else (8.6, 9.0, 10.2, 8.6, 8.0, 7.4, 7.0))[number]
    length = length - 0.7 * (1 - crown)
    thick = np.array((2.2, 2.4, 4.2, 7.0, 7.5, 9.0, 9.0))[number]  # to the tongue's side, at the biting edge
    # rows: gum's upper end, gum line, belly of the crown, near the edge, outer edge, inner edge, inner gum line
    rise = np.stack([length + 5, length, 0.55 * length, 0.15 * length, 0 * length, 0 * length + 0.1, 0.9 * length])
    out = np.stack([
        -1.2 + 0 * thick, -0.3 + 0.2 * crown, 0.1 + 0.5 * crown, 0.25 * crown, -0.5 + 0.1 * crown,
        -thick, -thick - 1.5,
    ])  # fmt: skip
    up = 1.0 if upper else -1.0
    edge = _edge_height(strip, upper, along / along[-1]) - (UPPER_DROP if upper else LOWER_DROP)
    z = z - (0 if upper else LOWER_BACK)
    grid = np.stack([x + out * outwards[:, 0], edge + up * rise, z + out * outwards[:, 1]], -1)  # [7,C,3]
    index = np.arange(grid.shape[0] * grid.shape[1]).reshape(grid.shape[:2])
    faces = np.array(_grid_faces(index, closed=False))[:, :: 1 if upper else -1]
    down = np.array([0, 0.22, 0.5, 0.68, 0.76, 0.86, 1.0])
    s = (along - along[0]) / (along[-1] - along[0])
    t = np.broadcast_to((1 - down if upper else down)[:, None], index.shape)
    uvs = np.stack([np.broadcast_to(s, index.shape), t], -1).reshape(-1, 2)
    points = grid.reshape(-1, 3)
    return Part("teeth_upper" if upper else "teeth_lower", points, _affine(vertices, strip, points), faces, uvs, faces)


def _starts(widths: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(widths.tolist(), (np.cumsum(widths) - widths).tolist(), strict=True))


def _arch(strip: np.ndarray, upper: bool) -> np.ndarray:
    """The outer side of a strip of teeth, seen from above, as points (x, z) [K,2] from right to left."""
    front = strip[strip[:, 1] < strip[:, 1].mean()] if upper else strip[strip[:, 1] > strip[:, 1].mean()]
    angle = np.arctan2(front[:, 0], front[:, 2] - strip[:, 2].min())
    out = np.hypot(front[:, 0], front[:, 2] - strip[:, 2].min())
    bins = np.round(angle / 0.16).astype(int)
    best = [int(np.flatnonzero(bins == b)[out[bins == b].argmax()]) for b in np.unique(bins)]
    line = front[best][:, [0, 2]]
    # an ellipse through them, symmetric: smooth, and as long at the back as the molars need
    z0 = line[:, 1].min() - 6
    half, deep = np.abs(line[:, 0]).max(), line[:, 1].max() - z0
    power = 2.2
    t = np.linspace(-np.pi / 2, np.pi / 2, 181)
    squircle = (np.abs(np.sin(t)) ** power + np.abs(np.cos(t)) ** power) ** (-1 / power)
    return np.stack([half * np.sin(t) * squircle, z0 + deep * np.cos(t) * squircle], -1)


def _on_arch(line: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [C], z [C] and outward directions [C,2] at arc lengths from the middle of a line [K,2]."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    arc = np.concatenate([[0], np.cumsum(steps)])
    arc -= arc[-1] / 2
    x, z = np.interp(along, arc, line[:, 0]), np.interp(along, arc, line[:, 1])
    ahead = np.stack(
        [np.interp(along + d, arc, line[:, 0]) - np.interp(along - d, arc, line[:, 0]) for d in (1.5,)], -1
    )
    rise = np.stack([np.interp(along + d, arc, line[:, 1]) - np.interp(along - d, arc, line[:, 1]) for d in (1.5,)], -1)
    tangent = np.concatenate([ahead, rise], -1)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return x, z, np.stack([-tangent[:, 1], tangent[:, 0]], -1)


def _edge_height(strip: np.ndarray, upper: bool, place: np.ndarray) -> np.ndarray:
    """Heights [C] of the biting edges: those of the strip in the middle, rising to the back as the strip does."""
    front, back = (
        strip[strip[:, 2] > np.quantile(strip[:, 2], 0.8)],
        strip[strip[:, 2] < np.quantile(strip[:, 2], 0.15)],
    )
    pick = np.min if upper else np.max
    ahead, behind = pick(front[:, 1]), pick(back[:, 1])
    return np.asarray(ahead + (behind - ahead) * np.abs(place) ** 1.5)


def _affine(vertices: np.ndarray, strip: np.ndarray, points: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Displacements of points by the affine map that fits those of the strip best."""
    middle = strip.mean(0)
    fit = np.linalg.pinv(np.concatenate([strip - middle, np.full((len(strip), 1), 30.0)], 1), rcond=1e-3)
    weights = np.concatenate([points - middle, np.full((len(points), 1), 30.0)], 1) @ fit  # [V,K]

    def moved(displacements: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ displacements[..., vertices, :])

    return moved


def make_tongue(source: MakeHuman) -> Part:
    """The source's tongue, lowered between the lower teeth."""
    quads, uv_quads = source.quads("helper-tongue")
    vertices, index = np.unique(quads, return_inverse=True)
    textures, uv_index = np.unique(uv_quads, return_inverse=True)
    points = _lowered(source.points[vertices])
    uvs = source.uvs[textures]
    uvs = (uvs - uvs.min(0)) / np.ptp(uvs, axis=0)

    def triangles(square: np.ndarray) -> np.ndarray:
        square = square.reshape(-1, 4)
        return np.concatenate([square[:, [0, 1, 2]], square[:, [0, 2, 3]]])

    def moved(displacements: np.ndarray) -> np.ndarray:
        return np.asarray(displacements[..., vertices, :])

    return Part("tongue", points, moved, triangles(index), uvs, triangles(uv_index))


def _lowered(points: np.ndarray) -> np.ndarray:
    low = points[:, 1].min()
    height = low + TONGUE_FLAT * (points[:, 1] - low) - TONGUE_DROP
    return np.stack([points[:, 0], height, points[:, 2]], 1)


def tongue_lift(source: MakeHuman) -> np.ndarray:
    """[V,3]: from the lowered tongue back to the source's, for the shape that puts it out over the teeth."""
    points = source.points[np.unique(source.quads("helper-tongue")[0])]
    return points - _lowered(points)


def _grid_faces(index: np.ndarray, closed: bool) -> list[list[int]]:
    """Triangles of a grid of vertices [R,C], counter-clockwise where rows go down and columns go right."""
    right = np.roll(index, -1, 1) if closed else index[:, 1:]
    left = index if closed else index[:, :-1]
    a, b, c, d = left[:-1], left[1:], right[1:], right[:-1]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]).tolist()

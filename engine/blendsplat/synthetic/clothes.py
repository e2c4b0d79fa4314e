# SPDX-License-Identifier: Apache-2.0
"""What people wear: shoulders of their own skin that begin at the neck's ring, and cloth over them.

Everything is a grid of rows that go out from the ring and columns that go round it. The ring is fixed to the body, so
that nothing gapes in any pose; what stands round the neck moves with the skin that it touches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from blendsplat.heads.model import ROOT_JOINT
from blendsplat.heads.render import Props
from blendsplat.synthetic.attached import Attached
from blendsplat.synthetic.surface import Anatomy, Array, Skin, as_tensor, smoothstep, unit

Rng = np.random.Generator
RGB = tuple[float, float, float]
KINDS = ("t_shirt", "v_neck", "shirt", "turtleneck", "hoodie")
COLUMNS = 120
_DROP = 0.17  # metres from the ring's lowest point to where the bust ends


@dataclass(frozen=True)
class Outfit:
    """One person's clothes. kind: of KINDS; colour, second (of stripes or a print): sRGB; shoulders: half their
    width in metres; stripes: their width in metres, 0 for none; folds: 1 as usual."""

    kind: str = "t_shirt"
    colour: RGB = (0.16, 0.20, 0.28)
    second: RGB = (0.8, 0.8, 0.8)
    shoulders: float = 0.21
    stripes: float = 0.0
    folds: float = 1.0
    seed: int = 0


def clothes(body: Anatomy, outfit: Outfit, ring_colours: Array) -> list[Attached]:
    """Shoulders and cloth. ring_colours [R,3]: the skin's sRGB at the vertices of the neck's ring, in their order."""
    bust = _Bust(body, outfit, ring_colours)
    return [bust.skin(), *_CUTS[outfit.kind](bust)]


def surface_of(parts: list[Attached]) -> Skin:
    """What long hair lies on."""
    points = torch.cat([part.props.points for part in parts]).numpy().astype(float)
    normals = torch.cat([part.outward for part in parts]).numpy().astype(float)
    return Skin.of(points, normals)


class _Bust:
    """The body's surface round and under the ring: ``at`` gives points for (rows s from 0 at the ring, columns)."""

    def __init__(self, body: Anatomy, outfit: Outfit, ring_colours: Array) -> None:
        self.body, self.outfit = body, outfit
        self.rng = np.random.default_rng(outfit.seed)
        rows = body.head.regions["neck_ring"]
        ring = body.vertices[rows]
        self.centre = 0.5 * (ring.min(0) + ring.max(0))
        angles = np.arctan2(ring[:, 0] - self.centre[0], ring[:, 2] - self.centre[2])
        order = np.argsort(angles)
        self.angle = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)

        def round_the_ring(values: Array) -> Array:
            return np.stack([np.interp(self.angle, angles[order], v, period=2 * np.pi) for v in values[order].T], -1)

        self.ring = round_the_ring(ring)
        self.ring_normals = unit(round_the_ring(body.normals[rows]))
        self.ring_colours = round_the_ring(ring_colours)
        self.low = float(ring[:, 1].min())
        c, s = np.cos(self.angle), np.sin(self.angle)
        power = 2.6
        squared = (np.abs(c) ** power + np.abs(s) ** power) ** (-1 / power)
        scale = outfit.shoulders / 0.21
        self.edge = np.stack(
            [self.centre[0] + outfit.shoulders * squared * s, self.centre[2] - 0.004 + 0.100 * scale * squared * c], -1
        )
        self.side = np.abs(s) ** 1.5  # 1 over the shoulders, 0 before chest and back
        self.drop = (0.026 + 0.014 * scale) * self.side + 0.105 * scale * (1 - self.side)
        self.scale = scale

    def at(self, s: Array) -> Array:
        """Points [S,C,3] for s [S] or [S,C]: 0 at the ring, 1 where shoulders turn down, then straight down."""
        s = np.broadcast_to(s[:, None] if s.ndim == 1 else s, (len(s), COLUMNS))
        out = np.minimum(s, 1.0)
        reach = (1.12 * out - 0.12 * out**4)[..., None]
        plan = self.ring[None, :, ::2] * (1 - reach) + self.edge[None] * reach
        fall = self.drop * out + 0.055 * self.scale * out**7 * (0.25 + 0.75 * self.side)
        # A neck goes over into its shoulders without an edge, and collarbones stand out a little.
        fall = fall - 0.012 * self.side * np.sin(np.pi * out) ** 2 * (1 - out)
        y = self.ring[None, :, 1] - fall - np.maximum(s - 1, 0) * 0.22
        y = np.maximum(y, self.low - _DROP)
        return np.stack([plan[..., 0], y, plan[..., 1]], -1)

    def skin(self) -> Attached:
        """The body from the ring on, in the neck's colours; the cloth hides its end."""
        s = np.concatenate([[0.0], np.linspace(0.01, 1.0, 20) ** 1.2 * (0.62 if self.outfit.kind == "v_neck" else 0.4)])
        points = self.at(s)
        normals = _grid_normals(points)
        share = smoothstep(0.0, 0.12, s)[:, None, None]
        normals = unit(self.ring_normals[None] * (1 - share) + normals * share)
        mean = self.ring_colours.mean(0)
        colours = self.ring_colours[None] * (1 - share) + mean * share
        return self._attached(points, colours, normals)

    def cloth(
        self, start: Array | float, off: float, colour: Callable[[Array], Array], band: float = 0.016, rows: int = 40
    ) -> Attached:
        """Cloth from s = ``start`` [C] down, ``off`` metres over the skin, with a hem of width ``band``."""
        start = np.broadcast_to(np.asarray(start, float), COLUMNS)
        t = np.concatenate([[0, 0, 0.015, 0.05, 0.11, 0.13], np.linspace(0.16, 1.0, rows) ** 1.15])
        end = 2.2
        s = start[None] + t[:, None] * (end - start[None])
        points = self.at(s)
        normals = _grid_normals(points)
        hem = np.array([-1.0, 1.0, 1.35, 1.35, 1.25, 1.0] + [1.0] * rows)  # the edge turns in to the skin
        lift = off * hem[:, None] + self._folds(points, t)
        points = points + lift[..., None] * normals
        colours = colour(points)
        banded = np.ones(len(t))
        banded[:5] = 0.9
        return self._attached(points, colours * banded[:, None, None])

    def _folds(self, points: Array, t: Array) -> Array:
        """Metres [S,C] that cloth stands off: folds that hang from the shoulders and pull at the arms."""
        rng, amount = self.rng, 0.0028 * self.outfit.folds
        fold = np.zeros(points.shape[:2])
        x, y, z = np.moveaxis(points / self.scale, -1, 0)
        for _ in range(5):
            lean, pitch, phase = rng.uniform(-0.9, 0.9), rng.uniform(0.035, 0.09), rng.uniform(0, 6.3)
            wave = np.sin(2 * np.pi * (x + lean * np.abs(y - self.low)) / pitch + phase + 9 * z)
            fold += np.sign(wave) * np.abs(wave) ** 0.7 * rng.uniform(0.3, 1.0)
        for side in (-1, 1):
            away = np.hypot(x - side * 0.16, y - self.low + 0.06)
            fold += 1.2 * np.sin(away / 0.011 + rng.uniform(0, 6.3)) * np.exp(-((away / 0.07) ** 2))
        return amount * fold * smoothstep(0.1, 0.35, t)[:, None]

    def plain(self, points: Array) -> Array:
        """The outfit's colour [...,3], with stripes where it has them, a little uneven as cloth is."""
        outfit = self.outfit
        colour = np.broadcast_to(np.array(outfit.colour), points.shape).copy()
        if outfit.stripes > 0:
            phase = (points[..., 1] - self.low - 0.35 * np.abs(points[..., 0])) / outfit.stripes
            second = smoothstep(0.42, 0.5, np.abs(phase % 1 - 0.5) * 2)[..., None]
            colour = colour * (1 - second) + np.array(outfit.second) * second
        return colour * (1 + 0.03 * self.rng.standard_normal((*points.shape[:2], 1)))

    def collar(self, height: Array, gap: Array | float, rows: int, colour: Callable[[Array], Array]) -> Attached:
        """A tube round the neck, ``height`` [C] metres up from under the ring, ``gap`` off the skin."""
        t = np.linspace(0, 1, rows)
        up = t[:, None] * height[None]
        inward = unit(self.ring[:, [0, 2]] - self.centre[[0, 2]])
        skin = self.body.skin(ears=False)
        points = np.zeros((rows, COLUMNS, 3))
        for row in range(rows):
            y = self.ring[:, 1] - 0.006 + up[row]
            # From outside to the neck, to where the skin is ``gap`` away.
            reach = np.linalg.norm(self.ring[:, [0, 2]] - self.centre[[0, 2]], axis=1) * 1.05
            for _ in range(12):
                here = np.stack([self.centre[0] + inward[:, 0] * reach, y, self.centre[2] + inward[:, 1] * reach], -1)
                reach = reach - np.clip(skin.height(here)[0] - gap, -0.01, 0.01)
            points[row] = np.stack(
                [self.centre[0] + inward[:, 0] * reach, y, self.centre[2] + inward[:, 1] * reach], -1
            )
        for _ in range(3):
            points = 0.5 * points + 0.25 * (np.roll(points, 1, 1) + np.roll(points, -1, 1))
        return self._attached(points[::-1], colour(points[::-1]), follow=True)

    def _attached(self, points: Array, colours: Array, normals: Array | None = None, follow: bool = False) -> Attached:
        flat = points.reshape(-1, 3)
        outward = _grid_normals(points).reshape(-1, 3)
        share = self._neck_share(flat) if follow else np.zeros(len(flat))
        props = Props(
            as_tensor(flat), grid_faces(len(points), COLUMNS, closed=True),
            as_tensor(np.broadcast_to(colours, points.shape).reshape(-1, 3).clip(0, 1)),
            normals=None if normals is None else as_tensor(normals.reshape(-1, 3)),
        )  # fmt: skip
        return Attached(props, as_tensor(share), as_tensor(outward))

    def _neck_share(self, points: Array) -> Array:
        """How much points [N,3] go with the neck [N]: as the skin next to them does."""
        near = torch.from_numpy(self.body.near_neck(points))
        return np.asarray(1 - self.body.head.skin_weights[near, ROOT_JOINT].numpy(), float)

    # Cuts

    def t_shirt(self) -> list[Attached]:
        return [self.cloth(0.05 + 0.03 * np.cos(self.angle), 0.004, self.plain)]

    def v_neck(self) -> list[Attached]:
        start = 0.06 + 0.38 * np.clip(1 - np.abs(self.angle) / 0.85, 0, 1) ** 0.9
        return [self.cloth(start, 0.004, self.plain)]

    def shirt(self) -> list[Attached]:
        open_ = 0.03 + 0.30 * np.clip(1 - np.abs(self.angle) / 0.42, 0, 1)
        body = self.cloth(open_, 0.005, self._buttoned)
        return [body, *self._leaves()]

    def _buttoned(self, points: Array) -> Array:
        """A button border down the front."""
        colour = self.plain(points)
        front = points[..., 2] > self.centre[2]
        across = np.abs(points[..., 0] - self.centre[0])
        line = front * np.exp(-(((across - 0.016) / 0.0022) ** 2)) * 0.22
        return colour * (1 - line[..., None])

    def _leaves(self) -> list[Attached]:
        """A folded collar: up behind, down and outwards, in two leaves that part before the throat."""
        half = np.linspace(np.radians(14), np.pi, 40)
        made = []
        skin = self.body.skin(ears=False)
        for side in (-1, 1):
            columns = np.stack(
                [np.interp(side * half, self.angle, self.ring[:, k], period=2 * np.pi) for k in range(3)], -1
            )
            out = unit(
                np.concatenate(
                    [columns[:, :1] - self.centre[0], 0 * columns[:, :1], columns[:, 2:] - self.centre[2]], 1
                )
            )
            back = smoothstep(0.3, 1.8, half)[:, None]
            top = columns + np.array([0, 1.0, 0]) * (0.006 + 0.022 * back) - out * (0.010 * back)
            profile = [(0.0, -0.4), (0.55, -0.05), (1.0, 0.0), (1.06, 0.12), (0.9, 0.45), (0.55, 0.8), (0.1, 1.0)]
            leaf = (0.034 + 0.030 * np.exp(-((half / 0.30) ** 2)))[:, None]
            rows = []
            for up, outward in profile:
                low = columns - np.array([0, 0.012, 0])
                row = low + (top - low) * up + out * np.maximum(outward, -0.05) * leaf * 0.9
                row = row - np.array([0, 1.0, 0]) * leaf * max(outward, 0) * 0.35
                over, normals = skin.height(row)
                rows.append(row + normals * np.clip(0.003 - over, 0, 0.02)[:, None])
            grid = np.stack(rows)
            grid = self._over_the_bust(grid, 0.007)
            if side < 0:
                grid = grid[:, ::-1]
            flat = grid.reshape(-1, 3)
            share = 0.6 * self._neck_share(flat)
            colours = np.broadcast_to(np.array(self.outfit.colour) * 1.04, flat.shape).clip(0, 1)
            faces = grid_faces(len(grid), grid.shape[1], closed=False)
            props = Props(as_tensor(flat), faces, as_tensor(colours))
            made.append(Attached(props, as_tensor(share), as_tensor(_grid_normals(grid, closed=False).reshape(-1, 3))))
        return made

    def _over_the_bust(self, grid: Array, off: float) -> Array:
        points = self.at(np.linspace(0, 1.0, 30))
        cloth = Skin.of(points.reshape(-1, 3), _grid_normals(points).reshape(-1, 3))
        over, normals = cloth.height(grid.reshape(-1, 3))
        return grid + (normals * np.clip(off - over, 0, 0.03)[:, None]).reshape(grid.shape)

    def turtleneck(self) -> list[Attached]:
        height = (0.040 + 0.010 * np.cos(self.angle)) * self.body.scale
        body = self.cloth(0.02, 0.0045, self.plain)
        inner = self.collar(height, 0.0035, 12, self._ribbed)
        folded = self.collar(height * 0.97, 0.0085, 12, self._ribbed)
        return [body, inner, folded]

    def _ribbed(self, points: Array) -> Array:
        ribs = 0.93 + 0.07 * np.sign(np.sin(np.arange(COLUMNS) * np.pi))[None, :, None]
        ribs = ribs + 0.06 * (np.arange(COLUMNS) % 2)[None, :, None] - 0.03
        return np.array(self.outfit.colour) * ribs * np.ones_like(points)

    def hoodie(self) -> list[Attached]:
        """A heavy sweater with its hood lying behind the neck."""
        body = self.cloth(0.07, 0.008, self.plain)
        around = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        behind = smoothstep(0.5, 2.4, np.abs(self.angle))
        radius = 0.007 + 0.024 * behind
        spine = self.at(np.full(1, 0.16))[0] + np.stack([0 * behind, radius * 0.75, -0.012 * behind], -1)
        out = unit(np.stack([spine[:, 0] - self.centre[0], 0 * behind, spine[:, 2] - self.centre[2]], -1))
        ring = np.stack([
            spine + radius[:, None] * (np.cos(a) * out * 1.25 + np.sin(a) * np.array([0, 0.9, 0])) for a in -around
        ])  # fmt: skip
        folds = (
            1
            + 0.06 * np.sin(5 * self.angle + self.rng.uniform(0, 6))[None, :, None] * np.sin(3 * around)[:, None, None]
        )
        grid = spine[None] + (ring - spine[None]) * folds
        grid = np.concatenate([grid, grid[:1]])
        over, normals = self.body.skin(ears=False).height(grid.reshape(-1, 3))
        grid = grid + (normals * np.clip(0.003 - over, 0, 0.03)[:, None]).reshape(grid.shape)
        return [body, self._attached(grid, self.plain(grid), follow=True)]


_CUTS: dict[str, Callable[[_Bust], list[Attached]]] = {kind: getattr(_Bust, kind) for kind in KINDS}


def grid_faces(rows: int, columns: int, closed: bool) -> torch.Tensor:
    """Triangles [Q,3] of a grid of points, row by row; closed: the last column joins the first."""
    index = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, axis=1)
    if not closed:
        index, right = index[:, :-1], right[:, :-1]
    a, b, c, d = index[:-1].ravel(), right[:-1].ravel(), index[1:].ravel(), right[1:].ravel()
    return torch.from_numpy(np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]))


def _grid_normals(points: Array, closed: bool = True) -> Array:
    """Outward normals [S,C,3] of a grid whose rows go out and down, and whose columns go round to the left."""
    down = np.gradient(points, axis=0)
    across = np.roll(points, -1, 1) - np.roll(points, 1, 1) if closed else np.gradient(points, axis=1)
    return unit(np.cross(down, across))

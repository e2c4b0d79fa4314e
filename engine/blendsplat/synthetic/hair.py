# SPDX-License-Identifier: Apache-2.0
"""Hair of several kinds on any head: roots on its scalp, strands combed over it, colours that vary.

Measures are an adult's, in millimetres from the middle between the eyes; ``Anatomy`` says how large this head is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from blendsplat.synthetic.attached import Attached, together
from blendsplat.synthetic.strands import Field, Strands, clumped, curled, grow, ribbons
from blendsplat.synthetic.surface import Anatomy, Array, Skin, as_tensor, smoothstep, unit

Rng = np.random.Generator
RGB = tuple[float, float, float]
SKULL_Z = -80.0  # the skull's axis runs through the ears
CROWN = np.array([6.0, 98.0, -130.0])  # where short hair whorls
KNOT = np.array([0.0, 40.0, -182.0])  # where hair is tied
# The hairline: azimuth from the front in degrees -> height in millimetres above the eyes.
_LINE = np.array([
    (0, 61), (16, 62), (30, 61), (42, 55), (50, 44), (57, 26), (63, 6), (68, -14), (76, -16), (81, 4), (84, 11),
    (104, 11), (109, -8), (117, -42), (128, -64), (150, -76), (180, -80),
])  # fmt: skip
KINDS = (
    "bald", "shaved", "crop", "receding", "parting", "swept_back", "fringe", "bob", "long", "bun", "ponytail", "curls",
    "afro",
)  # fmt: skip

COVER_EARS = ("fringe", "bob", "long")
LONG = (*COVER_EARS, "bun", "ponytail")


@dataclass(frozen=True)
class HairStyle:
    """One person's hair. kind: of KINDS; colour: sRGB; length: 1 as usual for the kind; grey: share of grey strands;
    recess: millimetres that the temples' corners have gone back; side: +1 or -1, where the parting is; density: 1 as
    an adult's."""

    kind: str = "crop"
    colour: RGB = (0.17, 0.11, 0.075)
    length: float = 1.0
    grey: float = 0.0
    recess: float = 4.0
    side: float = 1.0
    density: float = 1.0


def hairline(rest: Array, style: HairStyle) -> Array:
    """How far points [N,3] (millimetres of the mean head) lie above the line where hair begins [N], in millimetres."""
    azimuth = np.degrees(np.arctan2(np.abs(rest[:, 0]), rest[:, 2] - SKULL_Z))
    line = np.interp(azimuth, _LINE[:, 0], _LINE[:, 1])
    line = line + style.recess * np.exp(-(((azimuth - 34) / 13) ** 2))
    line = line + 1.4 * np.sin(rest[:, 0] * 0.21 + 3 * style.side) + 0.9 * np.sin(rest[:, 0] * 0.57 + rest[:, 1] * 0.2)
    if style.kind == "receding":
        # What is left: a wreath from temple to temple, lower behind.
        crest = np.interp(azimuth, [60, 75, 100, 140, 180], [20, 42, 58, 60, 52])
        return np.minimum(rest[:, 1] - line, np.minimum(0.8 * (crest - rest[:, 1]), 0.7 * (azimuth - 60)))
    return rest[:, 1] - line


def hair(body: Anatomy, style: HairStyle, rng: Rng, clothes: Skin | None = None) -> Attached | None:
    """The hair as ribbons, or None for the bald. clothes: what long strands lie on beside the skin."""
    if style.kind == "bald":
        return None
    return _Hairdresser(body, clothes, style, rng).attached()


def ears_under_hair(body: Anatomy, style: HairStyle) -> Array:
    """The head's vertices [V,3] with the ears laid against the head where hair covers them."""
    if style.kind not in COVER_EARS:
        return body.vertices
    vertices = body.vertices.copy()
    for name in ("left_ear", "right_ear"):
        rows = body.head.regions.get(name, np.zeros(0, np.int64))
        if len(rows):
            inner = np.quantile(np.abs(vertices[rows, 0]), 0.05)
            vertices[rows, 0] = np.sign(vertices[rows, 0]) * (inner + 0.4 * (np.abs(vertices[rows, 0]) - inner))
    return vertices


def stain(rest: Array, style: HairStyle) -> Array:
    """How much hair tints the skin [N] at points of the mean head [N,3] in millimetres: the shadow under strands."""
    if style.kind == "bald":
        return np.zeros(len(rest))
    shaved = style.kind == "shaved"
    return (0.5 if shaved else 0.9) * smoothstep(-2.0, 14.0 if shaved else 9.0, hairline(rest, style))


@dataclass(frozen=True)
class _Roots:
    """Where N strands begin: on the posed head [N,3], its normals there, the same on the mean head in mm, and how far
    above the hairline [N]."""

    points: Array
    normals: Array
    rest: Array
    above: Array

    def part(self, keep: Array) -> _Roots:
        return _Roots(self.points[keep], self.normals[keep], self.rest[keep], self.above[keep])


class _Hairdresser:
    def __init__(self, body: Anatomy, clothes: Skin | None, style: HairStyle, rng: Rng) -> None:
        self.body, self.style, self.rng = body, style, rng
        skin = body.skin(ears=style.kind not in COVER_EARS)
        self.skin = (
            skin
            if clothes is None
            else Skin.of(np.concatenate([skin.points, clothes.points]), np.concatenate([skin.normals, clothes.normals]))
        )

    def attached(self) -> Attached:
        """All strands; what hangs under the chin goes less and less with the skull."""
        made = []
        for part in _CUTS[self.style.kind](self):
            props, outward = ribbons(part, self.rng)
            heights = self.local(props.points.numpy())[:, 1]
            made.append(Attached(props, as_tensor(smoothstep(-215, -105, heights)), outward))
        return together(made)

    # Roots and fields

    def roots(self, count: int) -> _Roots:
        """Roots spread over the scalp; they thin out at the hairline."""
        body, rng = self.body, self.rng
        faces = body.head.faces.numpy()[body.outer]
        for ear in ("left_ear", "right_ear"):
            faces = faces[~np.isin(faces, body.head.regions.get(ear, ())).any(1)]
        faces = faces[(hairline(body.rest[faces].mean(1), self.style) > -12)]
        corners = body.vertices[faces]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        chosen = rng.choice(len(faces), int(1.25 * count * self.style.density), p=area / area.sum())
        weights = rng.dirichlet((1, 1, 1), len(chosen))[:, :, None]
        picked = faces[chosen]
        points, rest = ((array[picked] * weights).sum(1) for array in (body.vertices, body.rest))
        normals = unit((body.normals[picked] * weights).sum(1))
        above = hairline(rest, self.style) + rng.normal(0, 1.6, len(rest))
        keep = rng.random(len(rest)) < smoothstep(-1.5, 7.0, above)
        return _Roots(points, normals, rest, above).part(keep)

    def local(self, points: Array) -> Array:
        return self.body.rest_frame(points)

    def keep_face_free(self, points: Array) -> Array:
        """Points before the face, under the brows, moved aside: hair frames a face and does not cover it."""
        at = self.local(points)
        low, aside = at[:, 1], np.abs(at[:, 0])
        edge = -48 - 38 * smoothstep(-92, -125, low)
        before = smoothstep(edge, edge + 18, at[:, 2]) * smoothstep(24, 12, low)
        wanted = np.where(at[:, 0] < 0, -1, 1) * np.maximum(aside, (64 - 16 * smoothstep(-90, -150, low)) * before)
        moved = points.copy()
        moved[:, 0] += (wanted - at[:, 0]) * self.body.scale * 1e-3
        return moved

    def over_the_ears(self, points: Array) -> Array:
        """Metres that hair lies higher where the ears are under it."""
        at = self.local(points)
        bump = np.exp(-(((at[:, 1] + 24) / 34) ** 2) - ((at[:, 2] + 78) / 32) ** 2)
        return 0.014 * self.body.scale * bump * smoothstep(45, 65, np.abs(at[:, 0]))

    def crown_field(self, points: Array, normals: Array) -> Array:
        """Away from the whorl; down where the head is steep."""
        away = _tangential(self.local(points) - CROWN, normals)
        return unit(away + 0.25 * (1 - np.clip(normals[:, 1:2], 0, 1)) * np.array([0, -1, 0.0]))

    def part_field(self, at_x: float, back: float) -> Field:
        """Away from a parting ``at_x`` millimetres to the side, and down; back: how far it is swept back as well."""

        def field(points: Array, normals: Array) -> Array:
            at = self.local(points)
            # Hair goes over the head until the head is steep sideways or behind; away from the head it hangs.
            steep = normals[:, 0] ** 2 + np.clip(-normals[:, 2], 0, 1) ** 2 * smoothstep(60, 20, at[:, 1])
            over = np.clip((normals**2).sum(1) - steep, 0, 1)[:, None] ** 1.2
            line = at_x * smoothstep(-150, -60, at[:, 2])
            away = np.tanh((at[:, :1] - line[:, None]) / 8)
            front = smoothstep(-60, 0, at[:, 2])[:, None]
            behind = smoothstep(-105, -150, at[:, 2])[:, None]
            sweep = np.concatenate([away, 0.1 * front - 0.15, -back * (0.6 + 0.9 * front) * np.abs(away)], 1)
            sweep = unit(sweep + behind * np.array([0, -0.6, -1.3]))
            down = np.array([0, -1.0, -0.25 * back]) * (1 - behind) + np.array([0, -1.0, 0]) * behind
            # Long hair falls before the shoulders or behind them, not along them.
            low = smoothstep(-95, -150, at[:, 1])[:, None]
            inwards = -np.sign(at[:, :1]) * np.clip((np.abs(at[:, :1]) - 62) / 40, -0.2, 0.9)
            aside = np.where(at[:, 2:] > -75, 0.55, -0.45) * smoothstep(30, 70, np.abs(at[:, :1]))
            down = down + low * np.concatenate([inwards, 0 * inwards, aside], 1)
            return _tangential(over * (1 - low) * sweep + (1 - over * (1 - low)) * down, normals, 0.85)

        return field

    def back_field(self, points: Array, normals: Array) -> Array:
        """Combed back, and down at the sides."""
        top = np.clip((normals**2).sum(1) - normals[:, 0] ** 2, 0, 1)[:, None]
        behind = smoothstep(-110, -170, self.local(points)[:, 2])[:, None]
        over = np.array([0, 0.15, -1.0]) * (1 - behind) + np.array([0, -1.0, -0.1]) * behind
        return unit(_tangential(top * over + (1 - top) * np.array([0, -0.75, -0.8]), normals, 0.9))

    def knot_field(self, points: Array, normals: Array) -> Array:
        """Towards the knot, over the head."""
        return _tangential(KNOT - self.local(points), normals, 0.9)

    # Colours

    def colours(self, roots: _Roots, leaders: Array, steps: int, layer: Array, tip: float = 1.12) -> Array:
        """sRGB [N,steps,3]: darker below and at the roots, lighter at the tips; locks and strands differ."""
        rng, count = self.rng, len(layer)
        t = np.linspace(0, 1, steps)[None, :, None]
        lock = np.exp(rng.normal(0, 0.11, (count, 1)))[leaders] * np.exp(rng.normal(0, 0.13, (count, 1)))
        warm = 1 + rng.normal(0, 0.03, (count, 1))[leaders] * np.array([[1.0, 0.2, -1.0]])
        # Black hair still shows its strands.
        base = np.maximum(np.array(self.style.colour), [0.085, 0.075, 0.07])[None] * lock * warm
        if self.style.grey > 0:
            grey = np.clip(0.62 + rng.normal(0, 0.07, (count, 1)), 0.4, 0.85) * np.array([[1.0, 0.99, 0.97]])
            # The temples turn first.
            share = self.style.grey * (1.3 - 0.5 * smoothstep(20, 90, roots.rest[:, 1]))
            turned = (rng.random((count, 1)) < share[:, None]) * rng.uniform(0.35, 1.0, (count, 1))
            base = base + turned * (grey - base)
        depth = 0.62 + 0.38 * layer[:, None, None]
        along = 0.72 + (tip - 0.72) * smoothstep(0, 0.9, t)
        streak = 1 + 0.08 * np.sin(6 * t + rng.uniform(0, 6.3, (count, 1, 1)))
        return np.clip(base[:, None] * depth * along * streak, 0, 1)

    def leaders(self, roots: _Roots, share: float) -> Array:
        """Every strand's lock, as the index of the strand that leads it."""
        heads = np.sort(self.rng.choice(len(roots.points), max(1, int(share * len(roots.points))), replace=False))
        return heads[cKDTree(roots.points[heads]).query(roots.points)[1]]

    def combed(
        self, roots: _Roots, length: Array, height: Array, field: Field, steps: int,
        width: float, clump: float = 0.5, locks: float = 0.07, stand: float = 0.4, bend: float = 0.015,
        hug: float = 0.6, wave: float = 0.0, pitch: float = 0.05, until: float | Array | None = None, tip: float = 1.12,
        covers: bool = False, rise: float = 0.012,
        free_forehead: bool = False,
    ) -> Strands:  # fmt: skip
        """Strands of ``length`` and ``height`` [N] in millimetres, in locks. until: the height above the eyes that they
        end at, if they come so low."""
        rng, mm = self.rng, self.body.scale * 1e-3
        points, normals = grow(
            roots.points, roots.normals, length * mm, height * mm, field, self.skin, steps, stand,
            bend * self.body.scale, hug, self.keep_face_free, self.over_the_ears if covers else None, rise,
        )  # fmt: skip
        if until is not None:
            points = self.cut(points, until)
        leaders = self.leaders(roots, locks)
        if wave > 0:
            phase = rng.uniform(0, 2 * np.pi, len(points))[leaders] + rng.normal(0, 0.4, len(points))
            radius = wave * mm * rng.uniform(0.6, 1.2, len(points))[leaders]
            turn = pitch * self.body.scale * rng.uniform(0.8, 1.25, len(points))[leaders]
            points = curled(points, normals, radius, turn, phase, 0.03)
        points = clumped(points, leaders, clump)
        points = self.out_of_the_head(points)
        # A strand that was pushed to the other side of a face or an ear spans it: it goes.
        spans = np.linalg.norm(np.diff(points, axis=1), axis=2).max(1) > (2.0 * length / steps + 7) * mm
        kept = (self.off_the_forehead(points) | (not free_forehead)) & ~spans
        roots, points, normals, height, leaders = (
            roots.part(kept),
            points[kept],
            normals[kept],
            height[kept],
            np.unique(leaders[kept], return_inverse=True)[1],
        )
        layer = np.clip(height / max(float(height.max(initial=0)), 1e-6), 0, 1)
        colour = self.colours(roots, leaders, steps + 1, layer, tip)
        widths = width * mm * rng.uniform(0.6, 1.3, len(points)) * (0.4 + 0.6 * smoothstep(-2, 10, roots.above))
        return Strands(points, normals, widths, colour)

    def cut(self, points: Array, until: float | Array) -> Array:
        """Strands [N,K,3] shortened so that they end at the height ``until`` (mm above the eyes, [N] or one)."""
        heights = self.local(points.reshape(-1, 3)).reshape(points.shape)[..., 1]
        low = np.broadcast_to(np.asarray(until, float), len(points))[:, None]
        under = heights < low
        first = np.where(under.any(1), under.argmax(1), points.shape[1] - 1)
        rows = np.arange(len(points))
        before = np.maximum(first - 1, 0)
        a, b = heights[rows, before], heights[rows, first]
        part = np.where(under.any(1), np.clip((a - low[:, 0]) / np.maximum(a - b, 1e-6), 0, 1), 1.0)
        whole = before + part
        at = np.linspace(0, 1, points.shape[1])[None] * whole[:, None]
        index = np.minimum(at.astype(int), points.shape[1] - 2)
        share = (at - index)[..., None]
        return points[rows[:, None], index] * (1 - share) + points[rows[:, None], index + 1] * share

    def off_the_forehead(self, points: Array) -> Array:
        """[N] bool: strands [N,K,3] that do not stray over the bare forehead."""
        at = self.local(points.reshape(-1, 3))
        azimuth = np.abs(np.degrees(np.arctan2(at[:, 0], at[:, 2] - SKULL_Z)))
        stray = (azimuth < 52) & (at[:, 1] > 12) & (hairline(at, self.style) < -5)
        return ~stray.reshape(points.shape[:2]).any(1)

    def out_of_the_head(self, points: Array) -> Array:
        """What combing pressed under the skin comes back; faces stay free."""
        flat = points[:, 1:].reshape(-1, 3)
        flat = self.keep_face_free(flat)
        over, normals = self.skin.height(flat)
        flat = flat + normals * np.clip(0.0005 - over, 0, 0.03)[:, None]
        return np.concatenate([points[:, :1], flat.reshape(len(points), -1, 3)], 1)

    # Cuts

    def shaved(self) -> list[Strands]:
        roots = self.roots(9000)
        length = self.rng.uniform(2.0, 4.0, len(roots.points)) * self.style.length
        height = self.rng.uniform(0.5, 2.5, len(length))
        return [self.combed(roots, length, height, self.crown_field, 2, 0.55, clump=0.0, stand=0.55, tip=1.0)]

    def crop(self) -> list[Strands]:
        return [self._short(self.roots(5200))]

    def _short(self, roots: _Roots, top: float = 34.0, side: float = 9.0) -> Strands:
        rng, count = self.rng, len(roots.points)
        high = smoothstep(28, 88, roots.rest[:, 1])
        length = (side + (top - side) * high) * self.style.length * rng.uniform(0.75, 1.15, count)
        length *= 0.5 + 0.5 * smoothstep(-2, 14, roots.above)
        height = (2.0 + 9.0 * high * self.style.length) * rng.random(count) ** 0.7
        return self.combed(
            roots, length, height, self.crown_field, 5, 1.25, clump=0.55, locks=0.09, stand=0.45, hug=0.2
        )

    def receding(self) -> list[Strands]:
        roots = self.roots(4200)
        few = self.rng.random(len(roots.points)) < 0.8
        return [self._short(roots.part(few), top=16.0, side=11.0)]

    def parting(self) -> list[Strands]:
        rng, roots = self.rng, self.roots(5200)
        high = smoothstep(32, 70, roots.rest[:, 1])
        top = roots.part(high > 0.45)
        sides = roots.part(high <= 0.45)
        count = len(top.points)
        length = rng.uniform(60, 95, count) * self.style.length
        near = np.exp(-((top.above / 22) ** 2)) * smoothstep(-30, 10, top.rest[:, 2])
        height = (3 + 9 * smoothstep(0, 25, top.above) + 4 * near) * rng.random(count) ** 0.6
        field = self.part_field(30.0 * self.style.side, 0.7)
        over = self.combed(top, length, height, field, 9, 1.5, clump=0.45, locks=0.05, stand=0.55, bend=0.02,
                           until=20 + rng.normal(0, 10, count), free_forehead=True)  # fmt: skip
        short = rng.uniform(12, 22, len(sides.points)) * (0.5 + 0.5 * smoothstep(-2, 14, sides.above))
        thick = (5 + 6 * smoothstep(5, 45, sides.rest[:, 1]) * smoothstep(0, 16, sides.above)) * rng.random(
            len(short)
        ) ** 0.7
        below = self.combed(sides, short, 0.5 + thick, self.crown_field, 4, 1.25, stand=0.35, free_forehead=True)
        return [below, over]

    def swept_back(self) -> list[Strands]:
        rng, roots = self.rng, self.roots(4800)
        count = len(roots.points)
        high = smoothstep(0, 70, roots.rest[:, 1])
        length = (22 + 75 * high) * self.style.length * rng.uniform(0.8, 1.15, count)
        height = (2 + 9 * high * smoothstep(-2, 20, roots.above)) * rng.random(count) ** 0.6
        return [
            self.combed(
                roots,
                length,
                height,
                self.back_field,
                9,
                1.5,
                clump=0.5,
                locks=0.05,
                stand=0.55,
                wave=1.2,
                pitch=0.06,
                free_forehead=True,
            )
        ]

    def fringe(self) -> list[Strands]:
        rng, roots = self.rng, self.roots(5200)
        azimuth = np.abs(np.degrees(np.arctan2(roots.rest[:, 0], roots.rest[:, 2] - SKULL_Z)))
        front = (azimuth < 46 + rng.normal(0, 4, len(azimuth))) & (roots.rest[:, 2] > -48) & (roots.above > 3)
        bangs, others = roots.part(front), roots.part(~front)
        count = len(bangs.points)
        spread = bangs.rest[:, 0] / 120

        def forwards(points: Array, normals: Array) -> Array:
            ahead = np.stack([spread, 0 * spread - 0.5, 0 * spread + 1.0], 1)
            return unit(_tangential(ahead, normals, 0.9) + np.array([0, -0.25, 0]))

        height = rng.uniform(2, 9, count)
        until = 21 + rng.normal(0, 2.2, count) + 3 * (np.abs(bangs.rest[:, 0]) / 40) ** 2
        cover = self.combed(
            bangs, np.full(count, 120.0), height, forwards, 12, 1.5, clump=0.35, locks=0.08, stand=0.3, bend=0.01,
            until=until,
        )  # fmt: skip
        low = -86 - 30 * (self.style.length - 1)
        return [*self._hanging(others, low, 8.0, 16.0), cover]

    def bob(self) -> list[Strands]:
        return self._hanging(self.roots(5200), -92 - 35 * (self.style.length - 1), 7.0, 17.0)

    def long(self) -> list[Strands]:
        return self._hanging(self.roots(5200), -205 - 60 * (self.style.length - 1), 6.0, 15.0, wave=3.0)

    def _hanging(self, roots: _Roots, low: float, pitch_in: float, volume: float, wave: float = 1.2) -> list[Strands]:
        """Hair that hangs from a parting to the height ``low``."""
        rng, count = self.rng, len(roots.points)
        height = (2.5 + volume * smoothstep(0, 30, roots.above)) * rng.random(count) ** 0.6
        ends = low + rng.normal(0, 4 if low > -130 else 16, count)
        length = np.clip(roots.rest[:, 1] - ends, 10, None) + 95 * smoothstep(10, 90, roots.rest[:, 1]) + 20
        field = self.part_field(9.0 * self.style.side, 0.25)
        steps = 14 if low > -130 else 20
        return [
            self.combed(
                roots,
                length,
                height,
                field,
                steps,
                1.7,
                clump=0.5,
                locks=0.05,
                stand=0.12,
                bend=0.018,
                hug=0.5,
                wave=wave,
                pitch=0.075,
                until=ends,
                covers=True,
                rise=0.011,
                free_forehead=True,
            )
        ]

    def _tied(self) -> Strands:
        rng, roots = self.rng, self.roots(4600)
        count = len(roots.points)
        away = np.linalg.norm(roots.rest - KNOT, axis=1)
        height = (1.5 + 4.5 * smoothstep(0, 25, roots.above)) * rng.random(count) ** 0.6
        return self.combed(
            roots,
            away * 1.05,
            height,
            self.knot_field,
            11,
            1.4,
            clump=0.25,
            locks=0.05,
            stand=0.35,
            hug=0.8,
            free_forehead=True,
        )

    def bun(self) -> list[Strands]:
        rng, count, steps = self.rng, 420, 14
        radius = 27 * (0.8 + 0.2 * self.style.length)
        t = np.linspace(0, 1, steps + 1)[None]
        start, turn = rng.uniform(0, 2 * np.pi, (count, 1)), rng.uniform(1.5, 3.0, (count, 1))
        tilt = rng.normal(0, 0.5, (count, 1)) + 0.9 * (rng.random((count, 1)) - 0.5)
        around = start + turn * t
        size = radius * rng.uniform(0.82, 1.02, (count, 1))
        ball = np.stack([np.cos(around) * np.cos(tilt), np.sin(around) * np.cos(tilt), np.sin(tilt) + 0 * around], -1)
        points = (KNOT + [0, 2, -10] + ball * size[..., None] * [1, 1, 0.85]) * self.body.scale * 1e-3 + self.body.eyes
        return [self._tied(), self._loose(points, ball, size[:, 0] / radius, 2.2)]

    def ponytail(self) -> list[Strands]:
        rng, count, steps = self.rng, 700, 14
        t = np.linspace(0, 1, steps + 1)[None, :, None]
        away = rng.normal(0, 1, (count, 1, 2)) * [0.5, 0.5]
        away /= np.maximum(1, np.linalg.norm(away, axis=-1, keepdims=True))
        long = 150 * self.style.length * rng.uniform(0.8, 1.1, (count, 1, 1))
        thick = 6 + 16 * np.sin(np.pi * np.clip(t * 0.9 + 0.05, 0, 1)) ** 0.8
        arch = np.sin(np.minimum(t * 2.2, 1) * np.pi / 2)
        x = away[..., :1] * thick + 3 * np.sin(5 * t)
        y = KNOT[1] + 8 - long * t + away[..., 1:] * 4 + 10 * np.sin(np.minimum(t * 4, 1) * np.pi)
        z = KNOT[2] + 8 - 22 * arch + 10 * t + away[..., 1:] * thick
        points = np.concatenate([x, y, z], -1) * self.body.scale * 1e-3 + self.body.eyes
        flat = points.reshape(-1, 3)
        over, normals = self.skin.height(flat)
        points = (flat + normals * np.clip(0.004 - over, 0, 0.05)[:, None]).reshape(points.shape)
        outward = np.concatenate([away[..., :1] + 0 * t, 0 * t + 0 * away[..., :1], away[..., 1:] + 0 * t - 0.2], -1)
        return [self._tied(), self._loose(points, unit(outward), np.linalg.norm(away, axis=-1)[:, 0], 2.0)]

    def _loose(self, points: Array, outward: Array, layer: Array, width: float) -> Strands:
        count = len(points)
        nobody = np.zeros((count, 3))
        roots = _Roots(nobody, nobody, nobody + [0, 60.0, 0], nobody[:, 0])
        colour = self.colours(roots, np.arange(count), points.shape[1], np.clip(layer, 0, 1), 1.05)
        widths = width * self.body.scale * 1e-3 * self.rng.uniform(0.6, 1.3, count)
        return Strands(points, outward, widths, colour)

    def curls(self) -> list[Strands]:
        return self._curly(self.roots(3400), 62 * self.style.length, 17.0, 5.5, 0.026, 16, 1.9, 0.8, 0.05)

    def afro(self) -> list[Strands]:
        return self._curly(
            self.roots(4200), 46 * self.style.length, 28.0 * self.style.length, 2.6, 0.012, 14, 1.5, 0.3, 0.12
        )

    def _curly(
        self, roots: _Roots, length: float, volume: float, radius: float, pitch: float, steps: int, width: float,
        clump: float, locks: float,
    ) -> list[Strands]:  # fmt: skip
        rng, count = self.rng, len(roots.points)
        rim = 0.35 + 0.65 * smoothstep(0, 28, roots.above)
        height = (2 + volume * rng.random(count) ** 0.5) * rim
        long = length * rim * rng.uniform(0.8, 1.2, count)
        parts = self.combed(
            roots, long, height, self.crown_field, steps, width, clump=clump, locks=locks, stand=0.75, bend=0.05,
            hug=0.0, wave=radius, pitch=pitch,
        )  # fmt: skip
        return [parts]


_CUTS: dict[str, Callable[[_Hairdresser], list[Strands]]] = {
    kind: getattr(_Hairdresser, kind) for kind in KINDS if kind != "bald"
}


def _tangential(directions: Array, normals: Array, amount: float = 1.0) -> Array:
    """Directions [N,3] without (that share of) their part along normals [N,3]."""
    directions = unit(directions)
    return unit(directions - amount * (directions * normals).sum(1, keepdims=True) * normals)

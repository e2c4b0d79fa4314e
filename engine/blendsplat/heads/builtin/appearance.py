# SPDX-License-Identifier: Apache-2.0
"""Colours for the built-in head, painted per texel: skin, lips, brows, lashes, hair, eyes, teeth.

Every layer is a mask times a colour over the one before it. Masks fade, and are broken with noise: nothing on a face
has a straight edge. Colours are display-referred sRGB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from blendsplat.heads.builtin import eyes, mouth
from blendsplat.heads.builtin.curves import Array, band, bump, fade, spot
from blendsplat.heads.builtin.relief import MOUTH_X, MOUTH_Y, lower_lip_height, upper_lip_height
from blendsplat.heads.builtin.skin import hair_mask
from blendsplat.heads.builtin.texels import Noise, Texels, texels

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """What a person's colours are. Colours are sRGB in [0,1]; amounts from 0 to 1."""

    skin: RGB = (0.82, 0.62, 0.52)
    hair: RGB = (0.17, 0.11, 0.075)
    eyes: RGB = (0.32, 0.21, 0.12)
    lips: RGB = (0.70, 0.38, 0.35)
    blush: float = 1.0
    stubble: float = 0.25
    freckles: float = 0.0
    seed: int = 0


@lru_cache(maxsize=4)
def head_texture(look: Look = Look(), size: int = 1024) -> np.ndarray:
    """paint_head, kept for those who ask again (read-only)."""
    image = paint_head(look, size)
    image.setflags(write=False)
    return image


def paint_head(look: Look, size: int, skin: bool = True) -> np.ndarray:
    """Albedo float32 [size,size,3] of the built-in head's UV square (v = 1 in the first row). skin=False: only the
    eyes and the inside of the mouth are painted, which is four times as fast."""
    whole = texels(size)
    colours = np.zeros((len(whole.pixels), 3))
    for parts, layers in _LAYERS.items():
        if "skin" in parts and not skin:
            continue
        paint = _Paint(whole.subset(*parts), look)
        for layer in layers:
            layer(paint)
        colours[whole.of(*parts)] = paint.colour
    return whole.image(np.clip(colours, 0, 1))


class _Paint:
    """A canvas of texels with the masks that most layers need."""

    def __init__(self, at: Texels, look: Look) -> None:
        self.at, self.look = at, look
        self.noise = Noise(look.seed)
        self.colour = np.tile(np.array(look.skin), (len(at.x), 1))
        self.front = at.of("skin") * fade(5, 45, at.z)
        self.arc = np.deg2rad(at.angle) * 68  # mm round the head

    def over(self, mask: Array, colour: RGB | Array) -> None:
        """Blend a colour over what is there."""
        mask = np.clip(mask, 0, 1)[:, None]
        self.colour += mask * (np.asarray(colour, float) - self.colour)

    def times(self, mask: Array, factor: RGB | Array) -> None:
        """Multiply what is there by a factor where the mask is 1."""
        self.colour *= 1 + np.clip(mask, 0, 1)[:, None] * (np.asarray(factor, float) - 1)

    def mottled(self, spacing: float, stretch: float = 1.0) -> Array:
        """Noise over the head's surface."""
        return self.noise(self.arc, self.at.height, spacing, stretch)


def _skin(p: _Paint) -> None:
    at, blush = p.at, p.look.blush
    tone = 0.5 * p.mottled(17) + 0.3 * p.mottled(5.5) + 0.2 * p.mottled(1.7)
    p.colour *= (0.94 + 0.12 * tone)[:, None]
    p.colour[:, 1] *= 0.985 + 0.03 * p.mottled(8)
    pores = p.mottled(0.8)
    p.colour *= (0.975 + 0.05 * pores)[:, None]
    red = (1.06, 0.83, 0.80)
    cheeks = spot(at.ax, at.y, (41, -34), (18, 15))
    nose = spot(at.ax, at.y, (0, -37), (14, 9))
    chin = spot(at.ax, at.y, (0, -98), (16, 10))
    p.times(blush * p.front * (0.38 * cheeks + 0.45 * nose + 0.20 * chin) * (0.7 + 0.6 * p.mottled(6)), red)
    p.times(0.4 * at.of("left_ear", "right_ear"), (1.04, 0.84, 0.80))
    p.times(0.35 * p.front * fade(30, 60, at.y), (1.02, 1.0, 0.96))
    p.times(0.6 * p.front * spot(at.ax, at.y, (30, 6), (17, 9)), (0.92, 0.84, 0.84))
    p.times(0.5 * p.front * spot(at.ax, at.y, (24, -12), (10, 4.5)), (0.88, 0.80, 0.86))
    if p.look.freckles > 0:
        dots = fade(0.66, 0.80, p.mottled(1.9)) * (spot(at.ax, at.y, (24, -27), (28, 18)) + 0.3)
        p.times(p.look.freckles * p.front * dots, (0.80, 0.66, 0.56))


def _occlusion(p: _Paint) -> None:
    """Creases that the depth maps of the renderer are too coarse for."""
    at, shade = p.at, (0.72, 0.55, 0.50)
    p.times(0.55 * p.front * spot(at.ax, at.y, (18.5, -40), (2.2, 6)), shade)
    p.times(0.40 * p.front * spot(at.ax, at.y, (0, -48), (13, 2.6)), shade)
    p.times(0.30 * p.front * bump(at.ax, 16) * bump(at.y + 84, 2.6), shade)
    across = at.ax - (15.5 + 0.40 * (-38 - at.y))
    p.times(0.25 * p.front * bump(across, 2.0) * band(-64, -42, 8, at.y), shade)
    p.times(0.45 * p.front * bump(at.height - 6.4, 0.8) * bump(at.ax - eyes.EYE_X, 14, 4), shade)
    p.over(0.93 * p.front * spot(at.ax, at.y, (6.8, -43.7), (3.4, 1.7), 4), (0.14, 0.06, 0.05))
    ear = at.of("left_ear", "right_ear")
    p.times(0.75 * ear * bump(np.hypot(at.y + 12, at.z + 5), 7.0, 4), (0.5, 0.36, 0.33))


def _lips(p: _Paint) -> None:
    at = p.at
    upper, lower = np.maximum(upper_lip_height(at.x), 0.6), np.maximum(lower_lip_height(at.x), 0.6)
    wobble = 0.10 * (p.mottled(1.6) - 0.5)
    inside = np.where(
        at.height >= MOUTH_Y - 0.005,
        fade(1.12, 0.90, (at.y - MOUTH_Y) / upper + wobble),
        fade(1.10, 0.86, (MOUTH_Y - at.y) / lower + wobble),
    )
    inside = inside * p.front * (np.abs(at.y - MOUTH_Y) < 14) * fade(MOUTH_X + 0.8, MOUTH_X - 1.2, at.ax)
    p.over(0.78 * inside, p.look.lips)
    wrinkles = p.noise(at.x, at.height, 0.75, 6.0)
    p.times(inside * fade(0.45, 0.85, wrinkles) * 0.5, (0.86, 0.72, 0.72))
    p.times(0.55 * inside * bump(at.height - MOUTH_Y, 2.0), (0.74, 0.58, 0.58))
    p.over(0.70 * p.front * bump(at.height - MOUTH_Y, 0.55) * (at.ax < MOUTH_X + 1.5), (0.30, 0.11, 0.10))


def _lids(p: _Paint) -> None:
    at = p.at
    near = band(eyes.INNER_CANTHUS + 1.5, eyes.OUTER_CANTHUS + 0.5, 1.5, at.ax) * (at.z > 50)
    skin, rim = at.of("skin"), at.of("lid_rims")
    lash = np.array(p.look.hair) * 0.35
    above, under = at.height >= -0.005, at.height < -0.005
    p.over(0.92 * near * skin * above * fade(1.5, 0.5, at.height), lash)
    p.over(0.38 * near * skin * under * fade(1.1, 0.2, -at.height), (0.30, 0.17, 0.14))
    p.over(0.85 * rim, (0.74, 0.47, 0.43))
    p.over(0.92 * near * rim * above, lash)
    p.over(rim * fade(eyes.INNER_CANTHUS + 4, eyes.INNER_CANTHUS + 1, at.ax), (0.80, 0.46, 0.43))


def _stubble(p: _Paint) -> None:
    at = p.at
    beard = np.maximum(
        band(-118, -74, 9, at.height) * fade(95, 70, np.abs(at.angle)), spot(at.ax, at.height, (0, -56), (24, 5))
    )
    beard = np.maximum(beard, band(-110, -40, 12, at.height) * bump(np.abs(at.angle) - 74, 12)) * at.of("skin")
    dots = fade(0.40, 0.75, p.noise(p.arc, at.height, 0.5))
    p.times(p.look.stubble * beard * (0.65 + 0.35 * dots), 0.35 + 0.5 * np.array(p.look.hair))


def _brows(p: _Paint) -> None:
    at = p.at
    t = np.clip((at.ax - 9) / 40, 0, 1.05)
    spine = 15.6 + 5.0 * np.sin(t * 2.25) - 1.8 * t
    across = (at.y - spine) / (4.1 * (1 - 0.66 * t**1.4))
    lean = at.ax - 0.9 * (at.y - spine)
    strokes = 0.5 * p.noise(lean, at.y, 0.55, 7.0) + 0.5 * p.noise(lean * 1.02 + 40, at.y, 1.1, 5.0)
    mask = np.exp(-(np.abs(across) ** 2.6)) * fade(6, 15, at.ax) * fade(52, 43, at.ax) * p.front
    p.over(fade(0.12, 1.0, mask * (0.30 + 1.25 * strokes)) * 0.93, np.array(p.look.hair) * 0.92)


def _hair(p: _Paint) -> None:
    at = p.at
    strands = (
        0.45 * p.noise(p.arc, at.height, 0.9, 22.0)
        + 0.35 * p.noise(p.arc, at.height, 2.2, 16.0)
        + 0.2 * p.noise(p.arc, at.height, 0.45, 14.0)
    )
    ragged = 7 * (p.noise(p.arc, at.height, 1.7, 9.0) - 0.5) + 12 * (p.noise(p.arc, at.height, 0.65, 14.0) - 0.5)
    mask = fade(0.12, 0.85, hair_mask(at.angle, at.height + ragged)) * at.of("skin")
    locks = p.noise(p.arc, at.height, 6.0, 6.0)
    colour = np.array(p.look.hair) * (0.45 + 0.85 * strands + 0.35 * (locks - 0.5))[:, None]
    p.over(mask * 0.985, colour)


def _eyeballs(p: _Paint) -> None:
    at = p.at
    for name, side in (("left_eyeball", 1), ("right_eyeball", -1)):
        ball = at.of(name).astype(float)
        dx, dy = at.x - side * eyes.EYE_X, at.y - eyes.EYE_Y
        r, around = np.hypot(dx, dy), np.arctan2(dy, dx)
        in_front = ball * (at.z > eyes.EYE_Z)
        p.over(ball, (0.80, 0.78, 0.76))
        veins = fade(0.60, 0.75, p.noise(6 * dy, 2 * dx, 2.0, 5.0))
        p.over(ball * (0.30 + 0.30 * veins) * fade(8, 12.5, np.abs(dx)), (0.80, 0.45, 0.41))
        p.times(in_front * 0.75 * fade(1.8, 6.0, dy), (0.52, 0.47, 0.47))
        p.times(in_front * 0.5 * fade(7.5, 11, np.abs(dx)), (0.72, 0.62, 0.60))
        fibres = 0.6 * p.noise(around * 9, r, 0.9, 3.0) + 0.4 * p.noise(around * 20, r, 0.8, 4.0)
        iris = in_front * fade(eyes.IRIS_RADIUS + 0.25, eyes.IRIS_RADIUS - 0.3, r)
        glow = 0.62 + 0.85 * fibres * (0.6 + 0.4 * bump(r - 3.2, 1.5))
        p.over(iris, np.array(p.look.eyes) * glow[:, None])
        p.times(iris * bump(r - eyes.IRIS_RADIUS, 0.9), (0.30, 0.28, 0.28))
        p.times(iris * 0.6 * fade(1.5, 5.5, dy), (0.45, 0.45, 0.45))
        p.over(in_front * fade(2.35, 1.95, r), (0.015, 0.012, 0.012))


def _inside_the_mouth(p: _Paint) -> None:
    at = p.at
    lining = at.of("mouth").astype(float)
    p.over(lining, (0.66, 0.34, 0.33))
    p.times(lining * fade(0.05, 0.6, at.depth), (0.66, 0.48, 0.48))
    p.over(at.of("tongue"), np.array((0.74, 0.42, 0.41))[None] * (0.9 + 0.2 * p.noise(at.x, at.z, 1.2))[:, None])
    for name, edge, up in (("teeth_upper", mouth.UPPER_EDGE, 1), ("teeth_lower", mouth.LOWER_EDGE, -1)):
        teeth = at.of(name).astype(float)
        rise = up * (at.y - edge)
        p.over(teeth, (0.90, 0.87, 0.79))
        # Crowns are as wide as the mesh has them: every second column of the arch.
        place = np.arctan2(at.x, at.z - mouth.ARCH_Z + (0 if up > 0 else 2.8)) / 1.25
        between = np.abs((place * 7.5 + 0.5) % 1 - 0.5)
        p.times(teeth * bump(between, 0.06) * 0.6, (0.62, 0.52, 0.45))
        gum = fade(7.4, 8.6, rise + 2.0 * (1 - np.abs(np.cos(np.pi * place * 7.5))))
        p.over(teeth * gum, (0.74, 0.43, 0.42))


# Which layers paint which parts, in order.
_LAYERS: dict[tuple[str, ...], tuple[Callable[[_Paint], None], ...]] = {
    ("skin", "lid_rims", "left_ear", "right_ear"): (_skin, _occlusion, _lips, _lids, _stubble, _brows, _hair),
    ("left_eyeball", "right_eyeball"): (_eyeballs,),
    ("mouth", "teeth_upper", "teeth_lower", "tongue"): (_inside_the_mouth,),
}

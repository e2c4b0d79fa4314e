# SPDX-License-Identifier: Apache-2.0
"""Brows, stubble and the painted hair of the scalp."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from blendsplat.heads.human.canvas import Array, Canvas, Texels, bump, fade
from blendsplat.heads.human.skin_paint import lip_distance

# the hairline: height above the eyes (mm) over the angle round the head from straight ahead (degrees)
_HAIRLINE = (
    (0, 15, 28, 40, 50, 58, 66, 74, 82, 86, 90, 96, 104, 112, 135, 180),
    (63, 65, 66, 60, 47, 36, 22, 0, -20, -24, -14, 4, 2, -12, -50, -64),
)
_WHORL = np.array((6.0, 104.0, -62.0))  # where the hairs of the head part
_MIDDLE = np.array((0.0, 10.0, -10.0))


def paint_hair(p: Canvas) -> None:
    """Over painted skin."""
    _stubble(p)
    _brows(p)
    if p.look.scalp_hair != "none":
        _scalp(p)


def _stubble(p: Canvas) -> None:
    look = p.look
    if look.stubble <= 0:
        return
    rows, part, beard = p.at.keep("beard", _beard)
    skin = Canvas(part, look, p.noise, p.colour[rows])
    uneven = p.noise.solid(part, 11)[0]
    mask = fade(0.05, 0.95, beard + 0.5 * (uneven - 0.5) * (beard < 0.9))
    hair = np.array(look.hair, np.float32)
    # roots shine through light skin blue-grey; hairs are dots that grow to short strokes
    dots, sparse = p.noise.solid(part, 0.62)
    round_ = np.sign(part.x) * part.angle * np.float32(np.pi / 180 * 75)  # mm round the head
    length = 0.8 + 2.2 * look.stubble
    strokes = p.noise.plane((round_ + 0.35 * part.y) / 0.5, (part.y - 0.3 * np.abs(round_)) / length)
    shade = 0.30 * look.stubble**0.8 * (0.65 + 0.7 * uneven)
    skin.over(mask * shade, 0.55 * hair + 0.30 * np.array(look.skin, np.float32) * np.array((0.80, 0.88, 0.95)))
    grain = np.clip(0.5 * fade(0.50, 0.80, dots) + 0.6 * fade(0.52, 0.80, strokes), 0, 1)
    skin.over(mask * np.clip(look.stubble * (0.10 + 0.80 * grain), 0, 0.92), hair * (0.45 + 0.45 * sparse)[:, None])
    if look.stubble > 0.6:
        skin.over(mask * (look.stubble - 0.6) * 1.0 * fade(0.2, 0.9, mask), 0.75 * hair)
    p.merge(rows, skin)


def _beard(at: Texels) -> tuple[np.ndarray, Texels, Array]:
    """How densely beards grow, 0..1: chin, jaw, upper lip; the cheek's border runs from the ear to the mouth."""
    ax, y = at.ax, at.y
    border = PchipInterpolator((0, 18, 30, 42, 55, 66, 74, 82, 100), (-88, -86, -76, -72, -60, -42, -22, -5, -5))
    jaw = fade(9, -12, y - border(ax)) * fade(100, 68, at.angle)
    under = fade(-146, -112, y + 0.25 * (at.z - 60))
    lip_top = fade(-54, -62, y + 0.10 * ax) * fade(-80, -72, y) * fade(34, 22, ax) * (at.z > 80)
    gap = bump(ax, 3.0) * bump(y + 59, 6)
    corner = fade(8, 0, np.abs(ax - 29)) * fade(-66, -76, y) * fade(-102, -88, y)
    soul = bump(ax - 14, 5) * bump(y + 91, 5)
    red = fade(-0.9, 0.5, lip_distance(at))
    beard = np.maximum(np.maximum(jaw * under, lip_top * (1 - 0.4 * gap)), 0.9 * corner * (at.z > 70))
    beard = beard * (1 - 0.55 * soul) * (1 - red) * at.of("skin") * fade(0.5, 0.0, at.ear)
    rows = np.flatnonzero(beard > 0.02)
    return rows, at.at(rows), beard[rows].astype(np.float32)


def _brows(p: Canvas) -> None:
    look = p.look
    rows, part = p.at.keep("brows", _brow_part)
    skin = Canvas(part, look, p.noise, p.colour[rows])
    arch = look.brow_arch - 0.5
    place = np.array((9, 13, 20, 28, 36, 42, 48, 54, 58))
    spine = PchipInterpolator(place, np.array((9.8, 12.0, 14.2, 16.0, 17.3, 17.8, 16.7, 13.6, 10.6))
                              + arch * np.array((-1, -1, -0.6, 0.8, 2.6, 3.0, 1.6, -0.8, -1.8)))  # fmt: skip
    half = PchipInterpolator(place, np.array((3.3, 4.0, 4.1, 3.8, 3.3, 2.8, 2.1, 1.2, 0.5)))
    thick = 0.72 + 0.80 * look.brow_thickness
    ax = np.clip(part.ax, 9, 58)
    slope = spine.derivative()(ax).astype(np.float32)
    off = ((part.y - spine(ax)) / np.sqrt(1 + slope**2)).astype(np.float32)
    across = off / (half(ax).astype(np.float32) * np.float32(thick))
    # hairs rise at the nose and lie down along the brow; those above point down a little, those below up
    t = fade(12, 34, part.ax)
    run = part.ax + 0.15 * (90 - part.z)
    lean = 0.35 + 0.9 * t - 0.55 * t * np.tanh(1.2 * across)
    u = run - off * lean - 0.35 * t * np.abs(off) * np.tanh(across)
    wave = p.noise.solid(part, 3.0)[1] - 0.5
    u = (u + 1.2 * wave).astype(np.float32)
    fine = p.noise.plane(u / 0.55 + 57 * (part.x > 0), off / 3.2)
    coarse = p.noise.plane(u / 1.3 + 31 * (part.x > 0), off / 4.5, 33)
    ragged = across + 0.55 * (fine - 0.5) + 0.25 * (coarse - 0.5)
    body = fade(1.15, 0.30, np.abs(ragged)) * fade(9.5, 15, part.ax + 5 * (fine - 0.5)) * fade(58.5, 50, part.ax)
    hairs = fade(0.25, 0.70, 0.6 * fine + 0.4 * coarse)
    hair = np.array(look.hair, np.float32)
    hair = np.minimum(hair * 0.72, 0.42 * np.array((1.0, 0.86, 0.70), np.float32))
    soft = fade(1.35, 0.2, np.abs(across)) * fade(8, 20, part.ax) * fade(60, 48, part.ax)
    skin.over((0.10 + 0.28 * look.brow_density) * soft, 0.5 * hair + 0.5 * np.array(look.skin, np.float32) * 0.75)
    skin.over(np.clip(body * (0.30 + 0.85 * hairs), 0, 1) * (0.35 + 0.55 * look.brow_density), hair)
    p.merge(rows, skin)


def _brow_part(at: Texels) -> tuple[np.ndarray, Texels]:
    rows = np.flatnonzero(at.of("skin") & (at.ax < 62) & (at.y > 2) & (at.y < 30) & (at.z > 40))
    return rows, at.at(rows)


def _scalp(p: Canvas) -> None:
    look = p.look
    rows, part, within, round_, along, cropped = p.at.keep("scalp", _scalp_part)
    scalp = Canvas(part, look, p.noise, p.colour[rows])
    hair = np.array(look.hair, np.float32)
    wobble = 10 * (p.noise.solid(part, 15)[0] - 0.5) + 8 * (p.noise.solid(part, 4.5)[0] - 0.5)
    inside = within + wobble  # mm from the hairline, > 0 in the hair
    if look.scalp_hair == "shaved":
        dots = p.noise.solid(part, 0.9)[0]
        scalp.over(fade(-4, 12, inside) * (0.36 + 0.14 * fade(0.4, 0.8, dots)),
                   0.6 * hair + 0.25 * np.array(look.skin, np.float32) * np.array((0.85, 0.92, 1.0)))  # fmt: skip
        p.merge(rows, scalp)
        return
    strands = p.noise.plane(round_ / 0.85, along / 9)
    fine = p.noise.plane(round_ / 0.42, along / 5, 20)
    tufts = p.noise.plane(round_ / 4.5 + 0.15 * along / 4.5, along / 9, 50)
    patches = p.noise.solid(part, 22)[1]
    # hairs stand apart at the border and where they are cut short: over the ears and in the neck
    single = 0.3 * strands + 0.7 * fine
    dense = fade(-7, 17, inside) * (1 - 0.35 * cropped)
    mask = fade(0.62, 0.18, single + 0.75 * (1 - dense) - 0.25) * fade(-11, -1, inside)
    mask = np.maximum(mask * 0.94, 0.80 * fade(-5, 18, inside) * (1 - 0.25 * cropped))
    light = 0.40 + 0.62 * strands + 0.45 * (fine - 0.4) + 0.30 * (tufts - 0.5) + 0.25 * (patches - 0.5)
    shine = 1 + 0.30 * bump(along - 70 - 14 * (patches - 0.5), 20)
    colour = hair * (np.clip(light, 0.15, 1.6) * shine)[:, None]
    colour = colour + (0.16 * cropped)[:, None] * np.array(look.skin, np.float32) * np.array((0.75, 0.78, 0.82))
    scalp.over(mask, np.clip(colour, 0, 1))
    p.merge(rows, scalp)


def _scalp_part(at: Texels) -> tuple[np.ndarray, Texels, Array, Array, Array, Array]:
    """(rows, texels, mm inside the hairline, place round the whorl, place along the hairs from it, both mm, and how
    short they are cut)."""
    line = PchipInterpolator(*_HAIRLINE)
    within = (at.y - line(np.clip(at.angle, 0, 180))).astype(np.float32)
    within = within - 45 * fade(0.05, 0.6, at.ear)
    rows = np.flatnonzero(at.of("skin") & (within > -14))
    part = at.at(rows)
    arms = part.point - _MIDDLE
    radius = np.linalg.norm(arms, axis=1)
    axis = (_WHORL - _MIDDLE) / np.linalg.norm(_WHORL - _MIDDLE)
    first = np.cross(axis, (0.0, 0.0, 1.0))
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    polar = np.arccos(np.clip(arms @ axis / radius, -1, 1))
    turn = np.arctan2(arms @ second, arms @ first) + 0.35 * np.exp(-polar / 0.25)  # the whorl's swirl
    return (
        rows, part, within[rows], (turn * 78).astype(np.float32), (polar * radius).astype(np.float32),
        (fade(42, -5, part.y) * fade(45, 65, part.angle)).astype(np.float32),
    )  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""Skin, its folds and spots, lips, lids and make-up."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial import cKDTree

from blendsplat.heads.human import human_head
from blendsplat.heads.human.anatomy import anatomy
from blendsplat.heads.human.canvas import Array, AtRim, Canvas, Texels, bump, fade, near_rim, spot


def paint_skin(p: Canvas) -> None:
    """All of the skin group but its hairs."""
    _tone(p)
    _blood(p)
    _spots(p)
    _folds(p)
    _hollows(p)
    _lips(p)
    _lids(p)


def darkness(p: Canvas) -> float:
    """0 for the lightest skin, 1 for the darkest."""
    return float(np.clip((0.80 - np.mean(p.look.skin)) / 0.6, 0, 1))


def front(at: Texels) -> Array:
    """1 on the face, fading towards the ears."""
    return at.keep("front", lambda t: fade(15, 55, t.z) * fade(-150, -125, t.y))


def _tone(p: Canvas) -> None:
    """Unevenness of several sizes: patches, mottles, pores."""
    at = p.at
    patches, warm = p.noise.solid(at, 24)
    mottles, red = p.noise.solid(at, 7)
    grain, _ = p.noise.solid(at, 2.3)
    pores, fine = p.noise.solid(at, 0.85)
    age = p.look.age
    value = 0.055 * (patches - 0.5) + (0.04 + 0.05 * age) * (mottles - 0.5) + 0.035 * (grain - 0.5)
    value += 0.05 * (pores - 0.5) + 0.02 * (fine - 0.5)
    redness = 0.05 * (warm - 0.5) + (0.045 + 0.05 * age) * (red - 0.5) + 0.03 * (grain - 0.5)
    factor = 1 + value[:, None] + redness[:, None] * np.array((0.25, -0.75, -0.55), np.float32)
    p.colour *= factor


def _blood(p: Canvas) -> None:
    """Where skin is redder, yellower or darker than elsewhere."""
    at, blush = p.at, p.look.blush
    masks = at.keep("blood", _blood_masks)
    _, patchy = p.noise.solid(at, 5.5)
    flush = (0.55 + 0.9 * patchy).astype(np.float32)
    dark = darkness(p)
    red = np.array((1.05 - 0.06 * dark, 0.80 + 0.05 * dark, 0.80 + 0.04 * dark), np.float32)
    p.times((0.25 + 0.75 * blush) * flush * masks["flush"], red)
    p.times((0.5 - 0.2 * dark) * masks["ears"], (1.02, 0.80, 0.78))
    p.times(0.45 * masks["forehead"], (1.01, 1.0, 0.95))
    p.times((0.5 + 0.5 * dark) * masks["forehead"], (1 - 0.06 * dark,) * 3)
    p.times(0.5 * masks["beard_area"], (0.97, 0.985, 0.99) if p.look.stubble > 0.05 else (1.0, 1.0, 1.0))
    shadow = np.array((0.90, 0.83, 0.84), np.float32) - 0.10 * dark
    p.times((0.35 + 0.45 * p.look.age) * masks["sockets"], shadow)
    p.times((0.40 + 0.50 * p.look.age) * masks["under_eyes"], (0.90 - 0.1 * dark, 0.79 - 0.03 * dark, 0.82))
    p.times(0.5 * masks["mouth_corners"], (0.95, 0.87, 0.86))
    p.times(0.35 * masks["neck"], (0.97, 0.95, 0.93))


def _blood_masks(at: Texels) -> dict[str, Array]:
    face = fade(15, 55, at.z) * fade(-150, -125, at.y)
    cheeks = spot(at.ax, at.y, (43, -36), (17, 15))
    nose = spot(at.ax, at.y, (0, -41), (13, 9)) + 0.5 * spot(at.ax, at.y, (14, -46), (6, 6))
    chin = spot(at.ax, at.y, (0, -103), (14, 8))
    eye = 31.0
    return {
        "flush": face * (0.42 * cheeks + 0.60 * np.clip(nose, 0, 1) + 0.22 * chin),
        "ears": at.ear,
        "forehead": face * fade(25, 50, at.y),
        "beard_area": face * fade(-70, -85, at.y),
        "sockets": face * np.clip(spot(at.ax, at.y, (eye, 9), (17, 7)) + spot(at.ax, at.y, (15, 1), (5, 9)), 0, 1),
        "under_eyes": face * spot(at.ax, at.y, (eye - 5, -13.5), (13, 4.5)),
        "mouth_corners": face * spot(at.ax, at.y, (27, -76), (5, 6)),
        "neck": fade(-105, -125, at.y),
    }


def _spots(p: Canvas) -> None:
    """Freckles, moles, and the spots of age."""
    at, look = p.at, p.look
    if look.freckles > 0:
        _freckles(p)
    if look.age > 0.45:
        dense = at.keep("aged", lambda t: fade(10, 50, t.z) * fade(-30, 20, t.y) + 0.25)
        field, _ = p.noise.solid(at, 6.1)
        edge, _ = p.noise.solid(at, 2.7)
        stains = fade(0.60, 0.86, field + 0.35 * (edge - 0.5))
        p.times((look.age - 0.45) * 0.7 * dense * stains, (0.80, 0.72, 0.64))
    count = round(look.moles * 14)
    if count:
        tree, rows = at.keep("mole_tree", _mole_tree)
        picks = p.noise.rng.integers(len(rows), size=count)
        sizes = p.noise.rng.gamma(2.2, 0.28, size=count).clip(0.3, 1.6)
        own = np.array(look.skin, np.float32) * np.array((0.52, 0.40, 0.36), np.float32)
        for pick, size in zip(picks.tolist(), sizes.tolist(), strict=True):
            centre = tree.data[pick]
            close = np.array(tree.query_ball_point(centre, size + 1.2), np.int64)
            distance = np.linalg.norm(tree.data[close] - centre, axis=1)
            mask = (0.8 * fade(size + 0.35, size - 0.35, distance))[:, None].astype(np.float32)
            p.colour[rows[close]] += mask * (own - p.colour[rows[close]])


def _freckles(p: Canvas) -> None:
    """Dots of 0.5 to 2.5 mm, thick on nose and cheeks."""
    rows, points, chance = p.at.keep("freckled", _freckled)
    rng, count = p.noise.rng, int(60 + 1000 * p.look.freckles)
    centres = points[np.searchsorted(chance, rng.random(count))]
    radii = rng.gamma(5, 0.12, count).clip(0.25, 1.3).astype(np.float32)
    strength = rng.uniform(0.25, 1.0, count).astype(np.float32)
    distance, nearest = cKDTree(centres).query(points, distance_upper_bound=1.8)
    hit = np.flatnonzero(np.isfinite(distance))
    nearest, distance = nearest[hit], distance[hit].astype(np.float32)
    dots = fade(1.35, 0.45, distance / radii[nearest]) * strength[nearest]
    mask = (0.5 + 0.5 * p.look.freckles) * dots[:, None]
    p.colour[rows[hit]] *= 1 + mask * (np.array((0.80, 0.65, 0.55), np.float32) - 1)


def _freckled(at: Texels) -> tuple[np.ndarray, Array, Array]:
    """(rows of the texels where freckles grow, their places, the sum of their chances so far, which ends at 1)."""
    dense = front(at) * (1.2 * spot(at.ax, at.y, (20, -26), (27, 17)) + 0.22 * fade(-70, 40, at.y))
    rows = np.flatnonzero(at.of("skin") & (dense > 0.02) & (at.lid_edge < 0))
    chance = np.cumsum(dense[rows].astype(np.float64))
    return rows, at.point[rows], chance / chance[-1]


def _mole_tree(at: Texels) -> tuple[cKDTree, np.ndarray]:
    """Texels that may bear a mole: the face, and the neck's sides."""
    mouth = (at.ax < 30) & (at.y < -58) & (at.y > -92)
    eyes = (at.ax < 50) & (at.y < 14) & (at.y > -14)
    rows = np.flatnonzero(at.of("skin") & (at.z > 5) & (at.ear < 0.1) & ~mouth & ~eyes & (at.y < 60))
    return cKDTree(at.point[rows]), rows


def _line(at: Texels, points: tuple[tuple[float, float], ...], along_y: bool = False) -> tuple[Array, Array]:
    """(signed distance from a curve y(x) through points (x, y), mm; share along it, outside 0..1 beyond the ends)."""
    table = np.array(points, float)
    order = np.argsort(table[:, 1 if along_y else 0])
    table = table[order]
    if along_y:
        curve = PchipInterpolator(table[:, 1], table[:, 0])
        inside, other = at.y, at.ax
    else:
        curve = PchipInterpolator(table[:, 0], table[:, 1])
        inside, other = at.ax, at.y
    low, high = curve.x[0], curve.x[-1]
    place = np.clip(inside, low, high)
    slope = curve.derivative()(place)
    distance = (other - curve(place)) / np.sqrt(1 + slope**2)
    return distance.astype(np.float32), ((inside - low) / (high - low)).astype(np.float32)


def _folds(p: Canvas) -> None:
    """Lines that every face has a little, and age deepens."""
    at, age = p.at, p.look.age
    rows, part, folds = at.keep("folds", _fold_masks)
    wide = Canvas(part, p.look, p.noise, p.colour[rows])
    wobble = p.noise.solid(part, 9)[0] - 0.5
    thin = p.noise.solid(part, 4.1)[1]
    shade = np.array((0.78, 0.70, 0.66), np.float32)
    lines = fade(0.2, 0.9, age)
    wide.times((0.16 + 0.55 * age) * folds["nasolabial"], shade)
    wide.times((0.05 + 0.5 * age) * folds["marionette"], shade)
    wide.times((0.10 + 0.45 * age) * folds["bag"], shade)
    wide.times(-0.25 * age * folds["bag_light"], shade)
    wide.times(0.28 * folds["chin"], shade)
    if lines > 0:
        y = part.y + 3.5 * (p.noise.solid(part, 17)[1] - 0.5) + 1.5 * wobble
        for height in (35.0, 44.5, 54.0):
            off = y - height - 2.5 * bump(part.ax - 24, 14)
            line = bump(off, 1.0) - 0.4 * bump(off - 2.4, 1.7)
            wide.times(0.55 * lines * folds["forehead"] * line * fade(0.20, 0.65, thin), shade)
        wide.times(0.8 * lines * folds["frown"], shade)
        angle = folds["crow_angle"] + 0.25 * wobble
        feet = bump((angle * 2.6) % 1 - 0.5, 0.16) * folds["crow"]
        wide.times(0.6 * lines * feet, shade)
        neck = bump((part.y + 5 * wobble + 141), 1.3) + bump((part.y + 7 * wobble + 158), 1.3)
        wide.times(0.5 * lines * neck * folds["neck"], shade)
        cross, _ = p.noise.solid(part, 1.5)
        wide.times(0.35 * lines * fade(0.55, 0.9, cross), (0.90, 0.85, 0.83))
    p.merge(rows, wide)


def _fold_masks(at: Texels) -> tuple[np.ndarray, Texels, dict[str, Array]]:
    rows = np.flatnonzero(at.of("skin") & (at.z > 20))
    part = at.at(rows)
    face = fade(25, 55, part.z)
    naso, s = _line(part, ((17.5, -42.0), (21.0, -50.0), (26.5, -60.0), (31.0, -70.0), (33.0, -78.0)), along_y=True)
    fold = np.where(naso > 0, bump(naso, 1.3), bump(naso, 3.2)) * fade(-0.05, 0.2, s) * fade(1.05, 0.75, s)
    mario, t = _line(part, ((28.5, -79.0), (30.0, -86.0), (31.0, -95.0)), along_y=True)
    bag, b = _line(part, ((15.0, -9.0), (20.0, -14.0), (28.0, -17.0), (37.0, -16.0), (44.0, -11.5)))
    dx, dy = part.ax - 46.5, part.y + 1.5
    outwards = np.hypot(dx, dy)
    frown = bump(part.ax - 6.5 - 0.12 * (part.y - 14), 0.8) * bump(part.y - 16, 8)
    return rows, part, {
        "nasolabial": face * fold,
        "marionette": face * bump(mario, 1.5) * fade(0, 0.3, t) * fade(1.1, 0.6, t),
        "bag": face * np.where(bag < 0, bump(bag, 2.2), bump(bag, 1.0)) * fade(-0.1, 0.25, b) * fade(1.1, 0.7, b),
        "bag_light": face * bump(bag - 3.2, 2.0) * fade(0, 0.25, b) * fade(1.0, 0.7, b),
        "chin": face * bump(part.y + 92.5 - 0.012 * part.ax**2, 2.2) * bump(part.ax, 13),
        "forehead": face * fade(46, 30, part.ax) * fade(24, 32, part.y) * fade(66, 56, part.y),
        "frown": face * frown,
        "crow_angle": np.arctan2(dy, np.maximum(dx, 0.1)).astype(np.float32),
        "crow": face * fade(1, 4, outwards) * fade(17, 7, outwards) * (dx > 0) * fade(-14, -9, dy) * fade(15, 10, dy),
        "neck": fade(-120, -130, part.y) * fade(30, 45, part.z + 30),
    }  # fmt: skip


def _hollows(p: Canvas) -> None:
    """What little light reaches: nostrils, the ears' shells, folds. Light that went through skin is red."""
    at = p.at
    deep = at.keep("deep", lambda t: fade(0.12, 0.95, t.hollow) * (1 - _lip_mask(t)) * t.of("skin"))
    p.times(0.80 * deep, (0.50, 0.30, 0.26))
    nostril = at.keep("nostril", lambda t: fade(0.20, 0.36, t.hollow) * spot(t.ax, t.y, (7, -48), (9, 9)) * (t.z > 85))
    p.over(0.92 * np.clip(1.4 * nostril, 0, 1), np.array(p.look.skin) * 0.12 * np.array((1.2, 0.7, 0.6)))
    crease = at.keep("concave", lambda t: np.clip(t.crease * 6, -0.4, 0.6) * t.of("skin") * (1 - _lip_mask(t)))
    p.times(np.maximum(crease, 0), (0.70, 0.54, 0.50))
    p.colour *= (1 + 0.10 * np.maximum(-crease, 0))[:, None]


def _mouth_frame() -> tuple[float, float, float, float]:
    """(half width, height of the corners, top and bottom of the lips)."""
    slit, lips = anatomy().mouth_slit, anatomy().points[human_head().regions["lips"]]
    end = slit[np.abs(slit[:, 0]).argmax()]
    return float(abs(end[0])) - 0.3, float(end[1]), float(lips[:, 1].max()), float(lips[:, 1].min())


def lip_distance(at: Texels) -> Array:
    """Signed distance from the border of the red of the lips, < 0 outside (far outside where the mouth is not)."""
    half, corner, top, bottom = _mouth_frame()
    upper = PchipInterpolator(
        np.array((0, 0.12, 0.26, 0.45, 0.70, 0.90, 1.0)) * half,
        corner + (top - corner) * np.array((0.80, 0.84, 0.965, 0.86, 0.53, 0.19, 0.04)),
    )
    lower = PchipInterpolator(
        np.array((0, 0.25, 0.45, 0.70, 0.90, 1.0)) * half,
        corner + (bottom - corner) * np.array((0.955, 0.93, 0.84, 0.56, 0.22, 0.03)),
    )
    place = np.clip(at.ax, 0, half)
    over = (upper(place) - at.y) / np.sqrt(1 + upper.derivative()(place) ** 2)
    under = (at.y - lower(place)) / np.sqrt(1 + lower.derivative()(place) ** 2)
    inside = np.minimum(np.minimum(over, under), half + 0.8 - at.ax)
    return np.where(at.of("skin") & (at.z > 78), inside, -30).astype(np.float32)


def _lip_mask(at: Texels) -> Array:
    return at.keep("lip_mask", lambda t: fade(-0.6, 0.6, lip_distance(t)))


def _lips(p: Canvas) -> None:
    at, look = p.at, p.look
    rows, part, distance = at.keep("lips", _lip_part)
    lips = Canvas(part, look, p.noise, p.colour[rows])
    _, corner, _, _ = _mouth_frame()
    wobble = 0.9 * (p.noise.solid(part, 1.7)[0] - 0.5) + 0.8 * (p.noise.solid(part, 4.0)[0] - 0.5)
    inside = fade(-0.55, 1.15, distance + wobble)
    halo = bump(distance + 1.3, 1.0)
    lips.times(0.20 * halo * (1 - darkness(p)), (1.10, 1.08, 1.06))  # the light border of the upper lip
    lips.over((0.80 + 0.1 * darkness(p)) * inside, look.lips)
    upper = fade(corner - 0.5, corner + 0.8, part.y)
    lips.times(0.35 * inside * upper, (0.88, 0.80, 0.82))
    # fine furrows run across the lips, as rays from the slit
    ray = part.x * (1 + 0.012 * np.abs(part.y - corner))
    furrow = p.noise.plane(ray / 0.72, part.y / 6.0)
    broad = p.noise.plane(ray / 1.9, part.y / 8.0, 40)
    lips.times(0.55 * inside * fade(0.45, 0.9, furrow), (0.84, 0.74, 0.74))
    lips.times(0.35 * inside * fade(0.5, 0.95, broad), (0.86, 0.78, 0.78))
    plump = bump(part.y - corner + 6.3, 2.6) * bump(part.ax - 5, 7)
    lips.times(0.22 * inside * plump, (1.10, 1.14, 1.14))
    if look.lipstick > 0:
        body = fade(-0.25, 0.55, distance + 0.35 * wobble)
        tint = np.array(look.lipstick_colour, np.float32) * (0.88 + 0.22 * furrow)[:, None]
        lips.over(0.92 * look.lipstick * body, tint)
    # towards the slit the lips are wet and darker, in the corners too
    wet = np.maximum(bump(part.y - corner - 0.3, 1.3) * fade(25.5, 23.5, part.ax), fade(0.45, 0.05, part.normal[:, 2]))
    lips.times(0.55 * inside * wet, (0.66, 0.48, 0.48))
    lips.times(0.6 * bump(part.ax - 24.6, 1.6) * bump(part.y - corner, 1.4), (0.62, 0.42, 0.40))
    p.merge(rows, lips)


def _lip_part(at: Texels) -> tuple[np.ndarray, Texels, Array]:
    distance = lip_distance(at)
    rows = np.flatnonzero(distance > -6)
    return rows, at.at(rows), distance[rows]


def _lids(p: Canvas) -> None:
    for number, rim in enumerate(anatomy().rims):
        where, part = p.at.keep(("lids", number), lambda t, rim=rim: _lid_part(t, rim))
        lid = Canvas(part, p.look, p.noise, p.colour[where.rows])
        _lid(lid, where)
        p.merge(where.rows, lid)


def _lid_part(at: Texels, rim: object) -> tuple[AtRim, Texels]:
    where = near_rim(at, rim)  # type: ignore[arg-type]
    return where, at.at(where.rows)


def _lid(p: Canvas, at: AtRim) -> None:
    look, d, along = p.look, at.distance, at.along
    dark = darkness(p)
    up, low = at.upper.astype(np.float32), 1 - at.upper.astype(np.float32)
    skin = fade(-0.2, 0.2, d)
    ends = fade(-0.02, 0.12, along) * fade(1.06, 0.93, along)
    # thin, darker skin on the lids, veins' violet in the inner half, a soft line along the fold
    p.times((0.35 + 0.2 * dark) * skin * up * fade(11, 3, d), (0.93, 0.85, 0.84))
    p.times(0.35 * skin * low * fade(7, 1, d), (0.96, 0.85, 0.84))
    p.times(0.40 * skin * up * bump(d - 6.3, 0.9) * ends, (0.72, 0.58, 0.55))
    if look.eye_shadow > 0:
        wing = fade(13, 4, d) * (0.45 + 0.55 * along) * fade(-0.05, 0.25, along)
        p.over(0.62 * look.eye_shadow * skin * up * wing, look.eye_shadow_colour)
    # the edge: pink, wet, shaded under the lashes
    edge = fade(0.15, -0.35, d)
    lid = np.array(look.skin, np.float32) * np.array((0.98, 0.74, 0.72), np.float32)
    pink = 0.5 * lid + 0.5 * np.array((0.74, 0.46, 0.43), np.float32) * (0.55 + 0.45 * (1 - dark))
    p.over(0.85 * edge, pink)
    p.times(edge * up * 0.7, (0.62, 0.48, 0.46))
    corner = fade(0.17, 0.05, along)
    p.over(0.85 * corner * fade(0.9, -0.4, d), np.array((0.80, 0.45, 0.43), np.float32) * (1 - 0.3 * dark))
    # lashes: a dark line where they root, strokes over the skin that they hide
    lash = np.minimum(np.array(look.hair, np.float32) * 0.30, 0.09)
    root = 0.35 + 0.65 * look.lashes
    thick = 0.45 + 0.5 * look.lashes + 0.5 * along
    line = fade(thick + 0.25, thick - 0.45, d) * fade(-2.6, -1.2, d)
    outer = fade(0.05, 0.22, along)
    p.over(0.93 * up * line * outer * (0.75 + 0.25 * root), lash)
    strokes = p.noise.plane((at.run + 0.45 * d * (along - 0.45)) / 0.42, d / 9)
    reach = (0.7 + 1.3 * look.lashes) * (0.5 + 0.8 * along) * (0.5 + strokes)
    p.over(0.55 * root * up * skin * fade(0.50, 0.68, strokes) * fade(reach, 0.3 * reach, d) * outer, lash)
    sparse = fade(0.56, 0.74, p.noise.plane((at.run - 0.5 * d * (along - 0.45)) / 0.55, d / 9, 60))
    low_line = fade(0.55, 0.05, np.abs(d)) * 0.35
    p.over(root * low * fade(0.25, 0.45, along) * ends * np.maximum(
        low_line, 0.42 * sparse * skin * fade(1.5 + 0.8 * look.lashes, 0.3, d)), lash)  # fmt: skip
    if look.liner > 0:
        wide = 0.5 + 1.3 * look.liner * fade(0.1, 0.9, along)
        p.over(0.9 * min(1.0, 2 * look.liner) * up * fade(wide + 0.35, wide - 0.2, d) * fade(-2.5, -1.5, d) * outer,
               (0.05, 0.04, 0.045))  # fmt: skip
        p.over(0.55 * look.liner * low * fade(0.9, 0.2, np.abs(d)) * fade(0.3, 0.8, along), (0.07, 0.055, 0.06))

# SPDX-License-Identifier: Apache-2.0
"""What stands behind people, out of focus: walls, rooms, windows, lights at night, gardens; and a camera's faults.

Painted in linear light and lit by the colours of the person's own light, so that both seem to be in one place.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from blendsplat.heads.render import Light
from blendsplat.synthetic.surface import Array, smoothstep

Rng = np.random.Generator
KINDS = ("wall", "room", "window", "bokeh", "garden", "studio")
_GAMMA = 2.2
_PAINTED = 256  # pixels: what is out of focus needs no more


@dataclass(frozen=True)
class Backdrop:
    """kind: of KINDS; seed: of what stands where; focus: 0 is the strongest blur, 1 nearly sharp."""

    kind: str = "room"
    seed: int = 0
    focus: float = 0.35


def paint_backdrop(backdrop: Backdrop, light: Light, size: int) -> Array:
    """The place behind a person as float32 [size,size,3] sRGB in [0,1]."""
    rng = np.random.default_rng(backdrop.seed)
    linear: Array = _PAINTERS[backdrop.kind](rng, _lamp_side(light)).astype(np.float32)
    sigma = _PAINTED * (0.026 - 0.021 * backdrop.focus)
    if backdrop.kind == "bokeh":
        sigma *= 0.4
    linear = cv2.GaussianBlur(linear, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REFLECT)
    linear = linear * _tint(light)
    picture = cv2.resize(linear, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 4)
    picture = np.where(picture > 0.7, 0.7 + 0.3 * np.tanh((picture - 0.7) / 0.3), picture) ** (1 / _GAMMA)
    # A trace of grain, so that a video's few bits make no steps of soft gradients.
    return (picture + rng.normal(0, 0.004, picture.shape)).clip(0, 1).astype(np.float32)


def through_a_camera(picture: Array, rng: Rng, faults: float = 1.0) -> Array:
    """A finished picture [H,W,3] in [0,1] as a phone takes it: slight defocus, grain, JPEG. faults: 1 as usual."""
    soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.35 + 0.35 * faults * rng.random())
    grain = rng.standard_normal(soft.shape[:2], dtype=np.float32)[..., None]
    grain = 0.7 * grain + 0.5 * rng.standard_normal(soft.shape, dtype=np.float32)
    noisy = soft + 0.010 * faults * grain * np.sqrt(0.15 + soft.mean(-1, keepdims=True))
    bytes_ = (noisy.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    file = cv2.imencode(".jpg", bytes_, [cv2.IMWRITE_JPEG_QUALITY, int(96 - 30 * min(faults, 2) * rng.random())])[1]
    return cv2.imdecode(file, cv2.IMREAD_COLOR).astype(np.float32) / 255


def _tint(light: Light) -> Array:
    """The light on what stands behind [3]: the sky's colour with some of the key's."""
    colour = np.array(light.sky) + 0.30 * np.array(light.key)
    return (colour * 0.9).astype(np.float32)


def _lamp_side(light: Light) -> float:
    """-1 where the light comes from the picture's left, +1 from its right."""
    return float(np.clip(light.direction[0] * 1.5, -1, 1))


def _square() -> tuple[Array, Array]:
    """x, y [P,P] from 0 to 1, y down."""
    y, x = np.mgrid[0:_PAINTED, 0:_PAINTED].astype(np.float32) / _PAINTED
    return x, y


def _clouds(rng: Rng, coarsest: int = 3, octaves: int = 5, stretch: float = 1.0) -> Array:
    """Noise [P,P] of several sizes, mean 0, about 1 in deviation."""
    total = np.zeros((_PAINTED, _PAINTED), np.float32)
    for octave in range(octaves):
        cells = coarsest * 2**octave
        noise = rng.standard_normal((max(2, int(cells * stretch)), cells)).astype(np.float32)
        total += cv2.resize(noise, (_PAINTED, _PAINTED), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return total / total.std()


def _hsv(rng: Rng, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]) -> Array:
    """A random colour in linear light [3]."""
    rgb = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(rgb) ** _GAMMA


def _wall(rng: Rng, side: float) -> Array:
    """Plaster in the light of a lamp or a window at one side."""
    x, y = _square()
    paint = _hsv(rng, (0.04, 0.62), (0.02, 0.15), (0.62, 0.92))
    fall = 0.75 + 0.4 * side * (x - 0.5) - 0.25 * (y - 0.4)
    texture = 1 + 0.025 * _clouds(rng, 6, 5)
    wall = paint * (fall * texture)[..., None]
    if rng.random() < 0.55:  # a window's patch of light
        lean, left, top = rng.uniform(-0.5, 0.5), rng.uniform(0.0, 0.6), rng.uniform(0.0, 0.35)
        u, v = x - left - lean * (y - top), y - top
        patch = smoothstep(0, 0.02, u) * smoothstep(0.34, 0.32, u) * smoothstep(0, 0.02, v) * smoothstep(0.5, 0.48, v)
        bars = np.minimum(smoothstep(0.0, 0.012, np.abs(u - 0.17)), smoothstep(0.0, 0.012, np.abs(v - 0.25)))
        wall = wall * (1 + 0.75 * (patch * bars)[..., None] * np.array([1.1, 1.0, 0.82]))
    if rng.random() < 0.5:
        _picture(wall, rng, side)
    return wall


def _picture(wall: Array, rng: Rng, side: float) -> None:
    """A framed picture beside the head."""
    width, height = rng.uniform(0.14, 0.28), rng.uniform(0.18, 0.32)
    left = rng.uniform(-0.05, 0.12) if rng.random() < 0.5 else rng.uniform(0.68, 0.9)
    top = rng.uniform(0.05, 0.3)
    _rectangle(
        wall,
        left - 0.012,
        top - 0.012,
        left + width + 0.012,
        top + height + 0.012,
        _hsv(rng, (0, 1), (0, 0.4), (0.1, 0.5)),
    )
    _rectangle(wall, left, top, left + width, top + height, np.array([0.75, 0.74, 0.70]))
    _rectangle(
        wall,
        left + 0.03,
        top + 0.03,
        left + width - 0.03,
        top + height - 0.03,
        _hsv(rng, (0, 1), (0.1, 0.4), (0.3, 0.7)),
    )


def _rectangle(picture: Array, left: float, top: float, right: float, bottom: float, colour: Array) -> None:
    a, b, c, d = (round(v * _PAINTED) for v in (top, bottom, left, right))
    picture[max(a, 0) : max(b, 0), max(c, 0) : max(d, 0)] = colour


def _room(rng: Rng, side: float) -> Array:
    """A wall with shelves of books and things, and a lamp."""
    x, y = _square()
    picture = _hsv(rng, (0.05, 0.6), (0.02, 0.15), (0.5, 0.85)) * (0.8 + 0.35 * side * (x - 0.5))[..., None]
    wood = _hsv(rng, (0.05, 0.1), (0.3, 0.6), (0.25, 0.6))
    start, end = (0.0, rng.uniform(0.45, 0.7)) if rng.random() < 0.5 else (rng.uniform(0.3, 0.55), 1.0)
    _rectangle(picture, start, 0, end, 1, wood * 0.45)
    apart, top = rng.uniform(0.18, 0.26), rng.uniform(-0.15, 0.02)
    while top < 1:
        floor = top + apart
        at = start + 0.01
        while at < end - 0.02:
            wide = rng.uniform(0.012, 0.034)
            if rng.random() < 0.08:
                at += rng.uniform(0.03, 0.1)
                continue
            tall = apart * rng.uniform(0.55, 0.86)
            book = _hsv(rng, (0, 1), (0.05, 0.42), (0.12, 0.55))
            _rectangle(picture, at, floor - tall, min(at + wide, end - 0.01), floor, book)
            at += wide + 0.002
        _rectangle(picture, start, floor, end, floor + 0.018, wood)
        top = floor + 0.018
    if rng.random() < 0.7:  # a lamp
        cx, cy = (rng.uniform(0.05, 0.25) if side < 0 else rng.uniform(0.75, 0.95)), rng.uniform(0.2, 0.5)
        glow = np.exp(-(((x - cx) / 0.22) ** 2) - ((y - cy) / 0.22) ** 2)
        shade = np.exp(-((np.maximum(np.abs(x - cx) / 0.06, np.abs(y - cy) / 0.05)) ** 6))
        picture = picture * (1 + 0.9 * glow[..., None] * np.array([1.1, 0.85, 0.55]))
        picture = picture + 1.5 * shade[..., None] * np.array([1.0, 0.8, 0.5])
    if rng.random() < 0.6:
        _plant(picture, rng)
    return picture


def _plant(picture: Array, rng: Rng) -> None:
    cx, cy = (rng.uniform(0.0, 0.2) if rng.random() < 0.5 else rng.uniform(0.8, 1.0)), rng.uniform(0.5, 0.8)
    for _ in range(60):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.14)
        tip = int((cx + reach * np.cos(angle)) * _PAINTED), int((cy - reach * np.sin(angle) - 0.05) * _PAINTED)
        axes = (int(rng.uniform(5, 11)), int(rng.uniform(2, 4)))
        colour = (_hsv(rng, (0.24, 0.36), (0.35, 0.7), (0.18, 0.55))).tolist()
        cv2.ellipse(picture, tip, axes, -np.degrees(angle) + rng.normal(0, 20), 0, 360, colour, -1)


def _window(rng: Rng, side: float) -> Array:
    """A room with a bright window to one side."""
    x, y = _square()
    picture = _hsv(rng, (0.05, 0.6), (0.02, 0.13), (0.45, 0.75)) * np.ones((*x.shape, 1))
    left = rng.uniform(-0.1, 0.1) if side < 0 else rng.uniform(0.5, 0.7)
    right, top, bottom = left + rng.uniform(0.35, 0.5), rng.uniform(-0.1, 0.1), rng.uniform(0.62, 0.8)
    outside = _garden(rng, side) * 1.3 + 0.45
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    picture[inside] = outside[inside]
    frame = np.array([0.7, 0.7, 0.68])
    middle = 0.5 * (left + right)
    for a, b in ((left, left + 0.018), (right - 0.018, right), (middle - 0.01, middle + 0.01)):
        _rectangle(picture, a, top, b, bottom, frame)
    _rectangle(picture, left - 0.01, bottom, right + 0.01, bottom + 0.02, frame)
    if rng.random() < 0.6:  # curtains
        cloth = _hsv(rng, (0, 1), (0.02, 0.15), (0.6, 0.9))
        for a, b in ((left - 0.1, left + 0.04), (right - 0.04, right + 0.1)):
            band = (x > a) & (x < b)
            waves = 0.8 + 0.25 * np.sin(x * 2 * np.pi / 0.028 + 0.4 * np.sin(5 * y))
            picture[band] = (cloth * waves[..., None])[band]
    spill = np.exp(-(((x - middle) / 0.5) ** 2))
    return picture * (0.75 + 0.5 * spill)[..., None]


def _bokeh(rng: Rng, side: float) -> Array:
    """A street or a bar at night: discs of light."""
    _, y = _square()
    dark = _hsv(rng, (0.55, 1.1), (0.2, 0.6), (0.16, 0.34))
    picture = dark * (0.8 + 0.4 * _clouds(rng, 3, 3)[..., None].clip(-1, 1) * 0.5) * (1.1 - 0.4 * y)[..., None]
    picture = np.ascontiguousarray(picture.clip(0.003, 1), np.float32)
    for _ in range(rng.integers(25, 60)):
        disc = np.zeros((_PAINTED, _PAINTED), np.float32)
        centre = [int(v) for v in rng.uniform(0, _PAINTED, 2) * [1, 0.8]]
        cv2.circle(disc, centre, int(rng.uniform(3, 13)), [1.0], -1, cv2.LINE_AA)
        warm = rng.random() < 0.7
        colour = _hsv(rng, (0.02, 0.14) if warm else (0.45, 0.95), (0.2, 0.7), (0.7, 1.0))
        picture += disc[..., None] * colour.astype(np.float32) * rng.uniform(0.08, 0.7)
    return picture


def _garden(rng: Rng, side: float) -> Array:
    """Leaves in the sun, with sky between them."""
    x, y = _square()
    leaf = _hsv(rng, (0.2, 0.33), (0.35, 0.65), (0.3, 0.6))
    sunny = np.array([1.35, 1.3, 0.75])
    clouds, fine = _clouds(rng, 3, 3), _clouds(rng, 14, 4)
    lit = smoothstep(-0.6, 1.6, 0.7 * clouds + 0.6 * fine + 0.5 * side * (x - 0.5))
    picture = leaf * (0.25 + 1.6 * lit)[..., None] * (1 + (sunny - 1) * lit[..., None])
    sky = _hsv(rng, (0.52, 0.62), (0.08, 0.35), (0.85, 1.0)) * 1.3
    gaps = smoothstep(0.5, 1.3, 0.8 * clouds + 0.7 * fine + 2.2 * (0.28 - y))[..., None]
    picture = picture * (1 - gaps) + sky * gaps
    ground = smoothstep(0.72, 0.95, y + 0.03 * clouds)[..., None] * 0.8
    return picture * (1 - ground) + _hsv(rng, (0.1, 0.3), (0.2, 0.45), (0.4, 0.65)) * ground


def _studio(rng: Rng, side: float) -> Array:
    """Paper with a pool of light on it."""
    x, y = _square()
    paper = _hsv(rng, (0, 1), (0.02, 0.22), (0.3, 0.8))
    pool = np.exp(-(((x - 0.5 - 0.2 * side) / 0.55) ** 2) - ((y - 0.4) / 0.6) ** 2)
    return paper * (0.45 + 0.75 * pool + 0.01 * _clouds(rng, 8, 4))[..., None]


_PAINTERS = {"wall": _wall, "room": _room, "window": _window, "bokeh": _bokeh, "garden": _garden, "studio": _studio}

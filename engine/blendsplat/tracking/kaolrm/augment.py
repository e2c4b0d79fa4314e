# SPDX-License-Identifier: Apache-2.0
"""What photographs do that renders do not: crooked framing, other cameras' colours, blur, noise, imperfect mattes.

The turn of the camera is exact (a homography of the image, a rotation of the view); the rest only touches pixels.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

SHIFT, ROLL = 0.05, np.radians(12.0)
Rng = np.random.Generator


def turned_camera(rng: Rng, focal: float) -> np.ndarray:
    """A random rotation [3,3] of a camera about its own centre: a little roll, and a shift of up to SHIFT pictures."""
    turn = np.arctan(SHIFT / focal)
    pitch, yaw, roll = rng.uniform(-turn, turn), rng.uniform(-turn, turn), rng.normal(0, ROLL / 2)
    c, s = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_z = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def turn_image(image: Image.Image, rotation: np.ndarray, K: np.ndarray) -> Image.Image:
    """The RGBA image that a camera of intrinsics K would take after ``rotation`` [3,3] of its axes."""
    backwards = K @ rotation.T @ np.linalg.inv(K)  # from the new image's pixels to the old one's
    coefficients = (backwards / backwards[2, 2]).ravel()[:8]
    return image.transform(image.size, Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BICUBIC)


def photograph(image: Image.Image, rng: Rng) -> np.ndarray:
    """RGBA -> RGB [H,W,3] float in [0,1] on white, as a cut-out photograph of the same person could look."""
    alpha = _matte_error(image.getchannel("A"), rng)
    colour: np.ndarray = np.asarray(image.convert("RGB"), np.float32) / 255
    behind = rng.random(3) * rng.random()  # what a matte cuts off too little of
    own: np.ndarray = np.asarray(image.getchannel("A"), np.float32)[..., None] / 255
    colour = colour * own + behind.astype(np.float32) * (1 - own)
    colour = _developed(colour, rng)
    colour = _degraded(colour, rng)
    colour = colour * alpha + (1 - alpha)
    if rng.random() < 0.25:
        colour = _occluded(colour, rng)
    return colour.clip(0, 1)


def _matte_error(alpha: Image.Image, rng: Rng) -> np.ndarray:
    kind = rng.integers(4)
    if kind == 1:
        alpha = alpha.filter(ImageFilter.MinFilter(int(rng.choice([3, 5]))))
    elif kind == 2:
        alpha = alpha.filter(ImageFilter.MaxFilter(int(rng.choice([3, 5]))))
    if kind:
        alpha = alpha.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))
    return np.asarray(alpha, np.float32)[..., None] / 255


def _developed(colour: np.ndarray, rng: Rng) -> np.ndarray:
    """Exposure, contrast, white balance, saturation; one in eight is black and white."""
    colour = colour.clip(0, 1) ** rng.uniform(0.7, 1.4)
    colour = colour * rng.uniform(0.75, 1.3) * (1 + rng.normal(0, 0.06, 3)) + rng.uniform(-0.05, 0.08)
    grey = colour.mean(-1, keepdims=True)
    saturation = 0.0 if rng.random() < 0.125 else rng.uniform(0.5, 1.3)
    return (grey + (colour - grey) * saturation).astype(np.float32)


def _degraded(colour: np.ndarray, rng: Rng) -> np.ndarray:
    """Lens blur or a small original, sensor noise, JPEG."""
    image = Image.fromarray((colour.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    kind = rng.integers(3)
    if kind == 1:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.8)))
    elif kind == 2:
        small = int(image.width * rng.uniform(0.3, 1))
        image = image.resize((small, small), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)
    if rng.random() < 0.3:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(20, 90)))
        image = Image.open(file)
    colour = np.asarray(image, np.float32) / 255
    return colour + rng.normal(0, rng.uniform(0, 0.03), colour.shape).astype(np.float32)


def _occluded(colour: np.ndarray, rng: Rng) -> np.ndarray:
    """A block of one colour before the picture: a hand, a microphone."""
    size = colour.shape[0]
    height, width = rng.integers(size // 12, size // 4, 2)
    top, left = rng.integers(0, size - height), rng.integers(0, size - width)
    covered = colour.copy()
    covered[top : top + height, left : left + width] = rng.random(3)
    return covered

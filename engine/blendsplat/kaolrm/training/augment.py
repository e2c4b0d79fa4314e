# SPDX-License-Identifier: Apache-2.0
"""What photographs do that renders do not: crooked framing, other cameras' colours, blur, noise, imperfect mattes.

The turn of the camera is exact (a homography of the image, a rotation of the view); the rest only touches pixels, by
bytes and tables wherever it can, because it runs beside the training.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from PIL import Image

SHIFT, ROLL, ZOOM = 0.004, np.radians(2.0), 1.01
_NOISE = 1 << 20  # numbers of the noise that pictures take a window of
Rng = np.random.Generator


def premultiplied(image: Image.Image) -> np.ndarray:
    """Straight RGBA -> premultiplied RGBA uint8 [H,W,4]."""
    rgba = np.array(image)
    rgba[..., :3] = cv2.multiply(rgba[..., :3], cv2.merge([rgba[..., 3]] * 3), scale=1 / 255)
    return rgba


def turned_camera(rng: Rng, focal: float) -> np.ndarray:
    """A random rotation [3,3] of a camera about its own centre: a little roll, and a shift of up to SHIFT pictures."""
    turn = np.arctan(SHIFT / focal)
    pitch, yaw, roll = rng.uniform(-turn, turn), rng.uniform(-turn, turn), rng.normal(0, ROLL / 2)
    return _rotation(pitch, yaw, roll)


def framing_camera(landmarks: np.ndarray, K: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """(rotation [3,3], zoom) of a camera of intrinsics K after which landmarks [68,2] lie in the picture's middle and
    take ``share`` of its height: how fit-image frames a portrait."""
    ray = np.linalg.inv(K) @ [*landmarks.mean(0), 1.0]
    yaw = -np.arctan2(ray[0], ray[2])
    pitch = np.arctan2(ray[1], np.hypot(ray[0], ray[2]))
    return _rotation(pitch, yaw, 0.0), share * 2 * K[1, 2] / float(np.ptp(landmarks[:, 1]))


def _rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    c, s = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_z = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def turn_image(image: np.ndarray, rotation: np.ndarray, K: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    """The premultiplied RGBA [H,W,4] that a camera of intrinsics K would take after ``rotation`` [3,3] of its axes,
    its focal length ``zoom`` times as long."""
    to_corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts pixels from their centres
    forwards = K @ np.diag([zoom, zoom, 1.0]) @ rotation @ np.linalg.inv(K)
    matrix = np.linalg.inv(to_corner) @ forwards @ to_corner
    return cv2.warpPerspective(image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR)


def on_white(image: np.ndarray) -> np.ndarray:
    """Premultiplied RGBA uint8 [H,W,4] -> RGB float32 [H,W,3] in [0,1] on white."""
    return (image[..., :3] + (255 - image[..., 3:])).astype(np.float32) / 255


def photograph(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Premultiplied RGBA uint8 [H,W,4] -> RGB float32 [H,W,3] in [0,1] on white, as a cut-out photograph could look."""
    matte = _matte_error(image[..., 3], rng)
    behind = rng.random(3) * rng.random()  # what a matte cuts off too little of
    clear = 255 - image[..., 3]
    colour = image[..., :3] + np.stack([cv2.LUT(clear, _table(np.arange(256) * share)) for share in behind], -1)
    colour = _degraded(_developed(colour, rng), rng)
    alpha = matte[..., None] * np.float32(1 / 255)
    colour = colour * alpha + (1 - alpha)
    if rng.random() < 0.25:
        _occlude(colour, rng)
    return colour.clip(0, 1, out=colour)


def _matte_error(alpha: np.ndarray, rng: Rng) -> np.ndarray:
    kind = rng.integers(4)
    if kind in (1, 2):
        side = int(rng.choice([3, 5]))
        alpha = (cv2.erode if kind == 1 else cv2.dilate)(alpha, np.ones((side, side), np.uint8))
    return _blurred(alpha, rng.uniform(0, 1.5)) if kind else alpha


def _developed(colour: np.ndarray, rng: Rng) -> np.ndarray:
    """Exposure, contrast, white balance, saturation, uint8 -> uint8; one in eight is black and white."""
    tone = np.linspace(0, 1, 256) ** rng.uniform(0.7, 1.4)
    gains, lift = rng.uniform(0.75, 1.3) * (1 + rng.normal(0, 0.06, 3)), rng.uniform(-0.05, 0.08)
    table = np.stack([_table(255 * (tone * gain + lift)) for gain in gains], -1)
    saturation = 0.0 if rng.random() < 0.125 else rng.uniform(0.5, 1.3)
    return cv2.transform(cv2.LUT(colour, table[None]), np.eye(3) * saturation + (1 - saturation) / 3)


def _degraded(colour: np.ndarray, rng: Rng) -> np.ndarray:
    """Lens blur or a small original, sensor noise, JPEG; uint8 -> float32 in about [0,1]."""
    kind = rng.integers(3)
    if kind == 1:
        colour = _blurred(colour, rng.uniform(0, 1.8))
    elif kind == 2:
        size, small = colour.shape[1::-1], max(1, int(colour.shape[1] * rng.uniform(0.3, 1)))
        colour = cv2.resize(cv2.resize(colour, (small, small), interpolation=cv2.INTER_AREA), size)
    if rng.random() < 0.3:
        file = cv2.imencode(".jpg", colour, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))])[1]
        colour = cv2.imdecode(file, cv2.IMREAD_COLOR)
    start = rng.integers(_NOISE - colour.size)
    noise = _noise()[start : start + colour.size].reshape(colour.shape)
    return colour * np.float32(1 / 255) + noise * np.float32(rng.uniform(0, 0.03))


def _occlude(colour: np.ndarray, rng: Rng) -> None:
    """Paint a block of one colour over the picture: a hand, a microphone."""
    size = colour.shape[0]
    height, width = rng.integers(size // 12, size // 4, 2)
    top, left = rng.integers(0, size - height), rng.integers(0, size - width)
    colour[top : top + height, left : left + width] = rng.random(3)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return image if sigma < 0.2 else cv2.GaussianBlur(image, (0, 0), sigma)


def _table(values: np.ndarray) -> np.ndarray:
    """256 numbers -> a look-up table of bytes."""
    return (values + 0.5).clip(0, 255).astype(np.uint8)


@cache
def _noise() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(_NOISE, dtype=np.float32)

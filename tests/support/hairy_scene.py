# SPDX-License-Identifier: Apache-2.0
"""A head with single hairs before a busy wall, painted, so that every pixel's alpha and colours are known."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SIZE = 160
_FINE = 4  # samples a pixel, each way
_HAIR, _SKIN = np.array([40, 26, 20], np.float32), np.array([190, 140, 120], np.float32)


@dataclass(frozen=True)
class Scene:
    """images [F,H,W,3], alpha [F,H,W], own (premultiplied colours) [F,H,W,3], uint8; masks [F,H,W] float32: coarse, and
    without the single hairs, as a network finds them; wall [H,W,3] uint8: what stands behind in the first frame."""

    images: np.ndarray
    alpha: np.ndarray
    own: np.ndarray
    masks: np.ndarray
    wall: np.ndarray


def hairy_scene(frames: int = 12, *, moving_camera: bool = False, contrast: float = 1.0, seed: int = 0) -> Scene:
    """The head sways by a quarter of its width. moving_camera: the wall does, too; contrast: of the wall."""
    rng = np.random.default_rng(seed)
    cells = rng.uniform(90, 230, (18, 18, 3)).astype(np.float32)
    wide = cv2.resize(160 + contrast * (cells - 160), (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_NEAREST)
    hairs = rng.uniform([0, 0.8, 0.85], [2 * np.pi, 1.0, 1.35], (90, 3)), rng.normal(0, 0.15, 90)
    images, alphas, owns, masks = [], [], [], []
    wall = wide[:SIZE, :SIZE]
    for frame in range(frames):
        behind = wide[5 * frame : SIZE + 5 * frame, 7 * frame : SIZE + 7 * frame] if moving_camera else wall
        body, hair = _drawn(80 + 12 * np.sin(frame / 2.2), hairs)
        alpha = np.maximum(body, hair)[..., None]
        colour = np.where(_face(80 + 12 * np.sin(frame / 2.2))[..., None], _SKIN, _HAIR)
        own = colour * alpha
        image = own + behind * (1 - alpha) + rng.normal(0, 2, (SIZE, SIZE, 3))
        images.append(image.clip(0, 255))
        alphas.append(alpha[..., 0] * 255)
        owns.append(own)
        masks.append(cv2.GaussianBlur(body, (0, 0), 3))
    bytes_ = [np.stack(planes).round().astype(np.uint8) for planes in (images, alphas, owns)]
    return Scene(*bytes_, np.stack(masks).astype(np.float32), wall.round().astype(np.uint8))


def band(alpha: np.ndarray) -> np.ndarray:
    """alpha [H,W] uint8 -> bool [H,W]: the border and what lies around it."""
    soft = ((alpha > 4) & (alpha < 251)).astype(np.uint8)
    return cv2.dilate(soft, np.ones((9, 9))) > 0


def _drawn(x: float, hairs: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Alpha [H,W] of the head with its shoulders, and of the single hairs, area-averaged."""
    fine = SIZE * _FINE
    body, hair = np.zeros((fine, fine), np.uint8), np.zeros((fine, fine), np.uint8)
    centre, radii = np.array([x, 70]), np.array([34, 42])
    cv2.ellipse(body, _at(centre), _at(radii), 0, 0, 360, 255, -1)
    cv2.ellipse(body, _at(np.array([x, 165])), _at(np.array([62, 60])), 0, 0, 360, 255, -1)
    for (angle, start, end), bend in zip(*hairs, strict=True):
        if np.sin(angle) > 0.5:  # none from the chin
            continue
        along = np.linspace(start, end, 6)
        turned = angle + bend * (along - start)
        points = centre + radii * np.stack([np.cos(turned), np.sin(turned)], 1) * along[:, None]
        cv2.polylines(hair, [(points * _FINE).round().astype(np.int32)], False, 255, 5)
    small = [cv2.resize(p, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255 for p in (body, hair)]
    return small[0], small[1]


def _face(x: float) -> np.ndarray:
    """bool [H,W]: skin; all else is dark."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    return np.asarray(((columns - x) / 22) ** 2 + ((rows - 80) / 26) ** 2 < 1)


def _at(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0]) * _FINE), round(float(point[1]) * _FINE)

# SPDX-License-Identifier: Apache-2.0
"""An eye of exact shapes: a ball, and skin on a larger sphere about it with an almond-shaped slit."""

from __future__ import annotations

import numpy as np

from small_head import grid_sphere

RADIUS, SKIN = 0.0120, 0.0134  # metres, of the eyeball and of the sphere that lids lie on
WIDTH, ABOVE, BELOW = 0.0100, 0.0055, 0.0040  # half of the slit's width, its heights above and below the middle
RINGS, AROUND = 14, 48


def eye(centre: np.ndarray, pocket: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(vertices [V,3], faces [F,3], the eyeball's vertices, vertices of the slit's edge [AROUND] from the left corner
    counter-clockwise). pocket: behind its edge the lids go on as the socket's wall around the eyeball."""
    ball, ball_faces, _, _ = grid_sphere(rows=24, columns=24, radius=RADIUS)
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    edge = np.stack([WIDTH * np.cos(angle), np.where(np.sin(angle) > 0, ABOVE, BELOW) * np.sin(angle)], 1)
    rings = [_on_sphere(edge * grown) for grown in np.linspace(1, 3, RINGS)]
    if pocket:
        inner = [_socket(edge, backwards) for backwards in np.linspace(1, 0, 6)]
        rings = [*inner, *rings]
    lids = np.concatenate(rings)
    row, column = np.meshgrid(np.arange(len(rings) - 1), np.arange(AROUND), indexing="ij")
    a, b = row * AROUND + column, row * AROUND + (column + 1) % AROUND
    c, d = a + AROUND, b + AROUND
    faces = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], 2).reshape(-1, 3)
    first = len(ball) + (len(rings) - RINGS) * AROUND
    return (
        np.concatenate([ball, lids]) + centre, np.concatenate([ball_faces, faces + len(ball)]), np.arange(len(ball)),
        np.arange(first, first + AROUND),
    )  # fmt: skip


def _on_sphere(flat: np.ndarray) -> np.ndarray:
    """Points [N,2] of the front view on the lids' sphere, and on the plane that touches it where it falls off."""
    far = np.linalg.norm(flat, axis=1)
    near = np.minimum(far, 0.8 * SKIN)
    depth = np.sqrt(SKIN**2 - near**2) - (far - near) * 0.8 / 0.6
    return np.column_stack([flat, np.maximum(depth, -0.004)])


def _socket(edge: np.ndarray, backwards: float) -> np.ndarray:
    """A ring of the socket's wall: 0 near the slit's edge, 1 far behind."""
    start = _on_sphere(edge) * (1.01 * RADIUS / SKIN)
    angle = np.arccos(start[:, 2] / np.linalg.norm(start, axis=1))
    turned = angle + backwards * (2.4 - angle)
    away = start[:, :2] / np.linalg.norm(start[:, :2], axis=1, keepdims=True)
    return 1.01 * RADIUS * np.column_stack([away * np.sin(turned)[:, None], np.cos(turned)])

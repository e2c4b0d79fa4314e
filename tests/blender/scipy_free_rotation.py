# SPDX-License-Identifier: Apache-2.0
"""Rotations for the oracle, by other formulas than the add-on's: the matrix exponential as a series, and q v q*."""

from __future__ import annotations

import numpy as np


def matrix_of_rotvec(rotvec: np.ndarray) -> np.ndarray:
    """exp of the skew matrix [3,3], by scaling and a power series."""
    x, y, z = np.asarray(rotvec, dtype=float) / 16
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    result, term = np.eye(3), np.eye(3)
    for order in range(1, 15):
        term = term @ skew / order
        result = result + term
    return np.linalg.matrix_power(result, 16)


def matrix_of_quat(quat: np.ndarray) -> np.ndarray:
    """[3,3] of a quaternion wxyz of any length: its columns are the turned axes q e q*."""
    w, v = quat[0] / np.linalg.norm(quat), np.asarray(quat[1:], dtype=float) / np.linalg.norm(quat)
    return np.stack([e + 2 * w * np.cross(v, e) + 2 * np.cross(v, np.cross(v, e)) for e in np.eye(3)], -1)

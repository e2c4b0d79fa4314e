# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mixture of nameless sliders moves one place of a face one way and leaves the rest alone: a small ridge
regression on how the sliders move the mesh. For heads whose sliders are numbered directions of whole faces (FLAME).
"""

from __future__ import annotations

import numpy as np

_REST = 1.0  # how much stillness elsewhere counts beside movement at the place
_RIDGE = 0.02
_MOST = 40  # sliders in a mixture
_REACH = 2.0  # units to which one slider is used


def mixture(moves: np.ndarray, here: np.ndarray, face: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """moves [E,V,3] of the sliders at 1, the place ``here`` [V] and all of the ``face`` [V] as masks, the movement
    ``wanted`` [3] there -> the sliders' values [E], at most forty of them not 0 (all 0 where nothing fits)."""
    count = len(moves)
    there = face & ~here
    if not count or not here.any():
        return np.zeros(count)
    weight = _REST * np.sqrt(here.sum() / max(there.sum(), 1))
    columns = np.concatenate([moves[:, here].reshape(count, -1), weight * moves[:, there].reshape(count, -1)], 1)
    target = np.concatenate([np.tile(wanted, here.sum()), np.zeros(3 * int(there.sum()))])
    values = _solved(columns.astype(float), target)
    chosen = np.argsort(-np.abs(values) * np.linalg.norm(columns, axis=1))[:_MOST]
    found = np.zeros(count)
    found[chosen] = _solved(columns[chosen].astype(float), target)
    return np.clip(found, -_REACH, _REACH).round(3)


def _solved(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    gram = columns @ columns.T
    level = np.trace(gram) / len(gram)
    if level < 1e-20:
        return np.zeros(len(columns))
    return np.linalg.solve(gram + _RIDGE * level * np.eye(len(gram)), columns @ target)

# SPDX-License-Identifier: Apache-2.0
"""Shape from the landmark detector's 478 points, beside what the network sees: a linear map of both.

The detector has seen more faces than any network of ours, and its errors are the same on every picture: a map that was
solved for on pictures whose heads are known knows them too. The points are first laid on a resting face (turn, size and
place taken away), so that the map is blind to the pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blendsplat.errors import FormatError
from blendsplat.files import read_npz, write_npz
from blendsplat.landmarks import points as pts

FORMAT, VERSION = "blendsplat-points-reader", 1
FILE = "points_reader.npz"  # beside the weights
NUMBERS = 3 * pts.COUNT


@dataclass
class PointsReader:
    """rest [478,3]: the resting face; weight [3*478 + M, S] and bias [S] of a map from points and M of the network's
    numbers to S shape coefficients."""

    rest: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def read(self, points: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Points [B,478,3] (x right, y down, z away, one unit) and the network's numbers [B,M] -> shape [B,S]."""
        seen = np.concatenate([laid_on(self.rest, points).reshape(len(points), -1), means], 1)
        return np.asarray(seen @ self.weight + self.bias, np.float32)

    def save(self, folder: Path) -> None:
        """Write FILE into the folder of the weights, in half precision."""
        arrays: dict[str, np.ndarray] = {"rest": self.rest.astype(np.float32), "weight": self.weight.astype(np.float16)}
        write_npz(
            folder / FILE, {"format": FORMAT, "version": VERSION}, arrays | {"bias": np.asarray(self.bias, np.float32)}
        )


def load_reader(folder: Path, numbers: int, shape_count: int) -> PointsReader | None:
    """The reader beside the weights of a network that gives ``numbers`` [M] and ``shape_count``; None: there is none.

    Raises FormatError when it is damaged or of other weights.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    _, arrays = read_npz(path, FORMAT, VERSION)
    wanted = {"rest": (pts.COUNT, 3), "weight": (NUMBERS + numbers, shape_count), "bias": (shape_count,)}
    if any(name not in arrays or arrays[name].shape != shape for name, shape in wanted.items()):
        raise FormatError(f"{path} does not belong to the weights beside it; fetch both again, or remove it.")
    return PointsReader(*(arrays[name].astype(np.float32) for name in wanted))


def laid_on(rest: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Detected points [B,478,3] turned, scaled and moved onto ``rest`` [478,3] by what of a face is rigid; in its frame
    (x to the person's left, y up, z ahead) and unit."""
    rows = list(pts.RIGID)
    solid = np.asarray(points, np.float64) * [1, -1, -1]
    solid = solid - solid[:, rows].mean(1, keepdims=True)
    target = rest[rows] - rest[rows].mean(0)
    u, values, vt = np.linalg.svd(np.einsum("pi,bpj->bij", target, solid[:, rows]))
    signs = np.ones((len(solid), 3))
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))
    turn = (u * signs[:, None]) @ vt
    scale = (values * signs).sum(1) / np.maximum((solid[:, rows] ** 2).sum((1, 2)), 1e-12)
    laid = scale[:, None, None] * np.einsum("bij,bpj->bpi", turn, solid)
    return np.asarray(laid + rest[rows].mean(0), np.float32)

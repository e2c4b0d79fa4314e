# SPDX-License-Identifier: Apache-2.0
"""How healthy an avatar's Gaussians are, without a picture to compare with: needles, strays and what nobody sees.

Training sees a face from the front. What it leaves undecided (a needle that points at the camera, a Gaussian far off
the skin that happens to be hidden) is what an artist meets when the camera moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.splatting.scene import Gaussians

FAINT = 0.05  # opacity below which one adds nothing that is seen (DipGuava prunes there)
NEEDLE_RATIO = 5.0  # longest over median axis from which on one is a needle, where it is also
NEEDLE_LENGTH = 2.0  # mm long or more (one sigma): shorter ones are finer than skin shows
PERCENTILES = (50, 95, 99, 100)
_POINTS_AT_ONCE = 4096  # whose distances are looked for; a mesh's candidates take much memory


def geometry_health(gaussians: Gaussians, vertices: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    """Figures of one frame's Gaussians (one row each) on the head's posed mesh (vertices [V,3] metres, faces [F,3]).

    needle: longest over median axis; flatness: median over shortest; length_mm: the longest axis' sigma; distance_mm:
    of the centre from the mesh. Each {"50", "95", "99", "max"} over the Gaussians that are not faint. needles: the
    share of them that are needles; faint: the share of all whose opacity is below FAINT; gaussians: how many there
    are. Where all are faint the percentiles are None.
    """
    scales, opacities, means = (
        tensor[0].detach().cpu().double().numpy() for tensor in (gaussians.scales, gaussians.opacities, gaussians.means)
    )
    visible = opacities >= FAINT
    shortest, median, longest = np.sort(np.maximum(scales[visible], 1e-12), axis=1).T
    needle, length = longest / median, 1000 * longest
    distance = 1000 * distances(means[visible], vertices, faces)
    return {
        "needle": percentiles(needle), "flatness": percentiles(median / shortest), "length_mm": percentiles(length),
        "distance_mm": percentiles(distance),
        "needles": _share((needle >= NEEDLE_RATIO) & (length >= NEEDLE_LENGTH)),
        "faint": _share(~visible), "gaussians": len(opacities),
    }  # fmt: skip


def distances(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Distance [P] of points [P,3] from a mesh."""
    starts = range(0, len(points), _POINTS_AT_ONCE)
    parts = [closest_on_mesh(points[start : start + _POINTS_AT_ONCE], vertices, faces)[2] for start in starts]
    return np.concatenate(parts) if parts else np.zeros(0)


def percentiles(values: np.ndarray) -> dict[str, float] | None:
    """{"50", "95", "99", "max"} of values [N]; None where there are none."""
    if not len(values):
        return None
    names = [*map(str, PERCENTILES[:-1]), "max"]
    return dict(zip(names, map(float, np.percentile(values, PERCENTILES)), strict=True))


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0

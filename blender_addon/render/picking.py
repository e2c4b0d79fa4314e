# SPDX-License-Identifier: GPL-3.0-or-later
"""Which avatar is under the mouse: splats have no surface that Blender's own selection could find."""

from __future__ import annotations

import numpy as np

from ..space import quat_to_matrix
from .gather import Gaussians
from .splat_shader import LOW_PASS, MIN_ALPHA, NEAREST

SOLID = 0.5  # what must lie before a ray for it to have hit something


def distance_at(
    gaussians: Gaussians, view: np.ndarray, projection: np.ndarray, size: tuple[int, int], pixel: tuple[float, float]
) -> float | None:
    """How far along the view's axis the splats at a pixel (from the lower left) become solid; None: they do not.

    view, projection [4,4] are OpenGL's, size the view's in pixels. The same formulas as the drawing's (splat_shader),
    of the few Gaussians that reach the pixel.
    """
    flat = projection[3, 3] == 1
    scale = np.diag(projection)[:2] * np.array(size) / 2
    shift = projection[:2, 3] if flat else -projection[:2, 2]
    mean = gaussians.means @ view[:3, :3].T + view[:3, 3]
    ahead = -mean[:, 2]
    near = np.ones(len(mean)) if flat else 1 / np.maximum(ahead, 1e-6)
    middle = mean[:, :2] * near[:, None] * scale + (shift + 1) * np.array(size) / 2
    offset = np.asarray(pixel) - middle
    reach = 3.4 * gaussians.scales.max(1, initial=0) * near * scale.max() * 1.5 + 3
    # An orthographic view of Blender's sees what is behind its eye, too.
    seen = np.full(len(mean), True) if flat else ahead > NEAREST
    close = np.flatnonzero((np.abs(offset).max(1) < reach) & seen & (gaussians.opacities > MIN_ALPHA))
    mean, near, offset = mean[close], near[close], offset[close]
    spread = view[:3, :3] @ quat_to_matrix(gaussians.quats[close].astype(float)) * gaussians.scales[close, None, :]
    slope = np.zeros((len(close), 2)) if flat else mean[:, :2] * near[:, None]
    axes = (spread[:, :2] + slope[..., None] * spread[:, 2:]) * (scale * near[:, None])[..., None]
    covariance = axes @ axes.transpose(0, 2, 1) + LOW_PASS * np.eye(2)
    power = 0.5 * np.einsum("ni,nij,nj->n", offset, np.linalg.inv(covariance), offset)
    alpha = gaussians.opacities[close] * np.exp(-power)
    order = np.argsort(ahead[close])
    through = np.cumprod(1 - alpha[order])
    solid = np.flatnonzero(through < 1 - SOLID)
    return float(ahead[close][order[solid[0]]]) if len(solid) else None

# SPDX-License-Identifier: Apache-2.0
"""An avatar driven by a performance, frame after frame, as premultiplied RGBA and depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.avatar import Avatar, Gaussians
from blendsplat.errors import InputError
from blendsplat.splatting import rasterize_gaussians
from blendsplat.tracking.result import Tracking

_FRAMES_A_BATCH = 4


def fitted_intrinsics(K: Tensor, from_size: tuple[int, int], to_size: tuple[int, int]) -> Tensor:
    """K [3,3] of a width x height image for another size: the whole picture fits, centred, pixels stay square."""
    (old_width, old_height), (width, height) = from_size, to_size
    if min(*from_size, *to_size) < 1:
        raise InputError(f"An image of {width} x {height} pixels cannot be rendered; choose at least 1 x 1.")
    scale = min(width / old_width, height / old_height)
    fitted = K.clone()
    fitted[:2] *= scale
    fitted[0, 2] += (width - old_width * scale) / 2
    fitted[1, 2] += (height - old_height * scale) / 2
    return fitted


def render_gaussians(
    gaussians: Gaussians, viewmat: Tensor, K: Tensor, width: int, height: int, backgrounds: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Rasterize B frames with one camera: viewmat [4,4], K [3,3] -> image [B,H,W,3], alpha, depth [B,H,W,1]."""
    batch = gaussians.means.shape[0]
    return rasterize_gaussians(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors,
        viewmat.expand(batch, 4, 4), K.expand(batch, 3, 3), width, height, backgrounds,
    )  # fmt: skip


@torch.no_grad()
def render_performance(
    avatar: Avatar,
    tracking: Tracking,
    width: int,
    height: int,
    background: Sequence[float] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rgba float32 [H,W,4] premultiplied, depth float32 [H,W] in metres, 0 where nothing is) for every frame.

    The performance brings pose, expression and camera; the face is the avatar's. background: RGB in [0,1] composited
    behind it, alpha then 1. Raises InputError when the performance was tracked with another head.
    """
    if avatar.head.name != tracking.head:
        raise InputError(
            f"The avatar {avatar.name!r} was trained on the head {avatar.head.name!r} but the performance was tracked "
            f"with {tracking.head!r}; track it again with the avatar's head."
        )
    params = tracking.params(device)
    K = torch.as_tensor(tracking.K, dtype=torch.float32, device=device)
    K = fitted_intrinsics(K, (tracking.width, tracking.height), (width, height))
    viewmat = torch.as_tensor(tracking.viewmat, dtype=torch.float32, device=device)
    behind = None if background is None else torch.as_tensor(background, dtype=torch.float32, device=device)
    for start in range(0, tracking.frame_count, _FRAMES_A_BATCH):
        rows = slice(start, min(start + _FRAMES_A_BATCH, tracking.frame_count))
        image, alpha, depth = render_gaussians(avatar.drive(params[rows]), viewmat, K, width, height)
        depth = torch.where(alpha > 1e-4, depth / alpha.clamp_min(1e-4), 0.0)[..., 0]
        if behind is not None:
            image, alpha = image + behind * (1 - alpha), torch.ones_like(alpha)
        rgba = torch.cat([image, alpha], -1).cpu().numpy()
        for frame in range(rgba.shape[0]):
            yield rgba[frame], depth[frame].cpu().numpy()

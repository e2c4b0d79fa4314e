# SPDX-License-Identifier: Apache-2.0
"""An avatar driven by a performance, frame after frame, as premultiplied RGBA and depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.avatar import Avatar, Gaussians
from blendsplat.errors import InputError
from blendsplat.heads.performance import Performance, frame_intrinsics
from blendsplat.splatting import rasterize_gaussians
from blendsplat.splatting.backend import make_pass
from blendsplat.splatting.protocols import RasterPass
from blendsplat.splatting.scene import Cameras, Scene

_FRAMES_A_BATCH, _FRAMES_ON_A_CPU = 8, 2  # drawn at once; a processor's cache should hold them
_BATCHES_BLENDED = 5  # at once: the blendshapes of so many are read from memory once
_PIXELS_A_BATCH = 2**21
_FAINTEST = 1e-4  # alpha below which a pixel has no depth


def fitted_intrinsics(K: Tensor, from_size: tuple[int, int], to_size: tuple[int, int]) -> Tensor:
    """K [...,3,3] of a width x height image for another size: the whole picture fits, centred, pixels stay square."""
    (old_width, old_height), (width, height) = from_size, to_size
    if min(*from_size, *to_size) < 1:
        raise InputError(f"An image of {width} x {height} pixels cannot be rendered; choose at least 1 x 1.")
    scale = min(width / old_width, height / old_height)
    fitted = K.clone()
    fitted[..., :2, :] *= scale
    fitted[..., 0, 2] += (width - old_width * scale) / 2
    fitted[..., 1, 2] += (height - old_height * scale) / 2
    return fitted


def render_gaussians(
    gaussians: Gaussians, viewmat: Tensor, K: Tensor, width: int, height: int, backgrounds: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Rasterize B frames with one camera: viewmat [4,4], K [3,3] -> image [B,H,W,3], alpha, depth [B,H,W,1]."""
    batch = gaussians.means.shape[0]
    cameras = viewmat.expand(batch, 4, 4), K.expand(batch, 3, 3)
    return rasterize_gaussians(*gaussians.tensors(), *cameras, width, height, backgrounds)


@torch.no_grad()
def render_performance(
    avatar: Avatar,
    performance: Performance,
    width: int,
    height: int,
    background: Sequence[float] | None = None,
    device: torch.device | str = "cpu",
    rows: slice = slice(None),
    bounded: bool | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rgba float32 [H,W,4] premultiplied, depth float32 [H,W] in metres, 0 where nothing is) for every frame.

    The performance brings pose, expression and camera; the face is the avatar's. Another clip's performance is re-based
    to the avatar's own and held to what training showed. background: RGB in [0,1] composited behind it, alpha then 1.
    rows: only these frames. bounded: whether it is held so; None: as was said. Raises InputError when the performance
    was tracked with another head.
    """
    bounded = not avatar.owns(performance) if bounded is None else bounded
    performance = avatar.adopted(performance).select(rows)
    params, frames = performance.params(device), performance.frame_count
    K = torch.as_tensor(frame_intrinsics(performance), device=device)
    K = fitted_intrinsics(K, (performance.width, performance.height), (width, height))
    viewmat = torch.as_tensor(performance.viewmat, dtype=torch.float32, device=device)
    most = _FRAMES_ON_A_CPU if torch.device(device).type == "cpu" else _FRAMES_A_BATCH
    batch = _batch_of(frames, min(most, _PIXELS_A_BATCH // (width * height)))
    cameras = Cameras(viewmat.expand(batch, 4, 4).contiguous(), K[:1].repeat(batch, 1, 1), width, height)
    behind = None
    if background is not None:
        behind = torch.as_tensor(background, dtype=torch.float32, device=device).expand(batch, 3).contiguous()
    blended = batch * _batch_of(-(-frames // batch), _BATCHES_BLENDED)
    animation = avatar.animation(blended, bounded=bounded)
    raster = make_pass(batch, avatar.gaussian_count, width, height, viewmat.device)
    for start in range(0, frames, batch):
        place = start % blended
        if place == 0:
            shown = torch.arange(start, start + blended, device=viewmat.device)
            gaussians = animation(params[shown.clamp_max(frames - 1)])  # the last is padded
        drawn = torch.arange(start, start + batch, device=viewmat.device).clamp_max(frames - 1)
        torch.index_select(K, 0, drawn, out=cameras.Ks)
        scene = Scene(_rows_of(gaussians, slice(place, place + batch)), cameras, behind)
        rgba, metres = raster.pictures(scene, _FAINTEST)
        while _lost_some(raster):
            rgba, metres = raster.pictures(scene, _FAINTEST)
        for frame in range(min(batch, frames - start)):
            yield rgba[frame].cpu().numpy(), metres[frame].cpu().numpy()


def _rows_of(gaussians: Gaussians, rows: slice) -> Gaussians:
    """Those of some frames; what has one row holds for all."""
    return Gaussians(*(part if len(part) == 1 else part[rows] for part in gaussians.tensors()))


def _batch_of(frames: int, most: int) -> int:
    """Frames at once, at most ``most``, so that the last batch, which is filled up, is nearly full."""
    return max(1, -(-frames // max(1, -(-frames // max(1, most)))))


def _lost_some(raster: RasterPass) -> bool:
    """Whether the last picture lacks Gaussians; waits for it."""
    if raster.image.is_cuda:
        torch.cuda.synchronize(raster.image.device)
    return raster.overflowed()

# SPDX-License-Identifier: Apache-2.0
"""The loss of a rendered batch against 8-bit frames and its gradient, in one pass that allocates nothing but scratch.

The frames stay in 8 bits on the device; each is decoded, and laid over its background, while it is compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Workspace, address
from blendsplat.splatting.launch import check_buffer, launch_on


class TargetFrames:
    """M frames on one device, uint8: premultiplied [M,H,W,3], alpha [M,H,W], and valid [M,H,W], the weight of a pixel.

    Raises ValueError when they do not fit each other.
    """

    def __init__(self, premultiplied: Tensor, alpha: Tensor, valid: Tensor) -> None:
        if premultiplied.ndim != 4:
            raise ValueError(f"premultiplied: expected [M,H,W,3], got {list(premultiplied.shape)}")
        frames, height, width, _ = premultiplied.shape
        device = premultiplied.device
        check_buffer("premultiplied", premultiplied, (frames, height, width, 3), device, torch.uint8)
        check_buffer("alpha", alpha, (frames, height, width), device, torch.uint8)
        check_buffer("valid", valid, (frames, height, width), device, torch.uint8)
        self.premultiplied, self.alpha, self.valid = premultiplied, alpha, valid
        self.frame_weights = torch.ones(frames, device=device)  # [M] above 0: what a whole frame's loss counts
        self.weight_sums = torch.zeros(frames, device=device)  # [M], over pixels and channels, over the frame's weight
        self.refresh(range(frames))

    def refresh(self, rows: Iterable[int]) -> None:
        """Look at frames again whose ``valid`` or ``frame_weights`` have been written."""
        for row in rows:
            weight = self.valid[row].sum(dtype=torch.int64).double() * (3 / 255)
            self.weight_sums[row] = (weight.clamp_min(1e-8) / self.frame_weights[row]).float()

    def __len__(self) -> int:
        return self.alpha.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.alpha.shape[1], self.alpha.shape[2]


def image_loss_into(
    image: Tensor,
    frames: TargetFrames,
    rows: Tensor,
    backgrounds: Tensor,
    l1_weight: float,
    ssim_weight: float,
    grad_image: Tensor,
    losses: Tensor,
    mean_squares: Tensor,
) -> None:
    """Compare image [B,H,W,3] with the frames ``rows`` (int64 [B]) over backgrounds [B,3].

    Writes losses [B] = l1_weight mean|x - y| + ssim_weight (1 - SSIM), means over pixels weighted by ``valid``, times
    the frame's weight; grad_image [B,H,W,3], the gradient of losses.mean(); and mean_squares [B], without the frame's
    weight, whose -10 log10 is the PSNR. SSIM as in image_metrics.psnr_ssim (Wang et al. 2004, 11x11 Gaussian window,
    zero padding; pixels of weight 0 are black in both). On the CPU a row that is no frame raises ValueError; on a GPU
    the caller answers for it (reading it would wait).
    """
    batch = len(image)
    height, width = frames.size
    device = frames.alpha.device
    check_buffer("image", image, (batch, height, width, 3), device)
    check_buffer("rows", rows, (batch,), device, torch.int64)
    check_buffer("backgrounds", backgrounds, (batch, 3), device)
    check_buffer("grad_image", grad_image, (batch, height, width, 3), device)
    check_buffer("losses", losses, (batch,), device)
    check_buffer("mean_squares", mean_squares, (batch,), device)
    if device.type == "cpu" and batch and not 0 <= int(rows.min()) <= int(rows.max()) < len(frames):
        raise ValueError(f"rows: expected numbers from 0 to {len(frames) - 1}, got {rows.tolist()}")
    if not batch or not height or not width:
        return
    launch, scratch = launch_on(device), _workspace(device)
    sums, floats = launch.image_loss_sizes(batch, height, width)
    loss = launch.kernels.ImageLoss(
        batch, width, height, address(image), address(frames.premultiplied), address(frames.alpha),
        address(frames.valid), address(frames.weight_sums), address(rows), address(backgrounds), l1_weight, ssim_weight,
        address(grad_image), address(losses), address(mean_squares),
    )  # fmt: skip
    buffers = scratch.take("sums", (sums,), torch.float64), scratch.take("rows", (floats,), torch.float32)
    launch.kernels.image_loss(loss, *(address(buffer) for buffer in buffers), *launch.queue)
    # the kernel divided by weight_sums, so what it says of a frame is the frame's weight times what it was
    weights = torch.index_select(frames.frame_weights, 0, rows, out=scratch.take("weights", (batch,), torch.float32))
    mean_squares.div_(weights)
    if ssim_weight:
        losses.add_(weights.sub_(1), alpha=ssim_weight)


@lru_cache
def _workspace(device: torch.device) -> Workspace:
    return Workspace(device)

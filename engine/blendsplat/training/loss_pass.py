# SPDX-License-Identifier: Apache-2.0
"""A rendered batch's loss and its gradient with respect to the render, into buffers made once.

L1 and SSIM are one fused kernel that decodes the 8-bit frames on the fly; LPIPS and exposure go through autograd.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.image_metrics.lpips import Lpips
from blendsplat.image_metrics.psnr_ssim import weighted_mean
from blendsplat.splatting.image_loss import image_loss_into
from blendsplat.training.exposure import Exposure
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.losses import image_loss
from blendsplat.training.presets import Preset


class LossPass:
    """The preset's loss on batches of ``batch`` frames.

    Inputs to fill before a step: ``rows`` [B] int64 (of the training frames), ``backgrounds`` [B,3]. Results:
    ``losses`` [B] (their mean is the loss), ``squared_errors`` [B] (means over the pixels that count), and
    ``grad_exposure``; all valid until the next step.
    """

    def __init__(
        self, data: FrameStore, batch: int, width: int, height: int, preset: Preset, exposure: Exposure | None,
        lpips: Lpips | None,
    ) -> None:  # fmt: skip
        device = data.alpha.device
        self.batch, self._data, self._preset, self._lpips = batch, data, preset, lpips
        self._frames = data.targets
        self._exposure = exposure
        self.rows = torch.zeros(batch, dtype=torch.int64, device=device)
        self.backgrounds = torch.zeros(batch, 3, device=device)
        self.losses, self.squared_errors = torch.zeros(batch, device=device), torch.zeros(batch, device=device)
        self._grad_image = torch.zeros(batch, height, width, 3, device=device)
        self.grad_exposure: Tensor | None = None

    @property
    def composited(self) -> Tensor | None:
        """What the rasterizer composites: nothing where the exposure has to change the head first."""
        return None if self._exposure is not None else self.backgrounds

    def __call__(self, image: Tensor, alpha: Tensor, perceptual: bool) -> tuple[Tensor, Tensor | None]:
        """Gradients with respect to image [B,H,W,3] and, with exposure, alpha [B,H,W,1]."""
        if self._exposure is not None or perceptual:
            return self._through_autograd(image, alpha, perceptual)
        preset = self._preset
        image_loss_into(
            image, self._frames, self.rows, self.backgrounds, preset.l1_weight, preset.ssim_weight,
            self._grad_image, self.losses, self.squared_errors,
        )  # fmt: skip
        return self._grad_image, None

    @torch.enable_grad()
    def _through_autograd(self, image: Tensor, alpha: Tensor, perceptual: bool) -> tuple[Tensor, Tensor | None]:
        frames = self._data.batch(self.rows)
        target = frames.target(self.backgrounds)
        image, leaves = image.detach().requires_grad_(), []
        shown = image
        if self._exposure is not None:
            alpha = alpha.detach().requires_grad_()
            behind = self.backgrounds[:, None, None] * (1 - alpha)
            shown, leaves = self._exposure(image, alpha, self.rows) + behind, [alpha, self._exposure.values]
        loss = image_loss(
            shown, target, frames.valid, frames.weights, self._preset, self._lpips if perceptual else None
        )
        grad_image, *others = torch.autograd.grad(loss, [image, *leaves])
        self.losses.copy_(loss.detach().expand_as(self.losses))
        self.squared_errors.copy_(weighted_mean((shown.detach() - target) ** 2, frames.valid))
        if not others:
            return grad_image.contiguous(), None
        self.grad_exposure = others[1]
        return grad_image.contiguous(), others[0].contiguous()

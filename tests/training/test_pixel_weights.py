# SPDX-License-Identifier: Apache-2.0
"""What a pixel counts (valid/: below the neck nothing, a covered mouth less) scales its gradient, on both ways that a
loss takes: the kernel's, and autograd's with perceptual terms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blendsplat.splatting.image_loss import TargetFrames, image_loss_into
from blendsplat.systems import make_preset
from blendsplat.training.losses import image_loss

SIDE, DOUBTED = 16, slice(8, 16)


def gradient(weight: int, kernel: bool) -> Tensor:
    """[SIDE,SIDE,3] of an L1 loss of grey against black, the lower half of the picture counting ``weight`` of 255;
    times the sum of all weights, over which a frame's loss is a mean."""
    valid = torch.full((1, SIDE, SIDE), 255, dtype=torch.uint8)
    valid[:, DOUBTED] = weight
    total = float(valid.double().sum()) / 255
    image = torch.full((1, SIDE, SIDE, 3), 0.5)
    if not kernel:
        image.requires_grad_()
        shares = valid[..., None].float() / 255
        preset = make_preset({"l1_weight": 1.0, "ssim_weight": 0.0})
        loss = image_loss(image, torch.zeros_like(image), shares, torch.ones(1), preset)
        return torch.autograd.grad(loss, image)[0][0] * total
    black, alpha = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8), torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    found, losses, squares = torch.empty_like(image), torch.empty(1), torch.empty(1)
    image_loss_into(
        image, TargetFrames(black, alpha, valid), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 3), 1.0, 0.0,
        found, losses, squares,
    )  # fmt: skip
    return found[0] * total


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "autograd"])
@pytest.mark.parametrize("weight", [0, 64, 255])
def test_a_doubted_pixel_teaches_as_much_as_it_is_trusted(weight: int, kernel: bool) -> None:
    found, whole = gradient(weight, kernel), gradient(255, kernel)
    assert whole.abs().min() > 0
    torch.testing.assert_close(found[DOUBTED], whole[DOUBTED] * weight / 255)
    torch.testing.assert_close(found[:8], whole[:8])

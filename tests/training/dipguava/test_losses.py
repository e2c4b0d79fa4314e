# SPDX-License-Identifier: Apache-2.0
"""What keeps Gaussians near their triangles and small: equations 13 and 14 in plain numpy, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsplat.training.dipguava.losses import position_loss, scale_loss


def test_positions_beyond_the_limit_cost_their_excess() -> None:
    positions = torch.tensor([[[3.0, 4, 0], [0, 0, 0.5], [0, 2, 0], [0, 0, -2.5]]])
    assert float(position_loss(positions, 2.0)) == pytest.approx((3 + 0 + 0 + 0.5) / 4)
    assert float(position_loss(positions, 6.0)) == 0


def test_scales_above_the_limit_cost_the_length_of_their_excess() -> None:
    scales = np.array([[0.7, 0.5, 0.6], [1.6, 1.6, 0.1], [0.01, 0.02, 0.59]])
    found = float(scale_loss(torch.from_numpy(np.log(scales))[None], 0.6))
    assert found == pytest.approx(np.linalg.norm(np.maximum(scales - 0.6, 0), axis=1).mean(), abs=2e-6)


def test_the_pull_does_not_depend_on_the_number_of_gaussians_or_frames() -> None:
    values = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 2
    for loss, limit in ((position_loss, 2.0), (scale_loss, 0.6)):
        once = loss(values, limit)
        torch.testing.assert_close(loss(values.repeat(1, 4, 1), limit), once)
        torch.testing.assert_close(loss(values.repeat(3, 1, 1), limit), once)


@pytest.mark.parametrize("loss", [position_loss, scale_loss])
def test_gradients_are_finite_everywhere_and_right(loss) -> None:
    """Also where a norm has no derivative: at the triangle's centre, and where nothing is above the limit."""
    still = torch.zeros(1, 4, 3).requires_grad_()
    loss(still - 5 * (loss is scale_loss), 1.0).backward()
    assert torch.equal(still.grad, torch.zeros_like(still))
    values = (1.5 * torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(1))).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, 0.6), values)

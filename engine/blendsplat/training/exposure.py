# SPDX-License-Identifier: Apache-2.0
"""A camera's auto-exposure, learned per training frame and thrown away after training.

Without it an avatar averages over the drift, or learns it as expression. Held-out frames are not corrected.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Exposure(nn.Module):
    """values [M,2]: logarithm of a gain, and a bias, for each of M rows of the training frames. Those in which no frame
    lies yet (``filled`` [M,1] is 0 there, else 1) count for nothing."""

    filled: Tensor

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(frames, 2))
        self.register_buffer("filled", torch.zeros(frames, 1))
        self._count = 0  # of filled rows, which are the first ones

    def forward(self, image: Tensor, alpha: Tensor, rows: Tensor | list[int]) -> Tensor:
        """Premultiplied images [B,H,W,3] and alpha [B,H,W,1] as the camera exposed the frames ``rows``. The mean over
        all frames is taken out, so that the avatar keeps the clip's own brightness."""
        if self._count == len(self.values):
            mean = self.values.mean(0)
        else:  # on the device alone: a captured step goes on when frames arrive
            mean = (self.values * self.filled).sum(0) / self.filled.sum()
        values = (self.values - mean)[rows]
        gain, bias = values[:, 0].exp()[:, None, None, None], values[:, 1][:, None, None, None]
        return image * gain + alpha * bias

    @torch.no_grad()
    def arrive(self, rows: list[int]) -> None:
        """Other frames lie in these rows now, of whose exposure nothing is known."""
        self.values[rows], self.filled[rows] = 0, 1
        self._count = max(self._count, 1 + max(rows))

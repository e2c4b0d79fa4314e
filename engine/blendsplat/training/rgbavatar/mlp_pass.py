# SPDX-License-Identifier: Apache-2.0
"""The avatar's MLP on one batch, forward and backward by hand into buffers made once.

Autograd would allocate a graph in every step; here a step can be captured and repeats on the same addresses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MlpPass:
    """Linear layers, if any, with ReLU between them (RGBAvatar, eq. 2) on B rows: ``forward`` fills ``weights`` [B,K],
    ``backward`` fills ``grads``, keyed "0.weight", "0.bias", "1.weight" ... like the layers' parameters."""

    def __init__(self, layers: nn.ModuleList, batch: int, device: torch.device) -> None:
        self._layers = [layer for layer in layers if isinstance(layer, nn.Linear)]
        widths = [layer.out_features for layer in self._layers]
        self._outputs = [torch.zeros(batch, width, device=device) for width in widths]
        self._grad_outputs = [torch.zeros(batch, width, device=device) for width in widths[:-1]]
        self.grads = {name: torch.zeros_like(parameter) for name, parameter in layers.named_parameters()}
        self.weights = self._outputs[-1] if self._outputs else torch.zeros(batch, 0, device=device)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Features [B,D], already standardised -> ``weights``. ``inputs`` must stay as it is until ``backward``."""
        self._inputs = value = inputs
        for layer, output in zip(self._layers, self._outputs, strict=True):
            torch.addmm(layer.bias, value, layer.weight.T, out=output)
            value = output if output is self.weights else output.relu_()
        return self.weights

    @torch.no_grad()
    def backward(self, grad_weights: Tensor) -> None:
        """Gradient [B,K] of ``weights`` -> ``grads``."""
        grad = grad_weights
        for place in reversed(range(len(self._layers))):
            before = self._outputs[place - 1] if place else self._inputs
            torch.mm(grad.T, before, out=self.grads[f"{place}.weight"])
            torch.sum(grad, 0, out=self.grads[f"{place}.bias"])
            if place:
                below = self._grad_outputs[place - 1]
                torch.mm(grad, self._layers[place].weight, out=below)
                # the ReLU's derivative, in place: where it gave zero, nothing comes back
                torch.ops.aten.threshold_backward.grad_input(below, before, 0, grad_input=below)
                grad = below

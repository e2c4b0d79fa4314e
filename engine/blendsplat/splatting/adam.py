# SPDX-License-Identifier: Apache-2.0
"""Adam over all parameters of an avatar in one kernel, with everything that changes from step to step on the device.

So a step allocates nothing, synchronises nothing and can be part of a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from blendsplat.splatting.buffers import address
from blendsplat.splatting.launch import check_buffer, launch_on


class FusedAdam:
    """torch.optim.Adam (Kingma & Ba 2015, no weight decay) with a learning rate of its own for every parameter.

    ``rates`` float32 [P] and ``steps`` int64 [P] lie on the parameters' device; write to them in place. ``exp_avg`` and
    ``exp_avg_sq`` hold the moments. A gradient element that is not finite spoils its own parameter element, no other.
    """

    def __init__(
        self, parameters: Sequence[Tensor], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-15
    ) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        self._check_parameters(betas, eps)
        device = self.parameters[0].device
        self.betas, self.eps = betas, eps
        self.rates = torch.full((len(parameters),), 1e-3, device=device)
        self.steps = torch.zeros(len(parameters), dtype=torch.int64, device=device)
        self.exp_avg = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.exp_avg_sq = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._counts = [parameter.numel() for parameter in self.parameters]
        self._launch = launch_on(device)

    def _check_parameters(self, betas: tuple[float, float], eps: float) -> None:
        if not self.parameters:
            raise ValueError("parameters: expected at least one tensor, got none")
        if not all(0 <= beta < 1 for beta in betas) or not eps > 0:
            raise ValueError(f"betas must lie in [0, 1) and eps above 0, got {betas} and {eps}")
        device = self.parameters[0].device
        for index, parameter in enumerate(self.parameters):
            check_buffer(f"parameters[{index}]", parameter, parameter.shape, device)

    def step(self, grads: Sequence[Tensor | None], skip: Tensor | None = None) -> None:
        """One step in place. grads: like the parameters; None leaves a parameter, its moments and its count alone.

        skip: [1] int32 on the same device; where it is not zero nothing changes. The host does not look at it.

        Raises ValueError, before anything changed, if a gradient's shape, dtype, device or layout is not its
        parameter's.
        """
        if len(grads) != len(self.parameters):
            raise ValueError(f"grads: expected {len(self.parameters)}, one for each parameter, got {len(grads)}")
        for index, (grad, parameter) in enumerate(zip(grads, self.parameters, strict=True)):
            if grad is not None:
                check_buffer(f"grads[{index}]", grad, parameter.shape, parameter.device)
        if skip is not None:
            check_buffer("skip", skip, (1,), self.parameters[0].device, torch.int32)
        self._launch.kernels.adam(
            [address(t) for t in self.parameters], [address(t) for t in grads], [address(t) for t in self.exp_avg],
            [address(t) for t in self.exp_avg_sq], self._counts, address(self.rates), address(self.steps),
            *self.betas, self.eps, address(skip), *self._launch.queue,
        )  # fmt: skip


def adam_reference(
    parameter: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, step: int, rate: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-15,
) -> None:  # fmt: skip
    """One parameter's step in plain torch, in place, in any precision; step counts from 1. The oracle of FusedAdam."""
    exp_avg.lerp_(grad, 1 - betas[0])
    exp_avg_sq.mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
    spread = (exp_avg_sq / (1 - betas[1] ** step)).sqrt() + eps
    parameter.addcdiv_(exp_avg, spread, value=-rate / (1 - betas[0] ** step))

# SPDX-License-Identifier: Apache-2.0
"""Where a training runs: on one device with torch alone, or on several through `accelerate` (the extra "train").

Processes that a launcher started (accelerate launch, torchrun) find each other by its environment.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from blendsplat.errors import InputError


class Devices(Protocol):
    """This process's device among ``count``; ``rank`` 0 writes files."""

    device: torch.device
    rank: int
    count: int

    def prepare(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> Callable[..., Any]:
        """The module to call in its place: gradients are then the mean over all processes."""
        ...

    def step(self, loss: Tensor, module: nn.Module, optimiser: torch.optim.Optimizer, clip: float) -> bool:
        """Gradients of ``loss``, clipped to the length ``clip``, and a step -> whether it was made: gradients that are
        not finite make none."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in any process."""
        ...

    def wait(self) -> None:
        """Until every process is here."""
        ...


class OneDevice:
    """torch alone."""

    rank, count = 0, 1

    def __init__(self, device: torch.device | str, precision: str, all_used: bool = True) -> None:
        self.device = torch.device(device)
        _check(precision, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")

    def prepare(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> Callable[..., Any]:
        return module

    def step(self, loss: Tensor, module: nn.Module, optimiser: torch.optim.Optimizer, clip: float) -> bool:
        optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(optimiser)
        length = nn.utils.clip_grad_norm_(module.parameters(), clip)
        finite = bool(length.isfinite())
        if finite or self._scaler.is_enabled():  # which skips the step itself, and then scales less
            self._scaler.step(optimiser)
        self._scaler.update()
        return finite

    def any(self, flag: bool) -> bool:
        return flag

    def wait(self) -> None:
        """There is nobody to wait for."""


class ManyDevices:
    """One process per device, kept in step by accelerate."""

    def __init__(self, device: torch.device | str, precision: str, all_used: bool) -> None:
        try:
            accelerate = importlib.import_module("accelerate")
        except ImportError as error:
            raise InputError(
                'Training on several devices needs accelerate: pip install "blendsplat[train]".', repr(error)
            ) from error
        on_cpu = torch.device(device).type == "cpu"
        handlers = [accelerate.DistributedDataParallelKwargs(find_unused_parameters=not all_used)]
        # The objective chooses its precisions itself; accelerate is told only what must be scaled.
        self._accelerator = accelerate.Accelerator(
            mixed_precision="fp16" if precision == "float16" else "no", cpu=on_cpu, kwargs_handlers=handlers
        )
        self.device = self._accelerator.device
        _check(precision, self.device)
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
        self._optimiser: Any = None

    def prepare(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> Callable[..., Any]:
        prepared, self._optimiser = self._accelerator.prepare(module, optimiser)
        return prepared  # type: ignore[no-any-return]

    def step(self, loss: Tensor, module: nn.Module, optimiser: torch.optim.Optimizer, clip: float) -> bool:
        self._optimiser.zero_grad(set_to_none=True)
        self._accelerator.backward(loss)
        length = self._accelerator.clip_grad_norm_(module.parameters(), clip)
        finite = bool(length.isfinite())
        if finite or self._accelerator.scaler is not None:  # which skips the step itself, and then scales less
            self._optimiser.step()
        return finite

    def any(self, flag: bool) -> bool:
        total = self._accelerator.reduce(torch.tensor(float(flag), device=self.device))
        return bool(total > 0)

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()


def devices(device: torch.device | str, precision: str, all_used: bool = True) -> Devices:
    """What the launcher's environment says: one device, or several. all_used: every step uses every parameter.

    Raises InputError for half precision on a CPU.
    """
    kind = ManyDevices if int(os.environ.get("WORLD_SIZE", "1")) > 1 else OneDevice
    return kind(device, precision, all_used)


def _check(precision: str, device: torch.device) -> None:
    if precision == "float16" and device.type == "cpu":
        raise InputError('The precision "float16" needs a GPU; choose "bfloat16" or "float32".')

# SPDX-License-Identifier: Apache-2.0
"""What a system learns: groups of tensors, each with a rate of its own, under one optimiser; and how Gaussians come and
go in the middle of a training, with values and moments changed together.

A change says where each Gaussian of the new set comes from (``Rearrangement``); keeping, cloning and splitting are ways
to make one (growth.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.splatting.adam import FusedAdam


@dataclass(frozen=True)
class ParameterGroup:
    """Tensors that learn at one rate. tensors: by the names that checkpoints use; rate: of the images trained so far;
    gaussian_axis: which axis of each counts Gaussians, None where none does."""

    name: str
    tensors: Mapping[str, Tensor]
    rate: Callable[[int], float]
    gaussian_axis: int | None = None


@dataclass(frozen=True)
class Rearrangement:
    """A new set of M Gaussians: i comes from the old set's ``source[i]`` ([M] int64). Where ``fresh`` ([M] bool) it is
    a new one and its optimiser moments begin at zero."""

    source: Tensor
    fresh: Tensor

    def __len__(self) -> int:
        return len(self.source)

    def of(self, value: Tensor, axis: int | None = 0, *, fresh_zero: bool = False) -> Tensor:
        """A tensor of the old set, for the new one; axis None: nothing of it belongs to a Gaussian."""
        if axis is None:
            return value
        taken = value.index_select(axis, self.source)
        if fresh_zero:
            mask = self.fresh.view([-1 if place == axis else 1 for place in range(taken.ndim)])
            taken = taken.masked_fill(mask, 0)
        return taken

    def then(self, later: Rearrangement) -> Rearrangement:
        """This one, and ``later`` on its result, as one."""
        return Rearrangement(self.source[later.source], self.fresh[later.source] | later.fresh)


class Parameters:
    """The groups' tensors in order, and Adam over them."""

    def __init__(self, groups: Sequence[ParameterGroup], eps: float = 1e-15) -> None:
        self.groups = list(groups)
        self._group_of = {name: group for group in groups for name in group.tensors}
        if len(self._group_of) != sum(len(group.tensors) for group in groups):
            raise ValueError("groups: a tensor's name occurs twice")
        self.names = list(self._group_of)
        self.optimiser = FusedAdam([group.tensors[name] for name, group in self._group_of.items()], eps=eps)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values."""
        return zip(self.names, self.optimiser.parameters, strict=True)

    def gaussian_axis(self, name: str) -> int | None:
        """Which axis of the tensor ``name`` counts Gaussians."""
        return self._group_of[name].gaussian_axis

    def rates(self, images: int) -> list[float]:
        """The rate of every tensor after so many images."""
        rates = {group.name: group.rate(images) for group in self.groups}
        return [rates[self._group_of[name].name] for name in self.names]

    def moments(self, change: Rearrangement | None = None) -> dict[str, Tensor]:
        """Adam's moments and step counts by name, of the Gaussians after ``change``; a tensor that never had a gradient
        has none."""
        optimiser, tensors = self.optimiser, {}
        steps = optimiser.steps.tolist()
        for place, name in enumerate(self.names):
            if not steps[place]:
                continue
            tensors[f"optimiser.{name}.step"] = torch.tensor(float(steps[place]))
            for kind, values in (("exp_avg", optimiser.exp_avg), ("exp_avg_sq", optimiser.exp_avg_sq)):
                value = values[place]
                if change is not None:
                    value = change.of(value, self.gaussian_axis(name), fresh_zero=True)
                tensors[f"optimiser.{name}.{kind}"] = value
        return tensors

    @torch.no_grad()
    def restore_moments(self, tensors: Mapping[str, Tensor]) -> None:
        """The reverse of ``moments``, into an optimiser that has made no step. Raises RuntimeError for other shapes."""
        optimiser = self.optimiser
        for place, name in enumerate(self.names):
            if f"optimiser.{name}.step" in tensors:
                optimiser.steps[place] = float(tensors[f"optimiser.{name}.step"])
                optimiser.exp_avg[place].copy_(tensors[f"optimiser.{name}.exp_avg"])
                optimiser.exp_avg_sq[place].copy_(tensors[f"optimiser.{name}.exp_avg_sq"])

    def forget_moments(self, name: str, rows: list[int]) -> None:
        """Adam begins anew with these rows of the tensor ``name``."""
        place = self.names.index(name)
        self.optimiser.exp_avg[place][rows] = 0
        self.optimiser.exp_avg_sq[place][rows] = 0

    def rearranged(self, change: Rearrangement) -> dict[str, Tensor]:
        """Every tensor's values after ``change``."""
        return {name: change.of(value, self.gaussian_axis(name)) for name, value in self.tensors()}

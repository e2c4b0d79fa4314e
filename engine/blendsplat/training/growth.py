# SPDX-License-Identifier: Apache-2.0
"""Ways for the number of Gaussians to change: keep some, clone some, split some (Kerbl et al. 2023, section 5.2).

Each makes a Rearrangement; what the new Gaussians' values differ by is the system's to say. They chain with ``then``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.training.parameters import Rearrangement


def keep(kept: Tensor) -> Rearrangement:
    """Only the Gaussians where ``kept`` [N] bool is true, with their moments: pruning is keeping the rest."""
    source = kept.nonzero()[:, 0]
    return Rearrangement(source, torch.zeros_like(source, dtype=torch.bool))


def clone(chosen: Tensor) -> Rearrangement:
    """All N Gaussians, and after them a fresh copy of each where ``chosen`` [N] bool is true."""
    everyone, copies = torch.arange(len(chosen), device=chosen.device), chosen.nonzero()[:, 0]
    return _with_fresh(everyone, copies)


def split(chosen: Tensor, parts: int = 2) -> Rearrangement:
    """The Gaussians that are not ``chosen`` [N] bool, and after them ``parts`` fresh ones in place of each that is: the
    first part of all of them, then the second, ..."""
    return _with_fresh((~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0].repeat(parts))


def _with_fresh(old: Tensor, new: Tensor) -> Rearrangement:
    fresh = torch.zeros(len(old) + len(new), dtype=torch.bool, device=old.device)
    fresh[len(old) :] = True
    return Rearrangement(torch.cat([old, new]), fresh)

# SPDX-License-Identifier: Apache-2.0
"""Who points at what: lists by which triangles and vertices gather gradients, so that no two threads write one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class Groups(NamedTuple):
    """The places of an index tensor by what they hold: those that hold i are order[starts[i] : starts[i + 1]]."""

    order: Tensor  # [M] int64, ascending within a group
    starts: Tensor  # [count + 1] int64


_known: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # index tensor -> (its version, count, groups)


def groups_of(indices: Tensor, count: int) -> Groups:
    """Groups of ``indices``, of any shape and with values from 0 to count - 1, as a flat row.

    Bindings and faces are the same tensors step after step, so what was found for a tensor is kept while it lives."""
    known = _known.get(indices)
    if known is not None and known[:2] == (indices._version, count):
        groups: Groups = known[2]
        return groups
    flat = indices.detach().reshape(-1)
    values, order = torch.sort(flat, stable=True)
    bounds = torch.arange(count + 1, device=flat.device, dtype=flat.dtype)
    groups = Groups(order, torch.searchsorted(values, bounds))
    _known[indices] = (indices._version, count, groups)
    return groups

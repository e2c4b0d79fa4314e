# SPDX-License-Identifier: Apache-2.0
"""Linear layers and attention for inference: torch's own on a GPU, oneDNN's on an x86 CPU where torch carries it.

torch's CPU linear calls MKL, which on AMD processors reaches half of what oneDNN does; oneDNN also adds the bias, the
GELU and the residual while the result is in registers. No gradients pass through these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from blendsplat.tracking.kaolrm.encoder import attend

_QUERIES = 256  # rows of an attention matrix that are worked on at once: they stay in the cache


@cache
def onednn_available() -> bool:
    """Whether torch's oneDNN linear is there and right. It is not a documented function, so it is tried."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, weight, bias = torch.arange(6.0).reshape(2, 3), torch.arange(12.0).reshape(4, 3) / 7, torch.arange(4.0)
    try:
        plain = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        gelu = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")
        added = torch.ops.mkldnn._linear_pointwise.binary(x, plain, weight, None, "add")
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return False
    want = x @ weight.T
    wants = ((plain, want), (gelu, functional.gelu(want + bias)), (added, 2 * want))
    return all(torch.allclose(have, right, atol=1e-4) for have, right in wants)


@dataclass(frozen=True)
class Ops:
    """The two products of a transformer, on one device and in one precision."""

    onednn: bool
    dtype: torch.dtype

    @staticmethod
    def of(device: torch.device, dtype: torch.dtype) -> Ops:
        """The fastest that this device has."""
        return Ops(device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and onednn_available(), dtype)

    def linear(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False, add: Tensor | None = None
    ) -> Tensor:
        """x [...,C] -> x weight^T + bias, then exact GELU, or then + add. weight [D,C]."""
        if not self.onednn:
            y = functional.linear(x, weight, bias)
            return functional.gelu(y) if gelu else y if add is None else y + add
        bias = None if bias is None else bias.contiguous()  # oneDNN's wrapper ignores a bias's stride
        if add is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, add, weight, bias, "add")
        return torch.ops.mkldnn._linear_pointwise(
            x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else ""
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """q [B,N,C], k and v [B,M,C] -> [B,N,C], as encoder.attend."""
        if not self.onednn:
            return attend(q, k, v, heads)
        width = q.shape[-1] // heads
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        for image in range(len(q)):
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                keys, values = k[image, :, part].contiguous(), v[image, :, part].T.contiguous()
                queries = q[image, :, part] * width**-0.5
                for start in range(0, len(queries), _QUERIES):
                    rows = slice(start, start + _QUERIES)
                    scores = self.linear(queries[rows], keys)
                    out[image, rows, part] = self.linear(torch.softmax(scores, -1, out=scores), values)
        return out

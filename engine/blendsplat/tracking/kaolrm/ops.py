# SPDX-License-Identifier: Apache-2.0
"""Linear layers and attention for inference: torch's own on a GPU; on a CPU oneDNN's products and our own attention.

torch's CPU linear and attention call MKL, which on AMD processors reaches half of what oneDNN and our kernel do; oneDNN
also adds the bias, the GELU and the residual while the result is in registers. No gradients pass through these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from blendsplat.splatting.backend import cpu_backend
from blendsplat.tracking.kaolrm.encoder import attend


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
    kernels: Any = None  # our compiled CPU module; its attention works in float32 whatever the precision

    @staticmethod
    def of(device: torch.device, dtype: torch.dtype) -> Ops:
        """The fastest that this device has."""
        if device.type != "cpu":
            return Ops(False, dtype)
        backend = cpu_backend()
        single = dtype in (torch.float32, torch.bfloat16)
        # where our kernels have no vector instructions of their own, torch's attention is the faster one
        own = single and backend.instruction_set in ("avx512", "avx2")
        return Ops(single and onednn_available(), dtype, backend.kernels if own else None)

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
        width = q.shape[-1] // heads
        if (
            self.kernels is not None
            and width % self.kernels.ATTENTION_PANEL == 0
            and width <= self.kernels.ATTENTION_WIDTH
        ):
            return _own_attention(self.kernels, q.float(), k.float(), v.float(), heads).to(q.dtype)
        return attend(q, k, v, heads)


def _own_attention(kernels: Any, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """The kernel of cuda_ext/cpu/attention.cpp, which reads chunks of a projection where they lie."""
    (images, queries, channels), keys = q.shape, k.shape[1]
    q, k, v = (_rows(x) for x in (q, k, v))
    if k.stride(1) != v.stride(1):
        k, v = k.contiguous(), v.contiguous()
    out = q.new_empty(images, queries, channels)
    panel = kernels.ATTENTION_PANEL
    packed = q.new_empty(2 * images * channels * -(-keys // panel) * panel)
    kernels.attention(
        images, heads, queries, keys, channels // heads, q.stride(1), k.stride(1), q.data_ptr(), k.data_ptr(),
        v.data_ptr(), out.data_ptr(), packed.data_ptr(), (channels // heads) ** -0.5, torch.get_num_threads(),
    )  # fmt: skip
    return out


def _rows(x: Tensor) -> Tensor:
    """x [B,N,C] with its channels side by side and its images a whole number of rows apart, or a copy that is so."""
    right = x.stride(2) == 1 and (len(x) == 1 or x.stride(0) == x.shape[1] * x.stride(1))
    return x if right and x.shape[1] > 1 else x.contiguous()

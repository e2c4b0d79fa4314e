# SPDX-License-Identifier: Apache-2.0
"""Linear layers, MLPs and attention for inference: torch's own on a GPU, ours on a CPU.

Ours (cuda_ext/cpu/dense.cpp, attention.cpp) keep tokens in panels, the layout in which nothing has to be packed. In
bfloat16 the products are oneDNN's, because torch's own linear calls MKL, which on AMD processors is half as fast. No
gradients pass through these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from blendsplat.kaolrm.encoder import EPS, attend
from blendsplat.splatting.backend import cpu_backend

Tokens = TypeVar("Tokens")


@dataclass(frozen=True)
class Norm:
    """A LayerNorm's weight and bias [C]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Mlp:
    """x -> gelu(x wide^T + wide_bias) narrow^T + narrow_bias, with the exact GELU. wide [M,C], narrow [C,M]."""

    wide: Tensor
    wide_bias: Tensor
    narrow: Tensor
    narrow_bias: Tensor


class Ops(Protocol[Tokens]):
    """What a transformer is made of, on one device and in one precision, with tokens laid out as it likes them."""

    def enter(self, x: Tensor) -> Tokens:
        """[B,N,C] of any floats -> tokens."""

    def leave(self, x: Tokens) -> Tensor:
        """Tokens -> [B,N,C]."""

    def repeat(self, x: Tokens, images: int) -> Tokens:
        """Those of one image for so many."""

    def split(self, x: Tokens, parts: int) -> tuple[Tokens, ...]:
        """Channels in equal parts, without copying."""

    def linear(
        self,
        x: Tokens,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        norm: Norm | None = None,
        scale: Tensor | None = None,
        add: Tokens | None = None,
    ) -> Tokens:
        """add + scale (norm(x) weight^T + bias); weight [D,C], scale [D]."""

    def mlp(self, x: Tokens, norm: Norm, mlp: Mlp, scale: Tensor | None = None) -> Tokens:
        """x + scale mlp(norm(x)). It may write the result into x."""

    def attend(self, q: Tokens, k: Tokens, v: Tokens, heads: int) -> Tokens:
        """q of N tokens, k and v of M -> N tokens, as encoder.attend."""


def make_ops(device: torch.device, dtype: torch.dtype, head_width: int) -> Ops[Any]:
    """The fastest for this device and precision, for attention heads of at most so many channels."""
    if device.type != "cpu":
        return RowOps(False, dtype)
    panels = _panel_ops(head_width)
    if panels is not None and dtype == torch.float32:
        return panels
    return RowOps(dtype in (torch.float32, torch.bfloat16) and onednn_available(dtype), dtype, panels)


def _panel_ops(head_width: int) -> PanelOps | None:
    backend = cpu_backend()
    # where our kernels have no vector instructions of their own, torch's are the faster ones
    if backend.instruction_set not in ("avx512", "avx2") or head_width > backend.kernels.HEAD_WIDTH:
        return None
    return PanelOps(backend.kernels)


@cache
def onednn_available(dtype: torch.dtype) -> bool:
    """Whether torch's oneDNN linear is there and right in this precision: processors without AVX-512 have none in
    bfloat16. It is not a documented function, so it is tried."""
    if not torch.backends.mkldnn.is_available():
        return False
    x, weight, bias = (
        values.to(dtype)
        for values in (torch.arange(6.0).reshape(2, 3), torch.arange(12.0).reshape(4, 3) / 8, torch.arange(4.0))
    )
    try:
        plain = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        gelu = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")
        added = torch.ops.mkldnn._linear_pointwise.binary(x, plain, weight, None, "add")
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return False
    want = x @ weight.T
    wants = ((plain, want), (gelu, functional.gelu(want + bias)), (added, 2 * want))
    atol, rtol = (1e-4, 1e-5) if dtype == torch.float32 else (0.05, 0.02)
    return all(torch.allclose(have, right, rtol, atol) for have, right in wants)


@dataclass(frozen=True)
class RowOps:
    """Tokens are tensors [B,N,C]; torch's products, or oneDNN's."""

    onednn: bool
    dtype: torch.dtype
    panels: PanelOps | None = None  # our attention works in float32 whatever the precision

    def enter(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)

    def leave(self, x: Tensor) -> Tensor:
        return x

    def repeat(self, x: Tensor, images: int) -> Tensor:
        return x.expand(images, -1, -1)

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        return x.chunk(parts, -1)

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        norm: Norm | None = None,
        scale: Tensor | None = None,
        add: Tensor | None = None,
    ) -> Tensor:
        x = x if norm is None else _normalised(x, norm)
        if not self.onednn:
            return _added(functional.linear(x, weight, bias), scale, add)
        bias = None if bias is None else bias.contiguous()  # oneDNN's wrapper ignores a bias's stride
        if scale is None and add is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, add, weight, bias, "add")
        return _added(torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""), scale, add)

    def mlp(self, x: Tensor, norm: Norm, mlp: Mlp, scale: Tensor | None = None) -> Tensor:
        y = _normalised(x, norm)
        if self.onednn:
            hidden = torch.ops.mkldnn._linear_pointwise(y, mlp.wide, mlp.wide_bias.contiguous(), "gelu", [], "none")
        else:
            hidden = functional.gelu(functional.linear(y, mlp.wide, mlp.wide_bias))
        return self.linear(hidden, mlp.narrow, mlp.narrow_bias, scale=scale, add=x)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        own = self.panels
        if own is None:
            return attend(q, k, v, heads)
        return own.leave(own.attend(own.enter(q), own.enter(k), own.enter(v), heads)).to(q.dtype)


def _normalised(x: Tensor, norm: Norm) -> Tensor:
    return functional.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias, EPS)


def _added(y: Tensor, scale: Tensor | None, add: Tensor | None) -> Tensor:
    if add is None:
        return y if scale is None else y * scale
    return add + y if scale is None else torch.addcmul(add, y, scale)


@dataclass(frozen=True)
class Panels:
    """Tokens in panels: [B,P,C,48] float32, a panel's channels one after the other; the last panel is filled with any
    finite numbers."""

    data: Tensor
    tokens: int


@dataclass(frozen=True)
class PanelOps:
    """Our compiled kernels, in float32."""

    kernels: Any

    def enter(self, x: Tensor) -> Panels:
        tokens, width = x.shape[1], self.kernels.TOKEN_PANEL
        filled = functional.pad(x.float(), (0, 0, 0, -tokens % width))
        return Panels(filled.unflatten(1, (-1, width)).transpose(2, 3).contiguous(), tokens)

    def leave(self, x: Panels) -> Tensor:
        return x.data.transpose(2, 3).flatten(1, 2)[:, : x.tokens].contiguous()

    def repeat(self, x: Panels, images: int) -> Panels:
        return Panels(x.data.expand(images, -1, -1, -1).contiguous(), x.tokens)

    def split(self, x: Panels, parts: int) -> tuple[Panels, ...]:
        return tuple(Panels(part, x.tokens) for part in x.data.chunk(parts, 2))

    def linear(
        self,
        x: Panels,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        norm: Norm | None = None,
        scale: Tensor | None = None,
        add: Panels | None = None,
    ) -> Panels:
        images, panels, channels, lanes = x.data.shape
        out = x.data.new_empty(images, panels, len(weight), lanes)
        threads = torch.get_num_threads()
        work = self._scratch(threads, channels if norm is not None else 0)
        self.kernels.dense(
            images * panels, channels, len(weight), _at(x.data), _at(weight), _at(bias), _at(scale),
            _at(None if add is None else add.data), _at(out), *_norm_at(norm), _at(work), threads,
        )  # fmt: skip
        return Panels(out, x.tokens)

    def mlp(self, x: Panels, norm: Norm, mlp: Mlp, scale: Tensor | None = None) -> Panels:
        images, panels, channels, _ = x.data.shape
        threads = torch.get_num_threads()
        work = self._scratch(threads, channels + self.kernels.MLP_SLAB)
        self.kernels.mlp(
            images * panels, channels, len(mlp.wide), _at(x.data), _at(mlp.wide), _at(mlp.wide_bias), _at(mlp.narrow),
            _at(mlp.narrow_bias), _at(scale), *_norm_at(norm), _at(work), threads,
        )  # fmt: skip
        return x

    def attend(self, q: Panels, k: Panels, v: Panels, heads: int) -> Panels:
        images, _, channels, _ = q.data.shape
        width = channels // heads
        out = q.data.new_empty(q.data.shape)
        self.kernels.attention(
            images, heads, q.tokens, k.tokens, width, q.data.stride(1), k.data.stride(1), q.data.data_ptr(),
            k.data.data_ptr(), v.data.data_ptr(), _at(out), width**-0.5, torch.get_num_threads(),
        )  # fmt: skip
        return Panels(out, q.tokens)

    def _scratch(self, threads: int, channels: int) -> Tensor:
        return torch.empty(threads * self.kernels.BLOCK_PANELS * channels * self.kernels.TOKEN_PANEL)


def _norm_at(norm: Norm | None) -> tuple[int, int, float]:
    return (0, 0, EPS) if norm is None else (_at(norm.weight), _at(norm.bias), EPS)


def _at(x: Tensor | None) -> int:
    """The address of a whole tensor; 0 for none."""
    if x is None:
        return 0
    if x.dtype != torch.float32 or not x.is_contiguous():
        raise ValueError(f"panels: expected a contiguous float32 tensor, got {x.dtype} with strides {x.stride()}")
    return x.data_ptr()

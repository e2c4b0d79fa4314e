# SPDX-License-Identifier: Apache-2.0
"""The network as inference runs it: what does not depend on the image is computed once, the rest by the fastest means.

The camera is constant at inference, so each modulated norm is a plain LayerNorm, and the first layer's queries, which
come from learned tokens alone, are a constant too. Weights are shared with the network that it is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from blendsplat.kaolrm.encoder import Block, ImageEncoder
from blendsplat.kaolrm.ops import Mlp, Norm, make_ops
from blendsplat.kaolrm.triplane import ModulatedNorm, TransformerLayer, TriplaneTransformer

Tokens = Any  # laid out as the ops like them


@dataclass(frozen=True)
class EncoderBlock:
    """A block of the image encoder."""

    norms: tuple[Norm, Norm]
    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    mlp: Mlp
    scales: tuple[Tensor, Tensor]
    heads: int


@dataclass(frozen=True)
class Layer:
    """A triplane layer under the constant camera."""

    norms: tuple[Norm, Norm, Norm]
    cross_query: Tensor
    cross_keys_values: Tensor  # [2C,D]
    cross_out: Tensor
    self_in: Tensor
    self_out: Tensor
    mlp: Mlp
    heads: int


class Folded:
    """Images -> triplane tokens. Build it with KaoLRM.folded."""

    def __init__(
        self, encoder: ImageEncoder, transformer: TriplaneTransformer, start: Tensor, camera: Tensor, precision: str
    ) -> None:
        dtype = torch.bfloat16 if precision == "bfloat16" else start.dtype
        self.encoder = encoder
        self.blocks = [_fold_block(cast(Block, block), dtype) for block in encoder.model.blocks]
        self.layers = [_fold(cast(TransformerLayer, layer), camera, dtype) for layer in transformer.layers]
        self.norm = transformer.norm
        first = self.layers[0]
        widths = (start.shape[-1] // first.heads, *(len(block.out[1]) // block.heads for block in self.blocks))
        self.ops = make_ops(start.device, dtype, max(widths))
        self.start = self.ops.enter(start.detach())
        self.first_queries = self.ops.linear(self.start, first.cross_query, norm=first.norms[0])

    def tokens(self, images: Tensor) -> Tensor:
        """images [B,3,S,S] -> triplane tokens [B,N,C], as KaoLRM.tokens of the canonical camera."""
        features = self.features(images)
        queries = self.ops.repeat(self.first_queries, len(images))
        x = self.ops.repeat(self.start, len(images))
        for layer in self.layers:
            x = self.layer(layer, x, features, queries)
            queries = None
        return self.norm(self.ops.leave(x).to(self.norm.weight.dtype))

    def features(self, images: Tensor) -> Tokens:
        """images [B,3,S,S] -> image features of 1+P tokens, as ImageEncoder."""
        model, ops = self.encoder.model, self.ops
        x = ops.enter(model.embed(images))
        for block in self.blocks:
            x = self.block(block, x)
        return ops.enter(model.drop_registers(model.norm(ops.leave(x).to(model.norm.weight.dtype))))

    def layer(self, layer: Layer, x: Tokens, features: Tokens, queries: Tokens | None = None) -> Tokens:
        """One triplane layer; queries: the first layer's, known beforehand."""
        ops = self.ops
        if queries is None:
            queries = ops.linear(x, layer.cross_query, norm=layer.norms[0])
        keys, values = ops.split(ops.linear(features, layer.cross_keys_values), 2)
        x = ops.linear(ops.attend(queries, keys, values, layer.heads), layer.cross_out, add=x)
        q, k, v = ops.split(ops.linear(x, layer.self_in, norm=layer.norms[1]), 3)
        x = ops.linear(ops.attend(q, k, v, layer.heads), layer.self_out, add=x)
        return ops.mlp(x, layer.norms[2], layer.mlp)

    def block(self, block: EncoderBlock, x: Tokens) -> Tokens:
        """One block of the image encoder."""
        ops = self.ops
        q, k, v = ops.split(ops.linear(x, *block.qkv, norm=block.norms[0]), 3)
        x = ops.linear(ops.attend(q, k, v, block.heads), *block.out, scale=block.scales[0], add=x)
        return ops.mlp(x, block.norms[1], block.mlp, block.scales[1])


def _fold(layer: TransformerLayer, camera: Tensor, dtype: torch.dtype) -> Layer:
    def norm(modulated: ModulatedNorm) -> Norm:
        weight, bias = modulated.folded(camera)
        return Norm(_used(weight, dtype), _used(bias, dtype))

    q, k, v = layer.cross_attn.projections()
    packed = layer.cross_attn.in_proj_weight[len(q) :] if layer.cross_attn.packed else torch.cat([k, v])
    return Layer(
        norms=(norm(layer.norm1), norm(layer.norm2), norm(layer.norm3)),
        cross_query=_used(q, dtype),
        cross_keys_values=_used(packed, dtype),
        cross_out=_used(layer.cross_attn.out_proj.weight, dtype),
        self_in=_used(layer.self_attn.in_proj_weight, dtype),
        self_out=_used(layer.self_attn.out_proj.weight, dtype),
        mlp=_mlp(cast(nn.Linear, layer.mlp["0"]), cast(nn.Linear, layer.mlp["3"]), dtype),
        heads=layer.cross_attn.heads,
    )


def _fold_block(block: Block, dtype: torch.dtype) -> EncoderBlock:
    def pair(module: nn.Linear | nn.LayerNorm) -> tuple[Tensor, Tensor]:
        return _used(module.weight, dtype), _used(module.bias, dtype)

    return EncoderBlock(
        norms=(Norm(*pair(block.norm1)), Norm(*pair(block.norm2))),
        qkv=pair(block.attn.qkv),
        out=pair(block.attn.proj),
        mlp=_mlp(block.mlp.fc1, block.mlp.fc2, dtype),
        scales=(_used(block.ls1.gamma, dtype), _used(block.ls2.gamma, dtype)),
        heads=block.attn.heads,
    )


def _mlp(wide: nn.Linear, narrow: nn.Linear, dtype: torch.dtype) -> Mlp:
    return Mlp(*(_used(x, dtype) for x in (wide.weight, wide.bias, narrow.weight, narrow.bias)))


def _used(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor itself where it can be, else a copy of this kind."""
    return tensor.detach().to(dtype).contiguous()

# SPDX-License-Identifier: Apache-2.0
"""The network as inference runs it: what does not depend on the image is computed once, the rest by the fastest means.

The camera is constant at inference, so each modulated norm is a plain LayerNorm, and the first layer's queries, which
come from learned tokens alone, are a constant too. Weights are shared with the network that it is made of.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from blendsplat.tracking.kaolrm.encoder import EPS, Block, ImageEncoder
from blendsplat.tracking.kaolrm.ops import Ops
from blendsplat.tracking.kaolrm.triplane import ModulatedNorm, TransformerLayer, TriplaneTransformer


@dataclass
class Norm:
    """A LayerNorm's weight and bias [C]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return layer_norm(x, (x.shape[-1],), self.weight, self.bias, EPS)


@dataclass
class Layer:
    """A triplane layer under the constant camera."""

    norms: tuple[Norm, Norm, Norm]
    cross_query: Tensor
    cross_keys_values: Tensor  # [2C,D]
    cross_out: Tensor
    self_in: Tensor
    self_out: Tensor
    wide: tuple[Tensor, Tensor]
    narrow: tuple[Tensor, Tensor]
    heads: int


class Folded:
    """Images -> triplane tokens. Build it with KaoLRM.folded."""

    def __init__(
        self, encoder: ImageEncoder, transformer: TriplaneTransformer, start: Tensor, camera: Tensor, precision: str
    ) -> None:
        dtype = torch.bfloat16 if precision == "bfloat16" else start.dtype
        self.ops = Ops.of(start.device, dtype)
        self.encoder = encoder
        self.blocks = [_as_dtype(cast(Block, block), dtype) for block in encoder.model.blocks]
        self.layers = [_fold(cast(TransformerLayer, layer), camera, dtype) for layer in transformer.layers]
        self.norm = transformer.norm
        self.start = start.detach().to(dtype)
        first = self.layers[0]
        self.first_queries = self.ops.linear(first.norms[0](self.start), first.cross_query)

    def tokens(self, images: Tensor) -> Tensor:
        """images [B,3,S,S] -> triplane tokens [B,N,C], as KaoLRM.tokens of the canonical camera."""
        features = self.features(images)
        x = self.start.expand(len(images), -1, -1)
        for index, layer in enumerate(self.layers):
            queries = self.first_queries.expand(len(images), -1, -1) if index == 0 else None
            x = self.layer(layer, x, features, queries)
        return self.norm(x.to(self.norm.weight.dtype))

    def features(self, images: Tensor) -> Tensor:
        """images [B,3,S,S] -> image features [B,1+P,D], as ImageEncoder."""
        model = self.encoder.model
        x = model.embed(images).to(self.ops.dtype)
        for block in self.blocks:
            x = self._block(block, x)
        return model.drop_registers(model.norm(x.to(model.norm.weight.dtype))).to(self.ops.dtype)

    def layer(self, layer: Layer, x: Tensor, features: Tensor, queries: Tensor | None = None) -> Tensor:
        """One triplane layer; queries: the first layer's, known beforehand."""
        ops = self.ops
        if queries is None:
            queries = ops.linear(layer.norms[0](x), layer.cross_query)
        keys, values = ops.linear(features, layer.cross_keys_values).chunk(2, -1)
        x = ops.linear(ops.attend(queries, keys, values, layer.heads), layer.cross_out, add=x)
        q, k, v = ops.linear(layer.norms[1](x), layer.self_in).chunk(3, -1)
        x = ops.linear(ops.attend(q, k, v, layer.heads), layer.self_out, add=x)
        return ops.linear(ops.linear(layer.norms[2](x), *layer.wide, gelu=True), *layer.narrow, add=x)

    def _block(self, block: Block, x: Tensor) -> Tensor:
        ops, attention, mlp = self.ops, block.attn, block.mlp
        q, k, v = ops.linear(block.norm1(x), attention.qkv.weight, attention.qkv.bias).chunk(3, -1)
        mixed = ops.linear(ops.attend(q, k, v, attention.heads), attention.proj.weight, attention.proj.bias)
        x = torch.addcmul(x, mixed, block.ls1.gamma)
        hidden = ops.linear(block.norm2(x), mlp.fc1.weight, mlp.fc1.bias, gelu=True)
        return torch.addcmul(x, ops.linear(hidden, mlp.fc2.weight, mlp.fc2.bias), block.ls2.gamma)


def _fold(layer: TransformerLayer, camera: Tensor, dtype: torch.dtype) -> Layer:
    def used(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype)

    def norm(modulated: ModulatedNorm) -> Norm:
        weight, bias = modulated.folded(camera)
        return Norm(used(weight), used(bias))

    q, k, v = layer.cross_attn.projections()

    wide, narrow = cast(nn.Linear, layer.mlp["0"]), cast(nn.Linear, layer.mlp["3"])
    return Layer(
        norms=(norm(layer.norm1), norm(layer.norm2), norm(layer.norm3)),
        cross_query=used(q),
        cross_keys_values=used(
            layer.cross_attn.in_proj_weight[len(q) :] if layer.cross_attn.packed else torch.cat([k, v])
        ),
        cross_out=used(layer.cross_attn.out_proj.weight),
        self_in=used(layer.self_attn.in_proj_weight),
        self_out=used(layer.self_attn.out_proj.weight),
        wide=(used(wide.weight), used(wide.bias)),
        narrow=(used(narrow.weight), used(narrow.bias)),
        heads=layer.cross_attn.heads,
    )


def _as_dtype(block: Block, dtype: torch.dtype) -> Block:
    """The block itself, or a copy in another precision."""
    if block.attn.qkv.weight.dtype == dtype:
        return block
    return deepcopy(block).to(dtype)

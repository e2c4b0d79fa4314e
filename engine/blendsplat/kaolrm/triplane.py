# SPDX-License-Identifier: Apache-2.0
"""From image features to a triplane: the camera embedder, the modulated transformer and the upsampler of LRM
(Hong et al. 2024, section 3; OpenLRM's variant).

Parameter names are the released checkpoint's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from blendsplat.kaolrm.config import Config
from blendsplat.kaolrm.encoder import EPS, attend

CAMERA_NUMBERS = 16  # 3x4 camera-to-world, then fx, fy, cx, cy over the image's size


class CameraEmbedder(nn.Module):
    """Camera vectors [B,16] -> embeddings [B,E]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(CAMERA_NUMBERS, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, cameras: Tensor) -> Tensor:
        return self.mlp(cameras)


class ModulatedNorm(nn.Module):
    """LayerNorm whose result is scaled by 1 + s and shifted, both linear in SiLU of the camera's embedding."""

    def __init__(self, width: int, modulation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(modulation, 2 * width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """x [B,N,C], modulation [B,E] -> [B,N,C]."""
        shift, scale = self.mlp(modulation)[:, None].chunk(2, -1)
        return self.norm(x) * (1 + scale) + shift

    def folded(self, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """The weight and bias [C] of the plain LayerNorm that this is under one constant modulation [1,E]."""
        shift, scale = self.mlp(modulation)[0].chunk(2)
        return self.norm.weight * (1 + scale), self.norm.bias * (1 + scale) + shift


class BiaslessAttention(nn.Module):
    """Multi-head attention without biases. One packed projection when queries and keys are equally wide, else three."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.packed = width == context
        if self.packed:
            self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        else:
            self.q_proj_weight = nn.Parameter(torch.empty(width, width))
            self.k_proj_weight = nn.Parameter(torch.empty(width, context))
            self.v_proj_weight = nn.Parameter(torch.empty(width, context))
        self.out_proj = nn.Linear(width, width, bias=False)
        for name, weight in self.named_parameters():
            if name != "out_proj.weight":
                nn.init.xavier_uniform_(weight)

    def projections(self) -> tuple[Tensor, Tensor, Tensor]:
        """The matrices that make queries, keys and values."""
        if self.packed:
            q, k, v = self.in_proj_weight.chunk(3)
            return q, k, v
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x [B,N,C], context [B,M,D] -> [B,N,C]."""
        q, k, v = self.projections()
        return self.out_proj(attend(linear(x, q), linear(context, k), linear(context, v), self.heads))


class TransformerLayer(nn.Module):
    """Cross-attention to the image, self-attention, MLP; each behind a norm that the camera modulates."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.transformer_dim
        self.norm1, self.norm2, self.norm3 = (ModulatedNorm(width, config.camera_embed_dim) for _ in range(3))
        self.cross_attn = BiaslessAttention(width, config.encoder_feat_dim, config.transformer_heads)
        self.self_attn = BiaslessAttention(width, width, config.transformer_heads)
        # positions 1 and 2 of the released Sequential are the GELU and a dropout of 0
        self.mlp = nn.ModuleDict({"0": nn.Linear(width, 4 * width), "3": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, features: Tensor, modulation: Tensor) -> Tensor:
        x = x + self.cross_attn(self.norm1(x, modulation), features)
        y = self.norm2(x, modulation)
        x = x + self.self_attn(y, y)
        return x + self.mlp["3"](gelu(self.mlp["0"](self.norm3(x, modulation))))


class TriplaneTransformer(nn.Module):
    """Learned tokens [B,N,C], image features [B,M,D], camera embedding [B,E] -> triplane tokens [B,N,C]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.transformer_layers))
        self.norm = nn.LayerNorm(config.transformer_dim, eps=EPS)

    def forward(self, x: Tensor, features: Tensor, modulation: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, features, modulation)
        return self.norm(x)


def upsample(upsampler: nn.ConvTranspose2d, tokens: Tensor, resolution: int) -> Tensor:
    """Tokens [B,3*R*R,C] in the order plane, row, column -> planes [B,3,D,2R,2R]."""
    maps = tokens.reshape(-1, resolution, resolution, tokens.shape[-1]).permute(0, 3, 1, 2)
    return upsampler(maps).unflatten(0, (-1, 3))


def plane_means(upsampler: nn.ConvTranspose2d, tokens: Tensor, resolution: int) -> Tensor:
    """The mean over channels of ``upsample`` [B,3*2R*2R], without the planes: both are linear, so one matrix is both.

    A token's 2x2 texels are its product with four vectors of C numbers.
    """
    weight = upsampler.weight.mean(1).flatten(1)  # [C,4] in the order row, column
    bias = upsampler.bias.mean() if upsampler.bias is not None else 0.0
    return spread_texels(tokens @ weight + bias, resolution)


def spread_texels(texels: Tensor, resolution: int) -> Tensor:
    """Per token the 2x2 texels it becomes [B,3*R*R,4] -> the planes, flattened: plane, row, column [B,3*2R*2R]."""
    grid = texels.reshape(-1, 3, resolution, resolution, 2, 2)
    return grid.permute(0, 1, 2, 4, 3, 5).flatten(1)

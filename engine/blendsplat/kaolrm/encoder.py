# SPDX-License-Identifier: Apache-2.0
"""The image encoder: DINOv2's vision transformer with registers (Oquab et al. 2023, Darcet et al. 2023).

Parameter names are the released checkpoint's. Images go in as they are, in [0,1]: the model was trained without
ImageNet's normalisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from blendsplat.kaolrm.config import Config

STEM_EDGES = 12  # directions that a stem of convolutions tells apart
EPS = 1e-6  # of every LayerNorm here; torch's own default is another


class ImageEncoder(nn.Module):
    """Images [B,3,H,W] in [0,1], sides multiples of the patch -> features [B,1+P,C]: class token, then P patches."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = VisionTransformer(config)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


class VisionTransformer(nn.Module):
    """The transformer itself; registers take part and are dropped at the end."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, grid = config.encoder_feat_dim, config.encoder_grid
        self.registers = config.encoder_registers
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, self.registers, width))
        self.patch_embed: ConvolutionStem | PatchEmbedding = (
            ConvolutionStem(config.encoder_patch, width)
            if config.encoder_stem
            else PatchEmbedding(config.encoder_patch, width)
        )
        self.blocks = nn.ModuleList(Block(width, config.encoder_heads) for _ in range(config.encoder_layers))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        return self.drop_registers(self.norm(x))

    def embed(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] -> the stream [B,1+R+P,C] that the first block reads."""
        patches = self.patch_embed.proj(images)
        positions = self.positions(patches.shape[2], patches.shape[3])
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], 1) + positions
        return torch.cat([x[:, :1], self.register_tokens.expand(len(images), -1, -1), x[:, 1:]], 1)

    def drop_registers(self, x: Tensor) -> Tensor:
        """[B,1+R+P,C] -> [B,1+P,C]."""
        return torch.cat([x[:, :1], x[:, 1 + self.registers :]], 1)

    def positions(self, rows: int, columns: int) -> Tensor:
        """The position embedding [1,1+rows*columns,C], resized with an antialiased bicubic filter, no offset."""
        grid = round((self.pos_embed.shape[1] - 1) ** 0.5)
        if (rows, columns) == (grid, grid):
            return self.pos_embed
        width = self.pos_embed.shape[2]
        square = self.pos_embed[:, 1:].reshape(1, grid, grid, width).permute(0, 3, 1, 2)
        resized = interpolate(square, (rows, columns), mode="bicubic", antialias=True)
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], 1)


class PatchEmbedding(nn.Module):
    """A patch of pixels -> a token."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)


class ConvolutionStem(nn.Module):
    """A patch of pixels -> a token by two convolutions, edges and their sums over cells, which a small encoder learns
    much sooner than one linear map (after Xiao et al. 2021). Not part of DINOv2: for models trained from nothing."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, STEM_EDGES, 5, 2, 2), nn.GELU(), nn.Conv2d(STEM_EDGES, width, patch // 2, patch // 2)
        )


class Block(nn.Module):
    """Pre-norm attention and MLP, each scaled per channel (LayerScale)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x)) * self.ls1.gamma
        return x + self.mlp(self.norm2(x)) * self.ls2.gamma


class Attention(nn.Module):
    """Multi-head self-attention with biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(attend(q, k, v, self.heads))


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))


class Mlp(nn.Module):
    """Linear, exact GELU, linear, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x)))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """q [B,N,C], k and v [B,M,C] -> [B,N,C]: softmax(q k^T / sqrt(C / heads)) v, per head of C / heads channels."""

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    return scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).flatten(2)

# SPDX-License-Identifier: Apache-2.0
"""A start from which a KaoLRM learns at once: every token begins as what the picture shows at its own place.

Started by torch's own rules, attention averages the picture away, and what tells two pictures apart is a thousand times
smaller at the output than at the input; training then sits at the mean head for tens of thousands of pictures. Here
both transformers start near the identity with positions in their tokens (Trockman and Kolter 2023), and the decoder's
layers are scaled to the pictures' differences (Mishkin and Matas 2016).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from blendsplat.kaolrm.encoder import Block
from blendsplat.kaolrm.model import KaoLRM, source_camera
from blendsplat.kaolrm.triplane import TransformerLayer, plane_means

NEAR = 1.6  # how sharply a token of the triplane looks at its own place of the picture
GENTLE = 0.2  # share that a layer adds to what passes through


@torch.no_grad()
def initialise_network(model: KaoLRM, images: Tensor) -> None:
    """Start an untrained ``model`` in place, looking at some dozens of images [B,3,S,S] of different heads."""
    config, vision = model.config, model.encoder.model
    vision.pos_embed.copy_(patch_waves(config.encoder_grid, config.encoder_feat_dim))
    patches = vision.patch_embed.proj(images)
    _scale_output(vision.patch_embed.proj, patches.movedim(1, -1).flatten(0, 2))
    for block in (cast(Block, block) for block in vision.blocks):
        block.ls1.gamma.fill_(GENTLE)
        block.ls2.gamma.fill_(GENTLE)
    means = plane_means(model.upsampler, _initialise_transformer(model, model.encoder(images)), config.triplane_low_res)
    for layer in list(model.flame_decoder.decoder)[:-1]:
        if isinstance(layer, nn.Linear):
            out = layer(means)
            size = float(out.std(0).clamp_min(1e-6).mean())
            layer.weight.div_(size)
            layer.bias.copy_((layer.bias - out.mean(0)) / size)
        means = layer(means)


def patch_waves(grid: int, width: int) -> Tensor:
    """[1,1+grid*grid,width]: sines and cosines of each patch's row and column; zero for the class token."""
    places = (torch.arange(grid) + 0.5) / grid * torch.pi
    angles = places[:, None] * torch.linspace(1, grid, max(1, width // 4)) / 2
    return torch.cat([torch.zeros(1, width), grid_waves(angles, width)])[None]


def grid_waves(angles: Tensor, width: int) -> Tensor:
    """[R*R,width]: sines and cosines of ``angles`` [R,A] at every cell's column, then at its row; the rest is zero."""
    grid, line = len(angles), torch.cat([angles.sin(), angles.cos()], 1)
    waves = torch.zeros(grid, grid, width)
    waves[..., : line.shape[1]] = line[None]
    waves[..., line.shape[1] : 2 * line.shape[1]] = line[:, None]
    return waves.flatten(0, 1)


def _initialise_transformer(model: KaoLRM, seen: Tensor) -> Tensor:
    """Image features [B,M,D] -> triplane tokens [B,N,C]. The first layer reads the picture, the others add to that."""
    config = model.config
    width, context = config.transformer_dim, config.encoder_feat_dim
    waves = patch_waves(config.triplane_low_res, context)[:, 1:].repeat(1, 3, 1)
    common = min(width, context)
    model.pos_embed[..., :common] += waves[..., :common]
    camera = model.camera_embedder(source_camera().to(seen)[None].expand(len(seen), -1))
    tokens = model.pos_embed.expand(len(seen), -1, -1)
    for number, layer in enumerate(model.transformer.layers):
        assert isinstance(layer, TransformerLayer)
        for norm in (layer.norm1, layer.norm2, layer.norm3):
            modulation = cast(nn.Linear, norm.mlp[1])
            modulation.weight.mul_(GENTLE)
            modulation.bias.zero_()
        q, k, v = layer.cross_attn.projections()
        mix = nn.init.orthogonal_(torch.empty(width, max(width, context)))
        q.copy_(NEAR * mix[:, :width])
        k.copy_(NEAR * mix[:, :context])
        nn.init.orthogonal_(v)
        nn.init.orthogonal_(layer.cross_attn.out_proj.weight)
        share = 1.0 if number == 0 else GENTLE
        layer.cross_attn.out_proj.weight.mul_(share)
        layer.self_attn.out_proj.weight.mul_(GENTLE)
        cast(nn.Linear, layer.mlp["3"]).weight.mul_(GENTLE)
        tokens = layer(tokens, seen, camera)
    return model.transformer.norm(tokens)


def _scale_output(module: nn.Module, out: Tensor) -> None:
    """Make the last layer of ``module`` give what it gave, [N,C], about zero and with deviation one."""
    last = next(layer for layer in reversed(list(module.modules())) if isinstance(layer, nn.Conv2d))
    mean, size = out.mean(0), float(out.std(0).clamp_min(1e-6).mean())
    last.weight.div_(size)
    if last.bias is not None:
        last.bias.copy_((last.bias - mean) / size)

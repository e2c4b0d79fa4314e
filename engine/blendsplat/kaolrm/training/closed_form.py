# SPDX-License-Identifier: Apache-2.0
"""A KaoLRM without gradient descent: the trunk begins as oriented edges that each plane carries to its place, and the
decoder's weights are solved for by least squares on generated people.

On a processor this reaches in minutes what descent does not in hours: regression on oriented edges (after Dalal and
Triggs 2005), written into the network's own weights. Every weight can then be trained on as usual.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from blendsplat.errors import InputError
from blendsplat.kaolrm.decoders import ChannelGate
from blendsplat.kaolrm.encoder import STEM_EDGES, Block
from blendsplat.kaolrm.model import KaoLRM
from blendsplat.kaolrm.training.initialise import grid_waves
from blendsplat.kaolrm.triplane import TransformerLayer, plane_means

PLANES, SLOTS = 3, 4  # a token becomes 2x2 texels; three planes of four hold the edges' twelve directions
EDGE_GAIN, CELL_GAIN = 12.0, 3.0
SLOT_GAIN = 5.0  # so much that the norm after it evens out contrast, as histograms of gradients do
NEAR = 40.0  # how sharply a token looks at its own place
FAINT = 1e-2  # what the layers that are not needed yet add
LUMINANCE = (0.30, 0.59, 0.11)


@torch.no_grad()
def initialise_edges(model: KaoLRM) -> None:
    """Start an untrained ``model`` so that the planes' means are the picture's oriented edges, in place.

    Plane p's token of a cell reads, with head p, the four directions 4p .. 4p+3 summed over that cell. Raises
    InputError for sizes that do not allow it: a stem, as many cells as patches, three heads, equal widths.
    """
    config = model.config
    width, block = config.transformer_dim, config.transformer_dim // PLANES
    waves = block - SLOTS
    same = config.encoder_feat_dim == width and config.encoder_grid == config.triplane_low_res
    if not (config.encoder_stem and same and config.transformer_heads == PLANES and waves >= STEM_EDGES):
        raise InputError("These sizes of a KaoLRM cannot start from edges; see presets/kaolrm/small.toml.")
    places = cell_waves(config.encoder_grid, waves)  # [cells,waves]
    _initialise_encoder(model, places, waves)
    model.pos_embed.zero_()
    cells = len(places)
    for plane in range(PLANES):
        model.pos_embed[0, plane * cells : (plane + 1) * cells, plane * block : plane * block + waves] = places
    for number, layer in enumerate(cast(TransformerLayer, layer) for layer in model.transformer.layers):
        for norm in (layer.norm1, layer.norm2, layer.norm3):
            modulation = cast(nn.Linear, norm.mlp[1])
            modulation.weight.mul_(FAINT)
            modulation.bias.zero_()
        layer.self_attn.out_proj.weight.mul_(FAINT)
        cast(nn.Linear, layer.mlp["3"]).weight.mul_(FAINT)
        if number:
            layer.cross_attn.out_proj.weight.mul_(FAINT)
            continue
        q, k, v = layer.cross_attn.projections()
        out = layer.cross_attn.out_proj.weight
        for matrix in (k, v, out):
            matrix.zero_()
        q.copy_(NEAR / math.sqrt(waves) * torch.eye(width))
        for plane in range(PLANES):
            first = plane * block
            k[first : first + waves, :waves] = torch.eye(waves)
            for slot in range(SLOTS):
                v[first + slot, waves + SLOTS * plane + slot] = 1
                out[waves + slot, first + slot] = SLOT_GAIN
    model.upsampler.weight.mul_(FAINT)
    for slot in range(SLOTS):
        model.upsampler.weight[waves + slot, :, slot // 2, slot % 2] = 1
    cast(Tensor, model.upsampler.bias).zero_()


def _initialise_encoder(model: KaoLRM, places: Tensor, waves: int) -> None:
    vision = model.encoder.model
    edges, cells = (layer for layer in vision.patch_embed.proj.children() if isinstance(layer, nn.Conv2d))
    offset = torch.arange(5.0) - 2
    fall = torch.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / 2)
    for direction in range(STEM_EDGES):
        angle = 2 * math.pi * direction / STEM_EDGES
        slope = (offset[None] * math.cos(angle) + offset[:, None] * math.sin(angle)) * fall
        slope = slope / slope.abs().sum()
        edges.weight[direction] = EDGE_GAIN * slope * torch.tensor(LUMINANCE)[:, None, None]
    cast(Tensor, edges.bias).zero_()
    cells.weight.mul_(FAINT)
    cells.weight[:waves] = 0
    cast(Tensor, cells.bias).zero_()
    area = cells.weight.shape[2] * cells.weight.shape[3]
    for direction in range(STEM_EDGES):
        cells.weight[waves + direction] = 0
        cells.weight[waves + direction, direction] = CELL_GAIN / area
    vision.pos_embed.zero_()
    vision.pos_embed[0, 1:, :waves] = places
    for block in (cast(Block, block) for block in vision.blocks):
        block.ls1.gamma.fill_(FAINT)
        block.ls2.gamma.fill_(FAINT)


def cell_waves(grid: int, width: int) -> Tensor:
    """[grid*grid,width]: sines and cosines of each cell's row and column, of equal length everywhere."""
    rates = torch.linspace(0.5, grid / 3, width // 4) * 2 * torch.pi / grid
    return grid_waves(torch.arange(grid)[:, None] * rates, width)


def edge_features(model: KaoLRM, images: Tensor) -> Tensor:
    """Images [B,3,S,S] -> what the decoder reads of them [B,3*(2R)^2]."""
    with torch.inference_mode():
        tokens = model.folded().tokens(images)
        return plane_means(model.upsampler, tokens, model.config.triplane_low_res)


@torch.no_grad()
def write_decoder(model: KaoLRM, weight: Tensor, bias: Tensor) -> None:
    """Let the decoder be the linear map ``weight`` [F,C], ``bias`` [C] of what it reads.

    GELU(x) - GELU(-x) is x, so pairs of units pass a number on unchanged; the gate starts at halves. Raises InputError
    for a decoder that is too narrow.
    """
    decoder, count = model.flame_decoder.decoder, weight.shape[1]
    first, second, third, last = layers = [cast(nn.Linear, decoder[place]) for place in (0, 2, 5, 7)]
    if min(layer.out_features for layer in layers[:3]) < 2 * count:
        raise InputError(f"This decoder needs flame_widths of at least {2 * count}.")
    gate = cast(nn.Linear, cast(ChannelGate, decoder[4]).fc[2])
    gate.weight.zero_()
    gate.bias.zero_()
    # units pass numbers of about one, which is kind to half floats
    size = (weight.norm(dim=0) / math.sqrt(len(weight))).clamp_min(1e-6) * math.sqrt(len(weight))
    pairs = torch.cat([torch.eye(count), -torch.eye(count)])
    pass_on = pairs @ pairs.T
    for layer in layers:
        layer.weight.mul_(FAINT)
        layer.bias.zero_()
    for layer in (first, second, third):
        layer.weight[: 2 * count] = 0
    for layer in (second, third, last):
        layer.weight[:, : 2 * count] = 0
        layer.weight[: 2 * count if layer is not last else None] = 0
    first.weight[: 2 * count] = pairs @ (weight / size).T
    second.weight[: 2 * count, : 2 * count] = pass_on
    third.weight[: 2 * count, : 2 * count] = 2 * pass_on
    last.weight[:, : 2 * count] = torch.diag(size) @ pairs.T
    last.bias.copy_(bias)


def ridge(features: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Least squares with a penalty: features [N,F], targets [N,C] -> (weight [F,C], bias [C]), float64 inside."""
    mean, centre = features.mean(0), targets.mean(0)
    centred = (features - mean).float()
    gram = (centred.T @ centred).double()
    gram.diagonal().add_(strength * float(gram.diagonal().mean()))
    weight = torch.linalg.solve(gram, (centred.T @ (targets - centre).float()).double())
    return weight.float(), (centre.double() - mean.double() @ weight).float()

# SPDX-License-Identifier: Apache-2.0
"""Which networks a DipGuava has, as its settings say, and how a file stores them: all parameters of one network in one
flat array."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from blendsplat.avatars.dipguava.networks import MixedMaps, TexelMlp, UNet, encoded_size
from blendsplat.avatars.dipguava.settings import DipGuavaSettings
from blendsplat.errors import FormatError

APPEARANCE, GEOMETRY = 4, 10  # channels: colour and opacity; position, log-scale, quaternion
COARSEST_LEVEL = 4  # texels a side that a learned map's coarser levels have at least
NETWORKS = ("base", "texture", "residual", "geometry", "residual_maps", "geometry_maps")


class LearnedMap(nn.Module):
    """One learned map [1,4,S,S] for all frames: beneath the base, or in its place (the ablation "OptBase"). It is the
    sum of ``levels`` maps, each a quarter as fine as the one before: what no frame shows takes its surroundings'
    colour."""

    def __init__(self, size: int, levels: int = 1) -> None:
        super().__init__()
        sizes = [side for side in (size // 4**level for level in range(levels)) if side >= COARSEST_LEVEL]
        self.maps = nn.ParameterList(torch.zeros(1, APPEARANCE, side, side) for side in sizes or [size])

    def forward(self, normals: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        del normals, condition
        finest, size = self.maps[0], self.maps[0].shape[2:]
        coarser = (interpolate(level, size, mode="bilinear", align_corners=False) for level in list(self.maps)[1:])
        total: Tensor = sum(coarser, start=finest)
        return total


def new_networks(settings: DipGuavaSettings, condition: int) -> dict[str, nn.Module]:
    """Untrained ones, as far as the settings have them, by name; condition: how many values there are of it."""
    s, place = settings, encoded_size(settings.frequencies)
    mlp = partial(TexelMlp, width=s.mlp_width, layers=s.mlp_layers)
    made: dict[str, nn.Module] = {}
    beneath = s.texture_size > 0
    if s.base == "optimised":
        made["base"] = LearnedMap(s.uv_size)
    elif s.base == "normals" and s.backbone == "mlp":
        made["base"] = mlp(place, APPEARANCE, own=3, zero=beneath)
    elif s.base == "normals":
        made["base"] = UNet(3, APPEARANCE, s.unet_width, zero=beneath)
    if s.texture_size:
        made["texture"] = LearnedMap(s.texture_size, s.texture_levels)
    if s.residual_appearance and s.backbone == "mlp":
        made["residual"] = mlp(place, APPEARANCE, condition=condition, own=3, zero=s.base != "none")
    elif s.residual_appearance:
        made["residual"] = UNet(3, APPEARANCE, s.unet_width, condition, zero=s.base != "none")
    if s.residual_geometry:
        made["geometry"] = mlp(place, GEOMETRY, condition=condition, zero=True)
    maps = partial(MixedMaps, condition, s.residual_maps, s.uv_size, width=s.mlp_width)
    if s.residual_maps and s.residual_appearance:
        made["residual_maps"] = maps(APPEARANCE)
    if s.residual_maps and s.residual_geometry:
        made["geometry_maps"] = maps(GEOMETRY)
    return made


def flat_parameters(network: nn.Module) -> np.ndarray:
    """All of a network's parameters [P], one after the other by name; half precision where all of them fit into it."""
    flat = torch.cat([value.detach().flatten().cpu() for _, value in sorted(network.named_parameters())])
    halves = flat.half()
    return (halves if bool(halves.isfinite().all()) else flat).numpy()


@torch.no_grad()
def set_flat_parameters(network: nn.Module, values: np.ndarray) -> None:
    """The reverse. Raises ValueError when there are more or fewer."""
    parameters = [value for _, value in sorted(network.named_parameters())]
    if len(values) != sum(value.numel() for value in parameters):
        raise ValueError(f"values: {len(values)} are not those of this network")
    parts = torch.from_numpy(values).float().split([value.numel() for value in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.copy_(part.view_as(parameter))


def check_sizes(settings: DipGuavaSettings, condition: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise FormatError where a file's networks ``dip.NAME`` are not those that its settings ask for, before memory is:
    the header of a file can ask for any amount."""
    with torch.device("meta"):
        planned = new_networks(settings, condition)
    for name, network in planned.items():
        if f"dip.{name}" not in arrays:
            raise FormatError(f"The avatar's file lacks its network {name!r}; train the avatar again.")
        if len(arrays[f"dip.{name}"]) != sum(value.numel() for value in network.parameters()):
            raise FormatError(f"The avatar's file has a network {name!r} of another size; train the avatar again.")

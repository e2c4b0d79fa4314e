# SPDX-License-Identifier: Apache-2.0
"""The sides of a head that its clip never turns to the camera: skin and hair of the colours around, instead of holes
and noise.

Every texel of the head's surface that no frame shows well gets a flat, opaque Gaussian on the surface. Its colour, its
share in the blendshapes' colours and how far hair stands off are continued from what is seen around it; detail comes
from the other side of the face. What is seen edge on only is replaced as well, unless it stands far off (hair):
training then goes on, and the outline settles anew.

What no frame shows of eyes and mouth gets the colours that such parts have in everybody, in the light of the face: a
mouth that was never open has teeth, a tongue and a dark cavity then, where the head model has them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.rgbavatar.model import RGBAvatar, features_of_colors
from blendsplat.geometry import face_normals
from blendsplat.heads.uv import rasterize_uv
from blendsplat.splatting.bind import SH_DC
from blendsplat.training.parameters import Rearrangement
from blendsplat.training.rgbavatar.initialise import initial_scales
from blendsplat.training.rgbavatar.limits import INSIDE, on_region
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset
from blendsplat.training.rgbavatar.shown import Shown
from blendsplat.training.rgbavatar.surface_fill import continued

WELL = 0.1  # pixels of weight in a frame: from which on a Gaussian that faces the camera is known
SURELY = 0.3  # and from which on others take their values from it
AT_ALL = 0.02
OFF_SKIN = 0.012  # metres from its triangle: what stands farther off is hair, and kept where it is seen at all
_SOURCE_OFF = 0.02  # metres: what stands farther off is no source
_STAND = (-0.002, 0.03)  # metres that filled ones may stand off the surface
_SUNK = 0.0015  # metres that they lie below where their neighbours would have them: these cover them at the border
_WIDER = 1.25  # than a texel's Gaussian begins with: they are to leave no gaps
_FLAT = 4.0  # times thinner along the normal
_OPACITY = 3.0  # before the sigmoid
_SKIN_LIGHT = 0.55  # mean of the colours of a usual face; another one's light scales the parts' colours
# sRGB, in the order in which parts that overlap are painted
_PART_COLORS = {
    "mouth_interior": (0.24, 0.09, 0.08), "tongue": (0.55, 0.28, 0.27), "teeth_upper": (0.76, 0.71, 0.64),
    "teeth_lower": (0.68, 0.63, 0.56), "left_eyeball": (0.72, 0.69, 0.67), "right_eyeball": (0.72, 0.69, 0.67),
}  # fmt: skip


@torch.no_grad()
def fill_unseen(avatar: RGBAvatar, shown: Shown, preset: RGBAvatarPreset) -> tuple[RGBAvatar, Rearrangement] | None:
    """An avatar with every texel of the head covered, and where its Gaussians come from; None where nothing of its
    outside is seen well. What is seen at all of eyes and the inside of the mouth stays as it is."""
    triangle, barycentrics = rasterize_uv(avatar.head, preset.uv_resolution)
    triangle, barycentrics = triangle.to(avatar.triangle), barycentrics.to(avatar.barycentrics)
    row = _rows_of(avatar, triangle, barycentrics)
    held, index = row >= 0, row.clamp_min(0)
    inside = on_region(avatar.head, avatar.head.faces[triangle], INSIDE)
    off = avatar.positions.norm(dim=1)[index]
    well = held & (shown.facing[index] > WELL)
    hair = held & ~well & (shown.at_all[index] > AT_ALL) & (off >= OFF_SKIN)
    kept = torch.where(inside, held & (shown.at_all[index] > AT_ALL), well | hair)
    fresh = (~kept).nonzero()[:, 0]
    sources = well & ~inside & (shown.facing[index] > SURELY) & (off < _SOURCE_OFF)
    if not bool(sources.any()):
        return None
    old = row[kept].unique()
    change = Rearrangement(
        torch.cat([old, old.new_zeros(len(fresh))]),
        torch.cat([torch.zeros_like(old, dtype=torch.bool), torch.ones_like(fresh, dtype=torch.bool)]),
    )
    values = _continued_values(avatar, triangle, barycentrics, index, ~inside, sources)
    light = SH_DC * avatar.colors[index[sources]].mean() + 0.5
    values[inside, :3] = features_of_colors(_part_colors(avatar, triangle) * (light / _SKIN_LIGHT))[inside]
    filled = avatar.like(
        torch.cat([avatar.triangle[old], triangle[fresh]]), torch.cat([avatar.barycentrics[old], barycentrics[fresh]])
    )
    _write(filled, avatar.rearranged(old), values[fresh], preset)
    return filled, change


def _rows_of(avatar: RGBAvatar, triangle: Tensor, barycentrics: Tensor) -> Tensor:
    """[T]: the avatar's Gaussian at each texel, -1 where it has none any more."""

    def keys(triangles: Tensor, places: Tensor) -> list[tuple[int, ...]]:
        rounded = (places.cpu() * 10_000).round().long()
        return [tuple(key) for key in torch.cat([triangles.cpu()[:, None].long(), rounded], 1).tolist()]

    rows = {key: row for row, key in enumerate(keys(avatar.triangle, avatar.barycentrics))}
    return torch.tensor([rows.get(key, -1) for key in keys(triangle, barycentrics)], device=triangle.device)


def _continued_values(
    avatar: RGBAvatar, triangle: Tensor, barycentrics: Tensor, index: Tensor, outside: Tensor, sources: Tensor
) -> Tensor:
    """[T,3+3K+1]: colour, the blendshapes' colours and height above the surface, continued from ``sources`` over what
    is ``outside``; of other texels zeros."""
    head = avatar.head
    points = (head.template[head.faces[triangle]] * barycentrics[..., None]).sum(1)
    normals = torch.nn.functional.normalize(face_normals(head.template[None], head.faces)[0], dim=1)[triangle]
    deltas = avatar.delta_colors[:, index].permute(1, 0, 2).flatten(1)
    values = torch.cat([avatar.colors[index], deltas, avatar.positions[index, 2:]], 1)
    at, along, what = (part[outside].double().cpu().numpy() for part in (points, normals, values))
    made = continued(at, along, what, sources[outside].cpu().numpy(), mirrored=3)
    whole = values.new_zeros(len(triangle), values.shape[1])
    whole[outside] = torch.from_numpy(np.asarray(made, np.float32)).to(values)
    return whole


def _part_colors(avatar: RGBAvatar, triangle: Tensor) -> Tensor:
    """[T,3] rgb: what eyes and the parts of a mouth look like; elsewhere skin's mean."""
    corners = avatar.head.faces[triangle]
    colors = avatar.colors.new_full((len(triangle), 3), _SKIN_LIGHT)
    for name, color in _PART_COLORS.items():
        colors[on_region(avatar.head, corners, (name,))] = colors.new_tensor(color)
    return colors


def _write(filled: RGBAvatar, kept: RGBAvatar, values: Tensor, preset: RGBAvatarPreset) -> None:
    """Give ``filled`` the Gaussians of ``kept`` and, after them, flat ones of these values [M,3+3K+1]."""
    count, bases, old = len(values), filled.blendshape_count, kept.gaussian_count
    for name, buffer in filled.named_buffers():
        if name.startswith("feature_"):
            buffer.copy_(kept.get_buffer(name))
    filled.mlp.load_state_dict(kept.mlp.state_dict())
    scales = initial_scales(filled, preset).to(values)[old:, None].repeat(1, 3) * _WIDER
    scales[:, 2] /= _FLAT
    places = values.new_zeros(count, 3)
    places[:, 2] = values[:, -1].clamp(*_STAND) - _SUNK
    unturned = values.new_tensor([1.0, 0, 0, 0]).repeat(count, 1)
    added = {
        "positions": places, "log_scales": scales.log(), "quats": unturned,
        "opacity_logits": values.new_full((count,), _OPACITY), "colors": values[:, :3],
        "delta_positions": values.new_zeros(bases, count, 3), "delta_quats": values.new_zeros(bases, count, 4),
        "delta_colors": values[:, 3:-1].reshape(count, bases, 3).permute(1, 0, 2),
    }  # fmt: skip
    for name, value in added.items():
        axis = 1 if name.startswith("delta_") else 0
        filled.get_parameter(name).copy_(torch.cat([kept.get_parameter(name), value], axis))

# SPDX-License-Identifier: Apache-2.0
"""A person's texture on any head: painted by the head's own painter where it has one, with the shadow of the hair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from blendsplat.heads.families import HUMAN
from blendsplat.heads.human.appearance import Look, paint_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.portrait import Palette, painted_texture, region_mask
from blendsplat.heads.uv import rasterize_uv_faces
from blendsplat.synthetic.hair import HairStyle, stain
from blendsplat.synthetic.surface import INSIDE, Array, rest_of

_SHADOW = 0.55  # how bright the hair's colour is on the skin under it


def texture_of(head: HeadModel, look: Look, style: HairStyle, size: int) -> Tensor:
    """Base colour float32 [size,size,3] sRGB of the head's UV square (v = 1 in the first row)."""
    texture = _skin(head, look, size)
    rest, hairless = _texels(head, size)
    strength = stain(rest.reshape(-1, 3), style).reshape(size, size, 1)
    tint = torch.from_numpy(np.where(hairless, 0, strength).astype(np.float32))
    mixed: Tensor = texture * (1 - tint) + _SHADOW * torch.tensor(style.colour) * tint
    return mixed


def ring_colours(head: HeadModel, texture: Tensor) -> Array:
    """The texture's sRGB [R,3] at the vertices of the neck's ring, in the region's order."""
    faces, uv_faces = head.faces.numpy(), head.uv_faces.numpy()
    uv_of = np.zeros(head.vertex_count, np.int64)
    uv_of[faces] = uv_faces
    uvs = head.uvs.numpy()[uv_of[head.regions["neck_ring"]]]
    size = texture.shape[0]
    pixels = np.stack([uvs[:, 0], 1 - uvs[:, 1]], -1) * size - 0.5
    columns, rows = np.rint(pixels).astype(int).clip(0, size - 1).T
    small = torch.nn.functional.avg_pool2d(texture.permute(2, 0, 1)[None], 5, 1, 2)[0].permute(1, 2, 0)
    return np.asarray(small.numpy()[rows, columns])


def _skin(head: HeadModel, look: Look, size: int) -> Tensor:
    """The head without hair on its scalp."""
    if head.family == HUMAN:
        return torch.from_numpy(paint_head(replace(look, scalp_hair="none"), size))
    return painted_texture(head, Palette(look.skin, look.lips, look.skin, look.eyes), size)


_kept: dict[tuple[str, int, int], tuple[Array, Array]] = {}  # of the last two heads and sizes


def _texels(head: HeadModel, size: int) -> tuple[Array, Array]:
    """Where texels lie on the mean head, mm [size,size,3], and on which of them no hair grows [size,size,1]."""
    key = (head.model_id, head.vertex_count, size)
    if key not in _kept:
        while len(_kept) > 1:
            _kept.pop(next(iter(_kept)))
        _kept[key] = _texels_of(head, size)
    return _kept[key]


def _texels_of(head: HeadModel, size: int) -> tuple[Array, Array]:
    texels, triangles, weights = rasterize_uv_faces(head.uvs.numpy(), head.uv_faces.numpy(), size)
    corners = head.faces.numpy()[triangles]
    rest, hairless = np.zeros((size * size, 3), np.float32), np.ones((size * size, 1), bool)
    empty = np.ones(size * size, bool)
    rest[texels] = (rest_of(head)[corners] * weights[:, :, None]).sum(1)
    hairless[texels, 0] = region_mask(head, *INSIDE, "left_ear", "right_ear")[corners].all(1)
    empty[texels] = False
    rows, columns = distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)

    def filled(plane: Array) -> Array:
        return np.ascontiguousarray(plane.reshape(size, size, -1)[rows, columns][::-1])

    return filled(rest), filled(hairless)

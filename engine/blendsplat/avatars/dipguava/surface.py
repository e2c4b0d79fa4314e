# SPDX-License-Identifier: Apache-2.0
"""What DipGuava needs of a head's surface: its triangles' frames (eq. 1), and maps of the posed head in UV space.

Texel centres lie at ((column + 0.5) / size, (row + 0.5) / size) in (u, v), in every map that is drawn or sampled here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from blendsplat.errors import InputError
from blendsplat.geometry import matrix_to_quat, vertex_normals
from blendsplat.heads.model import HeadModel
from blendsplat.heads.uv import rasterize_uv_faces

SHORTEST, FLATTEST = 1e-10, 1e-5  # metres of an edge, and the sine of a corner, below which they have no direction


@dataclass
class TriangleFrames:
    """F triangles in B frames: centroids [B,F,3], rotations [B,F,3,3] whose columns are the first edge, the normal and
    what is perpendicular to both, the same as quaternions [B,F,4] wxyz, and sizes [B,F], the mean length of an edge in
    metres: the k of eq. 1, here, in the file and in Blender."""

    centroids: Tensor
    rotations: Tensor
    quats: Tensor
    sizes: Tensor

    def __getitem__(self, rows: Tensor | list[int] | slice) -> TriangleFrames:
        """Some of the frames."""
        return TriangleFrames(*(getattr(self, item.name)[rows] for item in fields(self)))


def triangle_frames(vertices: Tensor, faces: Tensor) -> TriangleFrames:
    """Of posed vertices [B,V,3] and faces [F,3]. A triangle without area gets some rotation, not NaN."""
    corners = vertices[:, faces]  # [B,F,3,3]
    first, second = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    lengths = first.norm(dim=-1, keepdim=True)
    edge = normalize(torch.where(lengths < SHORTEST, torch.tensor([1.0, 0, 0]).to(first), first), dim=-1)
    normal = torch.cross(first, second, dim=-1)
    # what rounding leaves of an area points anywhere, along the edge too
    flat = normal.norm(dim=-1, keepdim=True) <= FLATTEST * lengths * second.norm(dim=-1, keepdim=True)
    spare = torch.cross(edge, edge.roll(1, -1) + torch.tensor([0.3, -0.5, 0.7]).to(edge), dim=-1)
    normal = normalize(torch.where(flat, spare, normal), dim=-1, eps=1e-12)
    rotations = torch.stack([edge, normal, torch.cross(edge, normal, dim=-1)], -1)
    third = corners[:, :, 2] - corners[:, :, 1]
    sizes = (first.norm(dim=-1) + second.norm(dim=-1) + third.norm(dim=-1)) / 3
    return TriangleFrames(corners.mean(2), rotations, matrix_to_quat(rotations), sizes)


@dataclass
class Texels:
    """The T texels of a size x size map that the head covers: places [T] (row * size + column), triangle [T],
    barycentrics [T,3]; filled [size*size]: for every texel of the map, the nearest of the T."""

    size: int
    places: Tensor
    triangle: Tensor
    barycentrics: Tensor
    filled: Tensor

    @classmethod
    def of(cls, head: HeadModel, size: int) -> Texels:
        """Raises InputError for a head that has no texture coordinates to speak of."""
        uvs, uv_faces = head.uvs.cpu().numpy(), head.uv_faces.cpu().numpy()
        places, triangle, barycentrics = rasterize_uv_faces(uvs, uv_faces, size)
        if len(uv_faces) != len(head.faces) or not len(places):
            raise InputError(
                f"The head {head.name!r} lacks texture coordinates, which this kind of avatar is drawn in; track the "
                "clip with a head that has them, for example the human one."
            )
        empty = np.ones(size * size, bool)
        empty[places] = False
        row, column = distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)
        number = np.zeros(size * size, np.int64)
        number[places] = np.arange(len(places))
        filled = torch.from_numpy(number[(row * size + column).ravel()])
        return cls(
            size, torch.from_numpy(places), torch.from_numpy(triangle), torch.from_numpy(barycentrics).float(), filled
        )

    def to(self, device: torch.device | str) -> Texels:
        moved = (getattr(self, item.name) for item in fields(self) if item.name != "size")
        return Texels(self.size, *(value.to(device) for value in moved))

    def on_surface(self, values: Tensor, faces: Tensor) -> Tensor:
        """Values [B,V,C] of vertices, at the texels: [B,T,C]."""
        corners = values[:, faces[self.triangle]]
        return (corners * self.barycentrics[..., None]).sum(2)

    def image(self, values: Tensor) -> Tensor:
        """Values [B,T,C] as a map [B,C,size,size], zero where the head is not."""
        batch, _, channels = values.shape
        flat = values.new_zeros(batch, self.size * self.size, channels)
        return flat.index_copy(1, self.places, values).mT.reshape(batch, channels, self.size, self.size)

    def grown(self, values: Tensor) -> Tensor:
        """The same, but around the islands their border's values go on, so that sampling beside them finds no zero."""
        batch, _, channels = values.shape
        return values.index_select(1, self.filled).mT.reshape(batch, channels, self.size, self.size)


def normal_maps(vertices: Tensor, faces: Tensor, viewmat: Tensor, texels: Texels) -> Tensor:
    """Vertices [B,V,3] -> maps [B,3,size,size] of unit normals in the camera's axes, zero where the head is not
    (section 4.1). viewmat [4,4]: its rotation turns world into camera."""
    turned = vertex_normals(vertices, faces) @ viewmat[:3, :3].mT
    return texels.image(normalize(texels.on_surface(turned, faces), dim=-1, eps=1e-12))


def sample(maps: Tensor, uv: Tensor) -> Tensor:
    """Maps [B or 1,C,S,S] at UV [B or 1,N,2] -> [B,N,C], bilinear, the border's values outside. Gradients to both."""
    batch = max(len(maps), len(uv))
    grid = (2 * uv - 1).expand(batch, -1, -1)[:, None]
    found = grid_sample(maps.expand(batch, -1, -1, -1), grid, "bilinear", "border", align_corners=False)
    return found[:, :, 0].mT

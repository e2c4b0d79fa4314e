# SPDX-License-Identifier: Apache-2.0
"""Playing an avatar: BindPass's forward half for frames that nobody learns from, several times as fast.

What does not change from frame to frame is packed once, in the order in which the kernels read it; bases in half
precision stay so in memory. The posed triangles are found on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.splatting.bind import BindParameters
from blendsplat.splatting.buffers import address
from blendsplat.splatting.launch import check_buffer, launch_on
from blendsplat.splatting.scene import Gaussians

PACK = 16  # kPackWidth in cuda_ext/include/blendsplat/playback.h
_FLOATS = 10  # of a Gaussian: position, quaternion, colour feature
_POSED = 32  # floats of a posed triangle


@dataclass(frozen=True)
class Packed:
    """N Gaussians in G packs of sixteen; the last pack is filled up with zeros on triangle 0."""

    count: int  # N
    base: Tensor  # [G,10,16] float32
    bases: Tensor  # [G,10,K,16] float16 or float32
    scales: Tensor  # [1,N,3]
    opacities: Tensor  # [1,N]
    triangle: Tensor  # [G,16] int32
    barycentrics: Tensor  # [G,3,16]
    faces: Tensor  # [F,3] int64
    uv_edges: Tensor  # [F,4], of heads.tangent_frames

    @property
    def blendshapes(self) -> int:
        return self.bases.shape[2]


def packed(
    parameters: BindParameters, triangle: Tensor, barycentrics: Tensor, faces: Tensor, uv_edges: Tensor
) -> Packed:
    """A copy of the parameters for PlaybackPass; bases keep their precision, float16 or float32. triangle [N].

    Raises ValueError for a Gaussian on a face, or a face with a vertex, that is not there."""
    _check_indices("triangle", triangle, 0, len(faces) - 1)
    _check_indices("faces", faces, 0, torch.iinfo(torch.int64).max)
    count, rows = len(triangle), [part.detach() for part in parameters.base]
    deltas = [part.detach() for part in parameters.deltas]
    if deltas[0].dtype != torch.float16:
        deltas = [part.float() for part in deltas]
    base = packs_of(torch.cat([row.float() for row in rows], 1))
    blended = torch.cat(deltas, 2)  # [K,N,10]
    bases = packs_of(blended.permute(1, 2, 0).flatten(1)).reshape(*base.shape[:2], len(blended), PACK)
    return Packed(
        count, base, bases,
        parameters.log_scales.detach().float().exp()[None].contiguous(),
        parameters.opacity_logits.detach().float().sigmoid()[None].contiguous(),
        packs_of(triangle.int()[:, None])[:, 0].contiguous(), packs_of(barycentrics.detach().float()),
        faces.contiguous(), uv_edges.contiguous(),
    )  # fmt: skip


def packs_of(rows: Tensor) -> Tensor:
    """[N,C] -> [G,C,16], the last pack filled up with zeros."""
    (count, columns), packs = rows.shape, -(-len(rows) // PACK)
    filled = torch.nn.functional.pad(rows, (0, 0, 0, packs * PACK - count))
    return filled.reshape(packs, PACK, columns).transpose(1, 2).contiguous()


class PlaybackPass:
    """Gaussians of packed ones in B frames, in buffers made once: ``gaussians`` (scales [1,N,3], opacities [1,N]) are
    written anew by every ``forward``."""

    def __init__(self, images: int, gaussians: Packed) -> None:
        device, faces = gaussians.base.device, gaussians.faces
        self._launch, self._images, self._packed = launch_on(device), images, gaussians
        check_buffer("faces", faces, (len(faces), 3), device, torch.int64)
        check_buffer("uv_edges", gaussians.uv_edges, (len(faces), 4), device)
        self._least_vertices = int(faces.max()) + 1 if len(faces) else 0

        def empty(*shape: int) -> Tensor:
            return torch.empty(shape, device=device)

        self._triangles = empty(images, len(faces), _POSED)
        means, quats, colors = (empty(images, gaussians.count, width) for width in (3, 4, 3))
        self.gaussians = Gaussians(means, quats, gaussians.scales, gaussians.opacities, colors)

    def forward(self, vertices: Tensor, weights: Tensor | None) -> None:
        """Of posed vertices [B,V,3] and weights [B,K]; None: the base alone. Raises ValueError for others."""
        self.pose(vertices)
        self.bind(weights)

    def pose(self, vertices: Tensor) -> None:
        """The first half: what the triangles of posed vertices [B,V,3] carry."""
        launch, packs = self._launch, self._packed
        check_buffer("vertices", vertices, (self._images, vertices.shape[1], 3), launch.device)
        if vertices.shape[1] < self._least_vertices:
            raise ValueError(f"vertices: expected {self._least_vertices} at least, got {vertices.shape[1]}")
        launch.kernels.pose_triangles(
            self._images, vertices.shape[1], len(packs.faces), address(vertices), address(packs.faces),
            address(packs.uv_edges), address(self._triangles), *launch.queue,
        )  # fmt: skip

    def bind(self, weights: Tensor | None) -> None:
        """The second half: Gaussians of weights [B,K] on the triangles that were posed last."""
        launch, packs, out = self._launch, self._packed, self.gaussians
        if weights is not None:
            check_buffer("weights", weights, (self._images, packs.blendshapes), launch.device)
        tensors = (
            packs.base, packs.bases, weights, packs.triangle, packs.barycentrics, self._triangles,
            out.means, out.quats, out.colors,
        )  # fmt: skip
        launch.kernels.play(
            self._images, packs.count, packs.blendshapes, len(packs.faces), packs.bases.dtype == torch.float16,
            [address(tensor) for tensor in tensors], *launch.queue,
        )  # fmt: skip


def _check_indices(name: str, indices: Tensor, least: int, most: int) -> None:
    if not indices.numel():
        return
    low, high = (int(value) for value in indices.aminmax())
    if low < least or high > most:
        raise ValueError(f"{name}: expected numbers from {least} to {most}, got {low} to {high}")

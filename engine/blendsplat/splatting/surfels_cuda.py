# SPDX-License-Identifier: Apache-2.0
"""Surfels on a GPU: their own projection and blending around the Gaussians' binning. Waits for the device once a call,
to know how many entries the bins have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, BufferProvider, address, check_entries, gradient_buffers, plane_buffers
from blendsplat.splatting.cuda import CudaBackend
from blendsplat.splatting.scene import Gradients, PlaneGradients, Scene


class CudaSurfels:
    """The surfel operations of blendsplat._kernels_cuda."""

    def __init__(self, backend: CudaBackend) -> None:
        self._backend = backend

    def bin(self, scene: Scene, buffers: BufferProvider) -> Bins:
        backend, take = self._backend, buffers.take
        surfels = take("surfels", (scene.images, scene.count, backend.kernels.RECORD_SIZE), torch.float32)

        def project(view: Any, records: int, scratch: Any) -> None:
            backend.kernels.surfel_project(view, address(surfels), records, scratch)

        ordered = backend.sort_gaussians(scene, buffers, project)
        total = ordered.entries()
        check_entries(total, scene)
        bins = backend.fill_bins(scene, ordered, total, buffers)
        return Bins(surfels, bins.offsets, bins.entries)

    def blend_forward(
        self, scene: Scene, bins: Bins, buffers: BufferProvider, keep_for_backward: bool
    ) -> tuple[Tensor, ...]:
        """Keeps what ``backward`` needs in any case: the kernel writes it."""
        backend, take = self._backend, buffers.take
        normals = buffers.take("normals", (scene.images, scene.height, scene.width, 3), torch.float32)
        planes = (*plane_buffers(scene, buffers), normals)
        tiles = bins.offsets.numel() // 2
        bins.kept = (
            take("transmittance", (tiles, backend.kernels.TILE_PIXELS), torch.float32),
            take("lasts", (tiles, backend.kernels.TILE_PIXELS), torch.int32),
        )
        backend.kernels.surfel_forward(
            backend.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(scene.backgrounds), *(address(plane) for plane in planes), *(address(kept) for kept in bins.kept),
        )  # fmt: skip
        return planes

    def backward(
        self, scene: Scene, bins: Bins, grads: PlaneGradients, buffers: BufferProvider, need_background: bool
    ) -> tuple[Gradients, Tensor | None]:
        backend, take = self._backend, buffers.take
        view = backend.view(scene)
        rows = take("rows", (scene.images, scene.count, backend.kernels.GRADIENT_SIZE), torch.float32)
        background = take("background", (scene.images, 3), torch.float32) if need_background else None
        backend.kernels.surfel_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(scene.backgrounds),
            *(address(grad) for grad in grads), *(address(kept) for kept in bins.kept), address(rows),
            address(background),
        )  # fmt: skip
        out = gradient_buffers(scene, buffers)
        backend.kernels.surfel_project_backward(view, address(rows), *(address(tensor) for tensor in out))
        return out, background

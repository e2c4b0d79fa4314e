# SPDX-License-Identifier: Apache-2.0
"""Surfels on the CPU: their own projection and blending around the Gaussians' binning and buffers."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, BufferProvider, address, gradient_buffers, plane_buffers
from blendsplat.splatting.cpu import CpuBackend
from blendsplat.splatting.scene import Gradients, PlaneGradients, Scene


class CpuSurfels:
    """The surfel operations of blendsplat._kernels_cpu, in the buffers of the backend that it belongs to."""

    def __init__(self, backend: CpuBackend) -> None:
        self._backend = backend

    def bin(self, scene: Scene, buffers: BufferProvider) -> Bins:
        backend, size = self._backend, (scene.images, scene.count)
        surfels = buffers.take("surfels", (*size, backend.kernels.RECORD_SIZE), torch.float32)
        records = backend.workspace.take("records", (*size, backend.kernels.RECORD_SIZE), torch.float32)
        tile_bounds = backend.workspace.take("tile_bounds", size, torch.int32)
        backend.kernels.surfel_project(backend.view(scene), address(surfels), address(records), address(tile_bounds))
        bins = backend.sort(scene, records, tile_bounds, buffers)
        return Bins(surfels, bins.offsets, bins.entries, longest=bins.longest)

    def blend_forward(
        self, scene: Scene, bins: Bins, buffers: BufferProvider, keep_for_backward: bool
    ) -> tuple[Tensor, ...]:
        normals = buffers.take("normals", (scene.images, scene.height, scene.width, 3), torch.float32)
        planes = (*plane_buffers(scene, buffers), normals)
        self._backend.kernels.surfel_forward(
            self._backend.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(scene.backgrounds), *(address(plane) for plane in planes),
        )  # fmt: skip
        return planes

    def backward(
        self, scene: Scene, bins: Bins, grads: PlaneGradients, buffers: BufferProvider, need_background: bool
    ) -> tuple[Gradients, Tensor | None]:
        backend, kernels = self._backend, self._backend.kernels
        view, scratch, images = backend.view(scene), backend.workspace.take, scene.images
        parts, threads, room = backend.parts(images), torch.get_num_threads(), bins.longest + 1
        rows = scratch("rows", (parts, images, scene.count, kernels.GRADIENT_SIZE), torch.float32)
        kept = scratch("kept", (threads, room, kernels.KEPT_SIZE), torch.float32)
        kept_entries = scratch("kept_entries", (threads, room), torch.int32)
        background = torch.empty(parts, images, 3) if need_background else None
        kernels.surfel_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(scene.backgrounds),
            *(address(grad) for grad in grads), parts, address(rows), address(background),
            bins.longest, address(kept), address(kept_entries),
        )  # fmt: skip
        out = gradient_buffers(scene, buffers)
        kernels.surfel_project_backward(view, address(rows), parts, *(address(tensor) for tensor in out))
        return out, None if background is None else background.sum(0)

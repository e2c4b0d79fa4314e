# SPDX-License-Identifier: Apache-2.0
"""Surfels on the CPU: their own projection and blending around the Gaussians' binning and buffers."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, Gradients, Scene, address
from blendsplat.splatting.cpu import CpuBackend


class CpuSurfels:
    """The surfel operations of blendsplat._kernels_cpu, in the buffers of the backend that it belongs to."""

    def __init__(self, backend: CpuBackend) -> None:
        self._backend = backend

    def bin(self, scene: Scene) -> Bins:
        backend, size = self._backend, (scene.images, scene.gaussians)
        surfels = torch.empty(*size, backend.kernels.RECORD_SIZE)
        records = backend.workspace.take("records", (*size, backend.kernels.RECORD_SIZE), torch.float32)
        tile_bounds = backend.workspace.take("tile_bounds", size, torch.int32)
        backend.kernels.surfel_project(backend.view(scene), address(surfels), address(records), address(tile_bounds))
        bins = backend.sort(scene, records, tile_bounds)
        return Bins(surfels, bins.offsets, bins.entries, longest=bins.longest)

    def blend_forward(self, scene: Scene, bins: Bins, backgrounds: Tensor | None) -> tuple[Tensor, ...]:
        planes = tuple(scene.pixels(channels) for channels in (3, 1, 1, 3))
        self._backend.kernels.surfel_forward(
            self._backend.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(backgrounds), *(address(plane) for plane in planes),
        )  # fmt: skip
        return planes

    def backward(
        self,
        scene: Scene,
        bins: Bins,
        backgrounds: Tensor | None,
        grads: tuple[Tensor | None, ...],
        need_background: bool,
    ) -> tuple[Gradients, Tensor | None]:
        backend, kernels = self._backend, self._backend.kernels
        view, scratch, images = backend.view(scene), backend.workspace.take, scene.images
        parts, threads, room = backend.parts(images), torch.get_num_threads(), bins.longest + 1
        rows = scratch("rows", (parts, images, scene.gaussians, kernels.GRADIENT_SIZE), torch.float32)
        kept = scratch("kept", (threads, room, kernels.KEPT_SIZE), torch.float32)
        kept_entries = scratch("kept_entries", (threads, room), torch.int32)
        background = torch.empty(parts, images, 3) if need_background else None
        kernels.surfel_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(backgrounds),
            *(address(grad) for grad in grads), parts, address(rows), address(background),
            bins.longest, address(kept), address(kept_entries),
        )  # fmt: skip
        surfels = (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)
        out = Gradients(*(torch.empty_like(tensor) for tensor in surfels))
        kernels.surfel_project_backward(view, address(rows), parts, *(address(tensor) for tensor in out))
        return out, None if background is None else background.sum(0)

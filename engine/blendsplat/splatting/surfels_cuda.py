# SPDX-License-Identifier: Apache-2.0
"""Surfels on a GPU: their own projection and blending around the Gaussians' binning. Waits for the device once a call,
to know how many entries the bins have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, Gradients, Scene, address, check_entries, fresh_on
from blendsplat.splatting.cuda import CudaBackend


class CudaSurfels:
    """The surfel operations of blendsplat._kernels_cuda."""

    def __init__(self, backend: CudaBackend) -> None:
        self._backend = backend

    def bin(self, scene: Scene) -> Bins:
        backend, take = self._backend, fresh_on(scene.means.device)
        surfels = take("surfels", (scene.images, scene.gaussians, backend.kernels.RECORD_SIZE), torch.float32)

        def project(view: Any, records: int, scratch: Any) -> None:
            backend.kernels.surfel_project(view, address(surfels), records, scratch)

        ordered = backend.sort_gaussians(scene, take, project)
        total = ordered.entries()
        check_entries(total, scene)
        bins = backend.fill_bins(scene, ordered, total, take)
        return Bins(surfels, bins.offsets, bins.entries)

    def blend_forward(self, scene: Scene, bins: Bins, backgrounds: Tensor | None) -> tuple[Tensor, ...]:
        backend, take = self._backend, fresh_on(scene.means.device)
        planes = tuple(scene.pixels(channels) for channels in (3, 1, 1, 3))
        tiles = bins.offsets.numel() // 2
        bins.kept = (
            take("transmittance", (tiles, backend.kernels.TILE_PIXELS), torch.float32),
            take("lasts", (tiles, backend.kernels.TILE_PIXELS), torch.int32),
        )
        backend.kernels.surfel_forward(
            backend.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(backgrounds), *(address(plane) for plane in planes), *(address(kept) for kept in bins.kept),
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
        backend, take = self._backend, fresh_on(scene.means.device)
        view = backend.view(scene)
        rows = take("rows", (scene.images, scene.gaussians, backend.kernels.GRADIENT_SIZE), torch.float32)
        background = take("background", (scene.images, 3), torch.float32) if need_background else None
        backend.kernels.surfel_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(backgrounds),
            *(address(grad) for grad in grads), *(address(kept) for kept in bins.kept), address(rows),
            address(background),
        )  # fmt: skip
        surfels = (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)
        out = Gradients(*(torch.empty_like(tensor) for tensor in surfels))
        backend.kernels.surfel_project_backward(view, address(rows), *(address(tensor) for tensor in out))
        return out, background

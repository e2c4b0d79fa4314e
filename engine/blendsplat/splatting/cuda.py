# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend: the same operations as the CPU's, queued on torch's current stream.

One radix sort serves the whole batch. The number of (Gaussian, tile) entries is read back once per call, to allocate.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor

from blendsplat.errors import BlendsplatError
from blendsplat.splatting.buffers import Bins, Gradients, Scene, address, check_entries


class CudaBackend:
    """Kernels of blendsplat._kernels_cuda on the device of the tensors they are given."""

    def __init__(self, module: ModuleType) -> None:
        self.kernels: Any = module

    def _scene(self, scene: Scene) -> Any:
        device = scene.means.device
        return self.kernels.Scene(
            scene.images, scene.gaussians, scene.width, scene.height, scene.near_plane, device.index or 0,
            torch.cuda.current_stream(device).cuda_stream,
            address(scene.means), address(scene.quats), address(scene.scales), address(scene.opacities),
            address(scene.colors), address(scene.viewmats), address(scene.Ks),
        )  # fmt: skip

    def make_pass(self, images: int, gaussians: int, width: int, height: int, near_plane: float) -> NoReturn:
        raise BlendsplatError("The CUDA kernels of this build have no persistent pass: use the device cpu.")

    def bin(self, scene: Scene) -> Bins:
        view, kernels = self._scene(scene), self.kernels
        count = scene.images * scene.gaussians
        tiles = -(-scene.width // kernels.TILE_SIZE) * -(-scene.height // kernels.TILE_SIZE)

        def empty(size: int, dtype: torch.dtype) -> Tensor:
            return torch.empty(size, dtype=dtype, device=scene.means.device)

        records = empty(count * kernels.RECORD_SIZE, torch.float32)
        tile_counts, sums = empty(count, torch.int32), empty(count, torch.int64)
        ranges = torch.zeros(scene.images * tiles * 2, dtype=torch.int64, device=scene.means.device)
        kernels.project(view, address(records), address(tile_counts))
        size = kernels.scan_temporary_size(count) if count else 0
        temporary = empty(size, torch.uint8)
        kernels.scan(view, address(tile_counts), address(sums), address(temporary), size)
        total = int(sums[-1]) if count else 0
        check_entries(total, scene)
        keys, sorted_keys = empty(total, torch.int64), empty(total, torch.int64)
        values, entries = empty(total, torch.int32), empty(total, torch.int32)
        kernels.duplicate_keys(
            view, address(records), address(tile_counts), address(sums), total, address(keys), address(values)
        )
        size = kernels.sort_temporary_size(view, total) if total else 0
        temporary = empty(size, torch.uint8)
        kernels.sort(
            view,
            total,
            address(keys),
            address(sorted_keys),
            address(values),
            address(entries),
            address(temporary),
            size,
        )
        kernels.tile_ranges(view, total, address(sorted_keys), address(ranges))
        return Bins(records, ranges, entries)

    def blend_forward(self, scene: Scene, bins: Bins, backgrounds: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        image, alpha, depth = scene.pixels(3), scene.pixels(1), scene.pixels(1)
        transmittance, last = torch.empty_like(alpha), torch.empty_like(alpha, dtype=torch.int64)
        self.kernels.blend_forward(
            self._scene(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(backgrounds), address(image), address(alpha), address(depth), address(transmittance), address(last),
        )  # fmt: skip
        bins.kept = (transmittance, last)
        return image, alpha, depth

    def backward(
        self,
        scene: Scene,
        bins: Bins,
        backgrounds: Tensor | None,
        grads: tuple[Tensor | None, ...],
        need_background: bool,
    ) -> tuple[Gradients, Tensor | None]:
        view = self._scene(scene)
        rows = scene.means.new_zeros(scene.images * scene.gaussians, self.kernels.GRADIENT_SIZE)
        background = scene.means.new_zeros(scene.images, 3) if need_background else None
        transmittance, last = bins.kept
        self.kernels.blend_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(backgrounds),
            *(address(grad) for grad in grads), address(transmittance), address(last), address(rows),
            address(background),
        )  # fmt: skip
        out = [torch.empty_like(t) for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)]
        self.kernels.project_backward(view, address(bins.records), address(rows), *(address(t) for t in out))
        return Gradients(*out), background

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor:
        sums = scene.means.new_zeros(scene.images, scene.gaussians, 4)
        self.kernels.pixel_weights(
            self._scene(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(targets), address(mask), threshold, address(sums),
        )  # fmt: skip
        return sums.sum(0)

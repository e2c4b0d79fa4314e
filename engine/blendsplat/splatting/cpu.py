# SPDX-License-Identifier: Apache-2.0
"""The CPU backend: OpenMP and vector instructions behind blendsplat._kernels_cpu.

It allocates what the kernels read and write; the kernels know only addresses.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, Scene, Workspace, address, check_entries


class CpuBackend:
    """OpenMP + vector instructions (AVX-512, AVX2 or what the compiler finds), chosen at run time."""

    def __init__(self, module: ModuleType) -> None:
        self.kernels: Any = module
        self._workspace = Workspace()

    @property
    def instruction_set(self) -> str:
        """ "avx512", "avx2" or "generic"."""
        return str(self.kernels.instruction_set())

    def _scene(self, scene: Scene) -> Any:
        return self.kernels.Scene(
            scene.images, scene.gaussians, scene.width, scene.height, scene.near_plane, torch.get_num_threads(),
            address(scene.means), address(scene.quats), address(scene.scales), address(scene.opacities),
            address(scene.colors), address(scene.viewmats), address(scene.Ks),
        )  # fmt: skip

    def _parts(self, images: int) -> int:
        """Runs of tiles per image: enough that the last thread to finish does not keep the others waiting long."""
        threads = torch.get_num_threads()
        return min(threads, -(-4 * threads // max(images, 1))) if images < 4 * threads else 1

    def bin(self, scene: Scene) -> Bins:
        view, kernels, take = self._scene(scene), self.kernels, self._workspace.take
        images, gaussians, size = scene.images, scene.gaussians, kernels.TILE_SIZE
        tiles = -(-scene.width // size) * -(-scene.height // size)
        records = torch.empty(images, gaussians, kernels.RECORD_SIZE)
        tile_bounds = take("tile_bounds", images * gaussians, torch.int32)
        kernels.project(view, address(records), address(tile_bounds))
        bound = int(tile_bounds[: images * gaussians].sum())
        check_entries(bound, scene)
        chunks = self._parts(images)
        bound += images * chunks * kernels.PAIR_SLACK
        scratch = kernels.BinScratch(
            chunks,
            address(take("keys", 2 * images * gaussians, torch.int64)),
            address(take("order", images * gaussians, torch.int32)),
            address(take("pairs", bound, torch.int64)),
            address(take("histograms", images * chunks * tiles, torch.int32)),
            address(take("chunk_info", images * chunks * 2, torch.int64)),
            address(take("visible", images, torch.int64)),
        )
        offsets = torch.empty(images * tiles + 1, dtype=torch.int64)
        total = kernels.bin_count(view, address(records), address(tile_bounds), scratch, address(offsets))
        entries = torch.zeros(total + kernels.ENTRY_SLACK, dtype=torch.int32)
        kernels.bin_fill(view, scratch, address(offsets), address(entries))
        return Bins(records, offsets, entries)

    def blend_forward(self, scene: Scene, bins: Bins, backgrounds: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        image, alpha, depth = scene.pixels(3), scene.pixels(1), scene.pixels(1)
        self.kernels.blend_forward(
            self._scene(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(backgrounds), address(image), address(alpha), address(depth),
        )  # fmt: skip
        return image, alpha, depth

    def backward(
        self,
        scene: Scene,
        bins: Bins,
        backgrounds: Tensor | None,
        grads: tuple[Tensor | None, ...],
        need_background: bool,
    ) -> tuple[list[Tensor], Tensor | None]:
        view, parts = self._scene(scene), self._parts(scene.images)
        count = parts * scene.images * scene.gaussians * self.kernels.GRADIENT_SIZE
        rows = self._workspace.take("rows", count, torch.float32)
        rows[:count].zero_()
        background = torch.zeros(parts, scene.images, 3) if need_background else None
        self.kernels.blend_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(backgrounds),
            *(address(grad) for grad in grads), parts, address(rows), address(background),
        )  # fmt: skip
        out = [torch.empty_like(t) for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)]
        self.kernels.project_backward(view, address(bins.records), address(rows), parts, *(address(t) for t in out))
        return out, None if background is None else background.sum(0)

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor:
        parts = self._parts(scene.images)
        sums = torch.zeros(parts * scene.images, scene.gaussians, 4)
        self.kernels.pixel_weights(
            self._scene(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(targets), address(mask), threshold, parts, address(sums),
        )  # fmt: skip
        return sums.sum(0)

    def rasterize_mesh(
        self, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor, width: int, height: int, near_plane: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        images = vertices.shape[0]
        face_ids = torch.empty(images, height, width, dtype=torch.int32)
        barycentrics, depth = torch.empty(images, height, width, 3), torch.empty(images, height, width)
        self.kernels.rasterize_mesh(
            images, vertices.shape[1], faces.shape[0], width, height, near_plane, torch.get_num_threads(),
            address(vertices), address(faces), address(viewmats), address(Ks),
            address(face_ids), address(barycentrics), address(depth),
        )  # fmt: skip
        return face_ids, barycentrics, depth

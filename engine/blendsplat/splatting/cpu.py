# SPDX-License-Identifier: Apache-2.0
"""The CPU backend: OpenMP and vector instructions behind blendsplat._kernels_cpu.

It allocates what the kernels read and write; the kernels know only addresses.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, Gradients, Scene, Take, Workspace, address, check_entries, fresh
from blendsplat.splatting.passes import BufferedPass


class CpuBackend:
    """OpenMP + vector instructions (AVX-512, AVX2 or what the compiler finds), chosen at run time."""

    def __init__(self, module: ModuleType) -> None:
        self.kernels: Any = module
        self.workspace = Workspace()

    @property
    def instruction_set(self) -> str:
        """ "avx512", "avx2" or "generic"."""
        return str(self.kernels.instruction_set())

    def make_pass(
        self, images: int, gaussians: int, width: int, height: int, device: torch.device, near_plane: float
    ) -> BufferedPass:
        return BufferedPass(self, images, gaussians, width, height, device, near_plane)

    def view(self, scene: Scene) -> Any:
        return self.kernels.Scene(
            scene.images, scene.gaussians, scene.width, scene.height, scene.near_plane, torch.get_num_threads(),
            address(scene.means), address(scene.quats), address(scene.scales), address(scene.opacities),
            address(scene.colors), address(scene.viewmats), address(scene.Ks),
            scene.shared_scales, scene.shared_opacities,
        )  # fmt: skip

    def parts(self, images: int) -> int:
        """Runs of tiles per image: enough that the last thread to finish does not keep the others waiting long."""
        threads = torch.get_num_threads()
        return min(threads, -(-4 * threads // max(images, 1))) if images < 4 * threads else 1

    def bin(self, scene: Scene, take: Take = fresh) -> Bins:
        """Project, and sort by (image, tile, depth). What stays comes from ``take``, scratch is the backend's."""
        records = take("records", (scene.images, scene.gaussians, self.kernels.RECORD_SIZE), torch.float32)
        tile_bounds = self.workspace.take("tile_bounds", (scene.images, scene.gaussians), torch.int32)
        bound = self.kernels.project(self.view(scene), address(records), address(tile_bounds))
        return self.sort(scene, records, tile_bounds, bound, take)

    def sort(self, scene: Scene, records: Tensor, tile_bounds: Tensor, bound: int, take: Take = fresh) -> Bins:
        """The tiles' lists of whatever these records [B,N,16] were projected from; bound: the sum of tile_bounds."""
        view, kernels, scratch = self.view(scene), self.kernels, self.workspace.take
        images, gaussians, size = scene.images, scene.gaussians, kernels.TILE_SIZE
        tiles = -(-scene.width // size) * -(-scene.height // size)
        check_entries(bound, scene)
        chunks = self.parts(images)
        sort = kernels.BinScratch(
            chunks,
            address(scratch("keys", (2, images, gaussians), torch.int64)),
            address(scratch("order", (images, gaussians), torch.int32)),
            address(scratch("pairs", (bound + images * chunks * kernels.PAIR_SLACK,), torch.int64)),
            address(scratch("histograms", (images, chunks, tiles), torch.int32)),
            address(scratch("chunk_info", (images, chunks, 2), torch.int64)),
            address(scratch("image_info", (images, 2), torch.int64)),
        )
        offsets = take("offsets", (images * tiles + 1,), torch.int64)
        total, longest = kernels.bin_count(view, address(records), address(tile_bounds), sort, address(offsets))
        entries = take("entries", (total + kernels.ENTRY_SLACK,), torch.int32)
        entries[total:].zero_()
        kernels.bin_fill(view, sort, address(offsets), address(entries))
        return Bins(records, offsets, entries, longest=longest)

    def blend_forward(
        self, scene: Scene, bins: Bins, backgrounds: Tensor | None, take: Take = fresh
    ) -> tuple[Tensor, Tensor, Tensor]:
        plane = (scene.images, scene.height, scene.width)
        image, alpha, depth = (
            take(name, (*plane, channels), torch.float32)
            for name, channels in (("image", 3), ("alpha", 1), ("depth", 1))
        )
        self.kernels.blend_forward(
            self.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
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
        take: Take = fresh,
    ) -> tuple[Gradients, Tensor | None]:
        view, kernels, scratch = self.view(scene), self.kernels, self.workspace.take
        images, gaussians = scene.images, scene.gaussians
        parts, threads, room = self.parts(images), torch.get_num_threads(), bins.longest + 1
        rows = scratch("rows", (parts, images, gaussians, kernels.GRADIENT_SIZE), torch.float32)
        kept = scratch("kept", (threads, room, kernels.KEPT_SIZE), torch.float32)
        kept_entries = scratch("kept_entries", (threads, room), torch.int32)
        background = torch.empty(parts, images, 3) if need_background else None
        kernels.blend_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(backgrounds),
            *(address(grad) for grad in grads), parts, address(rows), address(background),
            bins.longest, address(kept), address(kept_entries),
        )  # fmt: skip
        gaussian_tensors = (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)
        out = Gradients(
            *(
                take(f"grad_{name}", tuple(tensor.shape), torch.float32)
                for name, tensor in zip(Gradients._fields, gaussian_tensors, strict=True)
            )
        )
        kernels.project_backward(view, address(bins.records), address(rows), parts, *(address(t) for t in out))
        return out, None if background is None else background.sum(0)

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor:
        parts = self.parts(scene.images)
        sums = torch.zeros(parts * scene.images, scene.gaussians, 4)
        self.kernels.pixel_weights(
            self.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
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

# SPDX-License-Identifier: Apache-2.0
"""The CPU backend: threads and vector instructions behind blendsplat._kernels_cpu.

It allocates what the kernels read and write; the kernels know only addresses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blendsplat.splatting.buffers import (
    Bins,
    BufferProvider,
    FreshBuffers,
    Workspace,
    address,
    check_entries,
    gradient_buffers,
    plane_buffers,
    zeros,
)
from blendsplat.splatting.interface import check_interface
from blendsplat.splatting.passes import BufferedPass
from blendsplat.splatting.scene import Gradients, PlaneGradients, Scene

_MAX_PARTS = 32
_FIXED_ITEMS = 8


def _shares(images: int, gaussians: int, threads: int, most: int) -> tuple[int, int]:
    """Images in flight, and slabs of depth that are sorted at once in each: enough for all threads, and few as slabs
    cost a look at every Gaussian. The result does not depend on them."""
    slots = max(1, min(images, threads + 1))
    wanted = 1 if threads == 1 else -(-2 * threads // max(images, 1))
    return slots, max(1, min(wanted, most, gaussians // 2048))


class _Room(NamedTuple):
    """How many pairs and entries of an image the buffers hold."""

    pairs: int = 4096
    entries: int = 4096

    def grown(self, pairs: int, entries: int) -> _Room:
        """Room for these, and a quarter more where it grows."""
        return _Room(
            self.pairs if pairs <= self.pairs else pairs + pairs // 4,
            self.entries if entries <= self.entries else entries + entries // 4,
        )


class _Scratch(Workspace):
    """What the kernels work in, one set per thread of the caller."""

    def __init__(self) -> None:
        super().__init__()
        self.room = _Room()
        self._rows: Tensor | None = None
        self._stamp = 0

    def stamped_rows(self, shape: tuple[int, ...]) -> tuple[Tensor, float]:
        """Rows for gradients and a stamp that none of them carries (Rows in cuda_ext/cpu/operations.h)."""
        count = math.prod(shape)
        if self._rows is None or self._rows.numel() < count or self._stamp >= 2**24 - 1:  # there whole floats end
            self._rows, self._stamp = zeros("gradients", max(count + count // 4, 1)), 0
        self._stamp += 1
        return self._rows[:count].view(shape), float(self._stamp)


@dataclass(frozen=True)
class CpuLaunch:
    """The fused operations on torch's number of threads."""

    kernels: Any
    device: torch.device

    @property
    def queue(self) -> tuple[int]:
        """(threads,)"""
        return (torch.get_num_threads(),)

    def image_loss_sizes(self, images: int, height: int, width: int) -> tuple[int, int]:
        sums, rows = self.kernels.image_loss_sizes(images, height, width, torch.get_num_threads())
        return sums, rows


class CpuBackend:
    """Threads + vector instructions (AVX-512, AVX2 or what the compiler finds), chosen at run time."""

    def __init__(self, module: ModuleType) -> None:
        check_interface(module)
        self.kernels: Any = module
        self.workspace = _Scratch()

    @property
    def instruction_set(self) -> str:
        """ "avx512", "avx2" or "generic"."""
        return str(self.kernels.instruction_set())

    def make_pass(self, images: int, gaussians: int, width: int, height: int, device: torch.device) -> BufferedPass:
        return BufferedPass(self, images, gaussians, width, height, device)

    def launch(self, device: torch.device) -> CpuLaunch:
        return CpuLaunch(self.kernels, device)

    def view(self, scene: Scene) -> Any:
        cameras = scene.cameras
        return self.kernels.Scene(
            scene.images, scene.count, cameras.width, cameras.height, cameras.near_plane, torch.get_num_threads(),
            *(address(tensor) for tensor in (*scene.gaussians.tensors(), cameras.viewmats, cameras.Ks)),
            scene.shared_scales, scene.shared_opacities,
        )  # fmt: skip

    def parts(self, images: int) -> int:
        """Bands of tiles per image in sums over pixels: enough work for all threads, few as a Gaussian in two bands is
        summed twice.

        Where torch.use_deterministic_algorithms is on, the number does not depend on the threads, and so neither does
        any result; otherwise the order of the sums does.
        """
        threads = torch.get_num_threads()
        items = _FIXED_ITEMS if torch.are_deterministic_algorithms_enabled() else 2 * threads if threads > 1 else 1
        return min(_MAX_PARTS, -(-items // max(images, 1)))

    def _tile_rows(self, scene: Scene) -> int:
        return -(-scene.height // int(self.kernels.TILE_SIZE))

    def bin(self, scene: Scene, buffers: BufferProvider) -> Bins:
        records = buffers.take("records", (scene.images, scene.count, self.kernels.RECORD_SIZE), torch.float32)
        return self._bin(scene, records, None, buffers)

    def sort(self, scene: Scene, records: Tensor, tile_bounds: Tensor, buffers: BufferProvider) -> Bins:
        """The tiles' lists of records [B,N,RECORD_SIZE] that are projected already, with tile_bounds [B,N] int32."""
        return self._bin(scene, records, tile_bounds, buffers)

    def _bin(self, scene: Scene, records: Tensor, tile_bounds: Tensor | None, buffers: BufferProvider) -> Bins:
        view, kernels, scratch = self.view(scene), self.kernels, self.workspace
        images, gaussians = scene.images, scene.count
        tiles = self._tile_rows(scene) * -(-scene.width // kernels.TILE_SIZE)
        slots, slabs = _shares(images, gaussians, torch.get_num_threads(), kernels.MAX_SLABS)
        offsets = buffers.take("offsets", (images, tiles + 1), torch.int64)
        fixed = (
            slots,
            slabs,
            address(scratch.take("depths", (slots, gaussians), torch.int32)),
            address(scratch.take("slot_bounds", (slots, gaussians), torch.int32)),
            address(scratch.take("keys", (slots, 2, gaussians), torch.int64)),
        )
        histograms = address(scratch.take("histograms", (slots, slabs, tiles), torch.int32))
        states = address(scratch.take("states", (images, kernels.BINNING_STATE_SIZE), torch.uint8))
        room = scratch.room
        while True:  # once, except where there is more to draw than ever before
            pairs = scratch.take("pairs", (slots, room.pairs), torch.int64)
            entries = buffers.take("entries", (images, room.entries), torch.int32)
            needed_pairs, needed_entries, longest = kernels.bin(
                view,
                kernels.Binning(
                    address(records), address(offsets), address(entries), room.entries, *fixed, address(pairs),
                    room.pairs, histograms, states, address(tile_bounds),
                ),
            )  # fmt: skip
            check_entries(needed_pairs, scene)
            if needed_pairs <= room.pairs and needed_entries <= room.entries:
                scratch.room = room
                return Bins(records, offsets, entries, longest=longest)
            room = room.grown(needed_pairs, needed_entries)

    def blend_forward(
        self, scene: Scene, bins: Bins, buffers: BufferProvider, keep_for_backward: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keeps nothing: ``backward`` composites again."""
        image, alpha, depth = plane_buffers(scene, buffers)
        self.kernels.blend_forward(
            self.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(scene.backgrounds), address(image), address(alpha), address(depth),
        )  # fmt: skip
        return image, alpha, depth

    def backward(
        self, scene: Scene, bins: Bins, grads: PlaneGradients, buffers: BufferProvider, need_background: bool
    ) -> tuple[Gradients, Tensor | None]:
        view, kernels, scratch = self.view(scene), self.kernels, self.workspace
        images, gaussians = scene.images, scene.count
        parts, threads, room = self.parts(images), torch.get_num_threads(), bins.longest + 1
        rows, stamp = scratch.stamped_rows((parts, images, gaussians, kernels.GRADIENT_SIZE))
        bands = scratch.take("bands", (images, self._tile_rows(scene)), torch.int32)
        kept = scratch.take("kept", (threads, room, kernels.KEPT_SIZE), torch.float32)
        kept_entries = scratch.take("kept_entries", (threads, room), torch.int32)
        background = torch.empty(parts, images, 3) if need_background else None
        out = gradient_buffers(scene, buffers)
        kernels.backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(scene.backgrounds),
            *(address(grad) for grad in grads), kernels.Rows(address(rows), parts, stamp, address(bands)),
            address(background), bins.longest, address(kept), address(kept_entries), *(address(t) for t in out),
        )  # fmt: skip
        return out, None if background is None else background.sum(0)

    def pictures(self, scene: Scene, bins: Bins, buffers: BufferProvider, faintest: float) -> tuple[Tensor, Tensor]:
        size, fresh = (scene.images, scene.height, scene.width), FreshBuffers("cpu")
        rgba = fresh.take("pictures", (*size, 4), torch.float32)
        metres = fresh.take("pictures' depth", size, torch.float32)
        self.kernels.blend_pictures(
            self.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(scene.backgrounds), address(rgba), address(metres), faintest,
        )  # fmt: skip
        return rgba, metres

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor:
        parts = self.parts(scene.images)
        bands = self.workspace.take("bands", (scene.images, self._tile_rows(scene)), torch.int32)
        sums = torch.zeros(parts, scene.images, scene.count, 4)
        self.kernels.pixel_weights(
            self.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(targets), address(mask), threshold, parts, address(bands), address(sums),
        )  # fmt: skip
        return sums.sum((0, 1))

    def rasterize_mesh(
        self, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor, width: int, height: int, near_plane: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        images = vertices.shape[0]
        face_ids = torch.empty(images, height, width, dtype=torch.int32)
        barycentrics, depth = torch.empty(images, height, width, 3), torch.empty(images, height, width)
        corners = self.workspace.take("mesh_corners", (images, vertices.shape[1], 3), torch.float64)
        rows = self.workspace.take("mesh_rows", (images, faces.shape[0], 2), torch.int32)
        self.kernels.rasterize_mesh(
            images, vertices.shape[1], faces.shape[0], width, height, near_plane, torch.get_num_threads(),
            address(vertices), address(faces), address(viewmats), address(Ks), address(corners), address(rows),
            address(face_ids), address(barycentrics), address(depth),
        )  # fmt: skip
        return face_ids, barycentrics, depth

# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend: the same operations as the CPU's, queued on torch's current stream.

How many (Gaussian, tile) entries a batch has is known on the device only. A single call reads the number back to
allocate; a CudaPass has buffers with head-room, looks a step later whether they were enough, and never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blendsplat.splatting.buffers import (
    MAX_ENTRIES,
    Bins,
    BufferProvider,
    address,
    check_entries,
    gradient_buffers,
    plane_buffers,
)
from blendsplat.splatting.interface import check_interface
from blendsplat.splatting.passes import BufferedPass
from blendsplat.splatting.pictures import pictures_of
from blendsplat.splatting.scene import Gradients, PlaneGradients, Scene

Project = Callable[[Any, int, Any], None]  # kernels.project, or another that fills the same buffers

HEAD_ROOM = 1.25  # entries that a pass has room for, over those of the largest step so far
LEAST_CAPACITY = 1024


class Sorted(NamedTuple):
    """Projected Gaussians, all sorted by image and depth: what binning starts from. Layouts: cuda/operations.h."""

    records: Tensor
    tile_counts: Tensor
    depth_keys: Tensor
    sorted_depth_keys: Tensor
    indices: Tensor
    order: Tensor
    sums: Tensor

    def entries(self) -> int:
        """How many entries the bins will have. Waits for the device."""
        return int(self.sums[-1]) if self.sums.numel() else 0


@dataclass(frozen=True)
class CudaLaunch:
    """The fused operations on torch's current stream."""

    kernels: Any
    device: torch.device

    @property
    def queue(self) -> tuple[int, int]:
        """(device, stream); of the emulation, whose device is cpu, zeros."""
        stream = torch.cuda.current_stream(self.device).cuda_stream if self.device.type == "cuda" else 0
        return self.device.index or 0, stream

    def image_loss_sizes(self, images: int, height: int, width: int) -> tuple[int, int]:
        sums, rows = self.kernels.image_loss_sizes(images, height, width, self.device.index or 0)
        return sums, rows


class CudaBackend:
    """Kernels of blendsplat._kernels_cuda on the device of the tensors they are given."""

    def __init__(self, module: ModuleType) -> None:
        check_interface(module)
        self.kernels: Any = module

    def make_pass(self, images: int, gaussians: int, width: int, height: int, device: torch.device) -> CudaPass:
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        return CudaPass(self, images, gaussians, width, height, device)

    def launch(self, device: torch.device) -> CudaLaunch:
        return CudaLaunch(self.kernels, device)

    def view(self, scene: Scene) -> Any:
        cameras = scene.cameras
        return self.kernels.Scene(
            scene.images, scene.count, cameras.width, cameras.height, cameras.near_plane,
            *self.launch(scene.device).queue,
            *(address(tensor) for tensor in (*scene.gaussians.tensors(), cameras.viewmats, cameras.Ks)),
            scene.shared_scales, scene.shared_opacities,
        )  # fmt: skip

    def sort_gaussians(self, scene: Scene, buffers: BufferProvider, project: Project | None = None) -> Sorted:
        """Project, with ``project`` in the place of the Gaussians' projection, and sort by (image, depth)."""
        view, kernels, take = self.view(scene), self.kernels, buffers.take
        count = scene.images * scene.count
        tiles = scene.images * -(-scene.width // kernels.TILE_SIZE) * -(-scene.height // kernels.TILE_SIZE)
        for name, number in (("Gaussians", count), ("tiles", tiles)):
            if number > MAX_ENTRIES:
                raise ValueError(
                    f"a batch of {number} {name}: expected {MAX_ENTRIES} at most; use fewer images at once"
                )
        out = Sorted(
            take("records", (count, kernels.RECORD_SIZE), torch.float32),
            take("tile_counts", (count,), torch.int32),
            take("depth_keys", (count,), torch.int64),
            take("sorted_depth_keys", (count,), torch.int64),
            take("indices", (count,), torch.int32),
            take("order", (count,), torch.int32),
            take("sums", (count,), torch.int64),
        )
        scratch, _keep = self._scratch(view, out, 0, buffers)
        (project or kernels.project)(view, address(out.records), scratch)
        kernels.sort_by_depth(view, scratch)
        return out

    def _scratch(self, view: Any, sorted_: Sorted, capacity: int, buffers: BufferProvider) -> tuple[Any, list[Tensor]]:
        """The kernels' view of binning's buffers, and those that must live until they have run."""
        size = self.kernels.bin_temporary_size(view, capacity)
        temporary = buffers.take("temporary", (size,), torch.uint8)
        entries = [
            buffers.take(name, (capacity,), torch.int32)
            for name in ("tile_keys", "sorted_tile_keys", "unsorted_entries")
        ]
        scratch = self.kernels.BinScratch(
            *(address(t) for t in sorted_[1:]), capacity, *(address(t) for t in entries), address(temporary), size
        )
        return scratch, [*entries, temporary]

    def fill_bins(
        self, scene: Scene, sorted_: Sorted, capacity: int, buffers: BufferProvider, needed: Tensor | None = None
    ) -> Bins:
        """Lists of at most ``capacity`` entries; ``needed`` [1] int64 is raised to the number there should be."""
        view, kernels = self.view(scene), self.kernels
        tiles = -(-scene.width // kernels.TILE_SIZE) * -(-scene.height // kernels.TILE_SIZE)
        scratch, _keep = self._scratch(view, sorted_, capacity, buffers)
        ranges = buffers.take("ranges", (scene.images, tiles, 2), torch.int32)
        entries = buffers.take("entries", (capacity,), torch.int32)
        kernels.fill_bins(view, address(sorted_.records), scratch, address(ranges), address(entries), address(needed))
        return Bins(sorted_.records, ranges, entries)

    def bin(self, scene: Scene, buffers: BufferProvider) -> Bins:
        """Bins of exactly the size that the scene needs. Waits for the device."""
        sorted_ = self.sort_gaussians(scene, buffers)
        total = sorted_.entries()
        check_entries(total, scene)
        return self.fill_bins(scene, sorted_, total, buffers)

    def blend_forward(
        self, scene: Scene, bins: Bins, buffers: BufferProvider, keep_for_backward: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        view, kernels, take = self.view(scene), self.kernels, buffers.take
        image, alpha, depth = plane_buffers(scene, buffers)
        if keep_for_backward:
            tiles = bins.offsets.numel() // 2
            states = kernels.state_count(view, bins.entries.numel())
            bins.kept = (
                take("finals", (tiles, kernels.TILE_PIXELS), torch.float32),
                take("lasts", (tiles, kernels.TILE_PIXELS), torch.int32),
                take("states", (states, kernels.STATE_FLOATS), torch.float32),
            )
        kernels.blend_forward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(scene.backgrounds),
            address(image), address(alpha), address(depth), self._kept(bins),
        )  # fmt: skip
        return image, alpha, depth

    def pictures(self, scene: Scene, bins: Bins, buffers: BufferProvider, faintest: float) -> tuple[Tensor, Tensor]:
        planes = self.blend_forward(scene, bins, buffers, keep_for_backward=False)
        return pictures_of(*planes, scene.backgrounds is not None, faintest)

    def _kept(self, bins: Bins) -> Any:
        return self.kernels.Kept(*(address(t) for t in bins.kept or (None, None, None)))

    def backward(
        self, scene: Scene, bins: Bins, grads: PlaneGradients, buffers: BufferProvider, need_background: bool
    ) -> tuple[Gradients, Tensor | None]:
        view, kernels, take = self.view(scene), self.kernels, buffers.take
        rows = take("rows", (scene.images * scene.count, kernels.GRADIENT_SIZE), torch.float32)
        background = take("grad_backgrounds", (scene.images, 3), torch.float32) if need_background else None
        kernels.blend_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(scene.backgrounds),
            *(address(grad) for grad in grads), self._kept(bins), address(rows), address(background),
        )  # fmt: skip
        out = gradient_buffers(scene, buffers)
        kernels.project_backward(view, address(bins.records), address(rows), *(address(t) for t in out))
        return out, background

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor:
        sums = scene.gaussians.means.new_empty(scene.images, scene.count, 4)
        self.kernels.pixel_weights(
            self.view(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(targets), address(mask), threshold, address(sums),
        )  # fmt: skip
        return sums.sum(0)

    def rasterize_mesh(
        self, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor, width: int, height: int, near_plane: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        images, device = vertices.shape[0], vertices.device
        nearest = torch.empty(images, height, width, dtype=torch.int64, device=device)
        face_ids = torch.empty(images, height, width, dtype=torch.int32, device=device)
        barycentrics, depth = vertices.new_empty(images, height, width, 3), vertices.new_empty(images, height, width)
        self.kernels.rasterize_mesh(
            images, vertices.shape[1], faces.shape[0], width, height, near_plane, *self.launch(device).queue,
            address(vertices), address(faces), address(viewmats), address(Ks),
            address(nearest), address(face_ids), address(barycentrics), address(depth),
        )  # fmt: skip
        return face_ids, barycentrics, depth


class CudaPass(BufferedPass):
    """A RasterPass that never waits for the device after its first forward, so that a CUDA graph can hold it.

    The first forward waits, to size the buffers, and must not be captured. When ``overflowed`` says True, the buffers
    have new sizes and places: capture again.
    """

    spare = 0.0  # the head-room is ours

    def __init__(
        self, backend: CudaBackend, images: int, gaussians: int, width: int, height: int, device: torch.device
    ) -> None:
        super().__init__(backend, images, gaussians, width, height, device)
        self.capacity = 0  # entries that there is room for; 0 before the first forward
        self._binning = backend
        self._scene: Scene | None = None
        self._needed = torch.zeros(1, dtype=torch.int64, device=device)  # the most entries of any step so far
        self.lost = torch.zeros(1, dtype=torch.int32, device=device)  # stays up until there is more room
        self._seen = torch.zeros(1, dtype=torch.int64, pin_memory=device.type == "cuda")  # as the host knows it

    def _bin(self, scene: Scene) -> Bins:
        sorted_ = self._binning.sort_gaussians(scene, self._buffers)
        self._scene = scene
        if self.capacity == 0:
            self._grow(sorted_.entries(), scene)
        bins = self._binning.fill_bins(scene, sorted_, self.capacity, self._buffers, self._needed)
        torch.gt(self._needed, self.capacity, out=self.lost)
        self._seen.copy_(self._needed, non_blocking=True)
        return bins

    def _grow(self, entries: int, scene: Scene) -> None:
        check_entries(entries, scene)
        self.capacity = min(max(int(HEAD_ROOM * entries), LEAST_CAPACITY), MAX_ENTRIES)

    def overflowed(self) -> bool:
        needed = int(self._seen[0])  # host memory, as of the last step that the device has finished
        if self._scene is None or needed <= self.capacity:
            return False
        self._grow(needed, self._scene)
        return True

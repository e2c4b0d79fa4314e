# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend: the same operations as the CPU's, queued on torch's current stream.

How many (Gaussian, tile) entries a batch has is known on the device only. A single call reads the number back to
allocate; a CudaPass has buffers with head-room, looks a step later whether they were enough, and never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blendsplat.splatting.buffers import (
    MAX_ENTRIES,
    Bins,
    Gradients,
    Scene,
    Take,
    address,
    check_entries,
    fresh_on,
)
from blendsplat.splatting.passes import BufferedPass

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


class CudaBackend:
    """Kernels of blendsplat._kernels_cuda on the device of the tensors they are given."""

    def __init__(self, module: ModuleType) -> None:
        self.kernels: Any = module

    def make_pass(
        self, images: int, gaussians: int, width: int, height: int, device: torch.device, near_plane: float
    ) -> CudaPass:
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        return CudaPass(self, images, gaussians, width, height, device, near_plane)

    def view(self, scene: Scene) -> Any:
        device = scene.means.device
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        return self.kernels.Scene(
            scene.images, scene.gaussians, scene.width, scene.height, scene.near_plane, device.index or 0, stream,
            address(scene.means), address(scene.quats), address(scene.scales), address(scene.opacities),
            address(scene.colors), address(scene.viewmats), address(scene.Ks),
            scene.shared_scales, scene.shared_opacities,
        )  # fmt: skip

    def sort_gaussians(self, scene: Scene, take: Take, project: Project | None = None) -> Sorted:
        """Project, and sort by (image, depth)."""
        view, kernels = self.view(scene), self.kernels
        count = scene.images * scene.gaussians
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
        scratch, _ = self._scratch(view, out, 0, take)
        (project or kernels.project)(view, address(out.records), scratch)
        kernels.sort_by_depth(view, scratch)
        return out

    def _scratch(self, view: Any, sorted_: Sorted, capacity: int, take: Take) -> tuple[Any, list[Tensor]]:
        """The kernels' view of binning's buffers, and those that must live until they have run."""
        size = self.kernels.bin_temporary_size(view, capacity)
        temporary = take("temporary", (size,), torch.uint8)
        entries = [
            take(name, (capacity,), torch.int32) for name in ("tile_keys", "sorted_tile_keys", "unsorted_entries")
        ]
        scratch = self.kernels.BinScratch(
            *(address(t) for t in sorted_[1:]), capacity, *(address(t) for t in entries), address(temporary), size
        )
        return scratch, [*entries, temporary]

    def fill_bins(self, scene: Scene, sorted_: Sorted, capacity: int, take: Take, needed: Tensor | None = None) -> Bins:
        """Lists of at most ``capacity`` entries; ``needed`` [1] int64 is raised to the number there should be."""
        view, kernels = self.view(scene), self.kernels
        tiles = -(-scene.width // kernels.TILE_SIZE) * -(-scene.height // kernels.TILE_SIZE)
        scratch, _keep = self._scratch(view, sorted_, capacity, take)
        ranges = take("ranges", (scene.images, tiles, 2), torch.int32)
        entries = take("entries", (capacity,), torch.int32)
        kernels.fill_bins(view, address(sorted_.records), scratch, address(ranges), address(entries), address(needed))
        return Bins(sorted_.records, ranges, entries)

    def bin(self, scene: Scene, take: Take | None = None) -> Bins:
        """Bins of exactly the size that the scene needs. Waits for the device."""
        take = take or fresh_on(scene.means.device)
        sorted_ = self.sort_gaussians(scene, take)
        total = sorted_.entries()
        check_entries(total, scene)
        return self.fill_bins(scene, sorted_, total, take)

    def blend_forward(
        self, scene: Scene, bins: Bins, backgrounds: Tensor | None, take: Take | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Without ``take``, what the backward pass needs is kept only where a Gaussian asks for its gradient."""
        backward = take is not None or any(
            t is not None and t.requires_grad
            for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, backgrounds)
        )
        take = take or fresh_on(scene.means.device)
        view, kernels = self.view(scene), self.kernels
        plane = (scene.images, scene.height, scene.width)
        image, alpha, depth = (
            take(name, (*plane, channels), torch.float32)
            for name, channels in (("image", 3), ("alpha", 1), ("depth", 1))
        )
        if backward:
            tiles = bins.offsets.numel() // 2
            states = kernels.state_count(view, bins.entries.numel())
            bins.kept = (
                take("finals", (tiles, kernels.TILE_PIXELS), torch.float32),
                take("lasts", (tiles, kernels.TILE_PIXELS), torch.int32),
                take("states", (states, kernels.STATE_FLOATS), torch.float32),
            )
        kernels.blend_forward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(backgrounds),
            address(image), address(alpha), address(depth), self._kept(bins),
        )  # fmt: skip
        return image, alpha, depth

    def _kept(self, bins: Bins) -> Any:
        return self.kernels.Kept(*(address(t) for t in bins.kept or (None, None, None)))

    def backward(
        self,
        scene: Scene,
        bins: Bins,
        backgrounds: Tensor | None,
        grads: tuple[Tensor | None, ...],
        need_background: bool,
        take: Take | None = None,
    ) -> tuple[Gradients, Tensor | None]:
        take = take or fresh_on(scene.means.device)
        view, kernels = self.view(scene), self.kernels
        rows = take("rows", (scene.images * scene.gaussians, kernels.GRADIENT_SIZE), torch.float32)
        background = take("grad_backgrounds", (scene.images, 3), torch.float32) if need_background else None
        kernels.blend_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(backgrounds),
            *(address(grad) for grad in grads), self._kept(bins), address(rows), address(background),
        )  # fmt: skip
        gaussians = (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)
        out = Gradients(
            *(
                take(f"grad_{name}", tuple(tensor.shape), torch.float32)
                for name, tensor in zip(Gradients._fields, gaussians, strict=True)
            )
        )
        kernels.project_backward(view, address(bins.records), address(rows), *(address(t) for t in out))
        return out, background

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor:
        sums = scene.means.new_empty(scene.images, scene.gaussians, 4)
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
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        self.kernels.rasterize_mesh(
            images, vertices.shape[1], faces.shape[0], width, height, near_plane, device.index or 0, stream,
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

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.capacity = 0  # entries that there is room for; 0 before the first forward
        self._scene: Scene | None = None
        self._needed = torch.zeros(1, dtype=torch.int64, device=self._device)  # the most entries of any step so far
        self.lost = torch.zeros(1, dtype=torch.int32, device=self._device)  # stays up until there is more room
        self._seen = torch.zeros(1, dtype=torch.int64, pin_memory=self._device.type == "cuda")  # as the host knows it

    def _bin(self, scene: Scene) -> Bins:
        backend, take = self._backend, self._buffers.take
        sorted_ = backend.sort_gaussians(scene, take)
        self._scene = scene
        if self.capacity == 0:
            self._grow(sorted_.entries(), scene)
        bins: Bins = backend.fill_bins(scene, sorted_, self.capacity, take, self._needed)
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

# SPDX-License-Identifier: Apache-2.0
"""Which kernels run where: one backend object per device type, each a set of operations on torch buffers.

The compiled modules know only addresses; here is the one place that allocates what they read and write.
"""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from blendsplat.errors import BlendsplatError


@dataclass(frozen=True)
class Scene:
    """Validated, contiguous float32 inputs of one batch on one device."""

    means: Tensor  # [B,N,3]
    quats: Tensor  # [B,N,4]
    scales: Tensor  # [B,N,3]
    opacities: Tensor  # [B,N]
    colors: Tensor  # [B,N,3]
    viewmats: Tensor  # [B,4,4]
    Ks: Tensor  # [B,3,3]
    width: int
    height: int
    near_plane: float

    @property
    def images(self) -> int:
        return self.means.shape[0]

    @property
    def gaussians(self) -> int:
        return self.means.shape[1]

    def pixels(self, channels: int) -> Tensor:
        """An uninitialised [B,H,W,channels] plane."""
        return self.means.new_empty(self.images, self.height, self.width, channels)


@dataclass
class Bins:
    """Projected Gaussians and, per tile, the indices of those that touch it, front to back."""

    records: Tensor
    offsets: Tensor
    entries: Tensor


class Backend(Protocol):
    """The operations that a device offers; shapes as in blendsplat.splatting.gaussians."""

    def bin(self, scene: Scene) -> Bins: ...

    def blend_forward(self, scene: Scene, bins: Bins, backgrounds: Tensor | None) -> tuple[Tensor, Tensor, Tensor]: ...

    def backward(
        self, scene: Scene, bins: Bins, backgrounds: Tensor | None, grads: tuple[Tensor | None, ...], need_background: bool
    ) -> tuple[list[Tensor], Tensor | None]: ...

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor: ...


class Workspace(threading.local):
    """Growing scratch buffers, one set per thread, so that a training step allocates nothing new."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, count: int, dtype: torch.dtype) -> Tensor:
        """``count`` uninitialised elements; valid until the same name is taken again in this thread."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = torch.empty(max(count + count // 4, 1), dtype=dtype)
            self._buffers[name] = buffer
        return buffer


def address(tensor: Tensor | None) -> int:
    """The address of a contiguous tensor's first element; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


class CpuBackend:
    """OpenMP + vector instructions (AVX-512, AVX2 or what the compiler finds), chosen at run time."""

    def __init__(self, module: ModuleType) -> None:
        self._kernels: Any = module
        self._workspace = Workspace()

    @property
    def instruction_set(self) -> str:
        """"avx512", "avx2" or "generic"."""
        return str(self._kernels.instruction_set())

    def _scene(self, scene: Scene) -> Any:
        return self._kernels.Scene(
            scene.images, scene.gaussians, scene.width, scene.height, scene.near_plane, torch.get_num_threads(),
            address(scene.means), address(scene.quats), address(scene.scales), address(scene.opacities),
            address(scene.colors), address(scene.viewmats), address(scene.Ks),
        )  # fmt: skip

    def _parts(self, images: int) -> int:
        """Runs of tiles per image: enough that the last thread to finish does not keep the others waiting long."""
        threads = torch.get_num_threads()
        return min(threads, -(-4 * threads // max(images, 1))) if images < 4 * threads else 1

    def bin(self, scene: Scene) -> Bins:
        view, kernels, take = self._scene(scene), self._kernels, self._workspace.take
        images, gaussians, size = scene.images, scene.gaussians, kernels.TILE_SIZE
        tiles = -(-scene.width // size) * -(-scene.height // size)
        records = torch.empty(images, gaussians, kernels.RECORD_SIZE)
        tile_bounds = take("tile_bounds", images * gaussians, torch.int32)
        kernels.project(view, address(records), address(tile_bounds))
        bound = int(tile_bounds[: images * gaussians].sum())
        chunks = self._parts(images)
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
        self._kernels.blend_forward(
            self._scene(scene), address(bins.records), address(bins.offsets), address(bins.entries),
            address(backgrounds), address(image), address(alpha), address(depth),
        )  # fmt: skip
        return image, alpha, depth

    def backward(
        self, scene: Scene, bins: Bins, backgrounds: Tensor | None, grads: tuple[Tensor | None, ...], need_background: bool
    ) -> tuple[list[Tensor], Tensor | None]:
        view, parts = self._scene(scene), self._parts(scene.images)
        count = parts * scene.images * scene.gaussians * self._kernels.GRADIENT_SIZE
        rows = self._workspace.take("rows", count, torch.float32)
        rows[:count].zero_()
        background = torch.zeros(parts, scene.images, 3) if need_background else None
        self._kernels.blend_backward(
            view, address(bins.records), address(bins.offsets), address(bins.entries), address(backgrounds),
            *(address(grad) for grad in grads), parts, address(rows), address(background),
        )  # fmt: skip
        out = [torch.empty_like(t) for t in (scene.means, scene.quats, scene.scales, scene.opacities, scene.colors)]
        self._kernels.project_backward(view, address(bins.records), address(rows), parts, *(address(t) for t in out))
        return out, None if background is None else background.sum(0)

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor:
        parts = self._parts(scene.images)
        sums = torch.zeros(parts * scene.images, scene.gaussians, 4)
        self._kernels.pixel_weights(
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
        self._kernels.rasterize_mesh(
            images, vertices.shape[1], faces.shape[0], width, height, near_plane, torch.get_num_threads(),
            address(vertices), address(faces), address(viewmats), address(Ks),
            address(face_ids), address(barycentrics), address(depth),
        )  # fmt: skip
        return face_ids, barycentrics, depth


@lru_cache(maxsize=1)
def cpu_backend() -> CpuBackend:
    """The CPU kernels. Raises BlendsplatError when they were not built."""
    try:
        return CpuBackend(importlib.import_module("blendsplat._kernels_cpu"))
    except ImportError as error:
        raise BlendsplatError(
            "Blendsplat's compiled kernels are missing from this installation: install the wheel, or run 'make build' in a "
            "working tree.",
            detail=repr(error),
        ) from error


def backend_for(device: torch.device) -> Backend:
    """The backend of a tensor's device. Raises ValueError for devices other than cpu and cuda."""
    if device.type == "cpu":
        return cpu_backend()
    raise ValueError(f"device: expected cpu or cuda tensors, got {device}")


def available_kernels() -> dict[str, bool]:
    """{"cpu": built, "cuda": built and a device is there}, for reports; never raises."""
    found = {"cpu": importlib.util.find_spec("blendsplat._kernels_cpu") is not None, "cuda": False}
    if torch.cuda.is_available():
        found["cuda"] = importlib.util.find_spec("blendsplat._kernels_cuda") is not None
    return found

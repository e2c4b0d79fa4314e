# SPDX-License-Identifier: Apache-2.0
"""Every way to run the rasterizer behind one face, so that a proof is written once and holds for all of them."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch
from torch import Tensor

from blendsplat.splatting import gaussians as rasterizer_module
from blendsplat.splatting import rasterize_gaussians
from blendsplat.splatting.backend import available_kernels, cpu_backend
from blendsplat.splatting.cuda import CudaBackend

from .scenes import SceneData

CPU_SETS = ("avx512", "avx2", "generic", "scalar")
EMULATED = "blendsplat._kernels_cuda_emulated"


class Kernels:
    """One backend: renders scenes, with gradients, and brings the results back to the CPU."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, device

    def render(self, scene: SceneData, near_plane: float = 0.01) -> list[Tensor]:
        there = scene.cast(self.device)
        outputs = rasterize_gaussians(
            *there.gaussians, there.viewmats, there.Ks, there.width, there.height, there.backgrounds, near_plane
        )
        return [out.cpu() for out in outputs]

    def gradients(
        self, scene: SceneData, weights: list[Tensor], near_plane: float = 0.01
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs, and the gradients (scenes.NAMES) of their sum weighted with ``weights``."""
        there = scene.cast(self.device)
        leaves = [t.detach().clone().requires_grad_() for t in (*there.gaussians, there.backgrounds)]
        outputs = rasterize_gaussians(
            *leaves[:5], there.viewmats, there.Ks, there.width, there.height, leaves[5], near_plane
        )
        torch.autograd.backward(outputs, [w.to(self.device) for w in weights])
        return [out.detach().cpu() for out in outputs], [leaf.grad.cpu() for leaf in leaves]


def choose_kernels(name: str, patch: pytest.MonkeyPatch) -> Kernels | None:
    """Make ``name`` the kernels that rasterize_gaussians uses, until ``patch`` is undone; None where it is absent."""
    if name in CPU_SETS:
        return Kernels(name, "cpu") if cpu_backend().kernels.use_instruction_set(name) else None
    if name == "cuda":
        return Kernels(name, "cuda") if available_kernels()["cuda"] else None
    if importlib.util.find_spec(EMULATED) is None:
        return None
    backend = CudaBackend(importlib.import_module(EMULATED))
    patch.setattr(rasterizer_module, "backend_for", lambda device: backend)
    return Kernels(name, "cpu")


ALL_KERNELS = [*CPU_SETS, "emulated", pytest.param("cuda", marks=pytest.mark.gpu)]

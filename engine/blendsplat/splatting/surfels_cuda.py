# SPDX-License-Identifier: Apache-2.0
"""Surfels on a GPU: their own projection and blending around the Gaussians' binning."""

from __future__ import annotations

from torch import Tensor

from blendsplat.splatting.buffers import Bins, Scene
from blendsplat.splatting.cuda import CudaBackend


class CudaSurfels:
    def __init__(self, backend: CudaBackend) -> None:
        self._backend = backend

# SPDX-License-Identifier: Apache-2.0
"""Mesh pictures on a real GPU: the CPU's planes and gradients, and the same bits in every run."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting.backend import available_kernels

from .test_mesh_fused import SCENES, MeshScene, assert_near, attributes_of, fused

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available_kernels()["cuda"], reason="no CUDA device, or the CUDA kernels are not built"),
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("shared", [True, False])
def test_planes_and_gradients_are_the_cpus(scene, shared):
    scene = scene()
    attributes = attributes_of(scene, 5, shared)
    expected, expected_grads = fused(scene, attributes)
    there = MeshScene(*(x.cuda() if isinstance(x, torch.Tensor) else x for x in scene))
    runs = [fused(there, attributes.cuda()) for _ in range(2)]
    for first, second in zip([*runs[0][0], *runs[0][1]], [*runs[1][0], *runs[1][1]], strict=True):
        assert torch.equal(first, second)
    for got, wanted in zip([*runs[0][0], *runs[0][1]], [*expected, *expected_grads], strict=True):
        assert_near(got.cpu(), wanted, 2e-4)

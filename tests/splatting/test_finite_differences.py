# SPDX-License-Identifier: Apache-2.0
"""The kernels' gradients against central differences in float64, one parameter after the other, without autograd.

The image jumps where a Gaussian meets the cut-off, the stop or another's depth, so differences of it mean nothing. With
those decisions frozen as they fell (oracle.View), it is smooth, and its derivative is what the kernels promise.
"""

from __future__ import annotations

import pytest
import torch

from .kernels import Kernels
from .oracle import UNIT, expect
from .scenes import NAMES, SceneData, random_scene

STEP = 1e-5


def plain() -> SceneData:
    return random_scene(images=1, gaussians=12, width=17, height=13, seed=60)


def clamped_and_stopped() -> SceneData:
    """Opaque and large: alphas above 0.99, pixels that stop half-way through the stack."""
    scene = random_scene(images=1, gaussians=14, width=11, height=9, seed=61, size=0.9)
    scene.gaussians[3] = 0.85 + 0.3 * scene.gaussians[3]
    return scene


def beside_the_image() -> SceneData:
    """Centres beyond the bound at which the Jacobian is taken, large enough to reach in."""
    scene = random_scene(images=1, gaussians=12, width=13, height=15, seed=62, size=1.2)
    scene.gaussians[0][..., :2] *= 4
    return scene


def needles() -> SceneData:
    scene = random_scene(images=1, gaussians=12, width=16, height=16, seed=63)
    scene.gaussians[2] = scene.gaussians[2] * torch.tensor([8.0, 0.02, 0.0])
    return scene


def differences(view, weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """Central differences of the weighted outputs for every element of the view's inputs."""

    def loss(inputs: list[torch.Tensor]) -> float:
        outputs = view.outputs(inputs, view.viewmat, view.K)
        return float(sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)))

    found = []
    for which, value in enumerate(view.inputs):
        flat, slope = value.flatten(), torch.zeros(value.numel(), dtype=torch.float64)
        for i in range(len(flat)):
            ends = []
            step = STEP * max(float(flat[i].abs()), 1e-2)
            for sign in (1, -1):
                moved = flat.clone()
                moved[i] += sign * step
                ends.append(loss([moved.reshape(value.shape) if j == which else t for j, t in enumerate(view.inputs)]))
            slope[i] = (ends[0] - ends[1]) / (2 * step)
        found.append(slope.reshape(value.shape))
    return found


@pytest.mark.parametrize("make", [plain, clamped_and_stopped, beside_the_image, needles])
def test_every_parameter(kernels: Kernels, make) -> None:
    scene = make()
    expected = expect(scene)
    view = expected.views[0]
    weights = [w[0].reshape(-1, w.shape[-1])[view.pixels].double() for w in expected.weights]
    assert view.choices.drawn.any() and not view.choices.drawn.all()
    _, grads = kernels.gradients(scene, expected.weights)
    for name, grad, units, numeric in zip(NAMES, grads, expected.grad_units, differences(view, weights), strict=True):
        got, unit = (t if name == "backgrounds" else t[0, view.order] for t in (grad.double(), units))
        # The difference's own error: curvature and rounding, about 1e-8 of the largest slope. Units as in test_soak.
        allowed = 32 * unit + (UNIT + 1e-7) * numeric.abs().max()
        worst = ((got - numeric).abs() / allowed).max()
        assert numeric.abs().max() > 0, name
        assert worst <= 1, f"{name}: {worst:.3g} of what is allowed"

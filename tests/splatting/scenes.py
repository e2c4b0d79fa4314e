# SPDX-License-Identifier: Apache-2.0
"""Random and hostile scenes for the rasterizer's tests, and the comparison of a backend with the float64 oracle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.splatting import rasterize_gaussians
from blendsplat.splatting.reference import rasterize_reference

NAMES = ("means", "quats", "scales", "opacities", "colors", "backgrounds")


@dataclass
class SceneData:
    gaussians: list[Tensor]  # means, quats, scales, opacities, colors
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    backgrounds: Tensor

    def cast(self, device: str) -> SceneData:
        gaussians = [t.to(device) for t in self.gaussians]
        return SceneData(
            gaussians,
            self.viewmats.to(device),
            self.Ks.to(device),
            self.width,
            self.height,
            self.backgrounds.to(device),
        )

    def image(self, b: int) -> SceneData:
        one = slice(b, b + 1)
        return SceneData(
            [t[one] for t in self.gaussians],
            self.viewmats[one],
            self.Ks[one],
            self.width,
            self.height,
            self.backgrounds[one],
        )


def cameras(images: int, width: int, height: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A different camera for each image, looking at the origin from about 2 units away, principal point off centre."""
    viewmats = torch.eye(4).repeat(images, 1, 1)
    axis = torch.randn(images, 3, generator=generator) * 0.3
    viewmats[:, :3, :3] = torch.linalg.matrix_exp(_skew(axis))
    viewmats[:, :3, 3] = torch.tensor([0.05, -0.03, 2.0]) + 0.1 * torch.randn(images, 3, generator=generator)
    Ks = torch.zeros(images, 3, 3)
    Ks[:, 0, 0] = 1.3 * width + torch.rand(images, generator=generator)
    Ks[:, 1, 1] = 1.2 * width + torch.rand(images, generator=generator)
    Ks[:, 0, 2], Ks[:, 1, 2], Ks[:, 2, 2] = width / 2 - 0.7, height / 2 + 1.1, 1
    return viewmats, Ks


def _skew(v: Tensor) -> Tensor:
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)


def random_scene(
    images: int = 2, gaussians: int = 60, width: int = 33, height: int = 21, seed: int = 0, size: float = 0.15
) -> SceneData:
    """Overlapping Gaussians around the origin, some partly outside the image, opacities over the whole range."""
    g = torch.Generator().manual_seed(seed)
    shape = (images, gaussians)
    means = 0.4 * torch.randn(*shape, 3, generator=g)
    quats = torch.randn(*shape, 4, generator=g) * (0.3 + 2 * torch.rand(*shape, 1, generator=g))
    scales = size * torch.rand(*shape, 3, generator=g) + 0.005
    opacities, colors = torch.rand(*shape, generator=g), torch.rand(*shape, 3, generator=g)
    return SceneData(
        [means, quats, scales, opacities, colors], *cameras(images, width, height, g), width, height,
        torch.rand(images, 3, generator=g),
    )  # fmt: skip


def render(scene: SceneData, **options: float) -> tuple[Tensor, Tensor, Tensor]:
    return rasterize_gaussians(
        *scene.gaussians, scene.viewmats, scene.Ks, scene.width, scene.height, scene.backgrounds, **options
    )


def gradients(
    function, scene: SceneData, weights: list[Tensor], dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor]]:  # type: ignore[no-untyped-def]
    """(outputs, gradients of NAMES) of the outputs' sum weighted with ``weights``."""
    leaves = [t.detach().to(dtype).requires_grad_() for t in (*scene.gaussians, scene.backgrounds)]
    cameras = (scene.viewmats.to(dtype), scene.Ks.to(dtype))
    outputs = function(*leaves[:5], *cameras, scene.width, scene.height, leaves[5])
    sum((out * w.to(out)).sum() for out, w in zip(outputs, weights, strict=True)).backward()
    return [out.detach() for out in outputs], [leaf.grad for leaf in leaves]


def compare_with_reference(scene: SceneData, device: str = "cpu", tolerance: float = 3e-5) -> None:
    """Assert that outputs and all gradients agree with the oracle.

    ``tolerance`` is relative to the largest value of each array: float32 sums of up to hundreds of terms of unlike sign
    (measured on random scenes: 1e-6); one pixel at the 1/255 cut-off that rounds the other way would give 4e-3.
    """
    g = torch.Generator().manual_seed(99)
    shape = (scene.viewmats.shape[0], scene.height, scene.width)
    weights = [torch.randn(*shape, channels, generator=g) for channels in (3, 1, 1)]
    expected, expected_grads = gradients(rasterize_reference, scene, weights, torch.float64)
    outputs, grads = gradients(rasterize_gaussians, scene.cast(device), weights, torch.float32)
    for name, got, want in zip(("image", "alpha", "depth"), outputs, expected, strict=True):
        _assert_close(name, got.cpu(), want, tolerance)
    for name, got, want in zip(NAMES, grads, expected_grads, strict=True):
        _assert_close(f"gradient of {name}", got.cpu(), want, tolerance)


def _assert_close(name: str, got: Tensor, want: Tensor, tolerance: float) -> None:
    assert torch.isfinite(got).all(), f"{name} is not finite"
    scale = max(want.abs().max().item(), 1.0) if want.numel() else 1.0
    error = (got.double() - want).abs().max().item() if want.numel() else 0.0
    assert error <= tolerance * scale, f"{name}: error {error:.3g} of {scale:.3g}"

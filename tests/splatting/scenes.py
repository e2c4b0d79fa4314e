# SPDX-License-Identifier: Apache-2.0
"""Random and hostile scenes for the rasterizer's tests, and the comparison of a backend with the float64 oracle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.splatting import rasterize_gaussians
from blendsplat.splatting.reference import rasterize_reference
from blendsplat.splatting.scene import Cameras, Gaussians, Scene

CHANNELS = {"image": 3, "alpha": 1, "depth": 1, "normals": 3}
NAMES = ("means", "quats", "scales", "opacities", "colors", "backgrounds")


@dataclass
class SceneData:
    gaussians: list[Tensor]  # means, quats, scales, opacities, colors
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    backgrounds: Tensor

    def of(self, gaussians: list[Tensor] | None = None, background: bool = True, near_plane: float = 0.01) -> Scene:
        """As a pass takes it; with other Gaussians if they are given."""
        cameras = Cameras(self.viewmats, self.Ks, self.width, self.height, near_plane)
        return Scene(Gaussians(*(gaussians or self.gaussians)), cameras, self.backgrounds if background else None)

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


def wild_scene(seed: int) -> SceneData:
    """A scene of the soak: number, sizes, cameras and all parameters drawn from wide ranges, hostile ones mixed in.

    Kept within what the float64 oracle itself can answer: screen sizes below about 1e5 pixels (beyond, its inverse
    covariance loses the low-pass), quaternions no shorter than torch's own normalisation allows.
    """
    g = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=g)

    def pick(chance: float) -> Tensor:
        return torch.rand(images, count, generator=g) < chance

    images, count = int(uniform(1, 4, 1)), int(10 ** uniform(0, 2.4, 1))
    width, height = (int(10 ** uniform(0, 1.7, 1)) for _ in range(2))
    viewmats, Ks = cameras(images, width, height, g)
    focal = width * 10 ** uniform(-0.5, 0.9, images)
    Ks[:, 0, 0], Ks[:, 1, 1] = focal, focal * uniform(0.7, 1.4, images)
    Ks[:, 0, 2] += width * uniform(-0.6, 0.6, images)
    Ks[:, 1, 2] += height * uniform(-0.6, 0.6, images)
    means = uniform(0.05, 0.9, images, 1, 1) * torch.randn(images, count, 3, generator=g)
    quats = torch.randn(images, count, 4, generator=g) * 10 ** uniform(-6, 6, images, count, 1)
    scales = 10 ** uniform(-3, -0.3, images, count, 3)
    opacities = uniform(0, 1, images, count) ** uniform(0.2, 4, 1)
    colors = torch.rand(images, count, 3, generator=g)
    scales = torch.where(pick(0.1)[..., None], scales * 10 ** uniform(-3, 1, images, count, 3), scales)  # needles
    scales[pick(0.03)], scales[pick(0.02)] = 0, 1e-40  # points; subnormal
    scales = torch.where(pick(0.02)[..., None], scales * 30, scales)  # gigantic
    for value in (1, 0, 1 / 255, 3, -1, 1e-40):  # at the clamp, absent, at the cut-off, beyond what means anything
        opacities[pick(0.03)] = value
    colors = torch.where(pick(0.05)[..., None], colors * 200 - 100, colors)
    means = torch.where(pick(0.03)[..., None], means * 20, means)  # off screen, behind
    means[..., 2] -= torch.where(pick(0.05), 1.8, 0.0)  # close to the camera
    for t in (means, quats, scales, opacities, colors):
        for bad in (float("nan"), float("inf"), -float("inf")):
            t[pick(0.003)] = bad
    quats[pick(0.01)] = 0
    twin = torch.randint(0, count, (images, count), generator=g)
    for t in (means, scales):  # equal depths, different Gaussians
        t[:] = torch.where(pick(0.05)[..., None], t.gather(1, twin[..., None].expand_as(t)), t)
    backgrounds = torch.rand(images, 3, generator=g)
    return SceneData([means, quats, scales, opacities, colors], viewmats, Ks, width, height, backgrounds)


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


def compare_with_reference(
    scene: SceneData,
    device: str = "cpu",
    tolerance: float = 3e-5,
    function=rasterize_gaussians,  # type: ignore[no-untyped-def]
    reference=rasterize_reference,  # type: ignore[no-untyped-def]
    outputs: tuple[str, ...] = ("image", "alpha", "depth"),
) -> None:
    """Assert that outputs and all gradients of ``function`` agree with its oracle.

    ``tolerance`` is relative to the largest value of each array: float32 sums of up to hundreds of terms of unlike sign
    (measured on random scenes: 1e-6); one pixel at the 1/255 cut-off that rounds the other way would give 4e-3.
    """
    g = torch.Generator().manual_seed(99)
    shape = (scene.viewmats.shape[0], scene.height, scene.width)
    weights = [torch.randn(*shape, CHANNELS[name], generator=g) for name in outputs]
    expected, expected_grads = gradients(reference, scene, weights, torch.float64)
    drawn, grads = gradients(function, scene.cast(device), weights, torch.float32)
    for name, got, want in zip(outputs, drawn, expected, strict=True):
        _assert_close(name, got.cpu(), want, tolerance)
    for name, got, want in zip(NAMES, grads, expected_grads, strict=True):
        _assert_close(f"gradient of {name}", got.cpu(), want, tolerance)


def _assert_close(name: str, got: Tensor, want: Tensor, tolerance: float) -> None:
    assert torch.isfinite(got).all(), f"{name} is not finite"
    scale = max(want.abs().max().item(), 1.0) if want.numel() else 1.0
    error = (got.double() - want).abs().max().item() if want.numel() else 0.0
    assert error <= tolerance * scale, f"{name}: error {error:.3g} of {scale:.3g}"

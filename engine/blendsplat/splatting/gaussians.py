# SPDX-License-Identifier: Apache-2.0
"""Differentiable rasterizer of 3D Gaussians: a batch of different Gaussians, each seen by its own camera.

Checks what it is given, hands contiguous buffers to the backend of their device, and ties the kernels into autograd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blendsplat.splatting.backend import backend_for
from blendsplat.splatting.buffers import Bins, Scene

DEFAULT_NEAR_PLANE = 0.01
MAX_SIZE = 32768  # pixels along one side


def rasterize_gaussians(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    backgrounds: Tensor | None = None,
    near_plane: float = DEFAULT_NEAR_PLANE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Render B sets of N Gaussians with B cameras (3D Gaussian splatting, Kerbl et al. 2023, section 5).

    means [B,N,3] world units; quats [B,N,4] wxyz, any length in 1e-15..1e15; scales [B,N,3] deviations along the own
    axes; opacities [B,N] (drawn with at most 0.99); colors [B,N,3]; viewmats [B,4,4] world to camera, OpenCV axes;
    Ks [B,3,3] pixels, no skew; backgrounds [B,3] or None for black. All float32, on one device.

    Returns image [B,H,W,3] (premultiplied by alpha, the background composited last), alpha [B,H,W,1] and depth
    [B,H,W,1] (sum of weight times camera z: divide by alpha for the expected depth).

    Gradients flow to everything but the cameras. Gaussians that are not finite, have a zero quaternion, lie before the
    near plane or outside the image are skipped and get gradient zero. Raises ValueError naming the wrong argument.
    """
    scene = _checked_scene(means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane)
    if backgrounds is not None:
        backgrounds = checked("backgrounds", backgrounds, (scene.images, 3), scene.means.device)
    arguments = scene.means, scene.quats, scene.scales, scene.opacities, scene.colors
    result: tuple[Tensor, Tensor, Tensor] = _Rasterize.apply(*arguments, backgrounds, scene)
    return result


def gaussian_pixel_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    images: Tensor,
    mask: Tensor | None = None,
    threshold: float = 0.1,
    near_plane: float = DEFAULT_NEAR_PLANE,
) -> tuple[Tensor, Tensor]:
    """How much of each Gaussian the batch sees, and the images' colours there (RGBAvatar's colour initialisation).

    Arguments as in rasterize_gaussians; images [B,H,W,3] float32; mask [B,H,W] bool, True where a pixel counts (None:
    all). A pixel adds w and w rgb to a Gaussian where its weight w = alpha * T exceeds ``threshold``.
    Returns weight [N] and weighted_rgb [N,3] summed over the batch (row n of every image is the same Gaussian), without
    gradient.
    """
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise ValueError("images: expected a float32 tensor of shape [B,H,W,3]")
    height, width = images.shape[1:3]
    with torch.no_grad():
        colors = torch.zeros_like(means) if isinstance(means, Tensor) else means
        scene = _checked_scene(means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane)
        device = scene.means.device
        images = checked("images", images, (scene.images, height, width, 3), device)
        if mask is None:
            mask = torch.ones(scene.images, height, width, dtype=torch.bool, device=device)
        mask = checked("mask", mask, (scene.images, height, width), device, torch.bool)
        backend = backend_for(device)
        sums = backend.pixel_weights(scene, backend.bin(scene), images, mask, threshold)
    return sums[:, 0], sums[:, 1:]


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
        backgrounds: Tensor | None, scene: Scene,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        backend = backend_for(means.device)
        bins = backend.bin(scene)
        outputs = backend.blend_forward(scene, bins, backgrounds)
        ctx.save_for_backward(means, quats, scales, opacities, colors, backgrounds, *bins.tensors())
        ctx.camera = (scene.viewmats, scene.Ks, scene.width, scene.height, scene.near_plane)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(grad is None for grad in grads):
            return (None,) * 7
        gaussians, backgrounds, bins = (
            ctx.saved_tensors[:5],
            ctx.saved_tensors[5],
            Bins.from_tensors(*ctx.saved_tensors[6:]),
        )
        scene = Scene(*gaussians, *ctx.camera)
        contiguous = tuple(None if grad is None else grad.contiguous() for grad in grads)
        backend = backend_for(scene.means.device)
        out, background = backend.backward(scene, bins, backgrounds, contiguous, ctx.needs_input_grad[5])
        return *out, background, None


def checked(
    name: str, value: Tensor, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """``value`` made contiguous, or a ValueError that says what was expected of the argument ``name``."""
    expected = f"{name}: expected a {str(dtype).removeprefix('torch.')} tensor of shape {list(shape)} on {device}"
    if not isinstance(value, Tensor):
        raise ValueError(f"{expected}, got {type(value).__name__}")
    if value.dtype != dtype or tuple(value.shape) != shape or value.device != device:
        got = f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)} on {value.device}"
        raise ValueError(f"{expected}, got {got}")
    return value.contiguous()


def checked_cameras(viewmats: Tensor, Ks: Tensor, images: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cameras of the right shape; on the CPU also finite, with positive focal lengths and no skew (on a GPU looking
    would stall the queue)."""
    viewmats = checked("viewmats", viewmats, (images, 4, 4), device)
    Ks = checked("Ks", Ks, (images, 3, 3), device)
    for name, value in (("viewmats", viewmats), ("Ks", Ks)):
        if value.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name}: no gradient flows to cameras; detach them and move the Gaussians instead")
    if device.type == "cpu" and images:
        for name, value in (("viewmats", viewmats), ("Ks", Ks)):
            if not torch.isfinite(value).all():
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
        if not (Ks[:, (0, 1), (0, 1)] > 0).all():
            raise ValueError("Ks: expected positive focal lengths at [0,0] and [1,1]")
        if Ks[:, (0, 1), (1, 0)].any():
            raise ValueError("Ks: expected no skew, zeros at [0,1] and [1,0]")
    return viewmats, Ks


def checked_size(width: int, height: int) -> None:
    """Raise ValueError unless both are whole numbers of pixels in 1..MAX_SIZE."""
    for name, value in (("width", width), ("height", height)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
            raise ValueError(f"{name}: expected a whole number of pixels between 1 and {MAX_SIZE}, got {value!r}")


def _checked_scene(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    width: int, height: int, near_plane: float,
) -> Scene:  # fmt: skip
    if not isinstance(means, Tensor) or means.dim() != 3 or means.shape[-1] != 3:
        got = list(means.shape) if isinstance(means, Tensor) else type(means).__name__
        raise ValueError(f"means: expected a float32 tensor of shape [B,N,3], got {got}")
    images, gaussians = means.shape[:2]
    checked_size(width, height)
    if not 0 < near_plane < float("inf"):
        raise ValueError(f"near_plane: expected a positive distance, got {near_plane!r}")
    device = means.device
    means = checked("means", means, (images, gaussians, 3), device)
    quats = checked("quats", quats, (images, gaussians, 4), device)
    scales = checked("scales", scales, (images, gaussians, 3), device)
    opacities = checked("opacities", opacities, (images, gaussians), device)
    colors = checked("colors", colors, (images, gaussians, 3), device)
    viewmats, Ks = checked_cameras(viewmats, Ks, images, device)
    return Scene(means, quats, scales, opacities, colors, viewmats, Ks, width, height, float(near_plane))

# SPDX-License-Identifier: Apache-2.0
"""What the rasterizers refuse: arguments of a wrong type, shape, device or meaning, named before any kernel runs."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from blendsplat.splatting.scene import Cameras, Gaussians, Scene

MAX_SIZE = 32768  # pixels along one side


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
    if value.layout != torch.strided:
        raise ValueError(f"{expected}, got a {str(value.layout).removeprefix('torch.')} one")
    return value.contiguous()


def checked_cameras(viewmats: Tensor, Ks: Tensor, images: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cameras of the right shape; on the CPU also finite, with positive focal lengths and no skew (on a GPU looking
    would stall the queue)."""
    viewmats = checked("viewmats", viewmats, (images, 4, 4), device)
    Ks = checked("Ks", Ks, (images, 3, 3), device)
    for name, value in (("viewmats", viewmats), ("Ks", Ks)):
        if value.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name}: no gradient flows to cameras; detach them and move the Gaussians instead")
    if device.type == "cpu":  # a few hundred numbers: looking at them in Python allocates no tensors
        for name, value in (("viewmats", viewmats), ("Ks", Ks)):
            if not all(map(math.isfinite, value.detach().flatten().tolist())):
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
        for (fx, skew, _), (other_skew, fy, _), _ in Ks.detach().tolist():
            if not (fx > 0 and fy > 0):
                raise ValueError("Ks: expected positive focal lengths at [0,0] and [1,1]")
            if skew or other_skew:
                raise ValueError("Ks: expected no skew, zeros at [0,1] and [1,0]")
    return viewmats, Ks


def checked_size(width: int, height: int) -> None:
    """Raise ValueError unless both are whole numbers of pixels in 1..MAX_SIZE."""
    for name, value in (("width", width), ("height", height)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
            raise ValueError(f"{name}: expected a whole number of pixels between 1 and {MAX_SIZE}, got {value!r}")


def checked_near_plane(near_plane: float) -> float:
    """A positive, finite distance, or ValueError."""
    if not isinstance(near_plane, Real) or not 0 < near_plane < float("inf"):
        raise ValueError(f"near_plane: expected a positive distance, got {near_plane!r}")
    return float(near_plane)


def checked_scene(scene: Scene, sharing: bool = False, axes: int = 3) -> Scene:
    """What a backend may rely on, scales [B,N,axes]; ``sharing`` also takes scales [1,N,axes] and opacities [1,N] that
    all images share."""
    given, cameras = scene.gaussians, scene.cameras
    means = given.means
    if not isinstance(means, Tensor) or means.dim() != 3 or means.shape[-1] != 3:
        got = list(means.shape) if isinstance(means, Tensor) else type(means).__name__
        raise ValueError(f"means: expected a float32 tensor of shape [B,N,3], got {got}")
    images, count = means.shape[:2]
    checked_size(cameras.width, cameras.height)
    near_plane = checked_near_plane(cameras.near_plane)
    device = means.device

    def sets(value: Tensor) -> int:
        return 1 if sharing and isinstance(value, Tensor) and value.dim() and value.shape[0] == 1 else images

    gaussians = Gaussians(
        checked("means", means, (images, count, 3), device),
        checked("quats", given.quats, (images, count, 4), device),
        checked("scales", given.scales, (sets(given.scales), count, axes), device),
        checked("opacities", given.opacities, (sets(given.opacities), count), device),
        checked("colors", given.colors, (images, count, 3), device),
    )
    viewmats, Ks = checked_cameras(cameras.viewmats, cameras.Ks, images, device)
    backgrounds = scene.backgrounds
    if backgrounds is not None:
        backgrounds = checked("backgrounds", backgrounds, (images, 3), device)
    return Scene(gaussians, Cameras(viewmats, Ks, cameras.width, cameras.height, near_plane), backgrounds)

# SPDX-License-Identifier: Apache-2.0
"""What the rasterizers draw: the Gaussians of a batch of images, the cameras that see them, and what lies behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

DEFAULT_NEAR_PLANE = 0.01  # world units


@dataclass(frozen=True)
class Gaussians:
    """World-space Gaussians of B images: means [B,N,3] metres, quats [B,N,4] wxyz (any length), scales [B,N,3] metres,
    opacities [B,N] in [0,1], colors [B,N,3] display-referred RGB, not below 0 (above 1 is possible).

    Scales and opacities may have one row that holds for all images where it is said so. Surfels have scales [B,N,2].
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """In the order of the fields, which is that of rasterize_gaussians' arguments and of Gradients."""
        return self.means, self.quats, self.scales, self.opacities, self.colors

    def __getitem__(self, rows: slice) -> Gaussians:
        """Those of some of the images."""
        return Gaussians(*(tensor[rows] for tensor in self.tensors()))

    def detach(self) -> Gaussians:
        return Gaussians(*(tensor.detach() for tensor in self.tensors()))

    def to(self, device: torch.device | str) -> Gaussians:
        return Gaussians(*(tensor.to(device) for tensor in self.tensors()))


class Gradients(NamedTuple):
    """Gradients of a scene's Gaussians, shaped like them: what the images share gets the sum over the images."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor


# Of the planes that are drawn, each shaped like its plane or None: image, alpha, depth; of surfels normals too.
PlaneGradients = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Cameras:
    """B pinhole cameras whose images have one size."""

    viewmats: Tensor  # [B,4,4] world to camera, OpenCV axes
    Ks: Tensor  # [B,3,3] pixels, no skew
    width: int  # pixels
    height: int
    near_plane: float = DEFAULT_NEAR_PLANE  # world units; nothing nearer is drawn

    def to(self, device: torch.device | str) -> Cameras:
        return Cameras(self.viewmats.to(device), self.Ks.to(device), self.width, self.height, self.near_plane)


@dataclass(frozen=True)
class Scene:
    """B images of N Gaussians each. checks.checked_scene makes the one that a backend may rely on: contiguous float32
    tensors of these shapes on one device."""

    gaussians: Gaussians
    cameras: Cameras
    backgrounds: Tensor | None = None  # [B,3]; None: black

    @property
    def images(self) -> int:
        """B"""
        return self.gaussians.means.shape[0]

    @property
    def count(self) -> int:
        """N"""
        return self.gaussians.means.shape[1]

    @property
    def width(self) -> int:
        return self.cameras.width

    @property
    def height(self) -> int:
        return self.cameras.height

    @property
    def device(self) -> torch.device:
        return self.gaussians.means.device

    @property
    def shared_scales(self) -> bool:
        """Whether scales are [1,N,3]: the same in every image."""
        return self.gaussians.scales.shape[0] != self.images

    @property
    def shared_opacities(self) -> bool:
        return self.gaussians.opacities.shape[0] != self.images

    def to(self, device: torch.device | str) -> Scene:
        backgrounds = None if self.backgrounds is None else self.backgrounds.to(device)
        return Scene(self.gaussians.to(device), self.cameras.to(device), backgrounds)

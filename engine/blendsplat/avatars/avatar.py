# SPDX-License-Identifier: Apache-2.0
"""What every avatar can do, whichever system learned it: head parameters in, world-space Gaussians out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.heads.model import HeadModel, HeadParams


@dataclass
class Gaussians:
    """World-space Gaussians of B frames: means [B,N,3] metres, quats [B,N,4] wxyz (any length), scales [B,N,3] metres,
    opacities [B,N] in [0,1], colors [B,N,3] display-referred RGB, not below 0 (above 1 is possible)."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor

    def __getitem__(self, rows: slice) -> Gaussians:
        """Some of the frames."""
        return Gaussians(*(getattr(self, f.name)[rows] for f in fields(self)))

    def detach(self) -> Gaussians:
        return Gaussians(*(getattr(self, f.name).detach() for f in fields(self)))


@dataclass
class TrainingCamera:
    """The camera an avatar was trained with: K [3,3] in pixels of width x height, viewmat [4,4] world-to-camera."""

    K: Tensor
    viewmat: Tensor
    width: int
    height: int


class Avatar(ABC):
    """A trained avatar. ``head`` is the person's own head (no shape parameters left)."""

    name: str
    head: HeadModel
    camera: TrainingCamera

    @property
    @abstractmethod
    def gaussian_count(self) -> int:
        """N."""

    @abstractmethod
    def weights(self, params: HeadParams) -> Tensor:
        """Blendshape weights [B,K] of B frames' head parameters."""

    @abstractmethod
    def gaussians(self, weights: Tensor, vertices: Tensor) -> Gaussians:
        """Gaussians of weights [B,K] on the head's posed vertices [B,V,3]."""

    def vertices(self, params: HeadParams) -> Tensor:
        """The avatar's own head in the pose and expression of ``params`` [B,V,3]; their shape is not used, so another
        person's performance moves this person's face."""
        self.check(params)
        return self.head(replace(params, shape=params.expression.new_zeros(1, 0)))

    def animation(self, batch: int) -> Callable[[HeadParams], Gaussians]:
        """``drive`` for many batches of this size, without gradients; a call's result may be overwritten by the next,
        and what is the same in all frames may have one row."""
        return self.drive

    def check(self, params: HeadParams) -> None:
        """Raise InputError when ``params`` are of another head."""
        have, want = params.expression.shape[-1], self.head.expression_count
        if have != want:
            raise InputError(
                f"The avatar {self.name!r} was trained on the head {self.head.name!r} with {want} expression values, "
                f"but the performance has {have}; track the performance with the same head."
            )

    def drive(self, params: HeadParams) -> Gaussians:
        """Gaussians of B frames' head parameters."""
        vertices = self.vertices(params)
        return self.gaussians(self.weights(params), vertices)

# SPDX-License-Identifier: Apache-2.0
"""What every avatar can do, whichever system learned it: head parameters in, world-space Gaussians out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from blendsplat.avatars.retarget import Reference, rebased
from blendsplat.avatars.seen import Seen
from blendsplat.errors import InputError
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance, check_same_head
from blendsplat.splatting.scene import Gaussians

__all__ = ["Avatar", "Gaussians", "TrainingCamera"]


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
    training_record: dict[str, Any]  # what the file tells of the training: preset, images, holdout, figures
    reference: Reference | None = None  # where the own clip holds the head; None: an older file does not say
    seen: Seen | None = None  # what the own clip showed; None: an older file does not say
    held: float = 0.0  # how firmly what it did not show is held back; see ``hold``
    views: tuple[str, ...] = ("full",)  # what of it can be driven by itself
    shown = "full"  # which of them is
    scored: tuple[tuple[str, str], ...] = (("full", ""),)  # views that a training is judged by, prefix of the figures

    @property
    @abstractmethod
    def gaussian_count(self) -> int:
        """N."""

    @abstractmethod
    def drive(self, params: HeadParams, *, bounded: bool = False, vertices: Tensor | None = None) -> Gaussians:
        """Gaussians of B frames' head parameters. bounded: what the avatar was never shown is held back, so that
        another person's performance does not leave what was learned; how, is the system's business. vertices [B,V,3]:
        where the head is, if not where ``params`` put it (an artist deformed it otherwise, too)."""

    @abstractmethod
    def save(self, path: Path | str) -> None:
        """Write the avatar file, atomically."""

    def animation(self, batch: int, *, bounded: bool = False) -> Callable[[HeadParams], Gaussians]:
        """``drive`` for many batches of this size, without gradients; a call's result may be overwritten by the next,
        and what is the same in all frames may have one row."""
        return partial(self.drive, bounded=bounded)

    def show(self, view: str) -> None:
        """From here on ``drive`` and ``animation`` give this of the ``views``. Raises InputError for another."""
        if view not in self.views:
            allowed = ", ".join(self.views)
            raise InputError(f"The avatar {self.name!r} has no view {view!r}; it has {allowed}.")
        self.shown = view

    def hold(self, strength: float) -> None:
        """From here on what training never showed is held back smoothly (hold_back.py): 0 not, 1 firmly. What it did
        show is played to the bit as without. An avatar whose file does not know what was seen is not held."""
        self.held = min(max(float(strength), 0.0), 1.0)

    def vertices(self, params: HeadParams) -> Tensor:
        """The avatar's own head in the pose and expression of ``params`` [B,V,3]; their shape is not used, so another
        person's performance moves this person's face."""
        self.check(params)
        return self.head(self.of_own(params))

    def posed(self, params: HeadParams, vertices: Tensor | None) -> Tensor:
        """``vertices`` [B,V,3] where they are given, else ``vertices(params)``. Raises InputError for another head."""
        if vertices is None:
            return self.vertices(params)
        if vertices.shape[1] != self.head.vertex_count:
            raise InputError(
                f"The avatar {self.name!r} lies on a head of {self.head.vertex_count} vertices, and this one has "
                f"{vertices.shape[1]}: use the head that came with the avatar."
            )
        return vertices

    def of_own(self, params: HeadParams) -> HeadParams:
        """The parameters without a shape: the avatar's head has its own."""
        return replace(params, shape=params.expression.new_zeros(1, 0))

    def check(self, params: HeadParams) -> None:
        """Raise InputError when ``params`` are of another head."""
        have, want = params.expression.shape[-1], self.head.expression_count
        if have != want:
            raise InputError(
                f"The avatar {self.name!r} was trained on the head {self.head.name!r} with {want} expression values, "
                f"but the performance has {have}; track the performance with the same head."
            )

    def check_performance(self, performance: Performance) -> None:
        """Raise InputError when the performance was tracked with another head."""
        check_same_head(self.head, performance)

    def owns(self, performance: Performance) -> bool:
        """Whether this is the performance of the avatar's own clip, or the avatar's file is too old to know."""
        return self.reference is None or self.reference.performance == performance.identity

    def adopted(self, performance: Performance) -> Performance:
        """The performance as this avatar plays it: its own clip's as it is, another one re-based (retarget.py).

        Raises InputError when it was tracked with another head."""
        self.check_performance(performance)
        if self.reference is None or self.owns(performance):
            return performance
        return rebased(performance, self.reference, self.head.joints[0].cpu())


class BlendshapeAvatar(Avatar):
    """An avatar whose Gaussians are a base and K linear displacements: Blender makes shape keys of them."""

    @property
    @abstractmethod
    def blendshape_count(self) -> int:
        """K."""

    @abstractmethod
    def weights(self, params: HeadParams, *, bounded: bool = False) -> Tensor:
        """Blendshape weights [B,K] of B frames' head parameters."""

    @abstractmethod
    def gaussians(self, weights: Tensor | None, vertices: Tensor) -> Gaussians:
        """Gaussians of weights [B,K] on the head's posed vertices [B,V,3]. weights None: the base alone."""

    def drive(self, params: HeadParams, *, bounded: bool = False, vertices: Tensor | None = None) -> Gaussians:
        return self.gaussians(self.weights(params, bounded=bounded), self.posed(params, vertices))

# SPDX-License-Identifier: Apache-2.0
"""One training step of an RGBAvatar on buffers made once: MLP, blend and bind, rasterize, loss, backward, Adam.

Every run works on the same addresses, waits for no device and allocates nothing, so a CUDA graph can hold all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.avatars.rgbavatar.surface import Surface
from blendsplat.splatting.backend import make_pass
from blendsplat.splatting.bind import BindPass
from blendsplat.splatting.scene import Cameras, Gaussians, Scene
from blendsplat.training.graph import GraphedStep
from blendsplat.training.loss_pass import LossPass
from blendsplat.training.parameters import Parameters
from blendsplat.training.rgbavatar.limits import Limits
from blendsplat.training.rgbavatar.mlp_pass import MlpPass
from blendsplat.training.rgbavatar.orthogonality import add_gradients


class Stage(NamedTuple):
    """What a step does besides the rest; a captured graph belongs to one stage."""

    blended: bool  # the blendshapes take part and learn
    perceptual: bool  # LPIPS is part of the loss


@dataclass
class ClipTensors:
    """What a step reads of the training clip: features [M,D] as the MLP takes them, and the head's surface in all M
    frames, or None where that is too much to keep (``carry`` then brings each batch's)."""

    features: Tensor
    surfaces: Surface | None


class TrainingStep:
    """Steps on batches of one size: ``set_inputs``, ``carry`` where the clip has no surfaces, ``run``. The figures of
    the batch are then in ``loss``."""

    def __init__(
        self, avatar: RGBAvatar, parameters: Parameters, clip: ClipTensors, loss: LossPass, orthogonality: float = 0.0,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        """orthogonality: weight of the loss on the bases, which is no part of ``loss``'s figures; limits: kept after
        every step."""
        device, camera, count, batch = avatar.positions.device, avatar.camera, avatar.gaussian_count, loss.batch
        self.loss, self._parameters, self._clip, self._avatar = loss, parameters, clip, avatar
        self._orthogonality, self._limits = orthogonality, limits
        self._rows, self._backgrounds = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, 3)
        self._rates = torch.zeros(len(parameters.names))
        views, intrinsics = camera.viewmat.expand(batch, 4, 4).contiguous(), camera.K.expand(batch, 3, 3).contiguous()
        self._cameras = Cameras(views, intrinsics, camera.width, camera.height)
        self._features = clip.features.new_zeros(batch, clip.features.shape[1])
        self._surface = Surface.empty(avatar.head, batch)
        self._carrier, self._gaussians = avatar.carrier(self._surface), avatar.bind_parameters()
        self._mlp = MlpPass(avatar.mlp, batch, device)
        self._bind = BindPass(batch, count, avatar.blendshape_count, device)
        self._raster = make_pass(batch, count, camera.width, camera.height, device)
        self._graphed = GraphedStep(self._work, device)

    @torch.no_grad()
    def set_inputs(self, rows: list[int], generator: torch.Generator, rates: Sequence[float]) -> None:
        """Queue what this step differs by: the frames, random backgrounds, and every tensor's learning rate."""
        self._rows.numpy()[:] = rows
        torch.rand(self._backgrounds.shape, generator=generator, out=self._backgrounds)
        self._rates.numpy()[:] = rates
        # from pageable memory: the driver has its copy when the call returns, so these may change again at once
        self.loss.rows.copy_(self._rows, non_blocking=True)
        self.loss.backgrounds.copy_(self._backgrounds, non_blocking=True)
        self._parameters.optimiser.rates.copy_(self._rates, non_blocking=True)

    @torch.no_grad()
    def carry(self, surface: Surface) -> None:
        """Bring a surface of this batch into place that the caller has posed."""
        for name in ("vertices", "frames", "quats"):
            getattr(self._surface, name).copy_(getattr(surface, name))

    @torch.no_grad()
    def gaussians(self, blended: bool) -> Gaussians:
        """The batch's Gaussians, in buffers; scales and opacities have one row, which holds for every frame."""
        rows, weights, bind = self.loss.rows, None, self._bind
        if (surfaces := self._clip.surfaces) is not None:
            for name in ("vertices", "frames", "quats"):
                torch.index_select(getattr(surfaces, name), 0, rows, out=getattr(self._surface, name))
        if blended:
            torch.index_select(self._clip.features, 0, rows, out=self._features)
            weights = self._mlp.forward(self._features)
        bind.forward(self._gaussians, weights, self._carrier)
        return bind.gaussians

    @torch.no_grad()
    def pixel_weights(self, blended: bool, images: Tensor, mask: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        """splatting.gaussian_pixel_weights of the batch in the inputs, in the step's buffers: nothing waits."""
        scene = Scene(self.gaussians(blended), self._cameras)
        return self._raster.pixel_weights(scene, images, mask, threshold)

    def run(self, stage: Stage) -> bool:
        """Train on the batch that lies in the inputs. False when a GPU's buffers were too small for this batch or one
        shortly before: nothing was learned from it then, there is more room now, and it should be repeated."""
        self._graphed(stage)
        if not self._raster.overflowed():
            return True
        self._graphed.forget()
        return False

    @torch.no_grad()
    def _work(self, stage: Stage) -> None:
        raster, bind = self._raster, self._bind
        raster.forward(Scene(self.gaussians(stage.blended), self._cameras, self.loss.composited))
        raster.backward(*self.loss(raster.image, raster.alpha, stage.perceptual))
        assert raster.grads is not None  # backward has just filled them
        bind.backward(raster.grads)
        if bind.grad_weights is not None:
            self._mlp.backward(bind.grad_weights)
        if self._orthogonality and stage.blended:
            names = [name for name in bind.grads if name.startswith("delta_")]
            bases = [getattr(self._gaussians, name) for name in names]
            add_gradients(bases, self._orthogonality, [bind.grads[name] for name in names])
        grads = self._gradients(stage)
        self._parameters.optimiser.step([grads.get(name) for name in self._parameters.names], skip=raster.lost)
        if self._limits is not None:
            self._limits.keep()

    def _gradients(self, stage: Stage) -> dict[str, Tensor]:
        """By name; what took no part has none: Adam then leaves it and its step count alone."""
        grads = dict(self._bind.grads)
        if stage.blended:
            grads |= {f"mlp.{name}": grad for name, grad in self._mlp.grads.items()}
        if self.loss.grad_exposure is not None:
            grads["exposure"] = self.loss.grad_exposure
        return grads

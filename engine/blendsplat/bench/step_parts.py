# SPDX-License-Identifier: Apache-2.0
"""A training step taken apart: each part alone, on what the part before it made, in the buffers of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.bench import floors
from blendsplat.bench.bind import bind_calls
from blendsplat.bench.machine import Ceilings
from blendsplat.bench.scene import work_of
from blendsplat.bench.subject import scene_of
from blendsplat.splatting.adam import FusedAdam
from blendsplat.splatting.backend import make_pass
from blendsplat.splatting.image_loss import image_loss_into
from blendsplat.splatting.scene import Gaussians, Scene
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer


@dataclass(frozen=True)
class Part:
    """One part of a step: a call that does it, and its floor."""

    run: Callable[[], object]
    floor: Callable[[Ceilings], float] | None  # milliseconds; None: too small to matter


@dataclass(frozen=True)
class Sizes:
    """What a step counts, for the whole batch where an image is not named."""

    images: int
    gaussians: int  # of one image
    blendshapes: int
    pixels: int
    pairs: int
    parameters: int

    def floors(self) -> dict[str, Callable[[Ceilings], float]]:
        """Part -> its floor."""
        every, shapes = self.images * self.gaussians, (self.gaussians, self.blendshapes, self.images)
        return {
            "blend and bind, forward": lambda c: floors.blend_forward(*shapes, c),
            "rasterize, forward": lambda c: floors.rasterize_forward(self.pairs, every, self.pixels, c),
            "L1 loss and gradient": lambda c: floors.photometric(self.pixels, c),
            "rasterize, backward": lambda c: floors.rasterize_backward(self.pairs, every, self.pixels, c),
            "blend and bind, backward": lambda c: floors.blend_backward(*shapes, c),
            "Adam": lambda c: floors.adam(self.parameters, c),
        }


def sizes_of(trainer: RGBAvatarTrainer, scene: Scene) -> Sizes:
    """scene: what the rasterizer sees in one step."""
    avatar = trainer.avatar
    return Sizes(
        scene.images, avatar.gaussian_count, avatar.blendshape_count, scene.images * scene.width * scene.height,
        work_of(scene).evaluated, sum(parameter.numel() for parameter in avatar.parameters()),
    )  # fmt: skip


def step_scene(trainer: RGBAvatarTrainer) -> Scene:
    """What the rasterizer sees in a step on the first frames."""
    avatar = trainer.avatar
    return scene_of(avatar.drive(trainer.data.params[_rows(trainer)]), avatar.camera)


def parts_of(trainer: RGBAvatarTrainer, scene: Scene, least: dict[str, Callable[[Ceilings], float]]) -> dict[str, Part]:
    """The parts in the order of the step."""
    avatar = copy.deepcopy(trainer.avatar)  # the whole step goes on changing its own
    rows, device = _rows(trainer), trainer.device
    frames = trainer.data.targets
    index = torch.tensor(rows, device=device)
    features = avatar.features(trainer.data.params[rows])
    surface = avatar.surface(avatar.vertices(trainer.data.params[rows]))
    with torch.no_grad():
        weights = avatar.weights_of(features)
    raster = make_pass(scene.images, scene.count, scene.width, scene.height, device)
    means, quats, scales, opacities, colors = scene.gaussians.tensors()
    gaussians = Gaussians(means, quats, scales[:1].contiguous(), opacities[:1].contiguous(), colors)
    backgrounds, grad_image = torch.rand(scene.images, 3).to(device), torch.zeros_like(raster.image)
    losses, squares = (torch.zeros(scene.images, device=device) for _ in range(2))

    def draw() -> None:
        raster.forward(Scene(gaussians, scene.cameras, backgrounds))

    def compare() -> None:
        image_loss_into(raster.image, frames, index, backgrounds, 1.0, 0.0, grad_image, losses, squares)

    bind, bind_backward = bind_calls(avatar, weights, surface)
    draw()
    compare()
    runs: dict[str, Callable[[], object]] = {
        "MLP, forward and backward": lambda: _mlp(avatar, features, torch.ones_like(weights)),
        "blend and bind, forward": bind,
        "rasterize, forward": draw,
        "L1 loss and gradient": compare,
        "rasterize, backward": lambda: raster.backward(grad_image),
        "blend and bind, backward": bind_backward,
        "Adam": _adam(avatar),
    }
    return {name: Part(run, least.get(name)) for name, run in runs.items()}


def _rows(trainer: RGBAvatarTrainer) -> list[int]:
    return [row % len(trainer.data) for row in range(trainer.preset.batch)]


def _mlp(avatar: RGBAvatar, features: Tensor, gradient: Tensor) -> None:
    parameters = list(avatar.mlp.parameters())
    torch.autograd.grad(avatar.weights_of(features), parameters, gradient)


def _adam(avatar: RGBAvatar) -> Callable[[], object]:
    """On copies: steps with one and the same gradient would spoil the avatar that the other parts run on."""
    optimiser = FusedAdam([parameter.detach().clone() for parameter in avatar.parameters()])
    gradients: list[Tensor | None] = [torch.full_like(parameter, 1e-3) for parameter in optimiser.parameters]
    return lambda: optimiser.step(gradients)

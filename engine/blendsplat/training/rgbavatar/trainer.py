# SPDX-License-Identifier: Apache-2.0
"""One training as an object: an avatar, its optimiser, its sampler and its random numbers; ``step`` trains one batch.

It knows nothing of files, progress or time; loop.py does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from blendsplat.avatars.avatar import Gaussians, TrainingCamera
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.avatars.rgbavatar.model import RGBAvatar, Surface, gaussian_axis
from blendsplat.heads.model import HeadModel
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.training.checkpoint import Snapshot, optimiser_tensors, restore_optimiser
from blendsplat.training.data import FrameBatch, FrameSet
from blendsplat.training.exposure import Exposure
from blendsplat.training.loss_pass import LossPass
from blendsplat.training.presets import Preset
from blendsplat.training.rgbavatar.initialise import initialise_colors, new_avatar
from blendsplat.training.rgbavatar.schedules import learning_rates
from blendsplat.training.rgbavatar.step import ClipTensors, Parameters, Stage, TrainingStep
from blendsplat.training.sampler import OfflineSampler, OnlineSampler, Sampler

_GEOMETRY_CHUNK = 16  # frames whose surface is computed at once
_SURFACE_BUDGET = 3 * 2**30  # bytes of posed surfaces to keep in memory; larger clips pose the head in every step
_COLOR_PASSES = 2  # times every frame is searched for colours; from then on every _COLOR_EVERY-th batch is,
_COLOR_EVERY = 8  # for what only shows once others have moved: the search costs as much as a step's forward half


@dataclass
class StepReport:
    """Figures of one step's batch, per image; they lie in the step's buffers and hold until the next step."""

    losses: Tensor  # [B]
    squared_errors: Tensor  # [B] mean over the pixels that count

    @property
    def loss(self) -> Tensor:
        """The batch's loss."""
        return self.losses.mean()

    def psnr(self) -> float:
        """Mean PSNR of the batch in dB."""
        return float((-10 * self.squared_errors.clamp_min(1e-10).log10()).mean())


class Trainer:
    """Trains one RGBAvatar on the frames of ``data``. All counting is in images."""

    def __init__(
        self, head: HeadModel, camera: TrainingCamera, data: FrameSet, preset: Preset, name: str = "avatar",
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.preset, self.data, self.device = preset, data, torch.device(device)
        self.avatar = new_avatar(head, camera, preset, data.params.to("cpu"), name).to(device)
        self.features = self.avatar.features(data.params)
        self.surfaces: Surface | None = None
        self.surfaces = self._all_surfaces()
        self.initialised = torch.zeros(self.avatar.gaussian_count, dtype=torch.bool, device=device)
        self.exposure = Exposure(len(data)).to(device)
        self.sampler = make_sampler(preset, len(data))
        self.generator = torch.Generator().manual_seed(preset.seed + 1)
        self.lpips = Lpips(preset.lpips_weights).to(device) if preset.lpips_weight else None
        self.images = 0
        self._arrived = 0  # frames that an online sampler has been shown
        self._settled = False  # whether what was never seen has been dropped
        self._use(self.avatar)

    def _use(self, avatar: RGBAvatar) -> None:
        """Train ``avatar`` from here on, with a fresh optimiser."""
        self.avatar = avatar
        self.parameters = Parameters.of(_named_parameters(avatar, self.exposure, self.preset))
        self._step: TrainingStep | None = None

    @property
    def done(self) -> bool:
        return self.images >= self.preset.images

    def step(self) -> StepReport:
        """Train on the next batch."""
        self._receive_frames()
        self._drop_unseen()
        rows = self.sampler.next_batch(min(self.preset.batch, self.preset.images - self.images))
        step = self._step_of(len(rows))
        step.set_inputs(rows, self.generator, learning_rates(self.preset, self.images))
        if self.surfaces is None:
            step.carry(self._surface(rows))
        if self._searches_colors():
            self._initialise_colors(step)
        if not step.run(self._stage()):
            step.run(self._stage())  # with more room than a batch just had, which changed nothing
        self.images += len(rows)
        return StepReport(step.loss.losses, step.loss.squared_errors)

    @torch.no_grad()
    def preview(self, row: int) -> tuple[Tensor, Tensor]:
        """(target, render) [H,W,3] of one training frame over mid grey."""
        frames: FrameBatch = self.data.batch([row])
        grey = torch.full((1, 3), 0.5, device=self.device)
        return frames.target(grey)[0], self._render(self._gaussians([row]), [row], grey)[0]

    def finished_avatar(self) -> RGBAvatar:
        """The avatar to save: without the Gaussians that no training frame ever showed."""
        if not self.preset.drop_uninitialised or not self.initialised.any():
            return self.avatar
        return self.avatar.keep(self.initialised)

    def snapshot(self) -> Snapshot:
        """Everything ``restore`` needs."""
        tensors = {f"parameter.{name}": value for name, value in self.parameters.tensors()}
        tensors |= {f"buffer.{name}": value for name, value in self.avatar.named_buffers()}
        tensors |= optimiser_tensors(self.parameters)
        tensors |= {"initialised": self.initialised, "generator": self.generator.get_state()}
        plain: dict[str, Any] = {"images": self.images, "arrived": self._arrived, "sampler": self.sampler.state()}
        return Snapshot(tensors, plain)

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Continue exactly where ``snapshot`` was taken. Raises KeyError or RuntimeError when it does not fit."""
        triangle, barycentrics = snapshot.tensors["buffer.triangle"], snapshot.tensors["buffer.barycentrics"]
        self._use(self.avatar.like(triangle, barycentrics))
        for name, parameter in self.parameters.tensors():
            parameter.copy_(snapshot.tensors[f"parameter.{name}"])
        for name, value in self.avatar.named_buffers():
            value.copy_(snapshot.tensors[f"buffer.{name}"])
        restore_optimiser(self.parameters, snapshot.tensors)
        self.initialised = snapshot.tensors["initialised"].to(self.device)
        self.generator.set_state(snapshot.tensors["generator"])
        self.images, self._arrived = int(snapshot.plain["images"]), int(snapshot.plain["arrived"])
        self.sampler.restore(snapshot.plain["sampler"])
        self._settled = False

    def _gaussians(self, rows: list[int]) -> Gaussians:
        weights = self.avatar.weights_of(self.features[rows]) if self._stage().blended else None
        return self.avatar.bound_gaussians(weights, self._surface(rows))

    def _render(self, gaussians: Gaussians, rows: list[int], backgrounds: Tensor) -> Tensor:
        """The batch as training sees it: with each frame's exposure."""
        camera = self.avatar.camera
        image, alpha, _ = render_gaussians(gaussians, camera.viewmat, camera.K, camera.width, camera.height)
        if self.preset.fit_exposure:
            image = self.exposure(image, alpha, rows)
        return image + backgrounds[:, None, None] * (1 - alpha)

    def _stage(self) -> Stage:
        perceptual = self.lpips is not None and self.images >= self.preset.lpips_after
        return Stage(self.images >= self.preset.blendshapes_after, perceptual)

    def _step_of(self, batch: int) -> TrainingStep:
        """The step for batches of this size, made anew when the avatar or the size has changed."""
        if self._step is None or self._step.loss.batch != batch:
            self._step = None  # the old one's buffers first
            avatar, preset = self.avatar, self.preset
            exposure = self.exposure if preset.fit_exposure else None
            size = avatar.camera.width, avatar.camera.height
            loss = LossPass(self.data, batch, *size, preset, exposure, self.lpips)
            clip = ClipTensors(avatar.standardised(self.features), self.surfaces)
            self._step = TrainingStep(avatar, self.parameters, clip, loss)
        return self._step

    def _initialise_colors(self, step: TrainingStep) -> None:
        frames = self.data.batch(step.loss.rows)  # rows that are on the device already
        initialise_colors(self.avatar, self.initialised, frames, partial(step.pixel_weights, self._stage().blended))

    def _searches_colors(self) -> bool:
        """Whether this batch's pixels may give colours to Gaussians that have none."""
        first_passes = self.images < _COLOR_PASSES * len(self.data)
        return self._colors_open() and (first_passes or self.images // self.preset.batch % _COLOR_EVERY == 0)

    def _colors_open(self) -> bool:
        limit = self.preset.color_init_images
        return not limit or self.images < limit

    def _drop_unseen(self) -> None:
        """Once colours are no longer initialised, let go of what no frame has shown, and of its moments."""
        if self._settled or self._colors_open() or not self.preset.drop_uninitialised:
            return
        self._settled, kept = True, self.initialised
        moments = optimiser_tensors(self.parameters)
        self._use(self.avatar.keep(kept))
        for name, value in moments.items():
            parameter, kind = name.removeprefix("optimiser.").rsplit(".", 1)
            if kind != "step" and (axis := gaussian_axis(parameter)) is not None:
                moments[name] = value.index_select(axis, kept.nonzero()[:, 0])
        restore_optimiser(self.parameters, moments)
        self.initialised = kept[kept]

    def _receive_frames(self) -> None:
        """A streaming sampler sees one more frame every ``online_images_per_frame`` images."""
        if self.preset.sampler == "offline":
            return
        due = OnlineSampler.FIRST + int(self.images / self.preset.online_images_per_frame)
        while self._arrived < min(due, len(self.data)):
            self.sampler.observe(self._arrived)
            self._arrived += 1

    @torch.no_grad()
    def _surface(self, rows: list[int]) -> Surface:
        """The head's posed surface in some training frames."""
        if self.surfaces is not None:
            return self.surfaces[rows]
        index = torch.as_tensor(rows, device=self.device)
        return self.avatar.surface(self.avatar.vertices(self.data.params[index]))

    @torch.no_grad()
    def _all_surfaces(self) -> Surface | None:
        """The surface in every training frame; None where that would take too much memory."""
        head, frames = self.avatar.head, len(self.data)
        if 4 * frames * (3 * head.vertex_count + 13 * len(head.faces)) > _SURFACE_BUDGET:
            return None
        every = torch.arange(frames, device=self.device).split(_GEOMETRY_CHUNK)
        parts = [self.avatar.surface(self.avatar.vertices(self.data.params[rows])) for rows in every]
        return Surface(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Surface)))


def make_sampler(preset: Preset, frames: int) -> Sampler:
    """The preset's sampler over the rows 0 .. frames - 1."""
    if preset.sampler == "offline":
        return OfflineSampler(range(frames), preset.seed)
    return OnlineSampler(preset.seed, preset.online_local_pool, preset.online_global_pool, preset.online_global_share)


def _named_parameters(avatar: RGBAvatar, exposure: Exposure, preset: Preset) -> dict[str, Tensor]:
    named: dict[str, Tensor] = dict(avatar.named_parameters())
    return named | {"exposure": exposure.values} if preset.fit_exposure else named

# SPDX-License-Identifier: Apache-2.0
"""Training an RGBAvatar: its parameter groups, colours taken from pixels, and the step on buffers made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from blendsplat.avatars.avatar import Gaussians, TrainingCamera
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.avatars.rgbavatar.key_effects import places_and_shares
from blendsplat.avatars.rgbavatar.model import RGBAvatar, gaussian_axis
from blendsplat.avatars.rgbavatar.surface import Surface
from blendsplat.heads.model import HeadModel
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.training.callbacks import Callback
from blendsplat.training.exposure import Exposure
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.growth import keep
from blendsplat.training.loss_pass import LossPass
from blendsplat.training.parameters import ParameterGroup, Rearrangement
from blendsplat.training.rgbavatar.initialise import hear_expressions_only, initialise_colors, new_avatar
from blendsplat.training.rgbavatar.limits import Limits
from blendsplat.training.rgbavatar.orthogonality import orthogonalise, orthogonality
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset
from blendsplat.training.rgbavatar.schedules import rate_of
from blendsplat.training.rgbavatar.shown import how_shown
from blendsplat.training.rgbavatar.step import ClipTensors, Stage, TrainingStep
from blendsplat.training.rgbavatar.unseen import fill_unseen
from blendsplat.training.trainer import Snapshot, StepReport, Trainer

_GEOMETRY_CHUNK = 16  # frames whose surface is computed at once
_SURFACE_BUDGET = 3 * 2**30  # bytes of posed surfaces to keep in memory; larger clips pose the head in every step
_COLOR_PASSES = 2  # times every frame is searched for colours; from then on every _COLOR_EVERY-th batch is,
_COLOR_EVERY = 8  # for what only shows once others have moved: the search costs as much as a step's forward half


class RGBAvatarTrainer(Trainer[RGBAvatar, RGBAvatarPreset]):
    """Trains one RGBAvatar. What it computes once per frame (features, the head's posed surface, whose exposure is
    still unknown) it computes when the frame arrives."""

    def __init__(
        self, head: HeadModel, camera: TrainingCamera, data: FrameStore, preset: RGBAvatarPreset, name: str = "avatar",
        device: torch.device | str = "cpu", avatar: RGBAvatar | None = None, colors_known: bool = True,
        keep_surfaces: bool = True,
    ) -> None:  # fmt: skip
        """avatar: one to go on with instead of an untrained one; colors_known: its Gaussians' colours are no longer to
        be taken from pixels. keep_surfaces: hold the posed head of every frame of ``data`` (a megabyte each) where
        memory allows it, instead of posing each batch's."""
        super().__init__(data, preset, device)
        present = data.params[list(range(len(data)))]
        self.avatar = (avatar or new_avatar(head, camera, preset, present.to("cpu"), name)).to(device)
        if not preset.pose_input:
            hear_expressions_only(self.avatar)
        self.features = self.avatar.features(data.params)
        self.inputs = torch.zeros_like(self.features)  # as the MLP takes them
        self.surfaces = self._room_for_surfaces() if keep_surfaces else None
        known = torch.ones if avatar is not None and colors_known else torch.zeros
        self.initialised = known(self.avatar.gaussian_count, dtype=torch.bool, device=device)
        self.exposure = Exposure(data.capacity).to(device)
        self.lpips = Lpips(preset.lpips_weights).to(device) if preset.lpips_weight else None
        self._step: TrainingStep | None = None
        self._learn_parameters()
        data.subscribe(self._frames_arrived)

    def callbacks(self) -> Sequence[Callback]:
        """Once colours are no longer initialised, what no frame has shown is let go of. Bases are made perpendicular
        now and then, and unseen sides filled, where that is asked for."""
        preset, made = self.preset, []
        if preset.color_init_images and preset.drop_uninitialised:
            made.append(Callback("drop unseen", self._drop_unseen, start=preset.color_init_images))
        if preset.fill_images:
            made.append(Callback("fill unseen", self._fill_unseen, start=preset.fill_images))
        if preset.orthogonality in ("qr", "schmidt"):
            every = preset.orthogonality_images
            made.append(Callback("orthogonalise", self._orthogonalise, start=every, every=every))
        return made

    @property
    def adam_eps(self) -> float:
        return self.preset.adam_eps

    def own_record(self) -> dict[str, Any]:
        """The orthogonality of the bases (eq. 5), where there are several."""
        if self.avatar.blendshape_count < 2:
            return {}
        return {"orthogonality": round(orthogonality(self.avatar.bind_parameters().deltas), 3)}

    def _orthogonalise(self) -> None:
        orthogonalise(self.avatar.bind_parameters().deltas, self.preset.orthogonality)

    def _fill_unseen(self) -> None:
        shown = how_shown(self.avatar, self.data, lambda rows: (self._gaussians(rows), self._surface(rows)))
        filled = fill_unseen(self.avatar, shown, self.preset)
        if filled is not None:
            self.go_on_with(*filled)
            self.initialised[:] = True

    def _drop_unseen(self) -> None:
        if self.initialised.any():
            self.rearrange(keep(self.initialised))

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        named: dict[str, Tensor] = dict(self.avatar.named_parameters())
        mlp = {name: value for name, value in named.items() if gaussian_axis(name) is None}
        groups = [
            ParameterGroup(name, {name: value}, rate_of(self.preset, name), gaussian_axis(name))
            for name, value in named.items() if name not in mlp
        ]  # fmt: skip
        groups.append(ParameterGroup("mlp", mlp, rate_of(self.preset, "mlp")))
        if self.preset.fit_exposure:
            rate = rate_of(self.preset, "exposure")
            groups.append(ParameterGroup("exposure", {"exposure": self.exposure.values}, rate))
        return groups

    def train_batch(self, rows: list[int]) -> StepReport:
        step = self._step_of(len(rows))
        step.set_inputs(rows, self.generator, self.parameters.rates(self.images))
        if self.surfaces is None:
            step.carry(self._surface(rows))
        if self._searches_colors():
            self._initialise_colors(step)
        if not step.run(self._stage()):
            step.run(self._stage())  # with more room than a batch just had, which changed nothing
        return StepReport(step.loss.losses, step.loss.squared_errors)

    @torch.no_grad()
    def preview(self, row: int) -> tuple[Tensor, Tensor]:
        frames = self.data.batch([row])
        grey = torch.full((1, 3), 0.5, device=self.device)
        return frames.target(grey)[0], self._render(self._gaussians([row]), [row], grey)[0]

    @torch.no_grad()
    def finished_avatar(self) -> RGBAvatar:
        """A copy for playing, its blendshapes half precision, without the Gaussians that no training frame showed."""
        avatar = self.avatar
        avatar.note_seen(self.features[: len(self.data)])
        dropping = self.preset.drop_uninitialised and bool(self.initialised.any())
        finished = avatar.keep(self.initialised if dropping else torch.ones_like(self.initialised))
        finished.halve_bases()
        finished.key_places = places_and_shares(finished)
        return finished

    def with_gaussians(self, tensors: Mapping[str, Tensor], change: Rearrangement) -> RGBAvatar:
        avatar = self.avatar.rearranged(change.source)
        with torch.no_grad():
            for name, parameter in avatar.named_parameters():
                parameter.copy_(tensors[name])
        return avatar

    def rebuilt(self, snapshot: Snapshot) -> RGBAvatar:
        return self.avatar.like(snapshot.tensors["buffer.triangle"], snapshot.tensors["buffer.barycentrics"])

    def state_tensors(self) -> dict[str, Tensor]:
        buffers = {f"buffer.{name}": value for name, value in self.avatar.named_buffers()}
        return buffers | {"initialised": self.initialised}

    def gaussians_changed(self, change: Rearrangement | None) -> None:
        self._step = None
        if change is None:
            self.initialised = torch.zeros(self.avatar.gaussian_count, dtype=torch.bool, device=self.device)
        else:
            self.initialised = change.of(self.initialised)

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
        blended = self.avatar.blendshape_count > 0 and self.images >= self.preset.blendshapes_after
        return Stage(blended, perceptual)

    def _step_of(self, batch: int) -> TrainingStep:
        """The step for batches of this size, made anew when the avatar or the size has changed."""
        if self._step is None or self._step.loss.batch != batch:
            self._step = None  # the old one's buffers first
            avatar, preset = self.avatar, self.preset
            exposure = self.exposure if preset.fit_exposure else None
            size = avatar.camera.width, avatar.camera.height
            loss = LossPass(self.data, batch, *size, preset, exposure, self.lpips)
            clip = ClipTensors(self.inputs, self.surfaces)
            weight = preset.orthogonality_weight if preset.orthogonality == "loss" else 0.0
            self._step = TrainingStep(avatar, self.parameters, clip, loss, weight, Limits.of(avatar, preset))
        return self._step

    def _initialise_colors(self, step: TrainingStep) -> None:
        frames = self.data.batch(step.loss.rows)  # rows that are on the device already
        initialise_colors(self.avatar, self.initialised, frames, partial(step.pixel_weights, self._stage().blended))

    def _searches_colors(self) -> bool:
        """Whether this batch's pixels may give colours to Gaussians that have none."""
        if not self.preset.color_initialisation:
            return False
        limit = self.preset.color_init_images
        first_passes = self.images < _COLOR_PASSES * len(self.data)
        return (not limit or self.images < limit) and (
            first_passes or self.images // self.preset.batch % _COLOR_EVERY == 0
        )

    # --- frames

    @torch.no_grad()
    def _frames_arrived(self, rows: list[int]) -> None:
        """Compute what is computed once per frame."""
        self.exposure.arrive(rows)
        if self.preset.fit_exposure:
            self.parameters.forget_moments("exposure", rows)
        every = torch.tensor(rows, device=self.device)
        self.features[every] = self.avatar.features(self.data.params[every])
        self.inputs[every] = self.avatar.standardised(self.features[every])
        if self.surfaces is None:
            return
        for index in every.split(_GEOMETRY_CHUNK):
            posed = self.avatar.surface_of(self.data.params[index])
            for item in fields(Surface):
                getattr(self.surfaces, item.name)[index] = getattr(posed, item.name)

    @torch.no_grad()
    def _surface(self, rows: list[int]) -> Surface:
        """The head's posed surface in some training frames."""
        if self.surfaces is not None:
            return self.surfaces[rows]
        index = torch.as_tensor(rows, device=self.device)
        return self.avatar.surface_of(self.data.params[index])

    def _room_for_surfaces(self) -> Surface | None:
        """For the surface in every training frame; None where that would take too much memory."""
        head, frames = self.avatar.head, self.data.capacity
        if 4 * frames * (3 * head.vertex_count + 13 * len(head.faces)) > _SURFACE_BUDGET:
            return None
        return Surface.empty(head, frames)

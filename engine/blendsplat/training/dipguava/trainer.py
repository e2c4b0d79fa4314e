# SPDX-License-Identifier: Apache-2.0
"""Training a DipGuava: base and geometry first, then the residual on what they leave (paper, sections 4 and 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.avatars.dipguava.model import (
    GAUSSIAN_PARAMETERS,
    DipGuava,
    FrameInputs,
    condition_layout,
    raw_condition,
)
from blendsplat.avatars.dipguava.network_set import LearnedMap
from blendsplat.avatars.dipguava.networks import MixedMaps
from blendsplat.avatars.rendering import fitted_intrinsics, render_gaussians
from blendsplat.errors import InputError
from blendsplat.heads.model import HeadModel
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.splatting.scene import Cameras, Gaussians
from blendsplat.training.callbacks import Callback
from blendsplat.training.dipguava.densify import Record, change_of, split_values
from blendsplat.training.dipguava.distil import distilled
from blendsplat.training.dipguava.frames import KnownFrames
from blendsplat.training.dipguava.losses import position_loss, scale_loss
from blendsplat.training.dipguava.preset import DipGuavaPreset
from blendsplat.training.exposure import Exposure
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.loss_pass import LossPass
from blendsplat.training.parameters import ParameterGroup, Rearrangement
from blendsplat.training.spread import part_spread
from blendsplat.training.trainer import Snapshot, StepReport, Trainer

_CHUNK = 16  # frames shrunk at once
_GROWN = 1.6  # times as many Gaussians as in the beginning, once densified: 1.5 to 1.7 in drafts on three clips
_BAD_STEPS = 20  # in a row, after which a training that yields no numbers is given up


class DipGuavaTrainer(Trainer[DipGuava, DipGuavaPreset]):
    """Trains one DipGuava. Heads and normal maps of the clip's frames are computed when they arrive."""

    def __init__(
        self, head: HeadModel, camera: TrainingCamera, data: FrameStore, preset: DipGuavaPreset, name: str = "avatar",
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        super().__init__(data, preset, device)
        self.avatar = _new_avatar(head, camera, preset, data, name).to(device)
        self.record = Record(self.avatar.gaussian_count, device)
        self.exposure = Exposure(data.capacity).to(device)
        self.lpips = self._perceptual()
        self.small = self._small_store()
        self.bad_steps = 0
        self._loss: LossPass | None = None
        self._loss_size = (0, 0)
        self.known = KnownFrames(data, self.avatar)
        self._learn_parameters()
        data.subscribe(self._frames_arrived)

    # --- what learns when

    @property
    def adam_eps(self) -> float:
        return self.preset.adam_eps

    @property
    def stage(self) -> int:
        """1 or 2, of the step that comes next."""
        return 1 if self.images < self.preset.first_images else 2

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        p, avatar = self.preset, self.avatar
        rates = {"positions": p.position_rate, "log_scales": p.scale_rate, "quats": p.rotation_rate}
        groups = [
            ParameterGroup(name, {name: getattr(avatar, name)}, partial(self._rate, rates[name], 1), 0)
            for name in GAUSSIAN_PARAMETERS
        ]  # fmt: skip
        for name, network in avatar.networks().items():
            stage = 1 if name in ("base", "texture") or avatar.base is None else 2
            for key, value in network.named_parameters():
                if isinstance(network, LearnedMap):
                    rate = p.texture_rate
                elif isinstance(network, MixedMaps) and key == "maps":
                    rate = p.maps_rate
                else:
                    rate = p.rate if stage == 1 else p.residual_rate
                group = f"{name}.{key}"
                groups.append(ParameterGroup(group, {group: value}, partial(self._rate, rate, stage)))
        if p.fit_exposure:
            exposure = {"exposure": self.exposure.values}
            groups.append(ParameterGroup("exposure", exposure, lambda images: self.preset.exposure_rate))
        return groups

    def _rate(self, rate: float, stage: int, images: int) -> float:
        """Falls over the stage; ``joint`` is what is left of the base's afterwards."""
        border, last = self.preset.first_images, self.preset.images
        if images < border:
            return rate * self.preset.rate_end_factor ** (images / border) if stage == 1 else 0.0
        part = self.preset.rate_end_factor ** ((images - border) / max(last - border, 1))
        return rate * part * (self.preset.joint if stage == 1 else 1.0)

    def _learns(self, name: str) -> bool:
        """Whether a tensor takes part in this stage."""
        network = name.split(".")[0]
        if name == "exposure":
            return True
        if network in GAUSSIAN_PARAMETERS:
            return self.stage == 1
        first = network in ("base", "texture") or self.avatar.base is None
        return first if self.stage == 1 else (not first or self.preset.joint > 0)

    def callbacks(self) -> Sequence[Callback]:
        p = self.preset
        if not p.densify_every:
            return ()
        start = max(p.densify_after, 1)
        return (Callback("densify", self._densify, start=start, end=p.densify_end, every=p.densify_every),)

    # --- a step

    def train_batch(self, rows: list[int]) -> StepReport:
        self.avatar.stage = self.stage
        self.avatar.mixed_precision = self.preset.mixed_precision
        loss, cameras = self._loss_of(len(rows))
        loss.rows.copy_(torch.tensor(rows))
        loss.backgrounds.copy_(torch.rand(len(rows), 3, generator=self.generator))
        leaves = {}
        for name, value in self._leaves().items():
            value.requires_grad_(self._learns(name))  # autograd then leaves out what is frozen
            if value.requires_grad:
                leaves[name] = value
        perceptual = self.lpips is not None and self.images >= self.preset.lpips_after
        with torch.enable_grad():
            gaussians, regular = self._gaussians(self._inputs(rows))
            if self.stage == 1:
                gaussians.means.retain_grad()
            image, alpha, _ = render_gaussians(
                gaussians, cameras.viewmats[0], cameras.Ks[0], cameras.width, cameras.height, loss.composited
            )
        grads = loss(image.detach(), alpha.detach(), perceptual)
        outputs = [(image, grads[0]), (regular, None), (alpha, grads[1])]
        # a stage without geometry has no regularisation to learn from; alpha has a gradient with exposure only
        outputs = [
            (one, grad) for one, grad in outputs if one.requires_grad and (grad is not None or one is not alpha)
        ]  # fmt: skip
        for leaf in leaves.values():
            leaf.grad = None
        torch.autograd.backward([one for one, _ in outputs], [grad for _, grad in outputs])
        learned = self._learn(leaves, loss)
        if learned and self.stage == 1 and gaussians.means.grad is not None:
            self.record.add(gaussians.means.detach(), gaussians.means.grad, gaussians.opacities.detach(),
                            gaussians.scales.detach(), cameras)  # fmt: skip
        return StepReport(loss.losses, loss.squared_errors)

    def _leaves(self) -> dict[str, Tensor]:
        named = {name: getattr(self.avatar, name) for name in GAUSSIAN_PARAMETERS}
        for network, module in self.avatar.networks().items():
            named |= {f"{network}.{key}": value for key, value in module.named_parameters()}
        return named

    @torch.no_grad()
    def _learn(self, leaves: Mapping[str, Tensor], loss: LossPass) -> bool:
        """Adam's step, and True; none and False where a number is not finite, and an error after many such in a row."""
        grads = {name: leaf.grad.contiguous() for name, leaf in leaves.items() if leaf.grad is not None}
        if loss.grad_exposure is not None:
            grads["exposure"] = loss.grad_exposure
        sums = torch.stack([grad.float().sum() for grad in grads.values()] + [loss.losses.sum()])
        if not bool(sums.isfinite().all()):
            self.bad_steps += 1
            if self.bad_steps >= _BAD_STEPS:
                raise InputError(
                    f"The training yields no numbers any more, after {self.images} images ({_BAD_STEPS} steps). "
                    "The last checkpoint is kept: start again with lower rates, or look at the tracking's overlay."
                )
            return False
        self.bad_steps = 0
        optimiser = self.parameters.optimiser
        optimiser.rates.copy_(torch.tensor(self.parameters.rates(self.images)))
        optimiser.step([grads.get(name) for name in self.parameters.names])
        return True

    def _gaussians(self, inputs: FrameInputs) -> tuple[Gaussians, Tensor]:
        """The batch's Gaussians and what the loss has beside the pictures."""
        local = self.avatar.deformed(inputs)
        colors, opacities = self.avatar.appearance(inputs, local)
        p = self.preset
        regular = p.position_weight * position_loss(local.positions, p.position_limit)
        regular = regular + p.scale_weight * scale_loss(local.log_scales, p.scale_limit)
        return self.avatar.bound(local, inputs.frames, colors, opacities), regular

    def _loss_of(self, batch: int) -> tuple[LossPass, Cameras]:
        """The loss for batches of this size at the present size of the pictures, and the cameras."""
        data, camera = self._present()
        height, width = data.alpha.shape[1:]
        if self._loss is None or self._loss.batch != batch or self._loss_size != (width, height):
            exposure = self.exposure if self.preset.fit_exposure else None
            self._loss = LossPass(data, batch, width, height, self.preset, exposure, self.lpips)
            self._loss_size = (width, height)
        views, Ks = camera.viewmat.expand(batch, 4, 4), camera.K.expand(batch, 3, 3)
        return self._loss, Cameras(views.contiguous(), Ks.contiguous(), width, height)

    def _present(self) -> tuple[FrameStore, TrainingCamera]:
        """The pictures that this step is trained on: the clip's, or smaller ones."""
        camera = self.avatar.camera
        if self.small is None or self.images >= self.preset.low_resolution_end:
            return self.data, camera
        height, width = self.small.alpha.shape[1:]
        K = fitted_intrinsics(camera.K, (camera.width, camera.height), (width, height))
        return self.small, TrainingCamera(K, camera.viewmat, width, height)

    # --- Gaussians come and go

    @torch.no_grad()
    def _densify(self) -> None:
        p, record = self.preset, self.record
        if not bool((record.seen > 0).any()):
            return
        change, parts = change_of(
            record, self.avatar.triangle, p.densify_gradient, p.densify_scale * p.extent, p.prune_opacity,
            p.most_gaussians,
        )  # fmt: skip
        values = self.parameters.rearranged(change)
        drawn = split_values(values["positions"], values["log_scales"], values["quats"], parts, self.generator)
        self.rearrange(change, dict(zip(("positions", "log_scales"), drawn, strict=True)))

    def with_gaussians(self, tensors: Mapping[str, Tensor], change: Rearrangement) -> DipGuava:
        values = {name: tensors[name] for name in GAUSSIAN_PARAMETERS}
        return self.avatar.with_geometry(change.of(self.avatar.triangle), values)

    def rebuilt(self, snapshot: Snapshot) -> DipGuava:
        values = {name: snapshot.tensors[f"parameter.{name}"].to(self.device) for name in GAUSSIAN_PARAMETERS}
        return self.avatar.with_geometry(snapshot.tensors["dip.triangle"].to(self.device), values)

    def state_tensors(self) -> dict[str, Tensor]:
        avatar = self.avatar
        kept = {f"dip.{name}": getattr(avatar, name) for name in ("triangle", "condition_shift", "condition_scale")}
        return kept | {f"record.{name}": value for name, value in self.record.tensors().items()}

    def gaussians_changed(self, change: Rearrangement | None) -> None:
        self.record = Record(self.avatar.gaussian_count, self.device)
        self.known.forget_base()

    def stand_at(self, images: int) -> None:
        """With about as many Gaussians as there are by then."""
        super().stand_at(images)
        p, count = self.preset, len(self.avatar.head.faces)
        part = min(images / p.densify_end, 1) if p.densify_end else 0
        wanted = min(round(count * (1 + part * (_GROWN - 1))), p.most_gaussians)
        if wanted > self.avatar.gaussian_count:
            source = torch.arange(wanted, device=self.device) % self.avatar.gaussian_count
            self.rearrange(Rearrangement(source, torch.zeros_like(source, dtype=torch.bool)))

    # --- what comes of it

    @torch.no_grad()
    def preview(self, row: int) -> tuple[Tensor, Tensor]:
        grey, camera = torch.full((1, 3), 0.5, device=self.device), self.avatar.camera
        gaussians, _ = self._gaussians(self._inputs([row]))
        image = render_gaussians(gaussians, camera.viewmat, camera.K, camera.width, camera.height, grey)[0]
        return self.data.batch([row]).target(grey)[0], image[0]

    @torch.no_grad()
    def finished_avatar(self) -> DipGuava:
        """A copy for the file, with blendshapes of the clip's frames."""
        avatar, params = self.avatar, self.data.params[list(range(len(self.data)))]
        done = avatar.with_geometry(avatar.triangle, {name: getattr(avatar, name) for name in GAUSSIAN_PARAMETERS})
        done.stage, done.reference, done.seen = 2, avatar.reference, avatar.seen
        seen = raw_condition(params, avatar.settings)
        done.condition_range = torch.stack([seen.amin(0), seen.amax(0)])
        done.take_sliders(distilled(done, params, self.preset.blendshapes, self.preset.distil_error))
        return done

    # --- frames

    def _inputs(self, rows: list[int]) -> FrameInputs:
        return self.known.inputs(self.avatar, rows, frozen_base=self.stage == 2 and not self.preset.joint)

    @torch.no_grad()
    def _frames_arrived(self, rows: list[int]) -> None:
        """Compute what is computed once per frame."""
        self.exposure.arrive(rows)
        if self.preset.fit_exposure:
            self.parameters.forget_moments("exposure", rows)
        if self.small is not None:
            _add_smaller(self.small, self.data, rows)
        self.known.arrive(self.avatar, rows)

    def _small_store(self) -> FrameStore | None:
        factor, (height, width) = self.preset.low_resolution, self.data.alpha.shape[1:]
        if factor == 1:
            return None
        size = max(round(height * factor), 1), max(round(width * factor), 1)
        return FrameStore(self.data.capacity, *size, self.data.params)

    def _perceptual(self) -> Lpips | None:
        if not self.preset.lpips_weight:
            return None
        if not self.preset.lpips_weights:
            self.notes.append("Trained without LPIPS: lpips_weights names no file with the metric's weights.")
            return None
        return Lpips(self.preset.lpips_weights).to(self.device)


def _new_avatar(
    head: HeadModel, camera: TrainingCamera, preset: DipGuavaPreset, data: FrameStore, name: str
) -> DipGuava:
    """Before training: one Gaussian a triangle, as large as the triangle."""
    with torch.random.fork_rng(devices=[]):  # torch's layers draw from the generator of the whole process
        torch.manual_seed(preset.seed)
        avatar = DipGuava(head, torch.arange(len(head.faces)), camera, preset.avatar, name)
    with torch.no_grad():
        avatar.log_scales.fill_(math.log(preset.initial_scale))
    if preset.standardise_condition:
        seen = raw_condition(data.params[list(range(len(data)))].to("cpu"), preset.avatar)
        avatar.condition_shift.copy_(seen.mean(0))
        avatar.condition_scale.copy_(1 / part_spread(seen, condition_layout(head, preset.avatar)))
    return avatar


def _add_smaller(small: FrameStore, data: FrameStore, rows: list[int]) -> None:
    """Take the frames in ``rows`` in, area-averaged, into the same rows; they count as much as the large ones."""
    _, height, width = small.alpha.shape
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        index = torch.tensor(chunk, device=data.alpha.device)
        planes = [data.premultiplied[index], data.alpha[index][..., None], data.valid[index][..., None]]
        whole = torch.cat(planes, -1).permute(0, 3, 1, 2).float()
        shrunk = (adaptive_avg_pool2d(whole, (height, width)) + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        small.place(chunk, [data.numbers[row] for row in chunk], shrunk, data.params[index])
    small.weigh(data.targets.frame_weights[: len(small)])

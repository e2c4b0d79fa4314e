# SPDX-License-Identifier: Apache-2.0
"""One training as an object, whichever system learns: frames, parameters, sampler, random numbers; ``step`` trains one
batch. It knows nothing of files, progress or time; loop.py does.

A system brings the avatar, its parameter groups and what a step does; what is here holds for all of them: batches are
drawn, callbacks run between steps, Gaussians come and go with their moments, and a snapshot continues exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from blendsplat.avatars.avatar import Avatar
from blendsplat.avatars.retarget import Reference
from blendsplat.avatars.seen import Seen
from blendsplat.training.callbacks import Callback, Schedule
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.parameters import ParameterGroup, Parameters, Rearrangement
from blendsplat.training.presets import Preset
from blendsplat.training.sampler import OfflineSampler, OnlineSampler, Sampler

AvatarT = TypeVar("AvatarT", bound=Avatar)
PresetT = TypeVar("PresetT", bound=Preset)


@dataclass
class Snapshot:
    """State of a training: tensors by name, and what JSON can hold (samplers, counters)."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)


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


class Trainer(ABC, Generic[AvatarT, PresetT]):
    """Trains one avatar on the frames of ``data``. All counting is in images."""

    avatar: AvatarT
    parameters: Parameters

    def __init__(self, data: FrameStore, preset: PresetT, device: torch.device | str = "cpu") -> None:
        """A subclass then sets ``avatar`` and calls ``_learn_parameters``. Raises ValueError when ``data`` is empty."""
        if not len(data):
            raise ValueError("data: holds no frame; add the first ones before a trainer is made")
        self.data, self.preset, self.device = data, preset, torch.device(device)
        self.images = 0
        self.notes: list[str] = []  # sentences for the user
        self.generator = torch.Generator().manual_seed(preset.seed + 1)
        self.sampler = make_sampler(preset, len(data))
        self._shown = 0  # frames that an online sampler has been shown
        self._fed = False
        self._schedule = Schedule([Callback("arrivals", self._receive_frames, every=1), *self.callbacks()])

    # --- what a system says

    @abstractmethod
    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """What ``avatar`` learns now; asked again whenever its Gaussians change."""

    @abstractmethod
    def train_batch(self, rows: list[int]) -> StepReport:
        """One optimiser step on the frames in these rows of ``data``; ``images`` still counts those before."""

    @abstractmethod
    def preview(self, row: int) -> tuple[Tensor, Tensor]:
        """(target, render) [H,W,3] of one training frame over mid grey."""

    @abstractmethod
    def with_gaussians(self, tensors: Mapping[str, Tensor], change: Rearrangement) -> AvatarT:
        """An avatar of the same make whose parameters are ``tensors`` (all groups', by name) and whose Gaussians come
        from where ``change`` says."""

    @abstractmethod
    def rebuilt(self, snapshot: Snapshot) -> AvatarT:
        """An avatar with as many Gaussians as the snapshot's, bound where its are; values follow."""

    def callbacks(self) -> Sequence[Callback]:
        """What the system does between steps."""
        return ()

    def finished_avatar(self) -> AvatarT:
        """The avatar to save."""
        return self.avatar

    def state_tensors(self) -> dict[str, Tensor]:
        """What a snapshot holds beside parameters and moments; ``restore`` copies it back in place."""
        return {}

    def gaussians_changed(self, change: Rearrangement | None) -> None:
        """The avatar has other Gaussians now: buffers of their number have to be made anew, marks moved along; None: a
        snapshot is being restored, whose marks follow."""

    def own_record(self) -> dict[str, Any]:
        """What the system's own file says of the training, beside what is the same for all."""
        return {}

    @property
    def adam_eps(self) -> float:
        """What Adam's denominator has at least."""
        return 1e-15

    def stand_at(self, images: int) -> None:
        """Be where a training is after ``images``, without what it has learned by then: to measure what a step costs
        there (time_budget.py), in a trainer that is thrown away."""
        self.images = images

    # --- what holds for all

    def belongs_to(self, performance: str) -> None:
        """Say which clip's performance the frames are of (Performance.identity): it plays as it is, while
        others are re-based to where these frames hold the head, and to this person's neutral face. What the frames
        show is noted for the avatar's file."""
        params = self.data.params[list(range(len(self.data)))]
        self.avatar.reference = Reference.of(params, performance, self.avatar.head)
        self.avatar.seen = Seen.of(params.to("cpu"), self.avatar.camera.viewmat.cpu())

    def fed_by(self, sampler: Sampler) -> None:
        """Draw from ``sampler`` from here on. Who feeds it shows it the frames: what comes into ``data`` is not shown
        by the trainer."""
        self.sampler, self._fed = sampler, True

    @property
    def done(self) -> bool:
        return self.images >= self.preset.images

    def step(self) -> StepReport:
        """Train on the next batch."""
        self._schedule.run(self.images)
        rows = self.sampler.next_batch(min(self.preset.batch, self.preset.images - self.images))
        report = self.train_batch(rows)
        self.images += len(rows)
        return report

    def rearrange(self, change: Rearrangement, values: Mapping[str, Tensor] | None = None) -> None:
        """Other Gaussians from here on: parameters, their moments and what is built on their number change together.

        values: tensors, by name, that are not just taken from where ``change`` says (a split Gaussian is smaller).
        """
        self.go_on_with(self.with_gaussians(self.parameters.rearranged(change) | dict(values or {}), change), change)

    def go_on_with(self, avatar: AvatarT, change: Rearrangement) -> None:
        """Train ``avatar`` from here on, whose Gaussians come from where ``change`` says, with their moments."""
        moments = self.parameters.moments(change)
        self.avatar = avatar
        self._learn_parameters(moments)
        self.gaussians_changed(change)

    def snapshot(self) -> Snapshot:
        """Everything ``restore`` needs. Its tensors are the training's own: save or clone them before the next step."""
        tensors = {f"parameter.{name}": value for name, value in self.parameters.tensors()}
        tensors |= self.state_tensors() | self.parameters.moments() | {"generator": self.generator.get_state()}
        plain: dict[str, Any] = {
            "images": self.images, "frames": len(self.data), "arrived": self._shown, "sampler": self.sampler.state(),
            "callbacks": self._schedule.state(),
        }  # fmt: skip
        return Snapshot(tensors, plain)

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Continue exactly where ``snapshot`` was taken. Raises KeyError or RuntimeError when it does not fit."""
        if snapshot.plain.get("frames", 0) > len(self.data):
            raise RuntimeError(f"frames: the snapshot's training had {snapshot.plain['frames']}, here {len(self.data)}")
        self.avatar = self.rebuilt(snapshot)
        self._learn_parameters(snapshot.tensors)
        for name, parameter in self.parameters.tensors():
            parameter.copy_(snapshot.tensors[f"parameter.{name}"])
        self.gaussians_changed(None)
        for name, value in self.state_tensors().items():
            if value.shape != snapshot.tensors[name].shape:
                raise RuntimeError(f"{name}: expected {list(value.shape)}, got {list(snapshot.tensors[name].shape)}")
            value.copy_(snapshot.tensors[name])
        self.generator.set_state(snapshot.tensors["generator"])
        self.images, self._shown = int(snapshot.plain["images"]), int(snapshot.plain["arrived"])
        self.sampler.restore(snapshot.plain["sampler"])
        self._schedule.restore(snapshot.plain.get("callbacks", {}))

    def _learn_parameters(self, moments: Mapping[str, Tensor] | None = None) -> None:
        """Optimise ``avatar``'s parameters from here on, with these moments or fresh ones."""
        self.parameters = Parameters(self.parameter_groups(), self.adam_eps)
        self.parameters.restore_moments(moments or {})

    def _receive_frames(self) -> None:
        """A streaming sampler sees one more frame every ``online_images_per_frame`` images, another one whatever has
        come."""
        if self._fed:
            return
        if isinstance(self.sampler, OfflineSampler):
            for row in range(len(self.sampler), len(self.data)):
                self.sampler.observe(row)
            return
        due = OnlineSampler.FIRST + int(self.images / self.preset.online_images_per_frame)
        while self._shown < min(due, self.data.arrived):
            row = self._shown % self.data.capacity
            self.sampler.forget(row)  # in a ring, which was another frame before
            self.sampler.observe(row)
            self._shown += 1


def make_sampler(preset: Preset, frames: int) -> Sampler:
    """The preset's sampler over the rows 0 .. frames - 1."""
    if preset.sampler == "offline":
        return OfflineSampler(range(frames), preset.seed)
    return make_online_sampler(preset)


def make_online_sampler(preset: Preset) -> OnlineSampler:
    """The preset's local and global pool, empty."""
    return OnlineSampler(
        preset.seed, preset.online_local_pool, preset.online_global_pool, preset.online_global_share, preset.online_ramp
    )

# SPDX-License-Identifier: Apache-2.0
"""A second avatar system on one page, made of nothing but the contracts: a head's triangles as coloured Gaussians whose
number grows while they learn, in two stages (first everything, then one brightness for all)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.avatar import Avatar, Gaussians, TrainingCamera
from blendsplat.avatars.file import FileSchema, write_avatar
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.avatars.retarget import Reference
from blendsplat.avatars.rig import head_of_rig, rig_arrays
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.training.callbacks import Callback
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.growth import keep, split
from blendsplat.training.parameters import ParameterGroup, Rearrangement
from blendsplat.training.presets import Preset
from blendsplat.training.system import AvatarSystem
from blendsplat.training.trainer import Snapshot, StepReport, Trainer

SH_DC, OPACITY = 0.28209479, 0.95
SCHEMA = FileSchema("toy", shapes={"toy.brightness": (1,), "toy.generation": ("N",)})
LEARNED = ("barycentrics", "log_scales", "colors")


class ToyAvatar(Avatar):
    """triangle [N], barycentrics [N,3], log_scales [N], colors [N,3] in RGB, brightness [1], generation [N]: how often
    a Gaussian comes from a split one."""

    def __init__(self, head: HeadModel, camera: TrainingCamera, name: str, tensors: Mapping[str, Tensor]) -> None:
        self.head, self.camera, self.name, self.training_record = head, camera, name, {}
        self.tensors = {name: value.contiguous() for name, value in tensors.items()}

    @property
    def gaussian_count(self) -> int:
        return len(self.tensors["triangle"])

    def drive(self, params: HeadParams, *, bounded: bool = False, vertices: Tensor | None = None) -> Gaussians:
        t, corners = self.tensors, self.posed(params, vertices)[:, self.head.faces[self.tensors["triangle"]]]
        weights = t["barycentrics"].clamp_min(0)
        means = (corners * (weights / weights.sum(-1, keepdim=True))[..., None]).sum(2)
        batch, count = means.shape[:2]
        quats = means.new_tensor([1.0, 0, 0, 0]).expand(batch, count, 4).contiguous()
        scales = t["log_scales"].exp()[None, :, None].expand(batch, -1, 3).contiguous()
        colors = (t["colors"] * t["brightness"]).clamp_min(0).expand(batch, -1, -1).contiguous()
        return Gaussians(means, quats, scales, means.new_full((batch, count), OPACITY), colors)

    def save(self, path: Path | str) -> None:
        t, count = {name: value.detach().cpu().numpy() for name, value in self.tensors.items()}, self.gaussian_count
        zeros, inside = partial(np.zeros, dtype=np.float32), np.maximum(t["barycentrics"], 0)
        arrays = rig_arrays(self.head) | {
            "triangle": t["triangle"], "barycentrics": inside / inside.sum(1, keepdims=True),
            "positions": zeros((count, 3)), "log_scales": np.repeat(t["log_scales"][:, None], 3, 1),
            "quats": np.tile([1.0, 0, 0, 0], (count, 1)), "colors": (t["colors"] * t["brightness"] - 0.5) / SH_DC,
            "opacity_logits": np.full(count, np.log(OPACITY / (1 - OPACITY))), "delta_positions": zeros((0, count, 3)),
            "delta_quats": zeros((0, count, 4)), "delta_colors": zeros((0, count, 3)),
            "camera.K": self.camera.K.cpu().numpy(), "camera.viewmat": self.camera.viewmat.cpu().numpy(),
            "camera.size": np.array([self.camera.width, self.camera.height]), "toy.brightness": t["brightness"],
            "toy.generation": t["generation"],
        }  # fmt: skip
        if self.reference is not None:
            arrays |= self.reference.arrays()
        head = self.head
        meta = {
            "name": self.name, "head": head.name, "blendshapes": 0, "gaussians": count, "engine": "test",
            "expression_names": list(head.expression_names), "expression_range": list(head.expression_range),
            "background_trained": "random", "training": self.training_record,
            "performance": self.reference.performance if self.reference is not None else "",
        }  # fmt: skip
        write_avatar(path, SCHEMA, meta, arrays)

    @classmethod
    def from_file(cls, meta: dict[str, Any], arrays: dict[str, np.ndarray], device: torch.device | str) -> ToyAvatar:
        a = {name: torch.from_numpy(value) for name, value in arrays.items()}
        width, height = a["camera.size"].tolist()
        camera = TrainingCamera(a["camera.K"].to(device), a["camera.viewmat"].to(device), width, height)
        tensors = {
            "triangle": a["triangle"].long(), "barycentrics": a["barycentrics"], "log_scales": a["log_scales"][:, 0],
            "colors": (SH_DC * a["colors"] + 0.5) / a["toy.brightness"], "brightness": a["toy.brightness"],
            "generation": a["toy.generation"],
        }  # fmt: skip
        head = head_of_rig(meta, arrays).to(device)
        avatar = cls(head, camera, str(meta["name"]), {name: value.to(device) for name, value in tensors.items()})
        avatar.training_record = dict(meta["training"])
        avatar.reference = Reference.from_file(meta, arrays)
        return avatar


class ToyPreset(Preset):
    """A triangle's Gaussian is split every ``split_every`` images before ``settle_after``, when stage 2 begins."""

    counted: ClassVar[tuple[str, ...]] = (*Preset.counted, "split_every", "settle_after")

    system: Literal["toy"] = "toy"
    split_every: int = 40
    settle_after: int = 160


class ToyTrainer(Trainer[ToyAvatar, ToyPreset]):
    """One plain step through autograd; what it shares with RGBAvatar's trainer is the base class."""

    def __init__(
        self, head: HeadModel, camera: TrainingCamera, data: FrameStore, preset: ToyPreset, name: str = "toy",
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        super().__init__(data, preset, device)
        count, generator = len(head.faces), torch.Generator().manual_seed(preset.seed)
        tensors = {
            "triangle": torch.arange(count), "barycentrics": 0.2 + torch.rand(count, 3, generator=generator),
            "log_scales": torch.full((count,), float(np.log(8e-3))), "colors": torch.full((count, 3), 0.4),
            "brightness": torch.ones(1), "generation": torch.zeros(count),
        }  # fmt: skip
        self.avatar = ToyAvatar(head, camera, name, {name: value.to(device) for name, value in tensors.items()})
        self.pull = torch.zeros(count, device=device)  # how hard each Gaussian was pulled since the last split
        self._learn_parameters()

    def callbacks(self) -> Sequence[Callback]:
        every, settled = self.preset.split_every, self.preset.settle_after
        return (
            Callback("split", self._split, start=every, end=settled, every=every),
            Callback("prune", self._prune, start=every, end=settled, every=2 * every),
        )

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        first = {"barycentrics": 0.02, "log_scales": 0.02, "colors": 0.02}
        groups = [
            ParameterGroup(name, {name: self.avatar.tensors[name]}, partial(self._rate, rate, 1), 0)
            for name, rate in first.items()
        ]  # fmt: skip
        brightness = {"brightness": self.avatar.tensors["brightness"]}
        return (*groups, ParameterGroup("brightness", brightness, partial(self._rate, 0.01, 2)))

    def _rate(self, rate: float, stage: int, images: int) -> float:
        return rate if stage == (1 if images < self.preset.settle_after else 2) else 0.0

    def train_batch(self, rows: list[int]) -> StepReport:
        batch, optimiser = self.data.batch(rows), self.parameters.optimiser
        backgrounds = torch.rand(len(rows), 3, generator=self.generator).to(self.device)
        leaves = [value.detach().requires_grad_() for _, value in self.parameters.tensors()]
        shown = replace_tensors(self.avatar, dict(zip(self.parameters.names, leaves, strict=True)))
        g, camera = shown.drive(self.data.params[rows]), self.avatar.camera
        image, _, _ = render_gaussians(g, camera.viewmat, camera.K, camera.width, camera.height, backgrounds)
        losses = ((image - batch.target(backgrounds)).abs() * batch.valid).mean((1, 2, 3))
        grads = torch.autograd.grad(losses.mean(), leaves)
        self.pull += grads[self.parameters.names.index("colors")].abs().sum(1)
        optimiser.rates.copy_(torch.tensor(self.parameters.rates(self.images)))
        optimiser.step([grad.contiguous() for grad in grads])
        squared = ((image - batch.target(backgrounds)) ** 2).mean((1, 2, 3))
        return StepReport(losses.detach(), squared.detach())

    @torch.no_grad()
    def _split(self) -> None:
        """The quarter that is pulled hardest becomes two smaller ones each, beside each other."""
        chosen = self.pull >= self.pull.quantile(0.75)
        change = split(chosen)
        values = self.parameters.rearranged(change)
        nudge = torch.randn(len(change), 3, generator=self.generator).to(self.device)
        values["barycentrics"] = (values["barycentrics"] + 0.2 * nudge * change.fresh[:, None]).clamp_min(0.01)
        values["log_scales"] = values["log_scales"] - float(np.log(1.6)) * change.fresh
        self.rearrange(change, values)

    def _prune(self) -> None:
        self.rearrange(keep(self.avatar.tensors["log_scales"] > float(np.log(1e-3))))

    def preview(self, row: int) -> tuple[Tensor, Tensor]:
        grey, camera = torch.full((1, 3), 0.5, device=self.device), self.avatar.camera
        g = self.avatar.drive(self.data.params[[row]])
        image = render_gaussians(g, camera.viewmat, camera.K, camera.width, camera.height, grey)[0]
        return self.data.batch([row]).target(grey)[0], image[0]

    def with_gaussians(self, tensors: Mapping[str, Tensor], change: Rearrangement) -> ToyAvatar:
        mine = self.avatar.tensors
        bound = {"triangle": change.of(mine["triangle"]), "generation": change.of(mine["generation"]) + change.fresh}
        return replace_tensors(self.avatar, {**tensors, **bound})

    def rebuilt(self, snapshot: Snapshot) -> ToyAvatar:
        stored = {name: snapshot.tensors[f"toy.{name}"].to(self.device) for name in ("triangle", "generation")}
        learned = {n: torch.empty_like(snapshot.tensors[f"parameter.{n}"], device=self.device) for n in LEARNED}
        return replace_tensors(self.avatar, stored | learned)

    def state_tensors(self) -> dict[str, Tensor]:
        mine = self.avatar.tensors
        return {"toy.triangle": mine["triangle"], "toy.generation": mine["generation"], "toy.pull": self.pull}

    def gaussians_changed(self, change: Rearrangement | None) -> None:
        self.pull = torch.zeros(self.avatar.gaussian_count, device=self.device)


def replace_tensors(avatar: ToyAvatar, tensors: Mapping[str, Tensor]) -> ToyAvatar:
    """The same avatar with other tensors."""
    other = ToyAvatar(avatar.head, avatar.camera, avatar.name, {**avatar.tensors, **tensors})
    other.training_record, other.reference = dict(avatar.training_record), avatar.reference
    return other


TOY = AvatarSystem(SCHEMA, ToyAvatar.from_file, ToyPreset, ToyTrainer)

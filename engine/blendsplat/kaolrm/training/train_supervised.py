# SPDX-License-Identifier: Apache-2.0
"""Teaches a KaoLRM from generated people whose parameters are known, by gradient descent.

The default that ships is made by fit_closed_form instead. Stops and continues at any time: the folder holds the best
weights so far (what load_model reads) and a checkpoint.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from blendsplat.errors import InputError
from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel, part_of
from blendsplat.kaolrm.model import KaoLRM
from blendsplat.kaolrm.training.generated_dataset import COEFFICIENTS, GeneratedViews, SourceView, TrueHeads
from blendsplat.kaolrm.training.initialise import initialise_network
from blendsplat.kaolrm.training.loop import run
from blendsplat.kaolrm.training.optimiser import (
    CHECKPOINT,
    adamw,
    learning_rate,
    load_checkpoint,
    matrices_only,
    save_checkpoint,
    shuffled,
)
from blendsplat.kaolrm.training.parameter_loss import ParameterLoss, coefficient_statistics, face_error
from blendsplat.kaolrm.training.presets import SupervisedPreset
from blendsplat.kaolrm.weights import save_model
from blendsplat.progress import Progress

_STATISTICS_OF, _INITIALISED_ON = 512, 96  # views that the data's mean, and the network's start, are taken from

_SCORED_AT_ONCE = 16
_LOSS_STRIDE = 4  # vertices: one in so many says as much of a smooth surface


@dataclass
class Score:
    """Held-out people: millimetres between true and regressed neutral faces, the same for the mean face, and the
    shape's standard deviation over one person's views relative to that over people."""

    error_mm: float
    mean_face_mm: float
    wobble: float


class SupervisedTrainer:
    """One training: the model, its optimiser and its place in the data. ``step`` trains one batch."""

    def __init__(self, directory: Path | str, preset: SupervisedPreset, device: torch.device | str = "cpu") -> None:
        self.preset, self.device = preset, torch.device(device)
        self.data = GeneratedViews(directory, preset.model.image_size, preset.model.framing_share)
        if len(self.data.people) <= preset.held_out:
            raise InputError(
                f"{directory} holds {len(self.data.people)} people and {preset.held_out} are held out; generate more."
            )
        border = len(self.data.people) - preset.held_out
        self.training = self.data.views(0, border, preset.widest)
        self.held_out = self.data.views(border, None, preset.widest)
        torch.manual_seed(preset.seed)
        self.model = KaoLRM(preset.model).to(self.device)
        head = load_head(preset.model.head)
        self.data.check_head(head)
        self.head = head.to(self.device)
        self.images = 0
        step = max(1, len(self.training) // _STATISTICS_OF)
        mean, spread = coefficient_statistics([self.data.item(view)[1] for view in self.training[::step]])
        initialise_network(self.model, self._spread_images(_INITIALISED_ON))
        self._start_at(mean)
        few = part_of(self.head, torch.arange(0, self.head.vertex_count, _LOSS_STRIDE))
        self.loss = ParameterLoss(
            few, {name: value.to(self.device) for name, value in spread.items()}, preset.model.focal,
            preset.world, preset.displacement, preset.coefficient,
        )  # fmt: skip
        self.optimiser = adamw(self.model, preset.rate, preset.weight_decay, matrices_only)

    @property
    def total(self) -> int:
        return self.preset.images

    def batch(self, images: int) -> TrueHeads:
        """The batch after ``images`` images: a function of the seed and the place alone, so that resuming is exact."""
        chosen = shuffled(self.preset.seed, len(self.training), images, self.preset.batch)
        rng = np.random.default_rng([self.preset.seed, 1, images])
        return self.data.batch([self.training[i] for i in chosen], rng)

    def after(self, images: int) -> int:
        return images + self.preset.batch

    def step(self, batch: TrueHeads) -> float:
        """Train on one batch; returns the loss."""
        preset = self.preset
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(preset.rate, self.images, preset.batch, preset.warm_up, preset.images)
        truth = {name: value.to(self.device) for name, value in batch.coefficients.items()}
        # with gradients, torch's fused attention is the slower one on processors
        attention = sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else nullcontext()
        with torch.autocast(self.device.type, torch.bfloat16), attention:
            tokens = self.model.tokens(batch.images.to(self.device))
        loss = self.loss(self.model.coefficients(tokens), truth)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), preset.clip)
        self.optimiser.step()
        self.images += len(batch.images)
        return float(loss.detach())

    def score(self) -> Score:
        """How the model does on people it has never seen."""
        self.model.eval()
        result = score_of(self.model, self.data, self.held_out, self.head, self.preset.seed)
        self.model.train()
        return result

    def save_checkpoint(self, path: Path) -> None:
        save_checkpoint(path, self.model, self.optimiser, images=self.images)

    def restore(self, path: Path) -> None:
        """Continue where save_checkpoint was. Raises InputError when it is another training's."""
        self.images = int(load_checkpoint(path, self.model, self.optimiser)["images"])

    def _spread_images(self, count: int) -> Tensor:
        """At most ``count`` training pictures [B,3,S,S], evenly through the people."""
        step = max(1, len(self.training) // count)
        rng = np.random.default_rng([self.preset.seed, 3])
        return self.data.batch(self.training[::step][:count], rng).images.to(self.device)

    @torch.no_grad()
    def _start_at(self, mean: dict[str, Tensor]) -> None:
        """The untrained network answers with the data's mean."""
        last = self.model.flame_decoder.decoder[-1]
        assert isinstance(last, nn.Linear)
        values = torch.cat([mean[name] for name in COEFFICIENTS])
        place = self.preset.model.scale_column
        values[place] = math.log(math.expm1(float(values[place])))  # the scale passes a softplus
        last.bias.copy_(values)


@torch.no_grad()
def score_of(
    model: KaoLRM, data: GeneratedViews, views: list[SourceView], head: HeadModel, seed: int, most: int = 240
) -> Score:
    """What ``model`` says of people it has not seen, in pictures with a photograph's faults, the same each time."""
    views, device = views[:most], head.template.device
    predicted: list[dict[str, Tensor]] = []
    truths: list[dict[str, Tensor]] = []
    for start in range(0, len(views), _SCORED_AT_ONCE):
        batch = data.batch(views[start : start + _SCORED_AT_ONCE], np.random.default_rng([seed, 2, start]))
        predicted.append(model.coefficients(model.tokens(batch.images.to(device))))
        truths.append({name: value.to(device) for name, value in batch.coefficients.items()})
    ours = {name: torch.cat([p[name] for p in predicted]) for name in COEFFICIENTS}
    truth = {name: torch.cat([t[name] for t in truths]) for name in COEFFICIENTS}
    rows = torch.from_numpy(head.regions["face"]).to(device)
    mean_face = {**ours, "shape": torch.zeros_like(ours["shape"]), "expression": truth["expression"]}
    return Score(
        1000 * float(face_error({**ours, "expression": truth["expression"]}, truth, head, rows).mean()),
        1000 * float(face_error(mean_face, truth, head, rows).mean()),
        wobble(ours["shape"], views),
    )


def train_supervised(
    directory: Path | str, preset: SupervisedPreset, output: Path | str, progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> Score:  # fmt: skip
    """Train on the generated people in ``directory``; ``output`` then holds what load_model reads, in half precision.

    Continues from the checkpoint in ``output``. Cancelling keeps both files.
    """
    progress, output = progress or Progress(), Path(output)
    trainer = SupervisedTrainer(directory, preset, device)
    if (output / CHECKPOINT).is_file():
        trainer.restore(output / CHECKPOINT)
    progress.update("train", trainer.images, preset.images, " ".join(trainer.data.notes[:1]))
    run(trainer, progress, preset.checkpoint_seconds, lambda: _summary(_save(trainer, output)))
    return trainer.score()


def _save(trainer: SupervisedTrainer, output: Path) -> Score:
    trainer.save_checkpoint(output / CHECKPOINT)
    save_model(output, trainer.model, torch.float16)
    return trainer.score()


def _summary(score: Score) -> str:
    return (
        f"held-out faces {score.error_mm:.2f} mm (mean face {score.mean_face_mm:.2f}), "
        f"wobble over views {score.wobble:.2f}"
    )


def wobble(shapes: Tensor, views: list[SourceView]) -> float:
    """Deviation of the regressed shape over one person's views, relative to that over all: 0 is the same every time."""
    people = torch.tensor([view.person for view in views])
    within = torch.stack([shapes[people == p].var(0, unbiased=False).sum() for p in people.unique()]).mean()
    return float((within / shapes.var(0, unbiased=False).sum().clamp_min(1e-12)).sqrt())

# SPDX-License-Identifier: Apache-2.0
"""The published training of a KaoLRM: stage I finds the head by its landmarks, stage II by its pictures.

Needs no parameters, only pictures, cameras and landmarks. Stops and continues at any time, on one device or several.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from blendsplat.errors import BlendsplatError, InputError
from blendsplat.heads import load_head
from blendsplat.heads.families import HUMAN
from blendsplat.heads.model import HeadModel
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.image_metrics.psnr_ssim import psnr
from blendsplat.kaolrm.config import read_config
from blendsplat.kaolrm.model import KaoLRM, head_vertices
from blendsplat.kaolrm.training.devices import Devices, OneDevice, devices
from blendsplat.kaolrm.training.loop import run
from blendsplat.kaolrm.training.losses import LANDMARK_PIXELS
from blendsplat.kaolrm.training.objective import Objective, weighted_sum
from blendsplat.kaolrm.training.optimiser import (
    CHECKPOINT,
    adamw,
    all_but_norms_and_biases,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    shuffled,
)
from blendsplat.kaolrm.training.presets import LossWeights, PublishedPreset
from blendsplat.kaolrm.training.published_dataset import HeadData, Sizes, Views
from blendsplat.kaolrm.weight_catalogue import find_weights
from blendsplat.kaolrm.weights import CONFIG, inspect_weights, load_model, load_openlrm, save_model
from blendsplat.progress import Progress

Stage = Literal[1, 2]
MOST_SKIPPED = 50  # steps in a row without finite gradients: it does not come back from that
_FROZEN = ("encoder.", "transformer.", "pos_embed", "upsampler.")
# parts of a network that OpenLRM's weights do not decide
_NOT_OPENLRM = (
    "head", "head_model", "shape_count", "expression_count", "flame_widths", "flame_gate_reduction", "token_gate",
    "gaussian_width", "focal",
)  # fmt: skip


@dataclass
class StageScore:
    """Held-out people: mean distance of the 68 landmarks in pixels at 192, PSNR of the pictures in dB."""

    landmark_pixels: float
    psnr: float
    stage: int
    left_out: list[str]  # a sentence for everybody whose files are damaged


class PublishedTrainer:
    """One training: the network, its optimiser and its place in the data. ``step`` trains one batch."""

    def __init__(
        self, directory: Path | str, preset: PublishedPreset, head: HeadModel, model: KaoLRM,
        stage: Stage | None = None, where: Devices | None = None,
    ) -> None:  # fmt: skip
        """stage: only that one (1 ends after stage I, 2 begins with stage II)."""
        self.preset, self.stage, config = preset, stage, model.config
        self.where = where or OneDevice("cpu", preset.precision)
        config.check_head(head, "The network's coefficients")
        if not config.head_model and config.head != HUMAN:  # the family's other models have other coefficients
            model.config = config.model_copy(update={"head_model": head.model_id})
        self.data = HeadData(directory, Sizes(config.image_size, preset.render_size, preset.side_views, config.focal))
        self.people = len(self.data) - preset.held_out
        if self.people < 1:
            raise InputError(f"{directory} holds {len(self.data)} people and {preset.held_out} are held out; get more.")
        self.model = model.to(self.where.device).train()
        lpips = Lpips(preset.lpips_weights).to(self.where.device) if preset.lpips_weights else None
        self.objective = Objective(self.model, head.to(self.where.device), preset, lpips)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not (preset.freeze_transformer and name.startswith(_FROZEN)))
        decays = all_but_norms_and_biases(self.model)
        self.optimiser = adamw(self.model, preset.rate, preset.weight_decay, decays)
        self.images = self.border if stage == 2 else 0
        self.skipped = 0
        self._module = self.where.prepare(self.objective, self.optimiser)

    @property
    def border(self) -> int:
        """Images at which stage II begins."""
        return min(self.preset.stage_1_epochs, self.preset.epochs) * self.people

    @property
    def total(self) -> int:
        return self.border if self.stage == 1 else self.preset.epochs * self.people

    @property
    def weights(self) -> LossWeights:
        """Of the stage that the next step belongs to."""
        return self.preset.stage_2 if self.in_stage_2 else self.preset.stage_1

    @property
    def in_stage_2(self) -> bool:
        return self.images >= self.border and self.stage != 1

    def batch(self, images: int) -> Views:
        """This process's share of the batch after ``images`` images: a function of the seed and the place alone."""
        first = images + self.where.rank * self.preset.batch
        people = shuffled(self.preset.seed, self.people, first, self.preset.batch)
        return self.data.batch((person, [self.preset.seed, 1, first + i]) for i, person in enumerate(people))

    def after(self, images: int) -> int:
        return images + self.preset.batch * self.where.count

    def step(self, batch: Views) -> float:
        """Train on one batch; returns the loss."""
        together, preset = self.after(0), self.preset
        rate = learning_rate(
            preset.rate, self.images, together, preset.warm_up_steps * together, preset.epochs * self.people
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        weights = self.weights
        loss = weighted_sum(self._module(batch.to(self.where.device), weights, self.images), weights)
        if self.where.step(loss, self.objective, self.optimiser, preset.clip):
            self.skipped = 0
        else:
            self.skipped += 1
            if self.skipped > MOST_SKIPPED:
                raise BlendsplatError("The training diverged: its gradients are not finite any more. Lower the rate.")
        self.images = self.after(self.images)
        return float(loss.detach())

    @torch.no_grad()
    def score(self) -> StageScore:
        """How the network does on people it has never seen, each from the same views every time."""
        self.objective.eval()
        rows: list[tuple[Tensor, Tensor]] = []
        held_out = range(self.people, len(self.data))
        for start in range(0, len(held_out), self.preset.batch):
            people = held_out[start : start + self.preset.batch]
            views = self.data.batch((person, [self.preset.seed, 2, person]) for person in people)
            rows.append(self._judge(views.to(self.where.device)))
        self.objective.train()
        stage = 2 if self.in_stage_2 else 1
        distances, ratios = (torch.cat(values) for values in zip(*rows, strict=True))
        return StageScore(float(distances.mean()), float(ratios.mean()), stage, self.data.notes)

    def _judge(self, views: Views) -> tuple[Tensor, Tensor]:
        """Landmark distances [M] in pixels at 192 and PSNR [M] of the B V pictures of a batch."""
        objective = self.objective
        coefficients, planes = objective.regress(views)
        vertices = head_vertices(coefficients, objective.head, self.model.config.focal)
        offsets = objective.landmarks(vertices, views) - views.landmarks.flatten(0, 1)
        image = objective.draw(planes, vertices, views, seed=0).image
        pixels = offsets.norm(dim=-1).mean(-1) * (LANDMARK_PIXELS / self.preset.render_size)
        return pixels, psnr(image, views.targets.flatten(0, 1))

    def save_checkpoint(self, path: Path) -> None:
        save_checkpoint(path, self.model, self.optimiser, images=self.images)

    def restore(self, path: Path) -> None:
        """Continue where save_checkpoint was. Raises InputError when it is another training's."""
        images = int(load_checkpoint(path, self.model, self.optimiser).get("images", 0))
        self.images = max(images, self.images)  # stage 2 alone goes on from stage I's checkpoint


def train_published(
    directory: Path | str, preset: PublishedPreset, output: Path | str, progress: Progress | None = None,
    device: torch.device | str = "cpu", head: str = "", start: Path | str | None = None, stage: Stage | None = None,
) -> StageScore:  # fmt: skip
    """Train on a folder in either published layout; ``output`` then holds what load_model reads.

    head: what load_head takes; empty: the preset's. start: weights of OpenLRM or of a KaoLRM (for fine-tuning).
    Continues from the checkpoint in ``output``, which counts more than ``start``. Cancelling keeps both files.
    """
    draws = preset.stage_1.pictures and preset.stage_2.pictures
    where, output = devices(device, preset.precision, draws), Path(output)
    continued = (output / CHECKPOINT).is_file()
    model = network(preset, output if continued else start, continued)
    trainer = PublishedTrainer(directory, preset, load_head(head or preset.model.head), model, stage, where)
    if continued:
        trainer.restore(output / CHECKPOINT)
        where.wait()  # nobody writes the file before everybody has read it
    shown = Progress() if where.rank else progress or Progress()
    shown.update("train", trainer.images, trainer.total, " ".join(_notes(trainer)))

    def save() -> str:
        if where.rank:
            return ""  # the first process writes for all
        trainer.save_checkpoint(output / CHECKPOINT)
        save_model(output, trainer.model)
        return _summary(trainer.score())

    run(trainer, shown, preset.checkpoint_seconds, save, where.any)
    where.wait()
    return trainer.score()


def _notes(trainer: PublishedTrainer) -> list[str]:
    """What the user should know before it begins."""
    left_out, preset = trainer.data.notes, trainer.preset
    notes = [f"{len(left_out)} people cannot be used; the first: {left_out[0]}"] if left_out else []
    if preset.stage_2.lpips and not preset.lpips_weights and trainer.stage != 1:
        notes.append("Without lpips_weights the perceptual term is left out.")
    return notes


def network(preset: PublishedPreset, start: Path | str | None = None, continued: bool = False) -> KaoLRM:
    """An untrained network of the preset's sizes, or one with the weights in ``start``: OpenLRM's, a KaoLRM's, or those
    of a training that goes on. Weights decide the sizes of their own parts, the preset those of the others."""
    torch.manual_seed(preset.seed)
    if start is None:
        return KaoLRM(preset.model)
    folder = find_weights(start)
    if continued:
        return KaoLRM(read_config(folder / CONFIG))
    if not inspect_weights(folder).fresh:
        model = load_model(folder)
        model.config = model.config.model_copy(update={"focal": preset.model.focal})
        return model
    return load_openlrm(folder, **{name: getattr(preset.model, name) for name in _NOT_OPENLRM})[0]


def _summary(score: StageScore) -> str:
    return f"stage {score.stage}: held-out landmarks {score.landmark_pixels:.2f} px, pictures {score.psnr:.2f} dB"

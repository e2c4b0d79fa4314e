# SPDX-License-Identifier: Apache-2.0
"""Teaches a KaoLRM from generated people whose parameters are known: how the small default that ships was made.

Stops and continues at any time: the folder holds the best weights so far (what load_model reads) and a checkpoint.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from blendsplat.errors import InputError
from blendsplat.files import atomic_path
from blendsplat.heads import load_head
from blendsplat.progress import Progress
from blendsplat.tracking.kaolrm.dataset import COEFFICIENTS, GeneratedViews, SourceView, TrueHeads
from blendsplat.tracking.kaolrm.model import KaoLRM
from blendsplat.tracking.kaolrm.presets import TruthPreset
from blendsplat.tracking.kaolrm.truth_loss import TruthLoss, coefficient_statistics, face_error
from blendsplat.tracking.kaolrm.weights import save_model

CHECKPOINT = "checkpoint.safetensors"
_BETAS = (0.9, 0.95)
_STATISTICS_OF = 512  # views


@dataclass
class Score:
    """Held-out people: millimetres between true and regressed neutral faces, the same for the mean face, and the
    shape's standard deviation over one person's views relative to that over people."""

    error_mm: float
    mean_face_mm: float
    wobble: float


class TruthTrainer:
    """One training: the model, its optimiser and its place in the data. ``step`` trains one batch."""

    def __init__(self, directory: Path | str, preset: TruthPreset, device: torch.device | str = "cpu") -> None:
        self.preset, self.device = preset, torch.device(device)
        self.data = GeneratedViews(directory, preset.model.image_size)
        if len(self.data.people) <= preset.held_out:
            raise InputError(
                f"{directory} holds {len(self.data.people)} people and {preset.held_out} are held out; generate more."
            )
        border = len(self.data.people) - preset.held_out
        self.training, self.held_out = self.data.views(0, border), self.data.views(border)
        torch.manual_seed(preset.seed)
        self.model = KaoLRM(preset.model).to(self.device)
        self.head = load_head(preset.model.head).to(self.device)
        self.images = 0
        step = max(1, len(self.training) // _STATISTICS_OF)
        mean, spread = coefficient_statistics([self.data.item(view)[1] for view in self.training[::step]])
        self._start_at(mean)
        self.loss = TruthLoss(
            self.head, {name: value.to(self.device) for name, value in spread.items()}, preset.model.focal,
            preset.world, preset.displacement, preset.coefficient,
        )  # fmt: skip
        self.optimiser = torch.optim.AdamW(_groups(self.model, preset.weight_decay), lr=preset.rate, betas=_BETAS)

    @property
    def done(self) -> bool:
        return self.images >= self.preset.images

    def batch(self, images: int) -> TrueHeads:
        """The batch after ``images`` images: a function of the seed and the place alone, so that resuming is exact."""
        epoch, place = divmod(images, len(self.training))
        order = np.random.default_rng([self.preset.seed, epoch]).permutation(len(self.training))
        chosen = order[place : place + self.preset.batch]
        if len(chosen) < self.preset.batch:
            following = np.random.default_rng([self.preset.seed, epoch + 1]).permutation(len(self.training))
            chosen = np.concatenate([chosen, following[: self.preset.batch - len(chosen)]])
        rng = np.random.default_rng([self.preset.seed, 1, images])
        return self.data.batch([self.training[i] for i in chosen], rng)

    def step(self, batch: TrueHeads) -> float:
        """Train on one batch; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.preset, self.images)
        truth = {name: value.to(self.device) for name, value in batch.coefficients.items()}
        with torch.autocast(self.device.type, torch.bfloat16):
            tokens = self.model.tokens(batch.images.to(self.device))
        loss = self.loss(self.model.coefficients(tokens), truth)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.preset.clip)
        self.optimiser.step()
        self.images += len(batch.images)
        return float(loss.detach())

    @torch.no_grad()
    def score(self, most: int = 240) -> Score:
        """How the model does on people it has never seen."""
        self.model.eval()
        views = self.held_out[:most]
        predicted: list[dict[str, Tensor]] = []
        truths: list[dict[str, Tensor]] = []
        for start in range(0, len(views), self.preset.batch):
            batch = self.data.batch(views[start : start + self.preset.batch])
            predicted.append(self.model.coefficients(self.model.tokens(batch.images.to(self.device))))
            truths.append({name: value.to(self.device) for name, value in batch.coefficients.items()})
        self.model.train()
        ours = {name: torch.cat([p[name] for p in predicted]) for name in COEFFICIENTS}
        truth = {name: torch.cat([t[name] for t in truths]) for name in COEFFICIENTS}
        rows = torch.from_numpy(self.head.regions["face"]).to(self.device)
        mean_face = {**ours, "shape": torch.zeros_like(ours["shape"]), "expression": truth["expression"]}
        return Score(
            1000 * float(face_error({**ours, "expression": truth["expression"]}, truth, self.head, rows).mean()),
            1000 * float(face_error(mean_face, truth, self.head, rows).mean()),
            wobble(ours["shape"], views),
        )

    def save_checkpoint(self, path: Path) -> None:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        tensors["images"] = torch.tensor(self.images)
        with atomic_path(path) as temporary:
            save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary)

    def restore(self, path: Path) -> None:
        """Continue where save_checkpoint was. Raises InputError when it is another training's."""
        tensors = load_file(path)
        try:
            self.model.load_state_dict(
                {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
            )
        except RuntimeError as error:
            raise InputError(f"{path} belongs to another preset; choose another folder.", str(error)) from error
        state = self.optimiser.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, field = name.split(".")
                state["state"].setdefault(int(index), {})[field] = value
        self.optimiser.load_state_dict(state)
        self.images = int(tensors["images"])

    @torch.no_grad()
    def _start_at(self, mean: dict[str, Tensor]) -> None:
        """The untrained network answers with the data's mean."""
        last = self.model.flame_decoder.decoder[-1]
        assert isinstance(last, nn.Linear)
        values = torch.cat([mean[name] for name in COEFFICIENTS])
        place = self.preset.model.shape_count + self.preset.model.expression_count + 6
        values[place] = math.log(math.expm1(float(values[place])))  # the scale passes a softplus
        last.bias.copy_(values)


def train_truth(
    directory: Path | str, preset: TruthPreset, output: Path | str, progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> Score:  # fmt: skip
    """Train on the generated people in ``directory``; ``output`` then holds what load_model reads, in half precision.

    Continues from the checkpoint in ``output``. Cancelling keeps both files.
    """
    progress, output = progress or Progress(), Path(output)
    trainer = TruthTrainer(directory, preset, device)
    for note in trainer.data.notes:
        progress.update("train", 0, preset.images, note)
    if (output / CHECKPOINT).is_file():
        trainer.restore(output / CHECKPOINT)
    saved, smooth = time.monotonic(), float("nan")
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(trainer.batch, trainer.images)
        try:
            while not trainer.done:
                progress.check()
                batch = coming.result()
                coming = pool.submit(trainer.batch, trainer.images + len(batch.images))
                loss = trainer.step(batch)
                smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
                progress.update("train", trainer.images, preset.images, loss=smooth)
                if time.monotonic() - saved > preset.checkpoint_seconds:
                    score = _save(trainer, output)
                    progress.update("train", trainer.images, preset.images, _told(score), loss=smooth)
                    saved = time.monotonic()
        finally:
            _save(trainer, output)
    return trainer.score()


def _save(trainer: TruthTrainer, output: Path) -> Score:
    trainer.save_checkpoint(output / CHECKPOINT)
    save_model(output, trainer.model, torch.float16)
    return trainer.score()


def _told(score: Score) -> str:
    return (
        f"held-out faces {score.error_mm:.2f} mm (mean face {score.mean_face_mm:.2f}), "
        f"wobble over views {score.wobble:.2f}"
    )


def learning_rate(preset: TruthPreset, images: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if images < preset.warm_up:
        return preset.rate * (images + preset.batch) / (preset.warm_up + preset.batch)
    part = (images - preset.warm_up) / max(preset.images - preset.warm_up, 1)
    return preset.rate * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))


def wobble(shapes: Tensor, views: list[SourceView]) -> float:
    """Deviation of the regressed shape over one person's views, relative to that over all: 0 is the same every time."""
    people = torch.tensor([view.person for view in views])
    within = torch.stack([shapes[people == p].var(0, unbiased=False).sum() for p in people.unique()]).mean()
    return float((within / shapes.var(0, unbiased=False).sum().clamp_min(1e-12)).sqrt())


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay on matrices only, not on norms, biases and tokens."""
    decayed = [p for name, p in model.named_parameters() if p.ndim >= 2 and "embed" not in name and "token" not in name]
    chosen = {id(p) for p in decayed}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [{"params": decayed, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]

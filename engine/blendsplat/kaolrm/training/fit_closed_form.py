# SPDX-License-Identifier: Apache-2.0
"""Makes a KaoLRM from generated people by least squares instead of descent: how the small default that ships was made.

Minutes on one processor; the folder then holds what load_model reads, in half precision.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.heads import load_head
from blendsplat.kaolrm.model import KaoLRM
from blendsplat.kaolrm.training.closed_form import edge_features, initialise_edges, ridge, write_decoder
from blendsplat.kaolrm.training.fit_points import detect_points, fit_points
from blendsplat.kaolrm.training.generated_dataset import COEFFICIENTS, GeneratedViews, SourceView
from blendsplat.kaolrm.training.presets import ClosedFormPreset
from blendsplat.kaolrm.training.train_supervised import Score, score_of
from blendsplat.kaolrm.weights import save_model
from blendsplat.progress import Progress

_AT_ONCE = 40


def fit_closed_form(
    directory: Path | str, preset: ClosedFormPreset, output: Path | str, progress: Progress | None = None
) -> Score:
    """Read every picture of the generated people in ``directory`` once and solve for the decoder -> the score on those
    held out. Raises InputError when there are too few people, or the sizes cannot be solved."""
    progress, config = progress or Progress(), preset.model
    data = GeneratedViews(directory, config.image_size, config.framing_share)
    head = load_head(config.head)
    data.check_head(head)
    border = len(data.people) - preset.held_out
    if border < 1:
        raise InputError(f"{directory} holds {len(data.people)} people and {preset.held_out} are held out.")
    torch.manual_seed(preset.seed)
    model = KaoLRM(config).eval()
    initialise_edges(model)
    views = data.views(0, border, preset.widest)
    edges, targets = [], []
    for start in range(0, len(views), _AT_ONCE):
        progress.check()
        images, truth = _pictures(data, views, range(start, min(start + _AT_ONCE, len(views))), preset)
        edges.append(edge_features(model, images))
        targets.append(truth)
        progress.update("read", start + len(images), len(views))
    read, truths = torch.cat(edges), torch.cat(targets)
    fit_decoder(model, read, truths, preset.strength)
    save_model(output, model, torch.float16)
    if preset.points:
        points, found = detect_points(data, views, progress)
        shapes = truths[:, : head.shape_count].numpy()
        reader = fit_points(
            head, points[found], read.numpy()[found], shapes[found], preset.points, preset.points_strength
        )
        reader.save(Path(output))
    return score_of(model, data, data.views(border, None, preset.widest), head, preset.seed)


def fit_decoder(model: KaoLRM, edges: Tensor, targets: Tensor, strength: float) -> None:
    """Write into the decoder the ridge regression of coefficients [N,C] on what it reads of N pictures [N,F]."""
    weight, bias = ridge(edges, unsplit(targets, model), strength)
    write_decoder(model, weight, bias)


def unsplit(targets: Tensor, model: KaoLRM) -> Tensor:
    """Coefficients [N,C] as the decoder gives them before split_coefficients: the scale before its softplus."""
    place = model.config.scale_column
    raw = targets.clone()
    raw[:, place] = torch.log(torch.expm1(targets[:, place].double())).float()
    return raw


def _pictures(
    data: GeneratedViews, views: list[SourceView], rows: range, preset: ClosedFormPreset
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Images [B,3,S,S] and coefficients [B,C] of some views; one picture in ``faults`` has those of a photograph."""
    items = [
        data.item(views[row], np.random.default_rng([preset.seed, row]), math.remainder(row, preset.faults) == 0)
        for row in rows
    ]
    images = torch.from_numpy(np.stack([image for image, _ in items])).permute(0, 3, 1, 2).contiguous()
    return images, torch.stack([torch.cat([truth[name] for name in COEFFICIENTS]) for _, truth in items])

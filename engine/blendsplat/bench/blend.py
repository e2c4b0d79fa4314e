# SPDX-License-Identifier: Apache-2.0
"""Blendshapes and tangent-space binding of an avatar's Gaussians, for one frame and for a training batch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from blendsplat.bench import floors
from blendsplat.bench.bind import bind_calls, halved_copy, play_calls
from blendsplat.bench.plan import Plan
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.subject import BATCH, FRAMES, new_trainer
from blendsplat.bench.timing import graphed

Call = Callable[[], object]

NOTE = (
    "Milliseconds an image: base + K blendshapes of every Gaussian, carried by its triangle (positions, quaternions, "
    "colours). Floor: every basis read once for the batch, every gradient written once. Playing: without gradients, "
    "bases in half precision (two bytes in its floor, too)."
)


def blend(plan: Plan) -> list[Table]:
    """Forward and forward + backward for batches of 1 and 10."""
    trainer = new_trainer(plan)
    avatar = trainer.avatar
    finished = halved_copy(avatar)
    rows: list[Row] = []
    batches = [plan.batch] if plan.batch else [1, BATCH]
    for batch in batches:
        frames = [frame % FRAMES for frame in range(batch)]
        indices = torch.tensor(frames, device=plan.device)
        with torch.no_grad():
            vertices = avatar.vertices(trainer.data.params[indices])
            surface = avatar.surface(vertices)
            weights = avatar.weights_of(trainer.features[indices])
        forward, backward = bind_calls(avatar, weights, surface)

        def both(forward: Call = forward, backward: Call = backward) -> None:
            forward()
            backward()

        runs: dict[str, Call] = {
            "playing": graphed(play_calls(finished, weights, vertices)[1], plan.device),
            "forward": graphed(forward, plan.device), "forward + backward": graphed(both, plan.device),
        }  # fmt: skip
        rows += _rows(plan, runs, batch, avatar.gaussian_count, avatar.blendshape_count, 1 / len(batches))
    return [Table("blend", "Blendshapes and binding", NOTE, rows)]


def _rows(plan: Plan, runs: dict[str, Call], batch: int, gaussians: int, blendshapes: int, share: float) -> list[Row]:
    timings = plan.time(runs, share)
    rows = []
    for threads in plan.threads:
        ceilings = plan.ceilings(threads)
        least = floors.blend_forward(gaussians, blendshapes, batch, ceilings) / batch
        back = floors.blend_backward(gaussians, blendshapes, batch, ceilings) / batch
        play = floors.play(gaussians, blendshapes, batch, ceilings) / batch
        for name, floor in zip(runs, (play, least, least + back), strict=True):
            title = f"{gaussians:,}, K = {blendshapes}, batch {batch}: {name}"
            rows.append(row(title, threads, timings[name, threads].per(batch), floor_ms=floor))
    return rows

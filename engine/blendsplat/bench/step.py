# SPDX-License-Identifier: Apache-2.0
"""The whole RGBAvatar training step, as the trainer runs it, and its parts."""

from __future__ import annotations

from collections.abc import Callable

from blendsplat.bench.machine import peak_memory
from blendsplat.bench.plan import Plan
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.step_parts import parts_of, sizes_of, step_scene
from blendsplat.bench.subject import SIZE, UV, new_trainer

WARM_STEPS = 3  # colours are initialised in the first ones
PAPER_IMAGES = 630.0  # images a second, RGBAvatar on an RTX 3090
TARGETS = {(256, 512): 45.0, (128, 256): 12.0}  # (UV, image size) -> milliseconds an image on two cores
TARGET_CUDA = 1e3 / 4000  # on an H200-class GPU
NOTE = (
    "Milliseconds an image of a whole step: MLP, blendshapes, binding, rasterizer, L1, all gradients, Adam, colour "
    "initialisation. Below it its parts, each alone on the same batch; its floor is the sum of theirs. Memory: the "
    "most that the process has held so far, everything included. Paper: RTX 3090."
)


def step(plan: Plan) -> list[Table]:
    """The step at the paper's size and at a quarter of it."""
    if plan.uv or plan.size:
        sizes = [(plan.uv or UV, plan.size or SIZE)]
    else:
        sizes = list(TARGETS) if plan.device.type == "cpu" else [(UV, SIZE)]
    rows: list[Row] = []
    for place, (uv, size) in enumerate(sizes):
        rows += _measured(plan, uv, size, 1 / len(sizes), with_memory=place == 0)
    return [Table("step", "Training step", NOTE, rows)]


def _measured(plan: Plan, uv: int, size: int, share: float, with_memory: bool) -> list[Row]:
    """The whole step, then its parts, all in turn. with_memory: whether the peak is this step's."""
    trainer = new_trainer(Plan(plan.device, uv=uv, size=size, batch=plan.batch))
    batch = trainer.preset.batch
    for _ in range(WARM_STEPS):
        trainer.step()
    memory = peak_memory(plan.device) if with_memory else None
    scene = step_scene(trainer)
    least = sizes_of(trainer, scene).floors()
    parts = parts_of(trainer, scene, least)
    runs: dict[str, Callable[[], object]] = {"step": trainer.step} | {name: part.run for name, part in parts.items()}
    timings = plan.time(runs, share)
    title = f"UV {uv} ({trainer.avatar.gaussian_count:,}), {size}x{size}, batch {batch}"
    rows = []
    for threads in plan.threads:
        ceilings = plan.ceilings(threads)
        timing = timings["step", threads].per(batch)
        whole = sum(floor(ceilings) for floor in least.values()) / batch
        extra = {"images/s": 1e3 / timing.median, "paper images/s": PAPER_IMAGES, "memory GB": memory}
        target = _target(plan, uv, size, threads)
        rows.append(row(f"{title}: step", threads, timing, floor_ms=whole, target_ms=target, extra=extra))
        for name, part in parts.items():
            floor = part.floor(ceilings) / batch if part.floor else None
            rows.append(row(f"    {name}", threads, timings[name, threads].per(batch), floor_ms=floor))
    return rows


def _target(plan: Plan, uv: int, size: int, threads: int) -> float | None:
    if plan.device.type == "cuda":
        return TARGET_CUDA if (uv, size) == (UV, SIZE) else None
    return TARGETS.get((uv, size)) if threads == 2 else None

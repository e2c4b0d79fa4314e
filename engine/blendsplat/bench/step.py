# SPDX-License-Identifier: Apache-2.0
"""The whole RGBAvatar training step, as the trainer runs it, and its parts."""

from __future__ import annotations

from blendsplat.bench import floors
from blendsplat.bench.machine import Ceilings
from blendsplat.bench.plan import Plan
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.scene import BenchScene, work_of
from blendsplat.bench.subject import SIZE, UV, new_trainer, scene_of
from blendsplat.training.trainer import Trainer

WARM_STEPS = 3  # colours are initialised in the first ones
PAPER_IMAGES = 630.0  # images a second, RGBAvatar on an RTX 3090
TARGETS = {(256, 512): 45.0, (128, 256): 12.0}  # (UV, image size) -> milliseconds an image on two cores
TARGET_CUDA = 1e3 / 4000  # on an H200-class GPU
NOTE = (
    "Milliseconds an image of a whole step: MLP, blendshapes, binding, rasterizer, L1, all gradients, Adam, colour "
    "initialisation. Floor: the floors of rasterizer, blendshapes, loss and Adam added up. Paper: RTX 3090."
)


def step(plan: Plan) -> list[Table]:
    """The step at the paper's size and at a quarter of it."""
    if plan.uv or plan.size:
        sizes = [(plan.uv or UV, plan.size or SIZE)]
    else:
        sizes = list(TARGETS) if plan.device.type == "cpu" else [(UV, SIZE)]
    rows: list[Row] = []
    for uv, size in sizes:
        rows += _whole(plan, uv, size, 1 / len(sizes))
    return [Table("step", "Training step", NOTE, rows)]


def _whole(plan: Plan, uv: int, size: int, share: float) -> list[Row]:
    trainer = new_trainer(Plan(plan.device, uv=uv, size=size, batch=plan.batch))
    batch = trainer.preset.batch
    for _ in range(WARM_STEPS):
        trainer.step()
    timings = plan.time({"step": trainer.step}, share)
    scene = _training_scene(trainer, batch)
    pairs = work_of(scene).evaluated
    rows = []
    for threads in plan.threads:
        timing = timings["step", threads].per(batch)
        target = TARGETS.get((uv, size)) if threads == 2 and plan.device.type == "cpu" else None
        if plan.device.type == "cuda":
            target = TARGET_CUDA
        title = f"UV {uv} ({trainer.avatar.gaussian_count:,}), {size}x{size}, batch {batch}: step"
        floor = _floor(trainer, scene, pairs, plan.ceilings(threads)) / batch
        extra = {"images/s": 1e3 / timing.median, "paper images/s": PAPER_IMAGES}
        rows.append(row(title, threads, timing, floor_ms=floor, target_ms=target, extra=extra))
    return rows


def _training_scene(trainer: Trainer, batch: int) -> BenchScene:
    """What the rasterizer sees in one step."""
    avatar, frames = trainer.avatar, len(trainer.data)
    return scene_of(avatar.drive(trainer.data.params[[row % frames for row in range(batch)]]), avatar.camera)


def _floor(trainer: Trainer, scene: BenchScene, pairs: int, ceilings: Ceilings) -> float:
    avatar, images = trainer.avatar, scene.images
    pixels, gaussians = images * scene.width * scene.height, images * scene.gaussians
    shapes = (avatar.gaussian_count, avatar.blendshape_count, images)
    parameters = sum(parameter.numel() for parameter in avatar.parameters())
    return (
        floors.rasterize_forward(pairs, gaussians, pixels, ceilings)
        + floors.rasterize_backward(pairs, gaussians, pixels, ceilings)
        + floors.blend_forward(*shapes, ceilings)
        + floors.blend_backward(*shapes, ceilings)
        + floors.photometric(pixels, ceilings)
        + floors.adam(parameters, ceilings)
    )

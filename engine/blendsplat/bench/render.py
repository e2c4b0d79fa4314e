# SPDX-License-Identifier: Apache-2.0
"""The rasterizer on the head scene and on a real avatar: images forward, and forward with all gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch

from blendsplat.bench import floors
from blendsplat.bench.plan import Plan
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.scene import head_scene, label, work_of
from blendsplat.bench.subject import avatar_scene
from blendsplat.bench.timing import graphed
from blendsplat.splatting.backend import make_pass
from blendsplat.splatting.scene import Scene

# (Gaussians, image size) -> milliseconds to reach on two cores, forward and forward + backward
TARGETS = {(60_000, 512): (10.0, 30.0), (15_000, 256): (3.0, 9.0)}
NOTE = (
    "Milliseconds an image. Floor: every pixel-Gaussian pair of the 4x4 blocks that an ellipse touches evaluated once "
    "at the machine's rate of pairs, forward and backward; no projection, no sort."
)


def render(plan: Plan) -> list[Table]:
    """Forward and forward + backward, one image at a time, or --batch of them."""
    sizes = list(TARGETS)
    if plan.gaussians or plan.size:
        sizes = [(plan.gaussians or 60_000, plan.size or 512)]
    scenes = {}
    for count, size in sizes:
        scene = head_scene(count, size, plan.batch or 1)
        scenes[f"head scene, {label(scene)}"] = scene
    name, scene = avatar_scene(plan)
    scenes[f"{name}, {label(scene)}"] = scene
    rows: list[Row] = []
    for title, scene in scenes.items():
        rows += measure(plan, title, scene, 1 / len(scenes))
    return [Table("render", "Rasterizer", NOTE, rows)]


def measure(plan: Plan, title: str, scene: Scene, share: float) -> list[Row]:
    """Two rows per number of threads."""
    scene = scene.to(plan.device)
    forward, both = calls(scene)
    runs = {"forward": graphed(forward, plan.device), "forward + backward": graphed(both, plan.device)}
    timings = plan.time(runs, share)
    pairs, images = work_of(scene).evaluated, scene.images
    gaussians, pixels = scene.count * images, scene.width * scene.height * images
    targets = TARGETS.get((scene.count, scene.width), (None, None)) if title.startswith("head scene") else ()
    rows = []
    for threads in plan.threads:
        ceilings = plan.ceilings(threads)
        least = floors.rasterize_forward(pairs, gaussians, pixels, ceilings) / images
        back = floors.rasterize_backward(pairs, gaussians, pixels, ceilings) / images
        for name, floor, target in zip(runs, (least, least + back), targets or (None, None), strict=True):
            wanted = target if threads == 2 and plan.device.type == "cpu" else None
            timing = timings[name, threads].per(images)
            rows.append(row(f"{title}: {name}", threads, timing, floor_ms=floor, target_ms=wanted))
    return rows


def calls(scene: Scene) -> tuple[Callable[[], object], Callable[[], object]]:
    """(render the scene, render it and compute the gradients of every parameter), in buffers that stay."""
    drawn = make_pass(scene.images, scene.count, scene.width, scene.height, scene.device)
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(drawn.image.shape, generator=generator).to(scene.device)

    def forward() -> None:
        drawn.forward(scene)

    def both() -> None:
        forward()
        drawn.backward(gradient)

    return forward, both

# SPDX-License-Identifier: Apache-2.0
"""Projection and binning: Gaussians to the lists of each tile, front to back."""

from __future__ import annotations

from functools import partial

from blendsplat.bench import floors
from blendsplat.bench.plan import Plan
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.scene import head_scene, label, work_of
from blendsplat.splatting.backend import backend_for
from blendsplat.splatting.buffers import FreshBuffers

NOTE = (
    "Milliseconds an image to project, cut into tiles and sort by (image, tile, depth). Floor: Gaussians read, "
    "projected records and sorted lists (of 4x4 tiles on a CPU, 16x16 on a GPU) written, once each. M entries/s: "
    "sorted (Gaussian, tile) pairs a second."
)


def sort(plan: Plan) -> list[Table]:
    """Binning of one image and of a batch."""
    count, size = plan.gaussians or 60_000, plan.size or 512
    batches = [plan.batch] if plan.batch else [1, 10]
    backend = backend_for(plan.device)
    rows: list[Row] = []
    for batch in batches:
        scene = head_scene(count, size, batch)
        work = work_of(scene)
        entries = work.blocks if plan.device.type == "cpu" else work.exact_tiles
        moved, buffers = scene.to(plan.device), FreshBuffers(plan.device)
        timings = plan.time({"bin": partial(backend.bin, moved, buffers)}, 1 / len(batches))
        for threads in plan.threads:
            timing = timings["bin", threads].per(batch)
            floor = floors.sort(entries, count * batch, plan.ceilings(threads)) / batch
            rate = entries / batch / timing.median / 1e3
            rows.append(row(label(scene), threads, timing, floor_ms=floor, extra={"M entries/s": rate}))
    return [Table("sort", "Projection and binning", NOTE, rows)]

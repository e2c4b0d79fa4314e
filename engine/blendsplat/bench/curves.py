# SPDX-License-Identifier: Apache-2.0
"""What an image costs against the number of Gaussians, the image's size and the batch."""

from __future__ import annotations

from blendsplat.bench.plan import Plan
from blendsplat.bench.render import measure
from blendsplat.bench.report import Row, Table
from blendsplat.bench.scene import head_scene, label

COUNTS = (10_000, 20_000, 60_000, 100_000, 200_000, 400_000)  # at 512x512
SIZES = (128, 256, 512, 1024, 2048)  # of 60,000
BATCHES = (1, 2, 5, 10)  # of 60,000 at 512x512
NOTE = (
    "Milliseconds an image on the head scene, one thing changed at a time. Gaussians grow as their number falls, so "
    "that they cover the same surface. Floor as in the rasterizer's table."
)


def curves(plan: Plan) -> list[Table]:
    """The head scene at other sizes; --gaussians, --size and --batch give the point that the curves go through."""
    count, size, batch = plan.gaussians or 60_000, plan.size or 512, plan.batch or 1
    scale = count / 60_000, size / 512
    points = [(max(round(n * scale[0]), 1), size, batch) for n in COUNTS]
    points += [(count, max(round(s * scale[1]), 1), batch) for s in SIZES]
    points += [(count, size, batch * b) for b in BATCHES]
    points = list(dict.fromkeys(points))
    widest = Plan(plan.device, plan.threads[:1], plan.seconds, progress=plan.progress, _ceilings=plan._ceilings)
    rows: list[Row] = []
    for point in points:
        scene = head_scene(*point)
        rows += measure(widest, label(scene), scene, 1 / len(points))
    return [Table("curves", "Cost against size", NOTE, rows)]

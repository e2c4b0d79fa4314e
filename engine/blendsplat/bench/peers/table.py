# SPDX-License-Identifier: Apache-2.0
"""Runs our rasterizer and the peers in turn on one scene, after comparing each with the float64 oracle."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from blendsplat.bench.peers.lists import Renderer
from blendsplat.bench.plan import Plan
from blendsplat.bench.render import calls
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.scene import head_scene, label
from blendsplat.bench.timing import Timing
from blendsplat.splatting.reference import rasterize_reference
from blendsplat.splatting.scene import Scene

MODULES = ("torch_tiles", "warp_tiles")
OURS = "Blendsplat"
WRONG = 1e-2  # relative error above which a row says so: float32 at the 1/255 cut-off stays far below
SIZES = ((60_000, 512), (15_000, 256))
CHECKED = (400, 48)  # Gaussians and image size of the comparison with the oracle
NOTE = (
    "Milliseconds an image on the head scene, one image at a time, everything measured in turn in one run. Error: the "
    "worst of the picture's and the five gradients' relative errors (root mean square) against the float64 oracle on "
    "a small scene. Times ours: of the medians, with one thread of the processor times. "
)


def peers(plan: Plan) -> list[Table]:
    """Our rasterizer beside every peer that is installed (CPU only)."""
    plan = replace(plan, device=torch.device("cpu"))
    makers, missing = _installed()
    errors = {name: oracle_error(make) for name, make in makers.items()}
    sizes = [(plan.gaussians or 60_000, plan.size or 512)] if plan.gaussians or plan.size else list(SIZES)
    rows: list[Row] = []
    for count, size in sizes:
        rows += _compared(plan, head_scene(count, size), makers, errors, 1 / len(sizes))
    return [Table("peers", "Other rasterizers", NOTE + _skipped(missing), rows)]


def oracle_error(make: Callable[[Scene], Renderer]) -> float:
    """The worst relative error of a peer's picture and gradients on a small scene."""
    scene = head_scene(*CHECKED)
    gradient = torch.randn(scene.height, scene.width, 3, generator=torch.Generator().manual_seed(2))
    leaves = [t[0].clone().requires_grad_() for t in scene.gaussians.tensors()]
    image = make(scene)(leaves)
    image.backward(gradient)
    exact = [t.double().requires_grad_() for t in scene.gaussians.tensors()]
    means, quats, scales, opacities, colors = exact
    wanted = rasterize_reference(
        means, quats, scales, opacities, colors, scene.cameras.viewmats, scene.cameras.Ks, scene.width, scene.height
    )[0][0]
    wanted.backward(gradient.double())
    pairs = [(image, wanted), *((leaf.grad, want.grad) for leaf, want in zip(leaves, exact, strict=True))]
    return max(_relative(got, want) for got, want in pairs)


def _relative(got: Tensor | None, want: Tensor | None) -> float:
    if got is None or want is None:
        return float("inf")
    return float((got.detach() - want.detach().reshape(got.shape)).norm() / want.detach().norm())


def _compared(
    plan: Plan, scene: Scene, makers: dict[str, Callable[[Scene], Renderer]], errors: dict[str, float],
    share: float,
) -> list[Row]:  # fmt: skip
    runs = dict(zip((f"{OURS}: forward", f"{OURS}: forward + backward"), calls(scene), strict=True))
    for name, make in makers.items():
        forward, both = _peer_calls(make(scene), scene)
        runs |= {f"{name}: forward": forward, f"{name}: forward + backward": both}
    timings = plan.time(runs, share)
    rows = []
    for threads in plan.threads:
        for title in runs:
            name, what = title.split(": ", 1)
            timing, ours = timings[title, threads], timings[f"{OURS}: {what}", threads]
            extra: dict[str, float | str | None] = {"times ours": _cost(timing, threads) / _cost(ours, threads)}
            if name in errors:
                extra["error"] = f"{errors[name]:.1e}" + (" WRONG" if errors[name] > WRONG else "")
            rows.append(row(f"{label(scene)}, {title}", threads, timing, extra=extra))
    return rows


def _cost(timing: Timing, threads: int) -> float:
    """What is compared: of one thread its processor time, which does not grow with the turns of other programs."""
    return timing.processor if threads == 1 else timing.median


def _peer_calls(render: Renderer, scene: Scene) -> tuple[Callable[[], object], Callable[[], object]]:
    leaves = [t[0].clone().requires_grad_() for t in scene.gaussians.tensors()]
    gradient = torch.randn(scene.height, scene.width, 3, generator=torch.Generator().manual_seed(1))

    def forward() -> None:
        with torch.no_grad():
            render(leaves)

    def both() -> None:
        for leaf in leaves:
            leaf.grad = None
        render(leaves).backward(gradient)

    return forward, both


def _installed() -> tuple[dict[str, Callable[[Scene], Renderer]], list[str]]:
    """(peers that can be imported, names of the packages that the others lack)."""
    makers: dict[str, Callable[[Scene], Renderer]] = {}
    missing = []
    for module in MODULES:
        try:
            peer = importlib.import_module(f"blendsplat.bench.peers.{module}")
        except ImportError as error:
            missing.append(error.name or str(error))
        else:
            makers[peer.NAME] = peer.make
    return makers, missing


def _skipped(missing: list[str]) -> str:
    return f"Not installed, so skipped: {', '.join(missing)}." if missing else ""

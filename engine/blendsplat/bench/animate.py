# SPDX-License-Identifier: Apache-2.0
"""Playing a performance on an avatar: head model, MLP, blendshapes, binding and rasterizer, frame after frame."""

from __future__ import annotations

from collections.abc import Callable

import torch

from blendsplat.avatars.rendering import render_gaussians, render_performance
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.bench.bind import play_calls
from blendsplat.bench.plan import Plan
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.subject import real_avatar
from blendsplat.heads.model import HeadParams
from blendsplat.heads.posing import Posing

PAPER_FPS = 398.0  # RGBAvatar, RTX 3090, section 4
TARGET_FPS = {"cpu": 40.0, "cuda": 1500.0}  # on two cores; on an H200-class GPU
NOTE = (
    "Milliseconds a frame. The first row is the whole path as users run it, picture and depth in main memory at the "
    "end; the others are its parts, one frame at a time. Paper: RGBAvatar on an RTX 3090, without the copy back."
)


def animate(plan: Plan) -> list[Table]:
    """A performance on the real avatar at its own size, and where the time goes."""
    name, avatar, tracking = real_avatar(plan)
    width, height = avatar.camera.width, avatar.camera.height
    frames = tracking.frame_count

    def whole() -> None:
        for _ in render_performance(avatar, tracking, width, height, device=plan.device):
            plan.progress.check()

    title = f"{name}, {width}x{height}"
    timings = plan.time({"whole": whole}, 0.6)
    rows: list[Row] = []
    target = TARGET_FPS[plan.device.type]
    for threads in plan.threads:
        timing = timings["whole", threads].per(frames)
        extra = {"frames/s": 1e3 / timing.median, "paper frames/s": PAPER_FPS}
        wanted = 1e3 / target if threads == max(plan.threads) else None
        rows.append(row(f"{title}: performance", threads, timing, target_ms=wanted, extra=extra))
    if isinstance(avatar, RGBAvatar):
        parts = _parts(avatar, tracking.params(plan.device)[[0]])
        timings = plan.time(parts, 0.4)
        rows += [row(part, threads, timings[part, threads]) for threads in plan.threads for part in parts]
    return [Table("animate", "Animation", NOTE, rows)]


def _parts(avatar: RGBAvatar, params: HeadParams) -> dict[str, Callable[[], object]]:
    """Each part of one frame on what the part before it made."""
    with torch.no_grad():
        vertices, weights, camera = avatar.vertices(params), avatar.weights(params), avatar.camera
        gaussians = avatar.gaussians(weights, vertices)
        view = camera.viewmat, camera.K, camera.width, camera.height
        head, own = (Posing(avatar.head) if Posing.suits(avatar.head) else avatar.vertices), avatar.of_own(params)
        pose, bind = play_calls(avatar, weights, vertices)
    parts: dict[str, Callable[[], object]] = {
        "head model": lambda: head(own),
        "features and MLP": lambda: avatar.weights(params),
        "triangle frames": pose,
        "blendshapes and binding": bind,
        "rasterizer": lambda: render_gaussians(gaussians, *view),
    }
    return {name: torch.no_grad()(part) for name, part in parts.items()}

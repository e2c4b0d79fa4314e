# SPDX-License-Identifier: Apache-2.0
"""``blendsplat demo``: the whole product on a clip that it renders itself, with the figures of every stage.

Only the clip is special: from its mp4 on, every stage is the one that any video goes through.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from blendsplat.demo.pictures import sequence_to_mp4, side_by_side
from blendsplat.errors import BlendsplatError
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.heads import load_head
from blendsplat.progress import Progress
from blendsplat.synthetic.clip import FPS, SIZE, make_clip
from blendsplat.systems import load_preset, train_avatar
from blendsplat.tracking import evaluate_tracking, track_clip
from blendsplat.video import Clip, ClipOptions, import_clip

CLIP_FRAMES = 200
HELD_OUT_FROM = 0.7  # Blender renders the frames that training never saw


@dataclass
class Report:
    """Rows of the printed table: (stage, seconds, what it reached)."""

    rows: list[tuple[str, float, str]] = field(default_factory=list)

    def stage(self, name: str, work: Callable[[], Any], describe: Callable[[Any], str] = lambda result: "") -> Any:
        """Run ``work``, note its time and what ``describe`` says of its result."""
        start = time.perf_counter()
        result = work()
        self.rows.append((name, time.perf_counter() - start, describe(result)))
        return result

    def table(self) -> Table:
        table = Table("stage", "seconds", "figures", title="blendsplat demo")
        for name, seconds, figures in self.rows:
            table.add_row(name, f"{seconds:.1f}", figures)
        table.add_row("all", f"{sum(row[1] for row in self.rows):.1f}", "")
        return table


def run(output: Path, addon: Path | None = None, progress: Progress | None = None, frames: int = CLIP_FRAMES) -> Report:
    """Leave clip, overlay, avatar, .blend, rendered sequence and a side-by-side picture in ``output``.

    addon: the extension's source folder; without it (or without bpy) the Blender stage is left out, saying so.
    """
    progress = progress or Progress()
    output.mkdir(parents=True, exist_ok=True)
    video, folder, avatar = output / "clip.mp4", output / "clip", output / "demo.avatar.npz"
    first = int(HELD_OUT_FROM * frames)
    report = Report()
    head = load_head("human")

    truth = report.stage("render the clip", lambda: make_clip(video, frames, progress=progress))
    truth.save(output / "truth.npz")
    report.stage(
        "import",
        lambda: import_clip(video, folder, ClipOptions(overwrite=True), progress),
        lambda clip: f"{clip.frame_count} frames",
    )
    tracking = report.stage("track", lambda: track_clip(folder, progress=progress))
    report.stage(
        "compare with the truth",
        lambda: evaluate_tracking(tracking, truth, head),
        lambda f: ", ".join(f"{name} {value:.2f}" for name, value in f.items()),
    )
    _keep(folder / "overlay.mp4", output / "overlay.mp4")
    report.stage("train (draft)", lambda: train_avatar(folder, load_preset("draft"), avatar, progress=progress))
    report.stage(
        "evaluate held-out frames",
        lambda: evaluate_avatar(avatar, folder),
        lambda q: f"PSNR {q['psnr']:.2f} dB, SSIM {q['ssim']:.4f}",
    )
    if addon is not None:
        report.stage("Blender: scene and render", lambda: _blender(addon, folder, avatar, output, first))
        sequence_to_mp4(output / "render", FPS, SIZE, output / "render.mp4")
    else:
        report.rows.append(("Blender", 0.0, "left out: no --addon"))
    picture = output / "side_by_side.png"
    report.stage("side by side", lambda: side_by_side(Clip.open(folder), tracking, avatar, output, first, picture))
    console = Console()
    console.print(report.table())
    return report


def _keep(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def _blender(addon: Path, folder: Path, avatar: Path, output: Path, first: int) -> None:
    """Build the scene in the bpy module, in a process of its own, with the add-on's own operators."""
    command = [
        sys.executable, str(addon / "batch.py"), "--clip", str(folder), "--avatar", str(avatar),
        "--blend", str(output / "demo.blend"), "--frames", str(output / "render"), "--first", str(first),
        "--engine", sys.executable, "-m", "blendsplat", "serve",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        raise BlendsplatError(
            f"The Blender stage ended with code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}",
            detail=done.stdout + done.stderr,
        )

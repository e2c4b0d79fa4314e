# SPDX-License-Identifier: Apache-2.0
"""Long: one engine that captures live, trains and renders for half an hour, and a thousand renders in one Blender.

Memory, open files and threads are looked at between the jobs, when nothing is under way, and must not grow. The curves
lie in the part's folder (engine.md, blender.md).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blendsplat.synthetic.clip import FPS, make_clip
from blendsplat.video import write_mp4
from blendsplat.video.decode import VideoFile
from engine_client import EngineProcess

from .forked import Forked
from .steps import TINY, make_world
from .table import Row, Share
from .vitals import Vital, Vitals

CYCLES, RENDERS = 10_000, 1000
ENGINE_SHARE = 0.6  # of the time
DRAWN, PLAYED = 12, 150  # frames of the film that a session sees: these, to and fro
LIVE = {"image_size": 64, "uv_resolution": 20, "blendshapes": 4, "mlp_width": 16, "batch": 2}


def run(share: Share) -> Iterator[Row]:
    """A row for the engine, one for Blender."""
    with Forked(share.folder / "forked") as forked:
        earlier = make_world(share.folder, forked, only=("render",)).earlier
    yield engine_row(share, earlier)
    yield blender_row(share, earlier)


def engine_row(share: Share, earlier: Path) -> Row:
    """Cycles of live capture, training, rendering and export in one process."""
    row = Row("long", "engine: live capture, training, rendering, export")
    _film(share.folder / "talk.mp4")
    engine = EngineProcess(share.folder)
    engine._watchdog.cancel()  # it is to live for long
    vitals = Vitals(engine.process.pid)
    vitals.watch()
    until = share.left() * (1 - ENGINE_SHARE)
    try:
        while share.wants(row.tried, CYCLES) and share.left() > until:
            wrong = one_cycle(engine, share.folder / "work", share.folder / "talk.mp4", earlier)
            vitals.settle()
            row.bad(f"cycle {row.tried}: {wrong}") if wrong else row.good()
    finally:
        vitals.end()
        code = engine.close()
    if code:
        row.bad(f"the engine ended with {code}")
    return _judged(row, vitals, share.folder / "engine.md")


def _film(path: Path) -> None:
    """Six seconds of a generated person."""
    drawn = path.with_name("drawn.mp4")
    make_clip(drawn, DRAWN)
    images = [frame.image for frame in VideoFile(drawn).frames()]
    order = [*range(len(images)), *range(len(images) - 2, 0, -1)]
    write_mp4(path, (images[order[number % len(order)]] for number in range(PLAYED)), FPS)


def one_cycle(engine: EngineProcess, work: Path, talk: Path | None, earlier: Path) -> str:
    """Everything once, into a folder that is new each time: what went wrong, empty where nothing did. talk: the film
    that plays for the live session; None: no session."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    drive: dict[str, Any] = {"avatar": str(work / "b.avatar.npz"), "performance": str(earlier / "clip")}
    live = {"source": str(talk), "output": str(work / "me.avatar.npz"), "overrides": LIVE,
            "preview": str(work / "me.mp4"), "device": "cpu"}  # fmt: skip
    train = {"directory": str(earlier / "clip"), "output": str(work / "b.avatar.npz"), "preset": "draft",
             "overrides": {**TINY, "images": 200}, "device": "cpu"}  # fmt: skip
    film = {"output": str(work / "b.mp4"), "width": 64, "height": 64}
    jobs: list[tuple[str, dict[str, Any]]] = [
        *([("live", live)] if talk else []), ("train", train), ("render", {**drive, **film}),
        ("render", {**drive, "output": str(work / "pictures")}), ("export", {**drive, "output": str(work / "b.ply")}),
    ]  # fmt: skip
    for kind, params in jobs:
        ended = engine.finished(engine.start(kind, **params))
        engine.seen.clear()
        if ended["state"] != "done":
            return f"{kind} ended as {ended['state']}: {(ended.get('error') or {}).get('message')}"
    return ""


def blender_row(share: Share, earlier: Path) -> Row:
    """Renders in Blender's own Python module, with the engine beside it."""
    row = Row("long", "Blender: renders of one avatar")
    count = min(RENDERS, share.most or RENDERS)
    script = Path(__file__).with_name("in_blender_renders.py")
    seconds = max(share.left(), 20.0)
    words = [sys.executable, str(script), str(earlier), str(count), str(seconds)]
    with (share.folder / "blender.txt").open("w") as said:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=said, text=True, timeout=seconds + 300)
    both = {"blender": Vitals(0), "engine": Vitals(0)}
    for line in done.stdout.splitlines():
        name, _, numbers = line.partition(" ")
        if name in both:
            seconds_, memory, files, threads = map(float, numbers.split())
            both[name].settled.append(Vital(seconds_, memory, int(files), int(threads)))
            both[name].peak_mb = max(both[name].peak_mb, memory)
        elif name == "rendered":
            row.tried = row.survived = int(numbers)
        elif name == "wrong":
            row.bad(numbers)
    if done.returncode or not row.tried:
        row.bad(f"Blender ended with {done.returncode}: see {share.folder / 'blender.txt'}")
    _judged(row, both["engine"], share.folder / "blender-engine.md")
    _judged(row, both["blender"], share.folder / "blender.md")
    return row


def _judged(row: Row, vitals: Vitals, curve: Path) -> Row:
    """The row with what was seen, and a failure where something grew."""
    curve.write_text(vitals.curve() if vitals.settled else "", encoding="utf-8")
    row.note = "; engine: ".join(part for part in (vitals.told(), row.note) if part)
    row.peak_mb = max(row.peak_mb, vitals.peak_mb)
    if grown := vitals.grown():
        row.bad(grown)
    return row

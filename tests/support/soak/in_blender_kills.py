# SPDX-License-Identifier: Apache-2.0
"""In Blender: start the engine, give it a training, kill it at a random moment, see that Blender is well.

python in_blender_kills.py EARLIER COUNT SECONDS SEED        EARLIER: a folder with a tracked clip (steps.py)
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import bpy

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
from blender_addon.client.link import Link  # noqa: E402 (found by the path above)

TINY = {"uv_resolution": 14, "image_size": 32, "images": 400, "batch": 4, "blendshapes": 4, "mlp_width": 16}


def until(state: str, link: Link, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while link.state != state and time.monotonic() < end:
        time.sleep(0.005)
    return link.state == state


def once(folder: Path, moment: float) -> str:
    """What went wrong; empty where nothing did."""
    link = Link()
    link.start([sys.executable, "-m", "blendsplat", "serve"], folder / "engine.log", patient=False)
    try:
        link.wait_ready(120)
        job = {"directory": str(folder / "clip"), "output": str(folder / "b.avatar.npz"), "preset": "draft",
               "overrides": TINY, "device": "cpu"}  # fmt: skip
        link.request("job.start", {"kind": "train", "params": job})
        time.sleep(moment)
        os.kill(link._process.pid, signal.SIGKILL)
        if not until("failed", link, 30):
            return f"30 seconds after the kill the link is {link.state}"
        if not link.sentence:
            return "nothing was said"
    finally:
        link.stop(10)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "scene.blend"))
    return "" if "kept" in bpy.data.objects else "the scene is not what it was"


def main() -> None:
    earlier, count, seconds, seed = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    moments, begun = random.Random(seed), time.monotonic()
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("kept", None))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(earlier / "clip", folder / "clip")
        for number in range(count):
            if number and time.monotonic() - begun > seconds:
                break
            wrong = once(folder, moment := moments.uniform(0.0, 3.0))
            print(f"wrong: after {moment:.2f} s: {wrong}" if wrong else f"killed: {number}", flush=True)


main()
sys.stdout.flush()
os._exit(0)  # bpy may hang at exit

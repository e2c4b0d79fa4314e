# SPDX-License-Identifier: Apache-2.0
"""A batch's worker whose jobs take moments: a "video" is a JSON file that says what happens to it.

{"steps": of the training, "fail": a stage, "die": how often the process is killed in the middle of the training,
"shows": anything, "grows": the file while it is read}. Every job that begins leaves a line in calls.txt beside the
avatars.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.batch import worker
from blendsplat.errors import Cancelled, NoFaceError
from blendsplat.files import write_bytes, write_json, write_npz
from blendsplat.jobs import kinds
from blendsplat.progress import Progress

STEP_SECONDS = 0.02


def told(source: Path) -> dict[str, Any]:
    return json.loads(source.read_text(encoding="utf-8"))


def call(stage: str, clip: Path, output: Path) -> None:
    with open(output / "calls.txt", "a", encoding="utf-8") as file:
        file.write(f"{clip.stem.split('.')[0]} {stage}\n")


def run_import(options: Any, progress: Progress) -> dict[str, Any]:
    call("import", options.directory, options.directory.parents[1])
    asked = told(options.video)
    print("noise of a careless library", flush=True)
    if asked.get("fail") == "import":
        raise NoFaceError(f"No face was found in {options.video}.")
    if asked.get("grows"):
        options.video.write_text(json.dumps(asked) + " ")
    write_bytes(options.directory / "images" / "000000.png", str(asked.get("shows", "")).encode())
    (options.directory / "tracking.npz").unlink(missing_ok=True)
    write_json(options.directory / "clip.json", {"source": str(options.video), **asked})
    return {"frames": 1}


def run_track(options: Any, progress: Progress) -> dict[str, Any]:
    asked = told(options.directory / "clip.json")
    call("track", options.directory, Path(asked["output"]) if "output" in asked else options.directory.parents[1])
    if asked.get("fail") == "track":
        raise ZeroDivisionError("a fault of ours")
    write_bytes(options.directory / "tracking.npz", options.head.encode())
    return {"valid": 1, "notes": ["Two people are in it."]}


def run_train(options: Any, progress: Progress) -> dict[str, Any]:
    call("train", options.output, options.output.parent)
    asked = told(options.directory / "clip.json")
    checkpoint = options.output.with_suffix(".checkpoint")
    done, steps = (int(checkpoint.read_text()) if checkpoint.exists() else 0), asked.get("steps", 3)
    for step in range(done, steps):
        progress.update("train", step, steps)
        if progress.cancelled:
            raise Cancelled(f"Cancelled after {step} of {steps} images.")
        deaths = options.output.with_suffix(".deaths")
        count = int(deaths.read_text()) if deaths.exists() else 0
        if step >= steps // 2 and count < asked.get("die", 0):
            deaths.write_text(str(count + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        write_bytes(checkpoint, str(step + 1).encode())
        time.sleep(STEP_SECONDS)
    checkpoint.unlink(missing_ok=True)
    write_npz(options.output, {"trained_from": done}, {"x": np.zeros(1)})
    return {"figures": {"psnr": 28.5}, "notes": []}


if __name__ == "__main__":
    for name, work in (("import", run_import), ("track", run_track), ("train", run_train)):
        kind = kinds.KINDS[name]
        kinds.KINDS[name] = kinds.JobKind(name, kind.doing, kind.options, work)
    print("noise on standard output, before anybody could keep it apart", flush=True)
    worker.main()

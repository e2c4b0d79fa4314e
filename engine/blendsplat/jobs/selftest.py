# SPDX-License-Identifier: Apache-2.0
"""A diagnostic job that only counts: it reports, sends frames back and fails in every way that work does."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np

from blendsplat.errors import InputError
from blendsplat.jobs import options as opt
from blendsplat.progress import Progress


def run_selftest(options: opt.SelftestOptions, progress: Progress) -> dict[str, Any]:
    """Count to ``steps`` in ``seconds``; fail halfway if asked to. -> {steps}, with ``echo`` also {frames}."""
    echoed = 0
    for step in range(options.steps):
        progress.check()
        if options.fail and step >= options.steps // 2:
            _fail(options.fail)
        time.sleep(options.seconds / options.steps)
        if options.noise:
            print(options.noise)
            os.write(1, options.noise.encode())  # what a C library's printf does
        if options.preview:
            progress.preview(np.full((8, 8, 3), step % 256, np.uint8))
        if options.echo:
            echoed += _echo(progress)
        progress.update("counting", step + 1, options.steps, f"step {step + 1}", step=step + 1)
    return {"steps": options.steps, **({"frames": echoed} if options.echo else {})}


def _echo(progress: Progress) -> int:
    """Send back every frame that waits; returns how many."""
    frames = progress.frames()
    for frame in frames:
        progress.send_frame(frame.info, frame.arrays)
    return len(frames)


def _fail(how: str) -> None:
    if how == "expected":
        raise InputError("The self-test was asked to fail; start it without 'fail'.")
    if how == "memory":
        raise MemoryError
    if how == "exit":
        sys.stderr.flush()
        os._exit(86)  # as abrupt as a crash of native code
    raise RuntimeError("the self-test was asked to break")

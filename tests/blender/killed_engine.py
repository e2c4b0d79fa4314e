# SPDX-License-Identifier: Apache-2.0
"""Writes to engines that have died, a hundred times, and says that it is alive; for a plain Python or a whole Blender.

    python killed_engine.py -- COMMAND FOLDER                  with SIGPIPE's default action, as in Blender 4.3
    blender -b --python killed_engine.py -- COMMAND FOLDER     with the action that this Blender gives it

COMMAND starts the stand-in engine (see fake_engine.py), which must be deaf; FOLDER takes the logs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
import types
from pathlib import Path

import numpy as np

package = sys.modules["blender_addon"] = types.ModuleType("blender_addon")  # without its beginning, which needs bpy
package.__path__ = [str(Path(__file__).resolve().parents[2] / "blender_addon")]
from blender_addon.client.link import Link, LinkError  # noqa: E402

WRITES = 100


def until_failed(link: Link) -> None:
    end = time.monotonic() + 60
    while link.state != "failed":
        if time.monotonic() > end:
            raise TimeoutError(f"the link is still {link.state}")
        time.sleep(0.001)


def killed_while_written_to(command: list[str], folder: Path) -> None:
    """The engine reads nothing, so the first of the messages fills the pipe: its writer is in the middle of it."""
    link = Link()
    link.start(command, folder / "deaf.log")
    link.wait_ready(60)
    os.kill(link._process.pid, signal.SIGSTOP)
    for _ in range(WRITES):
        link.request("render.gaussians", {}, {"means": np.zeros(100_000, np.float32)})
    os.kill(link._process.pid, signal.SIGKILL)
    until_failed(link)
    time.sleep(0.2)  # the writer may be later than the reader, who says how it ended


def dead_before_the_first_word(folder: Path) -> None:
    """A command that ends at once, like a wrong one: hello is written to nobody."""
    link = Link()
    for _ in range(WRITES):
        link.start([shutil.which("true")], folder / "true.log", patient=False)
        until_failed(link)
    try:
        link.request("ping")
    except LinkError:
        return
    raise AssertionError("a dead engine took a request")


command, folder = sys.argv[sys.argv.index("--") + 1 :]
if "bpy" not in sys.modules:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
print("SIGPIPE:", int(signal.getsignal(signal.SIGPIPE)), flush=True)
killed_while_written_to(shlex.split(command), Path(folder))
dead_before_the_first_word(Path(folder))
print("still alive", flush=True)

# SPDX-License-Identifier: Apache-2.0
"""The real engine before a generated person: it is told his landmarks and mattes, so it needs no models. Run by the
engine's Python.

    python serve_generated.py FOLDER make      the person's video and the truth, into FOLDER
    python serve_generated.py FOLDER           the engine
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import live_source
from blendsplat.live.session import Parts
from blendsplat.serving.server import serve
from hostile_clips import Footage
from video_files import encode_video


def make(folder: Path) -> None:
    clip = live_source.plain()
    np.savez(folder / "truth.npz", images=clip.images, mattes=clip.mattes, points=clip.points)
    rows = [live_source.footage_row(number) for number in range(live_source.COUNT)]
    encode_video(folder / "talk.mp4", [clip.images[row] for row in rows])


if __name__ == "__main__":
    if sys.argv[2:] == ["make"]:
        make(Path(sys.argv[1]))
    else:
        with np.load(Path(sys.argv[1]) / "truth.npz") as told:
            clip = Footage(told["images"], told["mattes"], told["points"], None, None)
        live_source.plain = lambda: clip
        Parts.usual = classmethod(lambda *_: live_source.parts())
        serve()

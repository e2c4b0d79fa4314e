# SPDX-License-Identifier: Apache-2.0
"""Face captures of others: tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .kind import Kind, Target, finite, odd_capture, odd_csv


def _capture(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from blendsplat.exchange.captures import is_capture, read_capture

        is_capture(folder / name)
        capture = read_capture(folder / name)
        finite(capture.seconds, capture.head, *capture.values.values())
        assert (np.diff(capture.seconds) > 0).all() and len(capture.valid) == len(capture.seconds)

    return read


def _write_captures(folder: Path) -> None:
    from blendsplat.heads.arkit import ARKIT

    rng, names = np.random.default_rng(0), [name[0].upper() + name[1:] for name in ARKIT]
    rows = [
        [f"10:20:30:{frame:02d}.000", "61", *(f"{value:.4f}" for value in rng.random(len(names) + 3))]
        for frame in range(6)
    ]
    header = ["Timecode", "BlendShapeCount", *names, "HeadYaw", "HeadPitch", "HeadRoll"]
    (folder / "take.csv").write_text("\n".join(",".join(row) for row in [header, *rows]))
    table = [
        ["time", *ARKIT[:20]],
        *([f"{frame / 30:.4f}", *(f"{value:.3f}" for value in rng.random(20))] for frame in range(6)),
    ]
    (folder / "table.tsv").write_text("\n".join("\t".join(row) for row in table))
    frames = [
        {
            "time": frame / 30,
            "blendShapes": dict(zip(ARKIT, rng.random(52).tolist(), strict=False)),
            "head": {"yaw": 0.1},
        }
        for frame in range(4)
    ]
    (folder / "take.json").write_text(json.dumps({"fps": 30, "frames": frames}))
    face = {"exportFps": 60, "facsNames": list(ARKIT), "weightMat": rng.random((4, len(ARKIT))).tolist()}
    (folder / "audio.json").write_text(json.dumps(face))


KINDS = (
    Kind(
        "face capture, tables",
        _write_captures,
        (
            Target("take.csv", odd_csv, _capture("take.csv")),
            Target("table.tsv", odd_csv, _capture("table.tsv")),
        ),
    ),
    Kind(
        "face capture, JSON",
        _write_captures,
        (
            Target("take.json", odd_capture, _capture("take.json")),
            Target("audio.json", odd_capture, _capture("audio.json")),
        ),
    ),
)

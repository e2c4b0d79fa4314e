# SPDX-License-Identifier: Apache-2.0
"""What tracking needs is loaded beside an import, once a head is found, and never twice in the same engine."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from blendsplat.errors import NoFaceError
from blendsplat.fitting import vertex_offsets
from blendsplat.heads import load
from blendsplat.jobs import clip_work, options
from blendsplat.progress import Progress
from blendsplat.video import clip_import, write_mp4
from blendsplat.video.crop import Survey
from synthetic_clip import FRAMES, SIZE, head_with_neck, make_folder
from synthetic_head import make_truth


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Who asked for tracking to be loaded."""
    asked: list[str] = []
    monkeypatch.setattr(clip_work, "load_tracking", lambda: asked.append(threading.current_thread().name))
    return asked


def job(tmp_path) -> options.ImportOptions:
    write_mp4(tmp_path / "grey.mp4", iter([np.full((64, 64, 3), 128, np.uint8)] * 4), 25.0)
    return options.ImportOptions(video=tmp_path / "grey.mp4", directory=tmp_path / "clip", matte="none")


def test_nothing_is_loaded_for_a_clip_without_a_face(loads, tmp_path):
    with pytest.raises(NoFaceError):
        clip_work.run_import(job(tmp_path), Progress())
    assert not loads


def test_tracking_is_loaded_once_a_head_is_found(loads, tmp_path, monkeypatch):
    found = Survey((0, 0, 64), np.zeros(1), np.array([[8.0, 8, 56, 56]]), 1, False, 0.04)
    monkeypatch.setattr(clip_import, "survey", lambda *_: found)
    with pytest.raises(NoFaceError):  # the frames themselves show none
        clip_work.run_import(job(tmp_path), Progress())
    assert len(loads) == 1


def test_what_fails_beside_the_import_is_told_by_the_tracking(monkeypatch):
    def broken() -> None:
        raise OSError("a library is missing")

    told = []
    monkeypatch.setattr(clip_work, "import_torch", broken)
    monkeypatch.setattr(threading, "excepthook", told.append)
    clip_work.load_tracking().join(60)
    assert not told


def test_a_second_job_loads_nothing(tmp_path, monkeypatch):
    """No module, no head, no embedding, no basis; the two trackings agree to the bit."""
    head = head_with_neck()
    folders = [make_folder(tmp_path / name, head, make_truth(head, FRAMES, size=SIZE, fov=27)) for name in "ab"]
    read, made = [], []
    make = vertex_offsets._make_offset_basis
    monkeypatch.setattr(vertex_offsets, "_make_offset_basis", lambda which: made.append(which) or make(which))
    monkeypatch.setattr(load, "_read", lambda source: read.append(source) or head)
    monkeypatch.setattr(load, "_kept", {})
    results, modules = [], []
    for folder in folders:
        clip_work.run_track(options.TrackOptions(directory=folder, refine="none"), Progress())
        results.append(np.load(folder / "tracking.npz"))
        modules.append(set(sys.modules))
    assert len(read) == 1 and len(made) <= 1 and modules[0] == modules[1]
    for name in set(results[0].files) - {"meta"}:  # which tells the time it took
        np.testing.assert_array_equal(results[0][name], results[1][name], name)

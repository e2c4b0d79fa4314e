# SPDX-License-Identifier: Apache-2.0
"""Files and messages that the campaign (tests/support/soak) found to be too much for the add-on's readers."""

from __future__ import annotations

import io
import json
import queue
import struct
import zipfile

import numpy as np
import pytest
from blender_addon import formats
from blender_addon.client.inbox import Inbox
from blender_addon.client.link import EngineError, Link, LinkError

import synthetic

DEEP = "[" * 100_000 + "]" * 100_000


def test_json_nested_deeper_than_anything(tmp_path):
    (tmp_path / "fit.json").write_text(DEEP)
    with pytest.raises(formats.FileError, match="cannot be read"):
        formats.read_fit(tmp_path)
    (tmp_path / "clip.json").write_text(DEEP)
    synthetic.write_performance(tmp_path / "tracking.npz")
    with pytest.raises(formats.FileError, match="cannot be read"):
        formats.lens_of(tmp_path, formats.read_performance(tmp_path))


@pytest.mark.parametrize("width", [None, 0, "wide", float("nan")])
def test_a_lens_of_a_tracking_without_a_width(tmp_path, width):
    synthetic.write_performance(tmp_path / "tracking.npz")
    told = {"crop": [0, 0, 48], "source_size": [64, 48]}
    (tmp_path / "clip.json").write_text(json.dumps(told))
    performance = formats.read_performance(tmp_path)
    assert formats.lens_of(tmp_path, performance)[0] > 0
    performance.meta["width"] = width
    with pytest.raises(formats.FileError, match="import the video again"):
        formats.lens_of(tmp_path, performance)


def test_a_lens_of_a_picture_that_is_none(tmp_path):
    synthetic.write_performance(tmp_path / "tracking.npz")
    told = {"crop": [0, 0, 1e307], "source_size": [1, 1]}
    (tmp_path / "clip.json").write_text(json.dumps(told))
    with pytest.raises(formats.FileError, match="no picture has"):
        formats.lens_of(tmp_path, formats.read_performance(tmp_path))


@pytest.mark.parametrize("names", [0.5, 3, "names", {"a": 1}])
def test_names_that_are_no_list_are_numbers(tmp_path, names):
    meta, arrays = synthetic.grid_head()
    count = len(arrays["rig.expression_directions"])
    rig = formats.rig_from(meta | {"expression_names": names}, arrays, tmp_path)
    assert rig.expression_names == tuple(f"expression {number + 1:02d}" for number in range(count))


@pytest.mark.parametrize("bounds", [0.5, [1.0], ["low", "high"], None])
def test_a_range_that_is_none(tmp_path, bounds):
    meta, arrays = synthetic.grid_head()
    with pytest.raises(formats.FileError, match="range of expressions"):
        formats.rig_from(meta | {"expression_range": bounds}, arrays, tmp_path)


def test_corrections_of_another_head_take_no_more(tmp_path):
    synthetic.write_performance(tmp_path / "tracking.npz")
    performance = formats.read_performance(tmp_path)
    count = len(performance.meta["expression_names"])
    sizes = {"neck_pose": 3, "jaw_pose": 3, "eyes_pose": (2, 3), "eyelids": 2, "translation": 3, "expression": count}
    frame = {name: np.zeros(size) for name, size in sizes.items()}
    added = formats.add_correction(tmp_path, performance, 0, frame, np.ones(15 + count, bool))
    added.rename(tmp_path / "corrections.npz")
    wider = frame | {"expression": np.zeros(count + 1)}
    with pytest.raises(formats.FileError, match="another head"):
        formats.add_correction(tmp_path, performance, 1, wider, np.ones(16 + count, bool))
    with pytest.raises(formats.FileError, match="another head"):
        formats.add_correction(tmp_path, performance, 1, frame, np.ones(3, bool))


@pytest.mark.parametrize("warnings", [3, 0.5, "text", {"a": 1}])
def test_a_fit_whose_warnings_are_no_list(tmp_path, warnings):
    (tmp_path / "fit.json").write_text(json.dumps({"format": formats.FIT, "version": 1, "warnings": warnings}))
    (tmp_path / "photograph.jpg").write_bytes(b"")
    synthetic.write_performance(tmp_path / "tracking.npz")
    with pytest.raises(formats.FileError, match="no list"):
        formats.read_fit(tmp_path)


def test_archives_that_are_none(tmp_path):
    path = tmp_path / "tracking.npz"
    synthetic.write_performance(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("text.npy", b"text")
    with pytest.raises(formats.FileError, match="damaged"):
        formats.read_performance(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("x", "w") as file:
        for _ in range(200):
            file.write(bytes(2**20))
    with pytest.raises(formats.FileError, match="fill the memory"):
        formats.read_performance(path)


def test_what_a_sentence_quotes_can_be_shown():
    error = formats.FileError("The file 'a\nb\x00\udcff' " + "x" * 5000 + " is damaged.")
    assert str(error).isprintable() and len(str(error)) < 1100 and str(error).endswith("is damaged.")


class _Process:
    returncode, stdin = 0, None

    def __init__(self, *bodies):
        texts = [json.dumps(body).encode() for body in bodies]
        self.stdout = io.BytesIO(b"".join(struct.pack("<IQ", len(text), 0) + text for text in texts))

    def wait(self, timeout=None):
        return 0

    poll = terminate = kill = wait


@pytest.mark.parametrize("identity", [[1], {"a": 1}, True, 1.5, None])
def test_an_answer_to_nobody_does_not_end_the_reader(identity):
    """Its thread ended, and Blender waited for the engine's silence instead of the answer."""
    link, inbox = Link(), Inbox()
    link._process = process = _Process({"id": identity, "result": {}}, {"id": 1, "result": {"time": 3}})
    link.state = "ready"
    pending = link._post("ping", {}, {})
    link._read_loop(process, queue.Queue(), inbox)
    assert pending.result()[0] == {"time": 3}


@pytest.mark.parametrize(
    "error", ["text", [], {}, {"message": ""}, {"message": None}, {"message": {}}, {"message": "\n", "data": []}, True]
)
def test_an_engine_that_fails_without_words(error):
    link = Link()
    link._process = process = _Process({"id": 1, "error": error})
    link.state = "ready"
    pending = link._post("ping", {}, {})
    link._read_loop(process, queue.Queue(), Inbox())
    with pytest.raises(EngineError, match="without saying why"):
        pending.result()


def test_notifications_of_odd_kinds_are_nobodys():
    link, inbox = Link(), Inbox()
    bodies = [
        {"method": 3}, {"method": ["job.progress"]}, {"method": "job.progress", "params": [1]},
        {"method": "job.progress", "params": {"job": "job-1"}}, {"method": "job.finished"},
    ]  # fmt: skip
    link._process = process = _Process(*bodies)
    link.state = "ready"
    with pytest.raises(LinkError):
        link._read_loop(process, queue.Queue(), inbox)
        link.wait_ready()
    assert [inbox.get_nowait().body for _ in range(inbox.qsize())] == [
        {"method": "job.progress", "params": {"job": "job-1"}}, {"method": "job.finished", "params": {}},
    ]  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""Sources: which words mean which, what a file gives as a camera, and sentences for those that fail."""

from __future__ import annotations

import errno
from pathlib import Path

import av
import numpy as np
import pytest

import blendsplat.live.cameras as cameras
from blendsplat.errors import InputError, VideoError
from blendsplat.live.cameras import linux_device, list_cameras, open_source
from blendsplat.live.capture import DeviceCapture, FileCapture, Picture, refusal
from blendsplat.video import write_mp4

COUNT = 6


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six greys, 50 a second."""
    path = tmp_path_factory.mktemp("video ü") / "0.mp4"
    write_mp4(path, [np.full((32, 48, 3), 40 * number, np.uint8) for number in range(COUNT)], 50.0)
    return path


def pictures(capture: FileCapture | DeviceCapture, most: int = 100) -> list[Picture]:
    taken: list[Picture] = []
    while len(taken) < most and (picture := capture.read()) is not None:
        taken.append(picture)
    return taken


def test_a_file_is_read_whole(video: Path) -> None:
    capture = open_source(str(video), paced=False)
    taken = pictures(capture)
    assert (capture.total, capture.live, len(taken)) == (COUNT, False, COUNT)
    assert [round(float(one.image.mean()) / 40) for one in taken] == list(range(COUNT))
    assert [one.seconds for one in taken] == pytest.approx([number / 50 for number in range(COUNT)])
    assert not any(one.again for one in taken)


def test_a_looped_file_goes_on_and_says_what_is_not_new(video: Path) -> None:
    capture = open_source(str(video), paced=False, loop=True)
    taken = pictures(capture, 3 * COUNT)
    assert capture.total == 0 and [one.again for one in taken] == [False] * COUNT + [True] * 2 * COUNT
    assert np.diff([one.seconds for one in taken]) == pytest.approx(1 / 50, abs=1e-6)
    capture.close()
    assert capture.read() is None


def test_a_paced_file_keeps_its_own_time(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture, waits = open_source(str(video)), []
    monkeypatch.setattr(capture._closed, "wait", waits.append)
    monkeypatch.setattr("time.monotonic", lambda: 100.0 + 0.05 * len(waits))
    taken = pictures(capture)
    assert capture.live and len(taken) == COUNT
    assert waits == pytest.approx([max(0.0, number / 50 - 0.05 * number) for number in range(COUNT)], abs=1e-6)


def test_ffmpeg_reads_a_device(video: Path) -> None:
    """The same reader that opens cameras, on something every machine has."""
    capture = DeviceCapture("The test picture", "testsrc=size=64x48:rate=25:duration=0.4", "lavfi")
    taken = pictures(capture)
    capture.close()
    assert len(taken) == 10 and taken[0].image.shape == (48, 64, 3) and taken[0].seconds == 0
    assert all(np.diff([one.seconds for one in taken]) > 0) and capture.live
    with pytest.raises(VideoError, match="sends no pictures"):
        DeviceCapture("The hum", "sine=duration=0.1", "lavfi")


def test_what_a_source_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, str, str | None]] = []
    monkeypatch.setattr(cameras, "DeviceCapture", lambda name, url, format, options: opened.append((name, url, format)))
    monkeypatch.setattr(cameras, "list_cameras", lambda: [{"source": "/dev/video2", "name": "Fancy Cam"}])
    for system, source, url, kind in (
        ("linux", "0", "/dev/video0", "v4l2"), ("linux", "fancy", "/dev/video2", "v4l2"),
        ("linux", "/dev/video9", "/dev/video9", "v4l2"), ("darwin", "1", "1:none", "avfoundation"),
        ("darwin", "FaceTime", "FaceTime:none", "avfoundation"), ("win32", "Cam", "video=Cam", "dshow"),
        ("win32", "0", "video=Fancy Cam", "dshow"), ("linux", " rtsp://a/b ", "rtsp://a/b", None),
    ):  # fmt: skip
        monkeypatch.setattr("sys.platform", system)
        open_source(source)
        assert opened.pop()[1:] == (url, kind)
    with pytest.raises(InputError, match=r"no camera or file 'no such'.*Fancy Cam \(/dev/video2\)"):
        linux_device("no such", cameras.list_cameras())
    with pytest.raises(InputError, match=r"missing\.mp4 does not exist"):
        open_source(str(tmp_path / "missing.mp4"))
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(InputError, match="no camera number 3; cameras here: Fancy Cam"):
        open_source("3")


def test_cameras_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, title, index in (("video10", "Ten", "0"), ("video0", "Zero ü", "0"), ("video1", "Zero ü", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(title + "\n", encoding="utf-8")
        (tmp_path / name / "index").write_text(index)
    (tmp_path / "video2").mkdir()
    monkeypatch.setattr("sys.platform", "linux")
    assert list_cameras(tmp_path) == [
        {"source": "/dev/video0", "name": "Zero ü"}, {"source": "/dev/video2", "name": "video2"},
        {"source": "/dev/video10", "name": "Ten"},
    ]  # fmt: skip
    assert list_cameras(tmp_path / "none") == []
    monkeypatch.setattr("sys.platform", "darwin")
    assert {camera["source"] for camera in list_cameras()} >= {"0", "1"}  # FFmpeg here knows no such system


def test_failures_say_what_helps() -> None:
    for error, words in (
        (OSError(errno.EBUSY, "busy"), "in use by another program"), (OSError(errno.EACCES, "no"), "may not open"),
        (OSError(errno.ENOENT, "no"), "plug it in"), (OSError(errno.ETIMEDOUT, "no"), "sends nothing"),
        (av.error.ExitError(0, "x"), "sends nothing"), (ValueError("odd"), "cannot be read (odd)"),
    ):  # fmt: skip
        assert words in refusal("The camera A", error)
    with pytest.raises(VideoError, match="is not there; plug it in"):
        open_source("/dev/video987")
    with pytest.raises(VideoError, match="The stream cannot be read"):
        DeviceCapture("The stream", "no-protocol://127.0.0.1:1")

# SPDX-License-Identifier: Apache-2.0
"""Captures from any program: separators, names, times, units, gaps, and what is said of files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendsplat.errors import FormatError
from blendsplat.exchange.arkit_table import plain
from blendsplat.exchange.capture import Capture, missing_frames, to_performance
from blendsplat.exchange.captures import is_capture, read_capture
from blendsplat.exchange.timecodes import clock_seconds, timecode_seconds
from blendsplat.heads.arkit import ARKIT
from blendsplat.heads.load import load_head

FEW = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight", "browInnerUp")


def table(
    path: Path, rows: list[list[Any]], names: tuple[str, ...] = FEW, separator: str = ",", encoding: str = "utf-8"
) -> Path:
    lines = [separator.join(names), *(separator.join(str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def row(**values: float) -> list[float]:
    return [values.get(name, 0.0) for name in FEW]


THREE = [row(), row(jawOpen=0.5, eyeBlinkLeft=0.25), row(jawOpen=1.0)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_separator(tmp_path: Path, separator: str, encoding: str) -> None:
    read = read_capture(table(tmp_path / "a.csv", THREE, separator=separator, encoding=encoding))
    np.testing.assert_array_equal(read.values["jawOpen"], [0, 0.5, 1])
    np.testing.assert_array_equal(read.values["eyeBlinkLeft"], [0, 0.25, 0])
    np.testing.assert_allclose(read.seconds, [0, 1 / 60, 2 / 60])
    assert read.valid.all() and not read.head.any() and read.eyes is None


def test_a_decimal_comma_beside_semicolons(tmp_path: Path) -> None:
    rows = [[str(cell).replace(".", ",") for cell in line] for line in THREE]
    path = table(tmp_path / "komma ü.csv", rows, separator=";")
    np.testing.assert_array_equal(read_capture(path).values["jawOpen"], [0, 0.5, 1])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("EYEBLINKLEFT", "eyeblinkleft"), ("eyeBlink_L", "eyeblinkleft"), ("Mouth_Smile_R", "mouthsmileright"),
        (" jaw-open ", "jawopen"), ("eyeBlink.R", "eyeblinkright"), ("HeadYaw (deg)", "headyaw"),
        ("head_pitch_degrees", "headpitch"), ("HeadRollRad", "headroll"), ("Time [s]", "time"),
        ("mouthLeft", "mouthleft"),
    ],
)  # fmt: skip
def test_names(given: str, meant: str) -> None:
    assert plain(given) == meant


def test_every_name_survives() -> None:
    """No two of ARKit's names become one, however they are written."""
    assert len({plain(name) for name in ARKIT}) == len(ARKIT)
    assert {plain(name.replace("Left", "_L").replace("Right", "_R")) for name in ARKIT} == {plain(n) for n in ARKIT}


@pytest.mark.parametrize(
    ("name", "cells", "fps", "want"),
    [
        ("time", ["0.5", "0.54", "0.58"], None, [0, 0.04, 0.08]),
        ("Timestamp", ["100", "140", "180"], None, [0, 0.04, 0.08]),  # milliseconds
        ("timestamp", ["1700000000000000", "1700000000040000", "1700000000080000"], None, [0, 0.04, 0.08]),
        ("Timecode", ["00:00:01:00", "00:00:01:15", "00:00:02:00"], None, [0, 0.5, 1]),
        ("Timecode", ["00:00:01:00", "00:00:01:45", "00:00:02:00"], None, [0, 0.75, 1]),
        ("Timecode", ["00:00:01:00", "00:00:01:12", "00:00:02:00"], 24, [0, 0.5, 1]),
        ("Timecode", ["00:00:01.25", "00:00:01.5", "00:00:01.75"], None, [0, 0.25, 0.5]),
        ("Timecode", ["1.25", "1.5", "1.75"], None, [0, 0.25, 0.5]),
        ("frame", ["7", "8", "11"], 25, [0, 0.04, 0.16]),
        ("Frame_Number", ["7", "8", "11"], 29.97, np.array([0, 1, 4]) / 29.97),
    ],
)
def test_times(tmp_path: Path, name: str, cells: list[str], fps: float | None, want: list[float]) -> None:
    rows = [[cell, *line] for cell, line in zip(cells, THREE, strict=True)]
    read = read_capture(table(tmp_path / "a.csv", rows, (name, *FEW)), fps)
    np.testing.assert_allclose(read.seconds, want, atol=1e-9)
    assert not any("nothing of time" in note for note in read.notes)


def test_timecodes_of_2997(tmp_path: Path) -> None:
    """Without drop-frame they run slow; with it the tenth minute is where the clock is (SMPTE ST 12)."""
    plainly = timecode_seconds(tmp_path, ["00:00:00:00", "00:00:01:00"], 30 / 1.001)
    np.testing.assert_allclose(np.diff(plainly), 1.001)
    dropped = timecode_seconds(tmp_path, ["00:00:59;29", "00:01:00;02", "00:10:00;00"], 30 / 1.001)
    np.testing.assert_allclose(np.diff(dropped)[0], 1.001 / 30)
    np.testing.assert_allclose(dropped[2], 17982 * 1.001 / 30)
    beyond = timecode_seconds(tmp_path, ["00:00:00:00", "00:00:00:29", "00:00:01:00"], 24)
    np.testing.assert_allclose(np.diff(beyond), [29 / 30, 1 / 30], err_msg="24 would make them run backwards")
    with pytest.raises(FormatError, match="timecode"):
        timecode_seconds(tmp_path, ["1:2:3:4", "1:2"])


def test_a_clock_of_one_frame() -> None:
    np.testing.assert_array_equal(clock_seconds(np.array([12345.0])), [0])


def test_gaps_and_repeated_times(tmp_path: Path) -> None:
    times = [0, 0.02, 0.02, 0.04, 0.10, 0.12]
    rows = [[time, *row(jawOpen=index / 10)] for index, time in enumerate(times)]
    read = read_capture(table(tmp_path / "a.csv", rows, ("time", *FEW)))
    np.testing.assert_allclose(read.seconds, [0, 0.02, 0.04, 0.10, 0.12])
    np.testing.assert_allclose(read.values["jawOpen"], [0, 0.1, 0.3, 0.4, 0.5])
    assert any("1 rows have the time" in note for note in read.notes)
    assert any("2 frames are missing" in note for note in read.notes)
    assert missing_frames(np.arange(5.0)) == 0
    backwards = table(tmp_path / "b.csv", [[1, *row()], [0.5, *row()]], ("time", *FEW))
    with pytest.raises(FormatError, match="frame 2 is earlier"):
        read_capture(backwards)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    read = read_capture(table(tmp_path / "a.csv", THREE))
    assert any("no column for" in note and "browDownLeft" in note for note in read.notes)
    with pytest.raises(FormatError, match=r"names 2 of ARKit's 52 .*'jawOpen', 'mouthSmileLeft', 'x'"):
        read_capture(table(tmp_path / "b.csv", [[0, 0, 0]], ("jawOpen", "mouthSmileLeft", "x")))


def test_units_are_guessed_and_said(tmp_path: Path) -> None:
    names = ("HeadYaw", "HeadPitch", *FEW)
    percent = read_capture(table(tmp_path / "a.csv", [[30, -10, *row(jawOpen=80)], [0, 0, *row()]], names))
    np.testing.assert_allclose(percent.values["jawOpen"], [0.8, 0])
    np.testing.assert_allclose(percent.head[0], np.radians([30, -10, 0]))
    assert any("percent" in note for note in percent.notes) and any("degrees" in note for note in percent.notes)
    plainly = read_capture(table(tmp_path / "b.csv", [[0.3, -0.1, *row(jawOpen=1.2)]], names))
    np.testing.assert_allclose(plainly.head[0], [0.3, -0.1, 0])
    assert plainly.values["jawOpen"][0] == 1.2 and not any("taken for" in note for note in plainly.notes)
    small = read_capture(table(tmp_path / "c.csv", [[2, 0, *row()]], ("HeadYaw(deg)", "HeadPitch", *FEW)))
    np.testing.assert_allclose(small.head[0], np.radians([2, 0, 0]))


def test_the_head_and_eyes_turn_where_they_should(tmp_path: Path) -> None:
    names = ("HeadYaw", "LeftEyeYaw", "LeftEyePitch", "RightEyeYaw", "RightEyePitch", *FEW)
    read = read_capture(table(tmp_path / "a.csv", [[0.3, -0.2, 0.1, -0.2, 0.1, *row()]], names))
    head = load_head("human", landmarks=False)
    played = to_performance(read, head, "human", np.eye(3), np.eye(4), (64, 64))
    np.testing.assert_allclose(played.neck_pose[0], [0, -0.3, 0], atol=1e-6)
    np.testing.assert_allclose(played.eyes_pose[0], [[0.1, 0.2, 0]] * 2, atol=1e-6)
    looking = (*names, "eyeLookOutLeft")
    told = read_capture(table(tmp_path / "b.csv", [[0.3, -0.2, 0.1, -0.2, 0.1, *row(), 1.0]], looking))
    assert told.eyes is None, "coefficients tell the gaze where there are any"


def test_a_face_that_was_lost(tmp_path: Path) -> None:
    rows = [[0, *row(jawOpen=0.2)], [1, *[""] * len(FEW)], [2], [3, *row(jawOpen=0.6)]]
    read = read_capture(table(tmp_path / "a.csv", rows, ("frame", *FEW)), 25)
    assert read.valid.tolist() == [True, False, False, True]
    head = load_head("human", landmarks=False)
    played = to_performance(read, head, "human", np.eye(3), np.eye(4), (64, 64))
    np.testing.assert_allclose(played.jaw_pose[:, 0] / played.jaw_pose[0, 0], [1, 1, 3, 3], rtol=1e-5)
    with pytest.raises(FormatError, match="a face in none of its 2 frames"):
        read_capture(table(tmp_path / "b.csv", [rows[1], rows[2]], ("frame", *FEW)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"# nothing but words\n\n", "is empty"),
        (",".join(FEW).encode(), "no frame"),
        (b"\x00\x01\x02\x03" * 100, "no text"),
        (b"\x89PNG\r\n\xff\xfe", "cannot be read"),
        (",".join(FEW).encode() + b"\n0,nan,0,0,0,0\n", "line 2 holds 'nan' for mouthSmileLeft"),
        (",".join(FEW).encode() + b"\n0,inf,0,0,0,0\n", "line 2 .*mouthSmileLeft"),
        (b"# made by x\n" + ",".join(FEW).encode() + b"\n0,0,0,0,0,0\n0,0,much,0,0,0\n", "line 4 holds 'much'"),
        (",".join(FEW).encode() + b"\n0,0,,0,0,0\n", "line 2 holds nothing for mouthSmileRight"),
        (b"a,b,c\n1,2,3\n", "names 0 of ARKit's 52"),
        (("time," + ",".join(FEW)).encode() + b"\nsoon,0,0,0,0,0,0\n", "'soon' for time"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=says) as caught:
        read_capture(path)
    assert "a.csv" in caught.value.sentence


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def objects() -> list[dict[str, float]]:
    return [dict(zip(FEW, line, strict=True)) for line in THREE]


@pytest.mark.parametrize(
    "content",
    [
        {"fps": 25, "names": FEW, "frames": THREE},
        {"exportFps": 25.0, "facsNames": FEW, "numFrames": 3, "weightMat": THREE},
        {"fps": 25, "frames": objects()},
        [{"time": index / 25, **one} for index, one in enumerate(objects())],
        [{"timestamp": index * 40, "blendShapes": one} for index, one in enumerate(objects())],
        {"frame_rate": 25, "blendShapeNames": FEW, "frames": [{"weights": line} for line in THREE]},
    ],
)
def test_json_of_any_shape(tmp_path: Path, content: object) -> None:
    read = read_capture(written(tmp_path / "a.json", content))
    np.testing.assert_array_equal(read.values["jawOpen"], [0, 0.5, 1])
    np.testing.assert_array_equal(read.values["eyeBlinkLeft"], [0, 0.25, 0])
    np.testing.assert_allclose(read.seconds, [0, 0.04, 0.08])
    assert not any("nothing of time" in note for note in read.notes)


def test_json_with_a_head_and_lost_frames(tmp_path: Path) -> None:
    frames = [{"time": 0, **objects()[1], "head": {"yaw": 0.2}}, {"time": 1}, {"time": 2, **objects()[2]}]
    read = read_capture(written(tmp_path / "a.json", frames))
    assert read.valid.tolist() == [True, False, True]
    np.testing.assert_allclose(read.head[:, 0], [0.2, 0, 0])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "no frame"),
        ("{", "damaged or no JSON"),
        ("\0\0", "damaged or no JSON"),
        ("3", "no performance"),
        ('{"frames": 3}', "no performance"),
        ('{"names": [1], "frames": []}', "no performance"),
        ("[[1, 2]]", "neither objects nor lists"),
        ('{"names": ["jawOpen"], "frames": [[1, 2]]}', "frame 1 has 2 values for 1 names"),
        ('{"fps": -1, "frames": []}', "-1 frames a second"),
        ('{"fps": "fast", "frames": []}', "'fast' frames a second"),
        ('[{"jawOpen": 1}]', "names 1 of ARKit's 52"),
        (json.dumps([{**dict.fromkeys(FEW, 0), "jawOpen": True}]), "frame 1 holds 'True' for jawOpen"),
        (json.dumps([{**dict.fromkeys(FEW, 0), "jawOpen": float("nan")}]), "frame 1 holds nan for jawOpen"),
        ("[" * 100_000, "damaged or no JSON"),
    ],
)
def test_json_that_is_none(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=says):
        read_capture(path)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.fbx").write_bytes(b"Kaydara")
    assert not is_capture(tmp_path / "a.fbx") and not is_capture(tmp_path)
    with pytest.raises(FormatError, match="neither a take of Live Link Face"):
        read_capture(tmp_path / "a.fbx")
    with pytest.raises(FormatError, match="There is no file"):
        read_capture(tmp_path / "gone.csv")


def test_a_take_of_live_link_face_without_a_column(tmp_path: Path) -> None:
    """It is read as a table then, and what is missing is said."""
    names = ("Timecode", "BlendShapeCount", *(name[:1].upper() + name[1:] for name in ARKIT if name != "cheekPuff"))
    cells = [["01:00:00:00.1", 61, *[0.5] * (len(names) - 2)], ["01:00:00:30.1", 61, *[0.5] * (len(names) - 2)]]
    read = read_capture(table(tmp_path / "a.csv", cells, names))
    assert [note for note in read.notes if "cheekPuff, which stays at rest" in note]
    np.testing.assert_allclose(read.seconds, [0, 0.5])


def test_the_same_take_in_every_format(tmp_path: Path) -> None:
    """A random take, written as a table and as JSON, is the same capture."""
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 1, (20, len(ARKIT))).round(6)
    times = np.cumsum(rng.uniform(0.01, 0.05, 20)).round(6)
    rows = [[time, *line] for time, line in zip(times.tolist(), values.tolist(), strict=True)]
    one = read_capture(table(tmp_path / "a.csv", rows, ("time", *ARKIT)))
    other = read_capture(written(tmp_path / "a.json", {"names": ["time", *ARKIT], "frames": rows}))
    assert isinstance(one, Capture) and set(one.values) == set(other.values) == set(ARKIT)
    np.testing.assert_allclose(one.seconds, times - times[0])
    np.testing.assert_array_equal(one.seconds, other.seconds)
    for column, name in enumerate(ARKIT):
        np.testing.assert_array_equal(one.values[name], values[:, column])
        np.testing.assert_array_equal(other.values[name], values[:, column])

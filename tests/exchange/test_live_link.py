# SPDX-License-Identifier: Apache-2.0
"""A phone's capture as a performance: names, angles, times, and what is said of files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blendsplat.errors import FormatError
from blendsplat.exchange.live_link import read_live_link
from blendsplat.heads.arkit import ARKIT, JAW_OPEN_ANGLE
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance

ANGLES = ("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw")
NAMES = ("Timecode", "BlendShapeCount", *(name[:1].upper() + name[1:] for name in ARKIT), *ANGLES)


@pytest.fixture(scope="module", name="human")
def human_head() -> HeadModel:
    return load_head("human", landmarks=False)


def take(path: Path, rows: list[dict[str, float]], codes: list[str] | None = None) -> Path:
    codes = codes or [f"23:59:59:{index * 20:02d}.000" for index in range(len(rows))]
    lines = [",".join(NAMES)]
    for code, row in zip(codes, rows, strict=True):
        lines.append(",".join([code, "61", *(f"{row.get(name, 0.0):.6f}" for name in NAMES[2:])]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path, head: HeadModel) -> Performance:
    return read_live_link(path, head, "human", np.eye(3), np.eye(4), (64, 48))


def test_names_become_shapes_and_turns(human: HeadModel, tmp_path: Path) -> None:
    rows = [
        {},
        {"MouthSmileLeft": 0.5, "JawOpen": 0.5},
        {"EyeLookOutLeft": 1.0, "EyeLookInRight": 1.0, "HeadYaw": -0.3},
    ]
    read_back = read(take(tmp_path / "a.csv", rows), human)
    smile = human.expression_names.index("mouthSmileLeft")
    np.testing.assert_allclose(read_back.expression[:, smile], [0, 0.5, 0])
    assert np.count_nonzero(read_back.expression) == 1
    np.testing.assert_allclose(read_back.jaw_pose[:, 0], [0, 0.5 * JAW_OPEN_ANGLE, 0], rtol=1e-6)
    assert (read_back.eyes_pose[2, :, 1] > 0.4).all(), "both eyes to the person's left"
    np.testing.assert_allclose(read_back.neck_pose[2], [0, 0.3, 0], atol=1e-6)
    assert (read_back.width, read_back.height) == (64, 48) and read_back.head_model == human.model_id
    read_back.save(tmp_path / "b.npz")
    np.testing.assert_array_equal(Performance.load(tmp_path / "b.npz").expression, read_back.expression)


def test_times(human: HeadModel, tmp_path: Path) -> None:
    """Frames count to 60 where one is above 29; a take may go past midnight."""
    codes = ["23:59:59:30.000", "23:59:59:59.500", "00:00:00:15.000"]
    times = read(take(tmp_path / "a.csv", [{}, {}, {}], codes), human).timestamps
    np.testing.assert_allclose(times, [0, 29.5 / 60, 45 / 60], atol=1e-6)
    slow = read(take(tmp_path / "b.csv", [{}, {}], ["01:00:00:00.0", "01:00:01:15.0"]), human).timestamps
    np.testing.assert_allclose(slow, [0, 1.5])


def test_frames_without_a_face_hold_their_neighbours(human: HeadModel, tmp_path: Path) -> None:
    path = take(tmp_path / "a.csv", [{"MouthFunnel": 0.2}, {}, {"MouthFunnel": 0.9}])
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] = ",".join(lines[2].split(",")[:2])
    path.write_text("\n".join(lines), encoding="utf-8")
    got = read(path, human)
    assert got.valid.tolist() == [True, False, True]
    np.testing.assert_allclose(got.expression[:, human.expression_names.index("mouthFunnel")], [0.2, 0.2, 0.9])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "", "no take"),
        (lambda text: "a,b\n1,2\n", "no take"),
        (lambda text: text.splitlines()[0], "no frame"),
        (lambda text: text.replace("0.000000", "nan", 1), "line 2"),
        (lambda text: text.replace("0.000000", "x", 1), "line 2"),
        (lambda text: text.replace("23:59:59:00.000", "soon"), "timecode"),
        (lambda text: "\0\0\0", "no take|cannot be read"),
    ],
)
def test_what_is_none(human: HeadModel, tmp_path: Path, change: Callable[[str], str], says: str) -> None:
    path = take(tmp_path / "a.csv", [{}])
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(FormatError, match=says):
        read(path, human)
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(FormatError, match=r"a\.csv"):
        read(path, human)


def test_a_real_take(human: HeadModel, test_data: Callable[[str], Path]) -> None:
    got = read(test_data("retarget/alex_rom_3.csv"), human)
    assert got.frame_count > 4000 and got.valid.all() and 130 < got.timestamps[-1] < 138
    assert 0.9 < np.median(np.diff(got.timestamps)) * 30 < 1.1 and got.expression.max() <= 1.0

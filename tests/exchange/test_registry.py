# SPDX-License-Identifier: Apache-2.0
"""The formats side by side: what is recognised, what is refused, and that one line adds a format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blendsplat.errors import FormatError, InputError
from blendsplat.exchange import registry
from blendsplat.exchange.format import Format, Recording, checked, parameter_rows
from blendsplat.exchange.recording import write_recording
from blendsplat.heads.model import HeadModel
from blendsplat.progress import Progress


def recording(folder: Path, frames: int = 2, **changes) -> Recording:
    """A head that does nothing before a camera a metre away."""
    still = np.zeros((frames, 3))
    viewmats = np.repeat(np.diag([1.0, -1.0, -1.0, 1.0])[None], frames, 0)
    viewmats[:, 2, 3] = 1
    arrays = {
        "shape": np.zeros(8), "offsets": None, "expression": np.zeros((frames, 7)), "root": still, "neck": still,
        "jaw": still, "eyes": np.zeros((frames, 2, 3)), "eyelids": np.zeros((frames, 2)), "translation": still,
        "K": np.repeat(np.diag([50.0, 50.0, 1.0])[None], frames, 0), "viewmats": viewmats,
    }  # fmt: skip
    return Recording("a test", [folder / f"{i}.png" for i in range(frames)], [None] * frames, **(arrays | changes))


def read_dots(folder: Path) -> Recording:
    for index in range(2):
        Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(folder / f"{index}.png")
    return checked(recording(folder), folder)


def test_a_new_format_is_one_line(head: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dots = Format("dots", "a folder of dots (it has dots.txt)", lambda f: (f / "dots.txt").is_file(), read_dots)
    monkeypatch.setitem(registry.FORMATS, dots.name, dots)
    source = tmp_path / "dots"
    source.mkdir()
    (source / "dots.txt").write_text("")
    clip, performance = registry.import_recording(source, tmp_path / "clip", head, matte="none")
    assert clip.frame_count == performance.frame_count == 2 and not clip.has_mattes
    assert performance.head_model == head.model_id and clip.info.notes == ["Tracked by a test."]
    with pytest.raises(InputError, match="'dots' cannot be written; choose vhap"):
        registry.export_recording("dots", tmp_path / "clip", tmp_path / "out")
    with pytest.raises(InputError, match="'other' cannot be written"):
        registry.export_recording("other", tmp_path / "clip", tmp_path / "out")


def test_a_recording_without_mattes_gets_them(head: HeadModel, tmp_path: Path, test_data) -> None:
    """Pictures without alpha are no pictures without a background: that was learned as a ring around the head."""
    with Image.open(test_data("images/astronaut.png")) as portrait:
        picture = portrait.convert("RGB").resize((256, 256))
    for index in range(2):
        picture.save(tmp_path / f"{index}.png")
    taken = recording(tmp_path)
    clip, _ = write_recording(taken, tmp_path, tmp_path / "clip", head, "test", None, False, Progress())
    matte = clip.matte(0)
    assert clip.info.matte == "mediapipe-selfie" and matte[60, 112] == 255 and matte[5:60, 190:].max() < 20
    assert "The recording has no mattes; they were found in its pictures." in clip.info.notes


def test_what_no_format_knows_is_refused_with_what_is_known(head: HeadModel, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"neither VHAP's export .*transforms\.json.* nor metrical-tracker's"):
        registry.import_recording(tmp_path, tmp_path / "clip", head)
    assert not (tmp_path / "clip").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 0}, "no frames"),
        ({"shape": np.zeros(0)}, "shape is empty"),
        ({"expression": np.zeros((2, 0))}, "expression is empty"),
        ({"offsets": np.zeros((0, 3))}, "offsets is empty"),
        ({"jaw": np.zeros((3, 3))}, "jaw of 3 frames"),
        ({"eyelids": np.full((2, 2), np.nan)}, "eyelids is empty or not finite in frame 0"),
        ({"neck": np.array([[0, 0, 0], [0, np.nan, 0]])}, "neck is empty or not finite in frame 1;"),
        ({"K": np.zeros((2, 3, 3))}, "focal lengths"),
        ({"size": (0, 4)}, "size"),
    ],
)
def test_empty_and_broken_recordings_are_refused(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        checked(recording(tmp_path, **change), tmp_path)
    assert checked(recording(tmp_path), tmp_path).made_by == "a test"


def test_rows_of_other_lengths_are_named() -> None:
    with pytest.raises(ValueError, match="jaw has 2 values instead of 3"):
        parameter_rows([{"jaw": np.zeros(2)}], "jaw", 3)
    with pytest.raises(ValueError, match="expr has 0 values"):
        parameter_rows([{"expr": np.zeros(0)}], "expr")

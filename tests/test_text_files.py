# SPDX-License-Identifier: Apache-2.0
"""Text files as editors of other systems write them: other line endings, a mark before the text, another encoding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendsplat.errors import BlendsplatError
from blendsplat.evaluation.scans import read_landmarks
from blendsplat.exchange.captures import read_capture
from blendsplat.exchange.live_link import is_live_link
from blendsplat.files import read_json
from blendsplat.heads.obj import read_obj
from blendsplat.systems import load_preset

POINTS = "".join(f"{x} {x * x} {x % 3}\n" for x in range(7))
NAMES = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "browInnerUp", "mouthClose")
CAPTURE = json.dumps({"fps": 30, "frames": [dict.fromkeys(NAMES, 0.1)]})
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "a.json": ('{"name": "Zoë",\n "list": [1, 2]}\n', read_json),
    "take.json": (CAPTURE.replace(", ", ",\n") + "\n", lambda path: read_capture(path).values["jawOpen"]),
    "mine.toml": ('title = "Zoë"\nimages = 2000\nsystem = "rgbavatar"\n', lambda path: load_preset(path).title),
    "points.txt": (POINTS, read_landmarks),
    "head.obj": ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", lambda path: read_obj(path).vertices),
}
WAYS: dict[str, Callable[[str], bytes]] = {
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "both, and no line end": lambda text: b"\xef\xbb\xbf" + text.strip().replace("\n", "\r\n").encode(),
}


def alike(one: Any, other: Any) -> bool:
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("way", WAYS)
def test_line_endings_and_a_mark_change_nothing(tmp_path: Path, name: str, way: str) -> None:
    text, read = READERS[name]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / name).write_bytes(text.encode())
    (tmp_path / name).write_bytes(WAYS[way](text))
    assert alike(read(tmp_path / name), read(tmp_path / "plain" / name))


@pytest.mark.parametrize("name", READERS)
def test_another_encoding_is_refused_in_words(tmp_path: Path, name: str) -> None:
    text, read = READERS[name]
    (tmp_path / name).write_bytes(text.encode("utf-16"))
    if name == "a.json":  # whose callers say it in their own words
        with pytest.raises(ValueError):
            read(tmp_path / name)
    else:
        with pytest.raises(BlendsplatError) as told:
            read(tmp_path / name)
        assert name in told.value.sentence and "\n" not in told.value.sentence


def test_a_live_link_take_of_a_windows_editor(tmp_path: Path, test_data: Callable[[str], Path]) -> None:
    lines = test_data("retarget/alex_rom_3.csv").read_bytes().split(b"\n")[:20]
    plain, edited = tmp_path / "a.csv", tmp_path / "b.csv"
    plain.write_bytes(b"\n".join(line.rstrip(b"\r") for line in lines) + b"\n")
    edited.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    assert is_live_link(edited)
    np.testing.assert_equal(read_capture(edited).values, read_capture(plain).values)

# SPDX-License-Identifier: Apache-2.0
"""Names that the program makes out of others: every system holds them, and no two are the same to any."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest

from blendsplat import file_names, files
from blendsplat.batch.clips import find_clips
from blendsplat.errors import InputError, StorageError
from blendsplat.file_names import folded, name_in, portable_name
from blendsplat.live.session import take_folder
from blendsplat.photographs.fit_images import _folders

ROOT = Path(__file__).resolve().parents[1]
DEVICES = ("CON", "nul", "aux.txt", "Com1", "lpt9.mp4", "prn .x", "COM²", "conin$")
ODD = (*DEVICES, "Take.", "Take ", "Take. .", "a<b", 'a"b', "a:b", "a|b", "a?b", "a*b", "a\\b", "a/b", "a\tb", "a\x7f",
       "a\ud800", "..", ".", "", " ", "x" * 300, "x" * 299 + "y", "影" * 100, "a?b ", "a>b")  # fmt: skip
SOUND = ("Take 1", "Grüße", "影片", "dots.in.name", "it's", "a,b;c", "100%", "#1", "console", "com", "com10",
       "nulls.txt",
         ".hidden", "a - b_c", "x" * 160, "Gr\udcc3\udcbc")  # fmt: skip


def windows_holds(name: str) -> bool:
    """As Microsoft's page "Naming Files, Paths, and Namespaces" has it, spelled out."""
    word = name.split(".")[0].rstrip(" ").upper()
    devices = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    devices |= {f"{port}{number}" for port in ("COM", "LPT") for number in "123456789²"}
    refused = {*'<>:"/\\|?*', *map(chr, range(32))}
    return bool(name) and word not in devices and name[-1] not in ". " and not set(name) & refused


@pytest.mark.parametrize("name", SOUND)
def test_a_name_that_every_system_holds_stays_as_it_is(name: str) -> None:
    assert portable_name(name) == name


@pytest.mark.parametrize("name", ODD)
def test_what_one_system_refuses_becomes_what_all_hold(name: str) -> None:
    made = portable_name(name)
    assert windows_holds(made) and windows_holds(f"{made}.avatar.npz")
    assert len(made.encode()) <= file_names.LONGEST and portable_name(made) == made


def test_different_names_stay_different_to_every_system() -> None:
    assert len({folded(portable_name(name)) for name in (*ODD, "a_b", "_CON", "Take")}) == len(ODD) + 3


def test_the_add_on_makes_the_same_names() -> None:
    """It has a copy: what it names must be found by the engine and the other way round."""

    def code(path: str) -> str:
        return (ROOT / path).read_text(encoding="utf-8").partition("from __future__")[2]

    assert code("blender_addon/file_names.py") == code("engine/blendsplat/file_names.py")


def test_names_that_a_file_system_takes_for_one() -> None:
    assert folded("Take A") == folded("take a") and folded("Straße") == folded("STRASSE")
    assert folded("É") == folded(unicodedata.normalize("NFD", "é"))
    assert folded("a") != folded("b")


def test_what_is_there_from_earlier_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "Take: 1").mkdir()
    assert name_in(tmp_path, "Take: 1") == "Take: 1" and name_in(tmp_path, "Take: 2") == portable_name("Take: 2")
    assert name_in(tmp_path / "gone", "Take: 1") == portable_name("Take: 1")
    (tmp_path / "Take").mkdir()
    assert name_in(tmp_path, "Take.") != "Take."  # which Windows would find: it is "Take" there


def test_fits_of_several_photographs_lie_apart(tmp_path: Path) -> None:
    pictures = [tmp_path / name for name in ("Ä.png", "a\u0308.png", "con.png", "CON.jpg", "b?.png", "b*.png", "c .png",
                                             "c.png", "d.png", "D.png", "d_2.png", "x" * 245 + ".png")]  # fmt: skip
    names = [folder.name for folder in _folders(pictures, tmp_path / "heads").values()]
    assert len({folded(name) for name in names}) == len(pictures) and all(map(windows_holds, names))
    assert names[-4:-1] == ["d", "D_2", "d_2_2"]


def test_a_batch_names_what_it_makes_so_that_every_system_holds_it(tmp_path: Path) -> None:
    clips, output = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    for name in ("aux.mp4", "Take: 1.mp4", "Take? 1.mp4", "x" * 245 + ".mp4"):
        (clips / name).touch()
    units, _ = find_clips([clips], output)
    made = [path.name for unit in units for path in (unit.folder, unit.avatar, unit.record, unit.log)]
    assert len(units) == 4 and all(map(windows_holds, made)) and len({folded(name) for name in made}) == 16
    assert max(len(name.encode()) for name in made) < 240
    (output / "batch").mkdir(parents=True)
    (output / "batch" / "Take: 1.json").touch()  # of an earlier batch, which is gone on with
    assert "Take: 1" in {unit.name for unit in find_clips([clips], output)[0]}


def test_a_batch_says_which_clips_would_overwrite_one_another(tmp_path: Path) -> None:
    for name in ("É.mp4", unicodedata.normalize("NFD", "é.mkv")):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="would both become"):
        find_clips([tmp_path], tmp_path / "out")


def test_a_take_s_folder(tmp_path: Path) -> None:
    made = take_folder(tmp_path / "con.avatar.npz", None).name
    assert windows_holds(made) and take_folder(tmp_path / "anna.avatar.npz", None).name == "anna"


@pytest.mark.parametrize("name", ["nul.npz", "a:b.npz", "a.npz."])
def test_windows_is_not_asked_to_write_to_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(StorageError, match=r"Windows holds no file of this name\. Choose another one"):
        files.write_bytes(tmp_path / name, b"x")
    assert not list(tmp_path.iterdir())
    files.write_bytes(tmp_path / ("ü" * 100 + ".npz"), b"x")

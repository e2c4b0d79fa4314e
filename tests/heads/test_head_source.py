# SPDX-License-Identifier: Apache-2.0
"""A head's file is found from every folder, and again after it moved with the clip; else the error says what to do."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blendsplat.errors import InputError
from blendsplat.heads.flame import load_flame
from blendsplat.heads.load import load_head_of, stored_source
from blendsplat.heads.performance import Performance
from make_pickles import flame_arrays, write_flame
from synthetic_head import make_truth


def tracked(source: str, path: Path, seed: int = 0) -> Path:
    """A clip's folder under ``path`` whose tracking.npz names the head ``source``; the head is write_flame's."""
    scratch = path / "scratch.pkl"
    path.mkdir(parents=True, exist_ok=True)
    write_flame(scratch, flame_arrays(seed))
    head = load_flame(scratch)
    scratch.unlink()
    tracking = make_truth(head, 3)
    tracking = replace(
        tracking, head_source=source, head="flame", head_model=head.model_id, head_family=head.family,
        valid=np.ones(3, bool),
    )  # fmt: skip
    tracking.save(path / "tracking.npz")
    return path


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """Work in a folder that holds nothing."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_typed_path_is_kept_absolute(tmp_path, monkeypatch) -> None:
    (tmp_path / "heads").mkdir()
    monkeypatch.chdir(tmp_path / "heads")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "heads" / "flame.pkl").touch()
    (tmp_path / "heads" / "human").mkdir()
    for typed in ("flame.pkl", "./flame.pkl", "../heads/flame.pkl", Path("flame.pkl"), "~/heads/flame.pkl"):
        assert stored_source(typed) == str(tmp_path / "heads" / "flame.pkl")
    assert stored_source("human") == "human" and stored_source("./human") == str(tmp_path / "heads" / "human")
    assert stored_source("synthetic") == "synthetic"


def test_a_head_that_lies_where_it_lay(tmp_path, elsewhere) -> None:
    write_flame(tmp_path / "flame.pkl")
    clip = tracked(str(tmp_path / "flame.pkl"), tmp_path / "clip")
    write_flame(clip / "flame.pkl", flame_arrays(1))  # of the same name, but the stored one is there
    loaded = Performance.load(clip)
    assert loaded.head_source == str(tmp_path / "flame.pkl")
    assert load_head_of(loaded).vertex_count == len(loaded.vertex_offsets)


@pytest.mark.parametrize("typed", ["flame.pkl", "heads/flame.pkl", "../heads/flame.pkl"])
def test_an_old_file_with_a_relative_path(tmp_path, elsewhere, typed: str) -> None:
    lies = tmp_path / typed.removeprefix("../")
    lies.parent.mkdir(exist_ok=True)
    write_flame(lies)
    clip = tracked(typed, tmp_path / "clips" / "talk")
    assert Performance.load(clip).head_source == str(lies)
    assert load_head_of(Performance.load(clip / "tracking.npz")).name == "flame"


def test_a_relative_path_of_the_working_folder(tmp_path, elsewhere) -> None:
    write_flame(elsewhere / "flame.pkl")
    clip = tracked("flame.pkl", tmp_path / "clip")
    assert Performance.load(clip).head_source == str(elsewhere / "flame.pkl")


def test_a_project_that_moved_takes_its_head_along(tmp_path, elsewhere) -> None:
    project = tmp_path / "project"
    (project / "heads" / "flame").mkdir(parents=True)
    write_flame(project / "heads" / "flame" / "flame.pkl")
    tracked(str(project / "heads" / "flame" / "flame.pkl"), project / "clips" / "talk")
    shutil.move(project, tmp_path / "archive")
    loaded = Performance.load(tmp_path / "archive" / "clips" / "talk")
    assert loaded.head_source == str(tmp_path / "archive" / "heads" / "flame" / "flame.pkl")
    load_head_of(loaded)
    loaded.save(elsewhere / "tracking.npz")  # what is written from it knows the new place
    assert load_head_of(Performance.load(elsewhere)).name == "flame"


def test_a_missing_head_says_what_to_do(tmp_path, elsewhere) -> None:
    gone = tmp_path / "gone" / "flame.pkl"
    clip = tracked(str(gone), tmp_path / "clip")
    with pytest.raises(InputError, match=r"missing.*gone.flame\.pkl.*same name.*--head"):
        load_head_of(Performance.load(clip))
    write_flame(tmp_path / "flame.pkl")  # done as told: the same name in a folder above
    load_head_of(Performance.load(clip))
    write_flame(clip / "flame.pkl", flame_arrays(1, identities=12))  # nearer, but another head
    with pytest.raises(InputError, match="is another one now"):
        load_head_of(Performance.load(clip))


def test_names_are_no_paths(tmp_path, elsewhere) -> None:
    clip = tracked("human", tmp_path / "clip")
    (tmp_path / "human").mkdir()
    assert Performance.load(clip).head_source == "human"

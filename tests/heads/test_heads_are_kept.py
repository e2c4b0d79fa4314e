# SPDX-License-Identifier: Apache-2.0
"""What a running engine keeps of a head for its next job, and when it reads the files again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from blendsplat.fitting import vertex_offsets
from blendsplat.heads import load
from blendsplat.heads.model import HeadModel
from tiny_clip import tiny_head


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The sources that were read, in order; every one is a tiny head."""
    sources: list[str] = []

    def fake(source) -> HeadModel:
        sources.append(str(source))
        return replace(tiny_head(), name=str(source))

    monkeypatch.setattr(load, "_read", fake)
    monkeypatch.setattr(load, "_kept", {})
    return sources


def files(folder, *names: str) -> list:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"head")
    return [folder / name for name in names]


def test_the_second_job_gets_the_same_head(read, tmp_path):
    (path,) = files(tmp_path, "a/person.pkl")
    assert load.load_head(path, landmarks=False) is load.load_head(str(path), landmarks=False)
    assert len(read) == 1


def test_a_head_is_read_anew_when_its_files_changed(read, tmp_path):
    (path,) = files(tmp_path, "a/person.pkl")
    first = load.load_head(path, landmarks=False)
    path.write_bytes(b"another head")
    second = load.load_head(path, landmarks=False)
    files(tmp_path, "a/FLAME_masks.pkl")  # belongs to it
    third = load.load_head(path, landmarks=False)
    assert len(read) == 3 and first is not second and second is not third


def test_only_a_few_are_kept(read, tmp_path):
    paths = files(tmp_path, *(f"{number}/person.pkl" for number in range(load.KEPT + 1)))
    for path in paths:
        load.load_head(path, landmarks=False)
    assert len(load._kept) == load.KEPT
    load.load_head(paths[0], landmarks=False)
    assert len(read) == len(paths) + 1


def test_the_embedding_is_kept_with_it(read, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("blendsplat.heads.embedding.cached_embedding", lambda head, progress: made.append(head) or "it")
    (path,) = files(tmp_path, "a/person.pkl")
    load.load_head(path, landmarks=False)
    assert load.load_head(path).landmarks == load.load_head(path).landmarks == "it"
    assert len(read) == len(made) == 1


def test_a_failed_head_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(load, "_kept", {})
    (path,) = files(tmp_path, "a/person.txt")
    with pytest.raises(load.InputError):
        load.load_head(path)
    assert not load._kept


def test_jobs_side_by_side(read, tmp_path):
    paths = files(tmp_path, *(f"{number}/person.pkl" for number in range(4)))
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(lambda turn: load.load_head(paths[turn % 4], landmarks=False), range(200)))
    assert all(head.name == str(paths[turn % 4]) for turn, head in enumerate(heads)) and len(load._kept) == load.KEPT


def test_fit_and_refinement_share_the_basis(monkeypatch):
    made = []
    monkeypatch.setattr(vertex_offsets, "_make_offset_basis", lambda head: made.append(head) or torch.zeros(1))
    monkeypatch.setattr(vertex_offsets, "_last_made", None)
    head = tiny_head()
    assert vertex_offsets.offset_basis(head) is vertex_offsets.offset_basis(head)
    vertex_offsets.offset_basis(tiny_head())
    assert len(made) == 2

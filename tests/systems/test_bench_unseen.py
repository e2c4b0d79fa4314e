# SPDX-License-Identifier: Apache-2.0
"""Frames are held out by what they show, every one of them once; a preset is scored on what it did not train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blendsplat.evaluation.expression_folds import LAST, descriptors, folds
from blendsplat.evaluation.unseen import benchmark_unseen, table
from blendsplat.heads.performance import Performance
from small_training import SMALL
from tiny_clip import tiny_head, tiny_tracking


def three_faces(frames: int = 60) -> tuple[Performance, np.ndarray]:
    """A performance of three expressions in blocks of unlike length, and which each frame holds."""
    tracking = tiny_tracking(tiny_head(), frames)
    which = np.repeat([0, 1, 2], [30, 20, 10])
    tracking.expression[:] = np.eye(3)[which] * 2 + np.random.default_rng(0).normal(size=(frames, 3)) * 0.02
    tracking.root_pose[:] = 0
    return tracking, which


def test_each_expression_is_held_out_once_and_smallest_first() -> None:
    tracking, which = three_faces()
    made = folds(tracking, 0.25, 3)
    assert list(made) == [LAST, "expression 1", "expression 2", "expression 3"]
    assert made[LAST] == (list(range(45)), list(range(45, 60)))
    for name, face in (("expression 1", 2), ("expression 2", 1), ("expression 3", 0)):
        training, held = made[name]
        assert held == np.flatnonzero(which == face).tolist()
        assert sorted(training + held) == list(range(60))


def test_frames_without_a_face_are_in_no_fold() -> None:
    tracking, _ = three_faces()
    tracking.valid[[3, 40, 59]] = False
    tracking.expression[3] = np.nan
    for training, held in folds(tracking, 0.25, 3).values():
        assert not {3, 40, 59} & {*training, *held}
    assert len(descriptors(tracking)) == 57


@pytest.mark.parametrize("clusters", [0, 1, 40])
def test_too_few_frames_for_folds_leave_the_last_ones(clusters: int) -> None:
    assert list(folds(three_faces()[0], 0.25, clusters)) == [LAST]


def test_presets_are_trained_and_scored_on_every_fold(tiny_clip: Path, tmp_path: Path) -> None:
    for name, shapes in (("one", 2), ("other", 0)):
        values = SMALL | {"blendshapes": shapes, "images": 60, "fill_images": 40}
        lines = [f"{key} = {value}" for key, value in values.items()]
        (tmp_path / f"{name}.toml").write_text("\n".join(lines))
    presets = [str(tmp_path / "one.toml"), str(tmp_path / "other.toml")]
    made = benchmark_unseen([tiny_clip], presets, size=32, clusters=2)
    assert [(row.fold, row.preset) for row in made[:2]] == [(LAST, "one"), (LAST, "other")]
    for row in made:
        assert row.images == 60 and row.psnr > 15 and 0 <= row.holes <= 100 and row.lpips is None
        assert row.base_psnr is not None
        assert (row.base_psnr == row.psnr) == (row.preset == "other")
    assert table(made).row_count == len(made)

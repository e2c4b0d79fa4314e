# SPDX-License-Identifier: Apache-2.0
"""The benchmark of whole runs: one import, each way tracked, trained on and scored, over the same held-out frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from blendsplat.cli import app
from blendsplat.errors import FormatError, InputError
from blendsplat.evaluation import clips
from blendsplat.evaluation.clips import benchmark_clips, common_scores, table
from blendsplat.video import Clip
from blendsplat.video.clip import ClipInfo, encode_png, frame_path, write_info


def test_scores_are_over_the_frames_that_all_ways_hold_out() -> None:
    one = [{"frame": 7, "psnr": 20.0, "ssim": 0.5}, {"frame": 8, "psnr": 30.0, "ssim": 0.7}]
    two = [{"frame": 8, "psnr": 31.0, "ssim": 0.8}, {"frame": 9, "psnr": 99.0, "ssim": 0.9}]
    assert common_scores([one, two]) == [{"psnr": 30.0, "ssim": 0.7}, {"psnr": 31.0, "ssim": 0.8}]
    with pytest.raises(InputError, match="No frame is held out"):
        common_scores([one[:1], two])


class _Tracking:
    def __init__(self, options: Any) -> None:
        self.refine = options.refine
        self.valid = np.array([True, options.refine == "dense", True])
        self.figures = {"landmark_error": 0.02, "jitter_px": 0.5 if options.refine == "none" else 0.2}
        if options.refine == "dense":
            self.figures |= {"uncovered": 0.031, "beyond": 0.002}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Stands in for the work itself, and says what was asked for, in order."""
    asked: list[tuple[str, ...]] = []

    def importing(video: Path, folder: Path, *given: Any) -> Clip:
        asked.append(("import", folder.name))
        (folder / "images").mkdir(parents=True)
        frame_path(folder, "images", 0).write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
        write_info(folder, ClipInfo("v", (8, 8), 0.0, None, (0, 0, 8), 8, 8, 25.0, [0.0, 0.04, 0.08], "none"))
        return Clip.open(folder)

    def tracking(folder: Path, options: Any, *given: Any) -> _Tracking:
        asked.append(("track", folder.name, options.refine))
        assert not (folder / "tracking.npz").exists() and frame_path(folder, "images", 0).exists()
        (folder / "tracking.npz").write_bytes(b"made")
        return _Tracking(options)

    def training(folder: Path, preset: Any, avatar: Path, **given: Any) -> None:
        asked.append(("train", folder.name, avatar.name))

    def evaluating(avatar: Path, folder: Path, **given: Any) -> dict[str, Any]:
        first = 1 if folder.suffix == ".dense" else 2
        return {"rows": [{"frame": frame, "psnr": float(frame), "ssim": 0.9} for frame in range(first, 4)]}

    for name, stand_in in (
        ("import_clip", importing),
        ("track_clip", tracking),
        ("train_avatar", training),
        ("evaluate_avatar", evaluating),
        ("load_head_of", lambda tracking: None),
        ("evaluate_sticking", lambda *given: {"stick_px": 0.3, "lag_frames": float("nan")}),
    ):
        monkeypatch.setattr(clips, name, stand_in)
    return asked


def test_one_import_then_each_way_is_tracked_trained_and_scored(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    rows = benchmark_clips([Path("a.mp4")], tmp_path)
    assert calls == [
        ("import", "a"),
        ("track", "a.landmarks", "none"),
        ("track", "a.dense", "dense"),
        ("train", "a.landmarks", "a.landmarks.avatar.npz"),
        ("train", "a.dense", "a.dense.avatar.npz"),
    ]
    assert [(row.way, row.faces, row.jitter_px) for row in rows] == [("landmarks", 2, 0.5), ("dense", 3, 0.2)]
    assert all(row.psnr == 2.5 and row.lpips is None and row.stick_px == 0.3 for row in rows)  # frames 2 and 3
    assert rows[0].lag_frames is None and rows[0].import_s == rows[1].import_s
    assert len(table(rows).rows) == 2


def test_the_copies_of_last_time_are_replaced_and_nothing_else_is(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    benchmark_clips([Path("a.mp4")], tmp_path, ways=("dense",))
    (tmp_path / "a" / "clip.json").unlink()
    (tmp_path / "a" / "images" / "000000.png").unlink()
    (tmp_path / "a" / "images").rmdir()
    benchmark_clips([Path("a.mp4")], tmp_path, ways=("dense",))  # asserts in tracking() that it begins afresh
    (tmp_path / "b.dense").mkdir()
    (tmp_path / "b.dense" / "letter.txt").write_text("mine")
    with pytest.raises(FormatError):
        benchmark_clips([Path("b.mp4")], tmp_path, ways=("dense",))
    assert (tmp_path / "b.dense" / "letter.txt").read_text() == "mine"


def test_a_way_that_does_not_exist_is_named_before_any_work(tmp_path: Path, calls: list[tuple[str, ...]]) -> None:
    with pytest.raises(InputError, match="magic"):
        benchmark_clips([Path("a.mp4")], tmp_path, ways=("magic",))
    assert not calls


def test_the_command_asks_for_both_ways_and_prints_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, ...]]
) -> None:
    monkeypatch.setenv("BLENDSPLAT_LOG_DIR", str(tmp_path / "logs"))
    result = CliRunner().invoke(app, ["bench", "clips", "a.mp4", "-o", str(tmp_path / "out"), "--json"])
    rows = json.loads(result.stdout.strip().splitlines()[-1])["clips"]
    assert [row["way"] for row in rows] == ["landmarks", "dense"] and rows[0]["lag_frames"] is None
    result = CliRunner().invoke(app, ["bench", "clips", "a.mp4", "-o", str(tmp_path / "out"), "--ways", "magic"])
    assert result.exit_code == 2 and "magic" in result.output

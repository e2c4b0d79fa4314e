# SPDX-License-Identifier: Apache-2.0
"""The tracker's benchmark on a generated person: its truth is what was drawn, and both starts are judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blendsplat.cli import app
from blendsplat.errors import InputError
from blendsplat.evaluation.tracking import TrackingFigures, benchmark_tracking, means, table
from blendsplat.kaolrm import Config, KaoLRM, save_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network for the head that ships."""
    folder = tmp_path_factory.mktemp("weights")
    sizes = {
        "head": "human", "focal": 4.0, "shape_count": 20, "expression_count": 20, "camera_embed_dim": 8,
        "transformer_dim": 16, "transformer_layers": 1, "transformer_heads": 1, "triplane_low_res": 2,
        "triplane_high_res": 4, "triplane_dim": 4, "encoder_model_name": "custom", "encoder_feat_dim": 16,
        "encoder_layers": 1, "encoder_heads": 1, "encoder_patch": 28, "encoder_grid": 8, "flame_widths": [16, 16, 16],
    }  # fmt: skip
    save_model(folder, KaoLRM(Config.model_validate(sizes)))
    return folder


@pytest.mark.slow
def test_a_generated_person_is_tracked_both_ways(weights: Path, tmp_path: Path) -> None:
    rows = benchmark_tracking([], 1, 3, tmp_path, ("landmarks", "kaolrm"), "tuning", str(weights))
    assert [row.way for row in rows] == ["landmarks", "kaolrm"]
    for row in rows:
        assert row.frames == row.tracked == 3 and row.clip == "tuning1_3"
        assert row.vertex_mm is not None and row.vertex_mm < 8  # the truth is of what was drawn
        assert row.rotation_deg is not None and row.rotation_deg < 10
        assert row.landmark_error < 5 and row.seconds > 0
        assert (tmp_path / row.clip / f"overlay_{row.way}.mp4").exists()
        assert (tmp_path / row.clip / f"tracking_{row.way}.npz").exists()
    assert len(table(rows).rows) == 2
    picture = (tmp_path / "tuning1_3" / "images" / "000000.png").stat().st_mtime_ns
    benchmark_tracking([], 1, 3, tmp_path, ("landmarks",), "tuning")
    assert (tmp_path / "tuning1_3" / "images" / "000000.png").stat().st_mtime_ns == picture  # not made again


def test_a_set_or_way_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training.*tuning or test"):
        benchmark_tracking([], 1, 3, tmp_path, which="training")
    with pytest.raises(InputError, match=r"magic.*landmarks"):
        benchmark_tracking([], 1, 3, tmp_path, ("magic",))


def test_the_last_rows_are_the_means_of_each_way() -> None:
    def row(clip: str, way: str, number: float, truth: float | None) -> TrackingFigures:
        truths, unknown = (truth, None, truth, truth, truth), None
        return TrackingFigures(clip, way, 9, 8, *truths, number, number, truth, number, unknown, number)

    rows = [row("a", "x", 1, 2), row("a", "y", 5, 6), row("b", "x", 2, None)]
    first, second = means(rows)
    assert (first.way, first.frames, first.tracked) == ("x", 18, 16) and second.way == "y"
    assert first.landmark_error == 1.5 and first.vertex_mm == 2 and first.face_mm is None and second.seconds == 5
    assert first.stick_px == 1.5 and first.lag_frames is None
    assert len(table(rows).rows) == 5


def test_a_video_has_no_truth_and_the_command_says_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = TrackingFigures("talk", "landmarks", 9, 8, None, None, None, None, None, 1.5, 0.25, None, 0.2, None, 2.0)
    got: list[tuple[object, ...]] = []

    def fake(*values: object) -> list[TrackingFigures]:
        got.append(values)
        return [row]

    monkeypatch.setattr("blendsplat.evaluation.tracking.benchmark_tracking", fake)
    arguments = [
        "bench",
        "tracking",
        "a.mp4",
        "-o",
        str(tmp_path),
        "--people",
        "0",
        "--ways",
        "landmarks, dense",
        "--json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert json.loads(result.stdout.strip().splitlines()[-1])["tracking"][0]["vertex_mm"] is None
    assert got[0][:6] == ([Path("a.mp4")], 0, 150, tmp_path, ("landmarks", "dense"), "test")

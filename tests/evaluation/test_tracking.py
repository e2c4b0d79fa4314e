# SPDX-License-Identifier: Apache-2.0
"""The tracker's benchmark on a generated person: its truth is what was drawn, and both starts are judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from blendsplat.cli import app
from blendsplat.evaluation.tracking import TrackingFigures, benchmark_tracking, table
from blendsplat.heads.load import load_head
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


def test_a_generated_person_is_tracked_both_ways(weights: Path, tmp_path: Path) -> None:
    rows = benchmark_tracking([], 1, 3, str(weights), tmp_path)
    assert [row.init for row in rows] == ["landmarks", "kaolrm"]
    for row in rows:
        assert row.frames == row.tracked == 3 and row.clip == "person1"
        assert row.vertex_mm is not None and row.vertex_mm < 8  # the truth is of what was drawn
        assert (
            row.landmark_error < 5 and row.seconds > 0 and (tmp_path / "person1" / f"overlay_{row.init}.mp4").exists()
        )
    assert len(table(rows).rows) == 2


def test_a_video_has_no_truth_and_the_command_says_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = TrackingFigures("talk", "landmarks", 9, 8, None, None, 1.5, 0.25, None, 2.0)
    got: list[tuple[object, ...]] = []

    def fake(*values: object) -> list[TrackingFigures]:
        got.append(values)
        return [row]

    monkeypatch.setattr("blendsplat.evaluation.tracking.benchmark_tracking", fake)
    arguments = ["bench", "tracking", "a.mp4", "-o", str(tmp_path), "--people", "0", "--weights", "w", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert json.loads(result.stdout.strip().splitlines()[-1])["tracking"][0]["vertex_mm"] is None
    assert got[0][:4] == ([Path("a.mp4")], 0, 60, "w")


def test_people_differ_and_come_again(tmp_path: Path) -> None:
    from blendsplat.evaluation.tracking import make_person_clip
    from blendsplat.progress import Progress

    head = load_head("human")
    one, again, two = (make_person_clip(tmp_path / "p.mp4", head, 1, number, Progress()) for number in (0, 0, 1))
    np.testing.assert_array_equal(one.shape, again.shape)
    assert np.abs(one.shape - two.shape).mean() > 0.3

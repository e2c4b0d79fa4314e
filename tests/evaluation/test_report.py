# SPDX-License-Identifier: Apache-2.0
"""An evaluation's files: whole, readable by others, and showing what they say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blendsplat.errors import InputError
from blendsplat.evaluation.contact_sheet import LABEL, TILE, error_picture, sheet
from blendsplat.evaluation.frame_scores import chosen_frames, means, percentiles
from blendsplat.evaluation.report import table
from blendsplat.jobs.kinds import KINDS
from blendsplat.progress import Progress
from tiny_clip import tiny_avatar, tiny_head, write_tiny_clip
from tiny_fixtures import tiny_head_by_name  # noqa: F401

ROWS = [
    {"frame": 7, "psnr": 30.0, "ssim": 0.9},
    {"frame": 8, "psnr": 20.0, "ssim": 0.5, "change": 2.0},
    {"frame": 9, "psnr": 25.0, "ssim": 0.7, "change": 4.0},
]


def test_worst_median_and_best_are_told_by_psnr() -> None:
    assert chosen_frames(ROWS) == {"worst": 8, "median": 9, "best": 7}
    assert chosen_frames(ROWS[:1]) == {"worst": 7, "median": 7, "best": 7}


def test_means_and_percentiles_are_over_the_rows_that_have_a_figure() -> None:
    assert means(ROWS) == {"psnr": 25.0, "ssim": pytest.approx(0.7), "change": 3.0}
    assert percentiles(ROWS)["change"] == {"5": 2.1, "25": 2.5, "50": 3.0, "75": 3.5, "95": 3.9}


def test_a_table_has_every_figure_and_gaps_where_there_is_none() -> None:
    read = list(csv.DictReader(table(ROWS, [number / 25 for number in range(10)]).splitlines()))
    assert [row["frame"] for row in read] == ["7", "8", "9"] and read[0]["seconds"] == "0.2800"
    assert read[0]["change"] == "" and float(read[2]["change"]) == 4.0 and set(read[0]) > {"psnr", "ssim"}


def test_an_error_is_bright_where_it_counts() -> None:
    image, target, valid = np.full((4, 4, 3), 0.5), np.full((4, 4, 3), 0.5), np.ones((4, 4, 1))
    image[0], image[1], valid[1] = 0.75, 0.0, 0
    picture = error_picture(image, target, valid).astype(int).sum(-1)
    assert picture[0].min() > 500 > 50 > picture[1:].max(), "a quarter off is as bright as can be"


def test_tiles_of_any_shape_fit_and_nothing_is_stretched() -> None:
    wide, small = np.full((10, 40, 3), 200, np.uint8), np.full((5, 5, 3), 100, np.uint8)
    made = sheet([[("a", wide), ("b", small)], [("c", small)]])
    assert made.shape == (2 * (TILE + LABEL), 2 * TILE, 3) and made.dtype == np.uint8
    first = made[LABEL : LABEL + TILE, :TILE]
    assert ((first == 200).all(-1).sum()) == TILE * TILE // 4


def test_the_job_writes_its_files_and_refuses_a_file_before_it_begins(tmp_path: Path) -> None:
    clip, avatar, output = tmp_path / "clip ü", tmp_path / "a.avatar.npz", tmp_path / "scores ü"
    write_tiny_clip(clip)
    tiny_avatar(tiny_head()).save(avatar)
    output.mkdir()
    (output / "mine.txt").write_text("kept")
    kind = KINDS["evaluate"]
    options = {"avatar": avatar, "directory": clip, "output": output, "protocol": "dipguava", "device": "cpu"}
    result = kind.run(kind.options.model_validate(options), Progress())
    assert sorted(path.name for path in output.iterdir()) == ["frames.csv", "mine.txt", "sheet.png", "summary.json"]
    read = list(csv.DictReader(Path(result["table"]).read_text().splitlines()))
    assert [int(row["frame"]) for row in read] == [row["frame"] for row in result["rows"]]
    assert np.mean([float(row["psnr"]) for row in read]) == pytest.approx(result["psnr"], rel=1e-5)
    summary = json.loads(Path(result["summary"]).read_text())
    assert summary["protocol"] == "dipguava" and summary["settings"]["avatar"] == str(avatar) and summary["notes"]
    assert summary["psnr"] == result["psnr"] and "rows" not in summary and summary["percentiles"]["psnr"]["50"] > 0
    with Image.open(result["sheet"]) as picture:
        assert picture.size == (4 * TILE, 5 * (TILE + LABEL))
        worst = np.asarray(picture)[LABEL : LABEL + TILE, : 3 * TILE]
    assert all(worst[:, tile * TILE : (tile + 1) * TILE].std() > 10 for tile in range(3)), "source, mesh and avatar"
    with pytest.raises(InputError, match="is a file; choose a folder"):
        kind.run(kind.options.model_validate(options | {"output": avatar}), Progress())

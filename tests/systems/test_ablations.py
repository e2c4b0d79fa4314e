# SPDX-License-Identifier: Apache-2.0
"""The table of ablations: every row of the paper's Table 2 is a preset, and rows are trained and scored alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blendsplat.cli import app
from blendsplat.errors import InputError
from blendsplat.evaluation.ablations import DIPGUAVA, benchmark_ablations, row_presets, table
from blendsplat.systems import load_avatar, load_preset

PRESET = """
system = "dipguava"
image_size = 32
images = 24
stage_images = 12
batch = 4
decay_images = 0
lpips_weight = 0.0
densify_every = 0
[avatar]
uv_size = 16
unet_width = 4
mlp_width = 8
mlp_layers = 2
frequencies = 2
"""


@pytest.fixture
def preset(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(PRESET)
    return str(path)


def test_rows_are_trained_without_their_part_and_scored(tiny_clip: Path, tmp_path: Path, preset: str) -> None:
    rows = ("only base", "w/o fusion", "full")
    figures = benchmark_ablations([tiny_clip], tmp_path / "out", preset=preset, rows=rows)
    assert [figure.row for figure in figures] == list(rows)
    assert all(figure.psnr > 5 and figure.lpips is None and figure.gaussians > 0 for figure in figures)
    assert table(figures).row_count == 3
    made = {path.name.split(".")[1]: load_avatar(path).settings for path in (tmp_path / "out").glob("*.avatar.npz")}
    assert not made["only-base"].residual and made["full"].residual
    assert made["full"].fusion and not made["wo-fusion"].fusion


def test_the_table_says_whose_lpips_it_is(tiny_clip: Path, tmp_path: Path, preset: str, test_data) -> None:
    weights = test_data("perceptual/lpips_squeeze.npz")
    figures = benchmark_ablations([tiny_clip], tmp_path, preset=preset, lpips=weights, rows=("only base",))
    assert figures[0].lpips is not None and figures[0].lpips > 0
    columns = {str(column.header): list(column.cells) for column in table(figures).columns}
    assert columns["lpips_network"] == ["squeeze"] and columns["lpips"] == [f"{figures[0].lpips:.4f}"]


def test_every_row_of_the_table_is_a_preset_of_its_own() -> None:
    for name, missing in (("dipguava", {"w/o maps"}), ("dipguava-draft", set())):
        made = row_presets(load_preset(name), DIPGUAVA)
        assert set(DIPGUAVA) - set(made) == missing, "what a preset lacks cannot be left out"
        assert len({one.model_dump_json() for one in made.values()}) == len(made)
        assert made["full"] == load_preset(name)


def test_the_command_changes_values_of_all_rows(tiny_clip: Path, tmp_path: Path, preset: str) -> None:
    arguments = [
        "bench",
        "ablations",
        tiny_clip,
        "-o",
        tmp_path / "out",
        "--preset",
        preset,
        "--rows",
        "only base,full",
    ]
    result = CliRunner().invoke(app, [str(one) for one in arguments] + ["--set", "avatar.mlp_width=12", "--json"])
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout.splitlines()[-1])["ablations"]
    assert [row["row"] for row in made] == ["only base", "full"]
    widths = [load_avatar(path).settings.mlp_width for path in (tmp_path / "out").glob("*.avatar.npz")]
    assert widths == [12, 12]


def test_what_there_is_not_is_named(tiny_clip: Path, tmp_path: Path, preset: str) -> None:
    with pytest.raises(InputError, match="rgbavatar"):
        benchmark_ablations([tiny_clip], tmp_path, "rgbavatar")
    with pytest.raises(InputError, match="w/o fusion"):
        benchmark_ablations([tiny_clip], tmp_path, preset=preset, rows=("w/o head",))


def test_an_avatar_has_views(tiny_clip: Path, tmp_path: Path, preset: str) -> None:
    benchmark_ablations([tiny_clip], tmp_path, preset=preset, rows=("full",))
    avatar = load_avatar(next(tmp_path.glob("*.avatar.npz")))
    assert avatar.views == ("full", "base", "residual", "sliders")
    with pytest.raises(InputError, match=r"'wireframe'.*full, base, residual, sliders"):
        avatar.show("wireframe")

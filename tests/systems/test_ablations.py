# SPDX-License-Identifier: Apache-2.0
"""The table of ablations: every row of the paper's Table 2 is a preset, and rows are trained and scored alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blendsplat.cli import app
from blendsplat.errors import InputError
from blendsplat.evaluation.ablation_rows import DIPGUAVA, RGBAVATAR_TABLES, rgbavatar_rows
from blendsplat.evaluation.ablations import AblationFigures, benchmark_ablations, paper_tables, row_presets, table
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
    with pytest.raises(InputError, match="dipguava, rgbavatar"):
        benchmark_ablations([tiny_clip], tmp_path, "toy")
    with pytest.raises(InputError, match=r"'design'.*leave it out"):
        benchmark_ablations([tiny_clip], tmp_path, preset=preset, tables=("design",))
    with pytest.raises(InputError, match=r"'table 5'.*design, orthogonality"):
        benchmark_ablations([tiny_clip], tmp_path, "rgbavatar", tables=("table 5",))
    with pytest.raises(InputError, match=r"with LPIPS.*--lpips"):
        benchmark_ablations([tiny_clip], tmp_path, "rgbavatar", rows=("with LPIPS",))
    with pytest.raises(InputError, match="w/o fusion"):
        benchmark_ablations([tiny_clip], tmp_path, preset=preset, rows=("w/o head",))


def test_an_avatar_has_views(tiny_clip: Path, tmp_path: Path, preset: str) -> None:
    benchmark_ablations([tiny_clip], tmp_path, preset=preset, rows=("full",))
    avatar = load_avatar(next(tmp_path.glob("*.avatar.npz")))
    assert avatar.views == ("full", "base", "residual", "sliders")
    with pytest.raises(InputError, match=r"'wireframe'.*full, base, residual, sliders"):
        avatar.show("wireframe")


RGBAVATAR = {
    "uv_resolution": 14, "image_size": 32, "images": 40, "batch": 4, "blendshapes": 4, "mlp_width": 16,
    "texel_scale": 0.7, "blendshapes_after": 4, "color_init_images": 20, "decay_images": 0,
}  # fmt: skip


def test_every_row_of_rgbavatars_tables_changes_its_preset(tmp_path: Path) -> None:
    weights = tmp_path / "w.npz"
    named = {row for paper in RGBAVATAR_TABLES.values() for row in paper.rows}
    for name in ("draft", "rgbavatar"):
        full = load_preset(name)
        rows = rgbavatar_rows(full, weights)
        assert named == set(rows), "each belongs to a table, and each table has its rows"
        made = row_presets(full, rows)
        assert set(rows) == set(made), "none is what a preset is already"
        assert len({one.model_dump_json() for one in made.values()}) == len(made)
        assert made["full"] == full
    assert row_presets(full, rows)["QR decomposition"].orthogonality_images == 10_000, "the paper's 1,000 steps of ten"
    assert row_presets(full, rows)["with LPIPS"].lpips_after == 20_000
    assert "with LPIPS" not in rgbavatar_rows(full, None)


def test_the_papers_two_tables_stand_beside_ours(tiny_clip: Path, tmp_path: Path) -> None:
    made = benchmark_ablations([tiny_clip], tmp_path, "rgbavatar", changes=RGBAVATAR)
    assert {one.row for one in made} == set(RGBAVATAR_TABLES["design"].rows) | set(
        RGBAVATAR_TABLES["orthogonality"].rows
    )
    assert all(one.psnr > 10 and one.images == 40 for one in made)
    measured = {one.row: one.orthogonality for one in made}
    assert measured["w/o blendshapes"] is None and measured["full"] > 0
    design, bases = paper_tables(made, "rgbavatar").renderables
    assert (design.row_count, bases.row_count) == (6, 4)
    columns = {str(column.header): list(column.cells) for column in bases.columns}
    assert columns["row"][-1] == "full" and columns["paper orthogonality"] == ["", "", "", "3.173"]
    assert columns["paper psnr"] == ["30.91", "30.26", "30.75", "31.16"]
    assert columns["orthogonality"][-1] == f"{measured['full']:.3f}"
    made = {path.name for path in tmp_path.glob("*.avatar.npz")}
    assert f"{tiny_clip.name}.wo-pose-input.avatar.npz" in made and len(made) == 9


def test_rows_can_be_trained_for_the_same_time(
    tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row's images are what its own pace allows: the command hands the minutes on."""
    paces = iter((0.5, 0.25))
    monkeypatch.setattr("blendsplat.training.loop.fitting_factor", lambda pace, seconds: next(paces))
    monkeypatch.setattr("blendsplat.training.loop.measured_pace", lambda *arguments: None)
    arguments = ["bench", "ablations", tiny_clip, "-o", tmp_path, "--system", "rgbavatar", "--rows", "linear,full"]
    settings = [part for key, value in RGBAVATAR.items() for part in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(app, [str(one) for one in arguments] + settings + ["--minutes", "3", "--json"])
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout.splitlines()[-1])["ablations"]
    assert [(row["row"], row["images"]) for row in made] == [("linear", 20), ("full", 10)]


def test_tables_of_parts_that_were_not_trained_are_left_out() -> None:
    row = AblationFigures("clip", "K = 5", 30.0, 0.9, None, "", 100, 40, 1.0, 1.5)
    (only,) = paper_tables([row], "rgbavatar").renderables
    assert "Figure 3" in str(only.title) and only.row_count == 1
    (alone,) = paper_tables(
        [AblationFigures("clip", "only base", 30.0, 0.9, None, "", 100, 40, 1.0)], "dipguava"
    ).renderables
    assert "orthogonality" not in {str(column.header) for column in alone.columns}

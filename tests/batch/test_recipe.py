# SPDX-License-Identifier: Apache-2.0
"""The command's options become one recipe, checked at once, that every machine of a farm understands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from blendsplat.batch.recipe import Recipe, checked_recipe
from blendsplat.cli import app
from blendsplat.commands.batch import parse_part
from blendsplat.errors import InputError
from drawn_clip import PRESET


def test_files_are_named_for_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(PRESET)
    for name in ("flame.pkl", "draft", "bundle.task"):
        (tmp_path / name).touch()
    imports = {"size": 128, "landmarker": Path("bundle.task"), "matte": None}
    recipe = checked_recipe(imports, {"head": "flame.pkl"}, {"preset": "tiny.toml"}, "cpu")
    assert recipe.imports == {"size": 128, "landmarker": str(tmp_path / "bundle.task")}
    assert recipe.track == {"head": str(tmp_path / "flame.pkl")} and recipe.train["preset"] == str(
        tmp_path / "tiny.toml"
    )
    assert Recipe(**json.loads(json.dumps(recipe.as_json()))) == recipe
    named = checked_recipe({}, {"head": "human"}, {"preset": "draft"}, "cpu")
    assert named.track == {"head": "human"} and named.train == {"preset": "draft"}  # a name, whatever lies here


def test_what_decides_the_avatar_decides_whether_it_is_finished() -> None:
    def identity(**train: object) -> dict:
        return checked_recipe({}, {}, {"preset": "draft", **train}, "cpu").identity

    assert identity() == identity(overrides={"checkpoint_seconds": 5})
    for other in ({"preset": "quality"}, {"minutes": 3}, {"overrides": {"images": 9}}, {"overrides": {"seed": 2}}):
        assert identity(**other) != identity()


@pytest.mark.parametrize(
    ("imports", "track", "train", "words"),
    [
        ({"size": 3}, {}, {}, "'size' cannot be 3"),
        ({}, {"refine": "much"}, {}, "'refine' cannot be 'much'"),
        ({}, {}, {"preset": "drift"}, "no preset 'drift'"),
        ({}, {}, {"overrides": {"imags": "3"}}, "did you mean 'images'"),
        ({}, {}, {"minutes": -1}, "'minutes'"),
    ],
)
def test_a_wrong_value_is_told_at_once(imports: dict, track: dict, train: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked_recipe(imports, track, train, "auto")


def batch(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


def test_wrong_input_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLENDSPLAT_LOG_DIR", str(tmp_path / "logs"))
    (tmp_path / "a.mp4").touch()
    for arguments, words in (
        ((tmp_path / "gone",), "gone does not exist; name the folder"),
        ((tmp_path, "--part", "3/2"), "The part 3/2 does not exist"),
        ((tmp_path, "--device", "tpu"), "'device' cannot be 'tpu'"),
        ((tmp_path, "--device", "cuda:77"), "no device 'cuda:77'"),
    ):
        result = batch(*arguments, "-o", tmp_path / "out")
        assert result.exit_code == 2 and words in result.stderr and "Traceback" not in result.output
        assert len(result.stderr.strip().splitlines()) == 1
    result = batch(tmp_path, "-o", tmp_path / "a.mp4" / "out")
    assert result.exit_code == 4 and "cannot be made" in result.stderr


def test_parts_as_typed() -> None:
    assert parse_part(None) == (1, 1) and parse_part("2/5") == (2, 5)
    for wrong in ("2", "a/b", "1/2/3", "/"):
        with pytest.raises(typer.BadParameter):
            parse_part(wrong)

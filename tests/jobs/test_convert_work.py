# SPDX-License-Identifier: Apache-2.0
"""Tracked clips and fitted photographs carried over to another head by a job, and what it says when it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from blendsplat.cli import app
from blendsplat.errors import FormatError, InputError
from blendsplat.geometry import project_points
from blendsplat.heads.load import load_head
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.jobs.kinds import KINDS
from blendsplat.jobs.options import validated
from blendsplat.photographs.fit_files import NAMES, ImageFit, save_fit
from blendsplat.photographs.photograph import Face, read_photograph
from blendsplat.progress import Progress
from blendsplat.splatting import rasterize_mesh
from blendsplat.video.clip import encode_png
from other_heads import lively, turned_head


@pytest.fixture(autouse=True)
def _other_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """load_head("turned") gives the head that ships with other axes."""
    monkeypatch.setattr("blendsplat.heads.load.SHIPPED", ("human", "turned"))
    monkeypatch.setattr(
        "blendsplat.heads.load.load_head",
        lambda source, **_: turned_head(load_head("human")) if source == "turned" else load_head(source),
    )


def convert(**values: Any) -> dict[str, Any]:
    return KINDS["convert"].run(validated(KINDS["convert"].options, values, "convert"), Progress())


@pytest.fixture(name="tracked")
def tracked_clip(tmp_path: Path) -> Path:
    folder = tmp_path / "talk ü"
    folder.mkdir()
    replace(lively(load_head("human"), 4), head_source="human").save(folder / "tracking.npz")
    return folder


def test_a_clip_there_and_back(tracked: Path, tmp_path: Path) -> None:
    done = convert(tracked=tracked, head="turned", output=tmp_path / "there.npz")
    assert (done["frames"], done["valid"], done["head"]) == (4, 4, "turned") and 0 < done["error_mm"] < 1
    assert done["error_mm"] < done["error_95_mm"]
    back = convert(tracked=tmp_path / "there.npz", head="human", output=tmp_path / "back")
    assert back["output"] == str(tmp_path / "back" / "tracking.npz")
    before, after = Performance.load(tracked), Performance.load(tmp_path / "back")
    assert after.head_source == "human" and len(after.notes) == 2
    np.testing.assert_allclose(after.translation, before.translation, atol=2e-3)
    np.testing.assert_allclose(after.expression, before.expression, atol=0.05)


def test_the_command(tracked: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["convert-performance", str(tracked), *map(str, arguments)])

    done = run("--head", "turned", "--out", tmp_path / "there.npz", "--how", "vertices")
    assert done.exit_code == 0 and "mm apart" in done.output and (tmp_path / "there.npz").is_file()
    done = run("--head", "turned", "-o", tmp_path / "other.npz", "--json")
    assert json.loads(done.stdout)["frames"] == 4
    assert run("--head", "turned", "-o", tmp_path / "x.npz", "--how", "magic").exit_code == 2
    assert not (tmp_path / "x.npz").exists()


def test_what_cannot_be(tracked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    with pytest.raises(InputError, match="name another output"):
        convert(tracked=tracked, head="turned", output=tracked)
    with pytest.raises(InputError, match=r"nowhere\.pkl"):
        convert(tracked=tracked, head=str(tmp_path / "nowhere.pkl"), output=out)
    with pytest.raises(FormatError, match=r"tracking\.npz does not exist"):
        convert(tracked=tmp_path, head="turned", output=out)
    replace(Performance.load(tracked), head_source="/gone/flame.pkl").save(tracked / "tracking.npz")
    with pytest.raises(InputError, match=r"/gone/flame\.pkl.*--tracked-head"):
        convert(tracked=tracked, head="turned", output=out)
    with pytest.raises(InputError, match="track the clip again"):
        convert(tracked=tracked, head="human", output=out, tracked_head="turned")
    assert not out.exists()
    convert(tracked=tracked, head="turned", output=out, tracked_head="human")
    assert out.is_file()


@pytest.fixture(name="fit")
def fitted_photograph(tmp_path: Path) -> Path:
    """A folder as fit-image writes it, of a picture 256 pixels wide that was 512 once."""
    head, size = load_head("human"), 512
    tracking = replace(lively(head, 1), head_source="human", timestamps=np.zeros(1))
    tracking.figures = {"landmark_error": 0.01}
    vertices = torch.as_tensor(head_vertices(tracking, head))
    eye, K = torch.eye(4)[None], torch.as_tensor(tracking.K)[None]
    faces, _, _ = rasterize_mesh(vertices, head.faces, eye, K, size, size)
    matte = np.where(faces[0].numpy() >= 0, 255, 0).astype(np.uint8)[::2, ::2]
    picture = np.full((256, 256, 3), (30, 60, 200), np.uint8)
    picture[matte > 0] = (200, 150, 120)
    (tmp_path / "anna.png").write_bytes(encode_png(picture))
    photograph = replace(read_photograph(tmp_path / "anna.png"), width=size, height=size, scale=0.5)
    points = project_points(head.landmarks_of(vertices), eye, K)[0].double().numpy()
    crop = np.dstack([picture, matte])
    folder = tmp_path / "anna"
    fit = ImageFit(photograph, Face(points, np.zeros(478)), tracking, crop, matte, "landmarks", ["A warning."])
    save_fit(fit, head, folder)
    return folder


def test_a_photograph(fit: Path, tmp_path: Path) -> None:
    done = convert(tracked=fit, head="turned", output=tmp_path / "other")
    out = tmp_path / "other"
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
    before, after = (json.loads((folder / "fit.json").read_text()) for folder in (fit, out))
    assert after["head"] == "turned" and after["warnings"] == ["A warning."] and after["method"] == "landmarks"
    for name in ("image", "K", "viewmat", "width", "height"):
        assert after[name] == before[name]
    assert after["figures"]["conversion_error_mm"] == pytest.approx(done["error_mm"]) and done["error_mm"] < 1
    from PIL import Image

    texture = np.asarray(Image.open(out / "texture.png").convert("RGB")).astype(int)
    skin = np.abs(texture - [200, 150, 120]).max(-1) < 40
    assert skin.mean() > 0.2 and (np.abs(texture - [30, 60, 200]).max(-1) < 40).mean() < 0.01
    overlay = np.asarray(Image.open(out / "overlay.png").convert("RGB")).astype(int)
    assert overlay.shape == np.asarray(Image.open(fit / "overlay.png")).shape
    assert np.abs(overlay - np.asarray(Image.open(fit / "overlay.png").convert("RGB"))).mean() < 12


def test_fits_that_are_not_whole(fit: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name another folder"):
        convert(tracked=fit, head="turned", output=fit)
    (fit / "crop.png").unlink()
    with pytest.raises(FormatError, match=r"lacks crop\.png"):
        convert(tracked=fit, head="turned", output=tmp_path / "other")
    (fit / "fit.json").write_text("[]")
    with pytest.raises(FormatError, match=r"fit\.json is no description"):
        convert(tracked=fit, head="turned", output=tmp_path / "other")
    assert not (tmp_path / "other" / "fit.json").exists()

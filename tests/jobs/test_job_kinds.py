# SPDX-License-Identifier: Apache-2.0
"""The kinds of jobs: both sides can start each, and the results are what JSON can carry."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import blendsplat.commands
import blendsplat.tracking
from blendsplat.errors import InputError
from blendsplat.heads.performance import Performance
from blendsplat.jobs.avatar_work import avatar_name
from blendsplat.jobs.eta import EtaClock
from blendsplat.jobs.json_values import plain
from blendsplat.jobs.kinds import KINDS, lanes
from blendsplat.jobs.options import ABSOLUTE, validated
from blendsplat.progress import Progress
from tiny_clip import write_tiny_clip


def run(kind: str, **values: Any) -> dict[str, Any]:
    """As the server would."""
    return KINDS[kind].run(validated(KINDS[kind].options, values, kind, ABSOLUTE), Progress())


def test_every_kind_has_a_command() -> None:
    folder = Path(blendsplat.commands.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    started = set(re.findall(r'run_job\("(\w+)"', source))
    fed_by_a_client = {"bake"}  # what Blender's head does comes as frames while it runs
    assert started == {name for name in KINDS if not name.startswith("selftest")} - fed_by_a_client


def test_trainings_have_a_lane_of_their_own() -> None:
    training = {"train", "live", "train_kaolrm", "generate_heads", "selftest_train"}
    assert {name for name, lane in lanes().items() if lane == "train"} == training
    assert set(lanes().values()) == {"train", "work"} and set(lanes()) == set(KINDS)


@pytest.mark.slow
def test_generated_heads_train_a_network(tmp_path: Path, tiny_kaolrm_preset: Path) -> None:
    heads, weights = tmp_path / "heads", tmp_path / "weights"
    made = run("generate_heads", directory=str(heads), people=3, views=2, size=56, focal=4.0, widest=60)
    assert made == {"rendered": 3, "output": str(heads)}
    assert run("generate_heads", directory=str(heads), people=3, views=2, size=56, focal=4.0)["rendered"] == 0
    score = run("train_kaolrm", data=str(heads), output=str(weights), preset=str(tiny_kaolrm_preset), device="cpu")
    assert score["output"] == str(weights) and score["error_mm"] > 0 and (weights / "model.safetensors").is_file()
    with pytest.raises(InputError, match="knows no --from"):
        run("train_kaolrm", data=str(heads), output=str(weights), preset=str(tiny_kaolrm_preset), stage=1)


def test_tracking_and_correcting_hear_their_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "klip ä"
    tracked = write_tiny_clip(folder, 4)
    tracked.figures["corrected_frames"] = 2.0
    heard: list[Any] = []

    def work(directory: Path, options: Any, progress: Progress) -> Performance:
        heard.append(options)
        return tracked

    monkeypatch.setattr(blendsplat.tracking, "track_clip", work)
    monkeypatch.setattr(blendsplat.tracking, "correct_clip", work)
    run("track", directory=str(folder), focal=35, lens_shift=[0.1, -0.2], zooms=True, refine="none", device="cpu")
    told = heard.pop()
    assert (told.lens_mm, told.lens_shift, told.zooms, told.refine) == (35, (0.1, -0.2), True, "none")
    run("track", directory=str(folder), device="cpu")
    assert (heard[0].lens_mm, heard[0].lens_shift, heard.pop().zooms) == (None, (0.0, 0.0), False)
    new = folder / "corrections.new.npz"
    result = run("correct", directory=str(folder), corrections=str(new), forget=3, overlay=False)
    assert (heard[0].corrections, heard[0].forget, heard[0].overlay) == (new, 3, False)
    assert (result["corrected"], result["frames"], result["valid"]) == (2, 4, 4)
    for wrong in ({"focal": 0}, {"focal": math.nan}, {"lens_shift": [0, 3]}, {"lens_shift": [0]}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            run("track", directory=str(folder), **wrong)
    with pytest.raises(InputError, match="is not tracked yet"):
        (folder / "tracking.npz").unlink()
        run("correct", directory=str(folder))


def test_fits_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def judge(*given: Any) -> dict[str, Any]:
        asked.append(given)
        return {"rows": {"mean face": {"mean_mm": np.float64(1.5), "chamfer_mm": math.nan}}}

    for name in ("evaluate_fits", "evaluate_scan", "self_test"):
        monkeypatch.setattr(f"blendsplat.evaluation.fits.{name}", judge)
    folder, scan, other = str(tmp_path / "fit"), str(tmp_path / "scan.obj"), str(tmp_path / "other.pkl")
    judged = run("evaluate_fit", fits=[folder], scan=scan)
    assert judged == {"rows": {"mean face": {"mean_mm": 1.5, "chamfer_mm": None}}}
    assert asked[-1][:2] == ([Path(folder)], Path(scan))
    run("evaluate_fit", render_scan=scan, views=3)
    assert asked[-1][0] == Path(scan) and asked[-1][4].views == 3
    run("evaluate_fit", render_scan=scan, head=other, same_person=True)
    assert asked[-1][-2:] == (other, True)
    run("evaluate_fit", self_test=True, people=2, seed=7, head=other)
    assert (asked[-1][0].people, asked[-1][0].seed, asked[-1][-1]) == (2, 7, other)


def test_heads_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*given: Any) -> dict[str, dict[str, float]]:
        return {"asked": dict(enumerate(given[:-1]))}  # type: ignore[dict-item]

    monkeypatch.setattr("blendsplat.evaluation.scan_fit.evaluate_head", judge)
    head, scan, people = (str(tmp_path / name) for name in ("a.pkl", "s.obj", "b.npz"))
    rows = run("evaluate_head", head=head, scans=[scan], people_of=people, people=4, seed=2)["rows"]
    assert list(rows["asked"].values()) == [head, [scan], None, None, people, 4, 2, 80]


def test_coverage_is_measured_folder_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(folder: Path, frames: int, pictures: Path | None, progress: Progress) -> dict[str, float]:
        return {"uncovered": float(frames), "frames": len(folder.name)}

    monkeypatch.setattr("blendsplat.evaluation.coverage.measure_folder", measure)
    folders = [str(tmp_path / "a"), str(tmp_path / "bc")]
    rows = run("evaluate_coverage", folders=folders, frames=7)["rows"]
    assert rows == {folders[0]: {"uncovered": 7.0, "frames": 1}, folders[1]: {"uncovered": 7.0, "frames": 2}}


def test_trackings_are_judged_by_the_picture_and_by_a_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clip.json", "tracking.npz"):
        (tmp_path / name).touch()
    monkeypatch.setattr("blendsplat.heads.performance.Performance.load", lambda path: Path(path).name)
    monkeypatch.setattr("blendsplat.heads.load.load_head_of", lambda tracking: "head")
    monkeypatch.setattr("blendsplat.video.Clip.open", lambda path: "clip")
    monkeypatch.setattr(
        "blendsplat.evaluation.sticking.evaluate_sticking", lambda *given: {"stick_px": 0.5, "lag_frames": float("nan")}
    )
    monkeypatch.setattr("blendsplat.tracking.evaluate_tracking", lambda *given: {"asked": list(given)})
    folder = str(tmp_path)
    assert run("evaluate_tracking", folders=[folder])["rows"][folder] == {"stick_px": 0.5, "lag_frames": None}
    (tmp_path / "truth.npz").touch()
    assert run("evaluate_tracking", folders=[folder])["rows"][folder]["asked"] == ["tracking.npz", "truth.npz", "head"]
    with pytest.raises(InputError, match=r"no dense\.npz"):
        run("evaluate_tracking", folders=[folder], tracking="dense.npz")


def test_eta() -> None:
    now = [0.0]
    clock = EtaClock(lambda: now[0])
    assert clock.estimate("a", 500, 1000) is None  # resumed: what was done before tells nothing of the speed
    now[0] = 10.0
    assert clock.estimate("a", 600, 1000) == pytest.approx(40)
    assert clock.estimate("b", 0, 10) is None
    now[0] = 11.0
    assert clock.estimate("b", 5, 10) == pytest.approx(1)
    assert clock.estimate("b", 10, 10) == pytest.approx(0)


def test_avatar_name() -> None:
    for given, want in (
        ("a", "a.avatar.npz"),
        ("a.npz", "a.avatar.npz"),
        ("v1.2", "v1.2.avatar.npz"),
        ("a.avatar.npz", "a.avatar.npz"),
    ):
        assert avatar_name(Path("x") / given) == Path("x") / want


def test_plain_values() -> None:
    mixed = {1: np.float32(2), "p": Path("x"), "n": math.nan, "a": np.arange(2), "t": (np.bool_(True), None)}
    assert plain(mixed) == {"1": 2.0, "p": "x", "n": None, "a": [0, 1], "t": [True, None]}

# SPDX-License-Identifier: Apache-2.0
"""The extension's zip in whole Blenders 4.3 and 5.2 with a window (other Pythons than the engine's): see scenario.py.

The stand-in engine keeps it short. BLENDSPLAT_UI_ENGINE (a command as Blender sees it) and BLENDSPLAT_UI_VIDEO run
the same steps with the real one; BLENDSPLAT_UI_PICTURES keeps the screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FAKE = ROOT / "tests" / "blender" / "fake_engine.py"


@pytest.fixture(scope="session")
def extension(tmp_path_factory) -> Path:
    """The zip, without an engine inside."""
    sys.path.insert(0, str(ROOT))
    import build_addon

    return build_addon.build(tmp_path_factory.mktemp("zip"), [])


def test_blenders_own_validator_accepts_the_zip(blender, extension):
    done = blender(["--command", "extension", "validate", str(extension)], [extension.parent], 120)
    assert done.returncode == 0 and "Success" in done.stdout, done.stdout + done.stderr


def test_the_work_in_a_window(blender, extension, tmp_path):
    folder = tmp_path / "ui"
    folder.mkdir()
    real = os.environ.get("BLENDSPLAT_UI_ENGINE")
    video = Path(os.environ.get("BLENDSPLAT_UI_VIDEO", folder / "talk.mp4"))
    if not real:
        video.write_bytes(b"the stand-in does not read it")
    options = {
        "folder": str(folder), "zip": str(extension), "engine": real or f"python3 {FAKE} crawl", "video": str(video),
        "clip": str(folder / "Klip ä 1"), "seconds": 2.0,
        "overrides": {"images": 2400, "blendshapes_after": 40, "color_init_images": 80, "uv_resolution": 64,
        "checkpoint_seconds": 0.5} if real else {},
    }  # fmt: skip
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
    words = ["--python", str(HERE / "scenario.py"), "--", str(folder / "options.json")]
    done = blender(words, [ROOT, video.parent, extension.parent], 1500)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    keep = os.environ.get("BLENDSPLAT_UI_PICTURES")
    if keep:
        shutil.copytree(folder, Path(keep) / report["version"].split()[0], dirs_exist_ok=True)
    assert report.get("finished"), report.get("error", done.stdout[-3000:] + done.stderr[-3000:])
    check(report, folder)


def check(report: dict, folder: Path) -> None:
    """What the scenario saw."""
    steps: dict[str, list[dict]] = {}
    for step in report["steps"]:
        steps.setdefault(step["step"], []).append(step)
    assert steps["installed"][0]["enabled"]
    assert steps["grey"][0] == {"step": "grey", "import_video": False, "train": False}
    assert "cannot be started" in steps["wrong engine"][0]["error"]
    assert [step["state"] for step in steps["import"] + steps["track"]] == ["done", "done"]
    assert steps["head"][0]["kinds"].count("HEAD") == 1
    first, second = steps["train"]
    assert first["state"] == "failed" and "checkpoint" in first["error"]
    assert second["state"] == "done", second["error"]
    assert any(abs(weight) > 1e-6 for weight in steps["live"][0]["weights"])
    assert steps["render"][0] == {"step": "render", "engine": "BLENDSPLAT", "written": True}
    assert (steps["undo"][0]["with_two"], steps["undo"][0]["after"]) == (2, 1)
    assert steps["reopened"][0]["avatars"] == 1
    assert steps["enabled again"][0]["enabled"]
    print(
        report["version"], "Python", report["python"], "playback", steps["playback"][0]["per_second"], "evaluations/s"
    )
    assert (folder / "render.png").stat().st_size > 500

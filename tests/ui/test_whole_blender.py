# SPDX-License-Identifier: Apache-2.0
"""The extension's zip in whole Blenders 4.3 and 5.2 with a window (other Pythons than the engine's): see the scenarios.

The stand-in engine keeps it short. BLENDSPLAT_UI_ENGINE (a command as Blender sees it), BLENDSPLAT_UI_VIDEO and
BLENDSPLAT_UI_PHOTOGRAPH run the same steps with the real one; BLENDSPLAT_UI_PICTURES keeps the screenshots.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from playing import FAKE, ROOT, by_name, played


def test_blenders_own_validator_accepts_the_zip(blender, extension):
    done = blender(["--command", "extension", "validate", str(extension)], [extension.parent], 120)
    assert done.returncode == 0 and "Success" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
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
    report = played(blender, "scenario.py", options, [ROOT, video.parent, extension.parent])
    check(report, folder)


def check(report: dict, folder: Path) -> None:
    """What the scenario saw."""
    steps = by_name(report)
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


@pytest.mark.slow
def test_heads_from_photographs(blender, extension, tmp_path):
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    folder = tmp_path / "ui"
    folder.mkdir()
    real = os.environ.get("BLENDSPLAT_UI_ENGINE")
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    no_face = synthetic.write_png(tmp_path / "noise.png", noise)
    portrait = Path(os.environ.get("BLENDSPLAT_UI_PHOTOGRAPH", no_face)) if real else no_face
    options = {
        "folder": str(folder), "zip": str(extension), "engine": real or f"python3 {FAKE}",
        "portrait": str(portrait), "no_face": str(no_face),
    }  # fmt: skip
    report = played(blender, "fit_scenario.py", options, [ROOT, portrait.parent, extension.parent])
    check_fits(by_name(report), folder)


def check_fits(steps: dict[str, list[dict]], folder: Path) -> None:
    """What the scenario of photographs saw."""
    assert steps["grey"][0] == {"step": "grey", "fit": False, "export": False}
    assert steps["check"][0]["at_once"] == [["Checking...", "TIME"]], "the button waited for the engine"
    assert steps["weights"][1]["lines"][0][1] == "ERROR"
    assert [step["state"] for step in steps["fit_image"]] == [
        "done", "done", "failed", "cancelled", "failed", "done", "done",
    ]  # fmt: skip
    assert len(steps["fitted"][0]["heads"]) == 1 and steps["fitted"][0]["files"][0][1] == "FITTED"
    assert steps["shown"][0]["view"] == "CAMERA" and not steps["look"][0]["error"]
    assert steps["exported"][0]["bytes"] > 100 and not steps["reset"][0]["error"]
    assert steps["undo"][0]["heads"] and not steps["undone"][0]["heads"]
    assert steps["redone"][0]["heads"] == steps["undo"][0]["heads"] and steps["redone"][0]["files"] == 1
    states = {name: state for name, state, _ in steps["several"][0]["files"]}
    assert states == {"Ana 人.png": "FITTED", "cat.png": "FAILED", "zweites Bild.png": "FITTED"}
    assert "gone.png" in steps["no such file"][0]["error"] and steps["no such file"][0]["heads"]
    assert "No face was found in cat.png" in steps["fit_image"][2]["error"]
    assert "ended by the system" in steps["fit_image"][4]["error"]
    assert steps["after errors"][0]["heads"], "an error changed the scene"
    reopened = steps["reopened"][0]
    assert reopened["path"] == "//anna.png" and not reopened["missing"] and reopened["state"] == "FITTED"
    assert Path(reopened["folder"]) == folder / "moved" / "heads" / "anna"
    assert not steps["look again"][0]["error"]


def test_a_tracking_is_checked_and_corrected(blender, extension, tmp_path):
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    folder, real = tmp_path / "ui", os.environ.get("BLENDSPLAT_UI_ENGINE")
    clip = folder / "clip ä"
    if real:
        shutil.copytree(os.environ["BLENDSPLAT_UI_CLIP"], clip)
    else:
        synthetic.write_performance(clip / "tracking.npz")
        (clip / "clip.json").write_text("{}")
    options = {
        "folder": str(folder), "zip": str(extension), "engine": real or f"python3 {FAKE}", "clip": str(clip),
        "frame": 60 if real else 9,
    }  # fmt: skip
    steps = by_name(played(blender, "check_scenario.py", options, [ROOT, extension.parent]))
    assert not steps["added"][0]["error"]
    assert steps["looks"][0]["view"] == ["SOLID", "OBJECT", "CAMERA", False]
    assert steps["back"][0]["view"] == steps["looks"][0]["before"] and not steps["back"][0]["error"]
    assert not steps["worst"][0]["error"]
    assert [step["state"] for step in steps["correct"] if "state" in step] == ["done", "done"]
    assert abs(steps["corrected"][0]["turned"] - 0.15) < 0.01 and len(steps["corrected"][0]["known"]) == 1
    assert abs(steps["forgotten"][0]["turned"]) < 0.001


def test_all_else_while_a_training_runs(blender, extension, tmp_path):
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    folder = tmp_path / "ui"
    synthetic.write_performance(folder / "clip ä" / "tracking.npz")
    avatar = synthetic.write_avatar(folder / "ana.avatar.npz")
    portrait = synthetic.write_png(tmp_path / "portrait.png", np.full((64, 64, 3), 90, np.uint8))
    options = {
        "folder": str(folder), "zip": str(extension), "engine": f"python3 {FAKE} busy", "clip": str(folder / "clip ä"),
        "avatar": str(avatar), "portrait": str(portrait),
    }  # fmt: skip
    steps = by_name(played(blender, "lanes_scenario.py", options, [ROOT, extension.parent]))
    for name in ("train", "add head", "render", "fit"):  # seconds are for whoever reads the report: machines differ
        assert all(step["waiting"] for step in steps[name]), f"{name}: Blender had no turn before it was done"
        print(name, [step["seconds"] for step in steps[name]])
    assert all(step["shown"] for step in steps["loop"]), "nothing said that something was on its way"
    print("longest pause of the event loop meanwhile", [step["longest"] for step in steps["loop"]])
    assert (steps["undo"][0]["undone"], steps["undo"][0]["redone"]) == (0, 1)
    assert [step["complete"] for step in steps["rendered"]] == [True, True]
    assert steps["fit ends"][0]["state"] == "done", steps["fit ends"][0]["error"]
    assert steps["fit ends"][0]["heads"] == 2, "the job ended before its head was there"
    assert steps["training"][0]["running"] and steps["training"][0]["previews"] > 0
    assert steps["cancelled"][0]["state"] == "cancelled"


def test_an_avatar_with_networks(blender, extension, tmp_path):
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    folder, last = tmp_path / "ui", 60
    performance = synthetic.write_performance(folder / "clip ä" / "tracking.npz", frames=last)
    training = {"preset": "dipguava", "figures": {"psnr": 31.0, "sliders_psnr": 30.2}}
    avatar = synthetic.write_avatar(folder / "ana.avatar.npz", system="dipguava", training=training)
    options = {
        "folder": str(folder), "zip": str(extension), "engine": f"python3 {FAKE}", "avatar": str(avatar),
        "performance": str(performance), "last": last,
    }  # fmt: skip
    steps = by_name(played(blender, "networks_scenario.py", options, [ROOT, extension.parent]))
    assert not steps["missing"][0]["can_bake"]
    assert [step["state"] for step in steps["bake"]] == ["done", "cancelled"], steps["bake"]
    assert steps["beside"][0]["avatars"] == ["ana", "ana Baked"] and steps["undone"][0]["avatars"] == ["ana"]
    assert steps["cancelled"][0] == {
        "step": "cancelled", "avatars": ["ana"], "status": "Cancelled: nothing was added.",
    }  # fmt: skip
    done = steps["baked"][0]
    assert (done["state"], done["avatars"]) == ("done", ["ana", "ana Baked"]), done["error"]
    assert done["frames"] == [7] and abs(done["jaw"] - 0.5) < 1e-6, "the artist's frame and pose stay"
    assert done["turns"] > 1 and done["scenes"] == 1, "Blender had turns of its own"
    assert "as 3 keys: 4.0% of the movement is left out" in done["remarks"][0]
    assert "Traceback" not in steps["said"][0]["text"], steps["said"][0]["text"]


def test_every_state_of_the_panel(blender, extension, tmp_path):
    """What is done folds, what is next stands open, and what is drawn is drawn without an error."""
    folder, real = tmp_path / "ui", os.environ.get("BLENDSPLAT_UI_ENGINE")
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    if real:
        shutil.copytree(os.environ["BLENDSPLAT_UI_CLIP"], folder / "clip ä")
    (folder / "clip ä" / "images").mkdir(parents=True, exist_ok=True)
    rows = np.linspace(40, 200, 256)[:, None, None]
    if not real:
        image = np.broadcast_to(rows, (256, 256, 3)).astype("u1")
        synthetic.write_png(folder / "clip ä" / "images" / "000000.png", image)
    video = folder / "talk.mp4"
    video.write_bytes(b"the stand-in does not read it")
    options = {
        "folder": str(folder), "zip": str(extension), "engine": real or f"python3 {FAKE} crawl", "video": str(video),
        "noface": f"python3 {FAKE} noface", "clip": str(folder / "clip ä"), "import": not real,
        "overrides": {"images": 2000, "blendshapes_after": 40, "color_init_images": 80, "uv_resolution": 96,
        "image_size": 192, "preview_seconds": 3} if real else {},
    }  # fmt: skip
    report = played(blender, "panel_scenario.py", options, [ROOT, extension.parent])
    steps = by_name(report)
    if real:
        return  # to look at; what is to be seen differs from clip to clip
    assert steps["nothing"][0]["open"] == ["video"] and steps["imported"][0]["open"] == ["track"]
    assert not steps["curves"][0]["error"] and not steps["relink"][0]["error"]
    assert steps["relinked"][0]["found"] == "clip ä.avatar.npz"
    assert not steps["large clip"][0]["error"] and not steps["details"][0]["error"]
    assert steps["tracked"][0]["open"] == ["check", "train"] and steps["tracked"][0]["view"] == "CAMERA"
    assert steps["training"][0]["bar"][0].startswith("Train ") and not steps["large"][0]["error"]
    assert steps["trained"][0] == {
        "step": "trained", "open": ["avatar", "render"], "bar": 0, "quality": "Sharp (31.0 dB)",
    }  # fmt: skip


def test_splats_as_geometry(blender, extension, tmp_path):
    """EEVEE, which blends faces in their order, draws what Cycles draws, which needs no order."""
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    folder = tmp_path / "ui"
    performance = synthetic.write_performance(folder / "clip ä" / "tracking.npz")
    avatar = Path(os.environ.get("BLENDSPLAT_UI_AVATAR", synthetic.write_avatar(folder / "ana.avatar.npz")))
    options = {
        "folder": str(folder), "zip": str(extension), "avatar": str(avatar), "performance": str(performance),
        "name": avatar.name.removesuffix(".avatar.npz"), "frame": 7, "size": 128,
    }  # fmt: skip
    if clip := os.environ.get("BLENDSPLAT_UI_CLIP"):
        options["performance"] = str(Path(clip) / "tracking.npz")
    folders = [ROOT, extension.parent, avatar.parent, Path(options["performance"]).parent]
    steps = by_name(played(blender, "splat_geometry_scenario.py", options, folders))
    assert steps["added"][0]["modifiers"] == ["Gaussians", "Splats as Geometry"]
    assert steps["undone"][0]["modifiers"] == ["Gaussians"]
    assert steps["baked"][0]["made"] == ["FINISHED"] and steps["baked"][0]["faces"] > 400
    for step in steps["compared"]:
        assert step["pixels"] > 100 and step["bright"] > 100 and step["mean"] < 1 and step["most"] < 3, step


def test_an_avatar_is_clicked_moved_and_duplicated(blender, extension, tmp_path):
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    folder = tmp_path / "ui"
    performance = synthetic.write_performance(folder / "clip ä" / "tracking.npz")
    dense = {"opacity_logits": np.full(4000, 5.0, np.float32)}
    avatar = synthetic.write_avatar(folder / "ana.avatar.npz", gaussians=4000, learned=dense)
    shutil.copy(ROOT / "tests" / "support" / "five_blocks" / "ann.blend", folder / "ann.blend")
    synthetic.write_avatar(folder / "ann.avatar.npz", 60, 3, size=8)
    options = {
        "folder": str(folder), "zip": str(extension), "avatar": str(avatar), "performance": str(performance),
        "earlier": str(folder / "ann.blend"),
    }  # fmt: skip
    steps = by_name(played(blender, "place_scenario.py", options, [ROOT, extension.parent]))
    assert [step["selected"] for step in steps["clicked"]] == [["ana"], ["ana"]]
    assert [step["selected"] for step in steps["beside"]] == [[], []]
    for name in ("carrier", "handle"):
        (step,) = steps[name]
        away = np.subtract(step["after"]["ana"], step["before"]["ana"])
        np.testing.assert_allclose(away, [0.1, 0, 0.05], atol=1e-5, err_msg=name)
    (step,) = steps["duplicated"]
    np.testing.assert_allclose(step["after"]["ana"], step["before"]["ana"], atol=1e-5)
    away = np.subtract(step["after"]["ana.001"], step["before"]["ana"])
    np.testing.assert_allclose(away, [0.15, 0, 0], atol=1e-5)
    (step,) = steps["earlier"]
    assert step["edges"] == 60 and list(step["after"]) == ["Ann"]
    np.testing.assert_allclose(step["after"]["Ann"], step["before"]["Ann"], atol=1e-5)


def test_a_live_capture(blender, extension, tmp_path):
    folder, real = tmp_path / "ui", os.environ.get("BLENDSPLAT_UI_ENGINE")
    folder.mkdir()
    video = os.environ.get("BLENDSPLAT_UI_VIDEO", "") if real else ""
    options = {
        "folder": str(folder), "zip": str(extension), "engine": real or f"python3 {FAKE}", "video": video,
        "takes": str(folder / "Aufnahmen ä"), "seconds": 20.0 if real else 1.0,
    }  # fmt: skip
    folders = [ROOT, extension.parent, *([Path(video).parent] if video else [])]
    steps = by_name(played(blender, "live_scenario.py", options, folders))
    assert steps["start"][0]["running"], "Blender had no turn before it was done"
    running = steps["running"][0]
    assert not running["dirty"], "Blender would ask to save the preview"
    print("longest pause of the event loop meanwhile", running["longest"])
    ended = steps["ended"][0]
    assert ended["state"] == "done" and ended["kinds"] == ["AVATAR", "CAMERA", "HEAD", "RIG"], ended
    assert not ended["problem"]

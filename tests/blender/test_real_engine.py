# SPDX-License-Identifier: Apache-2.0
"""The add-on with the real engine: Blender's head and Blender's frame against what the engine computes by itself.

The engine runs in its own Python (BLENDSPLAT_ENGINE_PYTHON, else this one), which may be another than Blender's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import space
from blender_addon.client import jobs, session
from blender_addon.render import gather
from blender_addon.scene import arkit, fit_scene, live_avatar
from steps import compare_frames

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(made, tmp_path_factory) -> Path:
    return made("make_reference.py", tmp_path_factory.mktemp("a person ü"))


@pytest.fixture
def stage(real, reference):
    """The person's head and avatar in the scene, added by the operators."""
    scene = real
    scene.blendsplat.directory = str(reference / "clip")
    scene.blendsplat.avatar_file = str(reference / "person.avatar.npz")
    assert bpy.ops.blendsplat.add_head() == {"FINISHED"}
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert bpy.ops.blendsplat.use_render_engine() == {"FINISHED"}
    return scene


def test_the_head_moves_as_the_engines(stage, reference):
    with np.load(reference / "reference.npz") as data:
        rows, vertices = data["rows"], data["vertices"]
    heads = [item for item in stage.objects if item.blendsplat.kind == "HEAD"]
    assert len(heads) == 1, "the avatar did not recognise the tracked head"
    for row, want in zip(rows, vertices, strict=True):
        stage.frame_set(1 + int(row))
        mesh = heads[0].evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        have = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.attributes["position"].data.foreach_get("vector", have)
        assert np.abs(have.reshape(-1, 3) - space.to_blender(want)).max() < 2e-5


def test_the_frame_is_the_engines_own(stage, reference, tmp_path):
    """The whole way - shape keys, nodes, camera, protocol, colours, PNG - gives the engine's own picture."""
    with np.load(reference / "reference.npz") as data:
        rows, rgba = data["rows"], data["rgba"]
    assert bpy.ops.blendsplat.engine_check() == {"FINISHED"}
    compare_frames(stage, rows, rgba, tmp_path)


def test_an_avatar_of_a_system_that_blender_does_not_know(real, made, tmp_path):
    """The toy system of tests/support: its avatar comes in without learned keys, follows its head, and renders as the
    engine renders it; nothing in the add-on names it."""
    made("make_toy.py", tmp_path)
    real.render.fps = 25  # the clip's, so that each frame of the timeline is one of its own
    real.blendsplat.avatar_file = str(tmp_path / "toy.avatar.npz")
    real.blendsplat.performance = str(tmp_path / "clip" / "tracking.npz")
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert bpy.ops.blendsplat.use_render_engine() == {"FINISHED"}
    (carrier,) = [item for item in real.objects if item.blendsplat.kind == "AVATAR"]
    assert carrier.data.shape_keys is None or len(carrier.data.shape_keys.key_blocks) == 1
    with np.load(tmp_path / "toy.npz") as data:
        rows, rgba = data["rows"], data["rgba"]
    real.render.resolution_x = real.render.resolution_y = rgba.shape[1]
    real.render.resolution_percentage = 100
    compare_frames(real, rows, rgba, tmp_path)


def shown(head: bpy.types.Object) -> np.ndarray:
    """Blender's vertices [V,3] in the rig's space."""
    mesh = head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    have = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", have)
    return have.reshape(-1, 3)


def test_a_fitted_head_is_the_engines_and_is_exported_as_it_stands(real, reference, tmp_path):
    with np.load(reference / "reference.npz") as data:
        want = data["vertices"][1]
    assert bpy.ops.blendsplat.add_fit(folder=str(reference / "fit")) == {"FINISHED"}
    (head,) = [item for item in real.objects if item.blendsplat.kind == "HEAD"]
    assert head.name == "Frau Ä Head" and np.abs(shown(head) - space.to_blender(want)).max() < 1e-6
    blocks = head.data.shape_keys.key_blocks
    for name, value in (("identity 01", 1.5), ("identity child", 0.5), ("mouthSmileLeft", 0.7), ("jawOpen", 0.5)):
        blocks[name].value = value
    head.blendsplat.rig.pose.bones["jaw"].rotation_euler[0] = 0.1
    head.blendsplat.rig.location = (1, 2, 3)
    state = fit_scene.write_state(head, bpy.context.evaluated_depsgraph_get(), tmp_path / "state.npz")
    params = {"fit": str(reference / "fit"), "output": str(tmp_path / "head.obj"), "performance": str(state)}
    job = jobs.start("export_head", params, {})
    jobs.wait(job)
    assert job.state == "done", job.status()
    lines = (tmp_path / "head.obj").read_text().splitlines()
    written = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
    # joints follow the sixteen directions that move them most (head_drivers), and the file holds whole micrometres
    assert np.abs(shown(head) - space.to_blender(written)).max() < 1e-4
    assert bpy.ops.blendsplat.reset_sliders() == {"FINISHED"} and blocks["jawOpen"].value == 0
    assert np.abs(shown(head) - space.to_blender(want)).max() < 1e-6


def test_the_example_plays_a_folder_of_captures(real, reference, engine_python, tmp_path, monkeypatch):
    """examples/retarget_folder.py: a capture of Live Link Face goes through the engine onto the avatar; a broken one is
    named."""
    import blender_addon

    columns = [name[:1].upper() + name[1:] for name in arkit.NAMES]
    takes, out = tmp_path / "takes ü", tmp_path / "shots"
    takes.mkdir()
    lines = [f"Timecode,BlendShapeCount,{','.join(columns)}"]
    for frame in range(30):
        moved = {"JawOpen": 0.5 - 0.5 * np.cos(frame / 4), "MouthSmileLeft": 0.2}
        values = ",".join(f"{moved.get(name, 0.0):.6f}" for name in columns)
        lines.append(f"10:00:00:{frame:02d}.000,61,{values}")
    (takes / "one.csv").write_text("\n".join(lines) + "\n")
    (takes / "two.csv").write_text("not a capture\n")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    import common
    import retarget_folder

    monkeypatch.setattr(common, "load_extension", lambda engine="": blender_addon)
    words = ["retarget_folder.py", str(reference / "person.avatar.npz"), str(takes), "-o", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    said = []
    monkeypatch.setattr(common, "table", lambda rows: said.extend(rows) or "")
    assert retarget_folder.main() == 1
    assert said[1][0] == "one.csv" and said[1][2].endswith("one.blend")
    assert said[2][0] == "two.csv" and "two.csv" in said[2][2], said[2]
    bpy.ops.wm.open_mainfile(filepath=str(out / "one.blend"))
    head = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "HEAD")
    opened = []
    for frame in range(bpy.context.scene.frame_start, bpy.context.scene.frame_end + 1):
        bpy.context.scene.frame_set(frame)
        opened.append(head.blendsplat.rig.pose.bones["jaw"].rotation_euler.x)
    want = [0.5 - 0.5 * np.cos(frame / 4) for frame in np.linspace(0, 29, len(opened))]
    assert len(opened) > 20 and np.corrcoef(opened, want)[0, 1] > 0.95


def test_killed_in_training_and_trained_again(real, test_data, tmp_path):
    """Real video, real engine: its process is killed after the first checkpoint; pressing Train again continues."""
    tiny = {
        "uv_resolution": 48, "image_size": 96, "blendshapes": 4, "batch": 2, "images": 600, "checkpoint_seconds": 0.2,
        "blendshapes_after": 0,
    }  # fmt: skip
    settings = real.blendsplat
    settings.video, settings.directory = str(test_data("video/d18.mp4")), str(tmp_path / "Grüße 影")
    settings.end, settings.size = 0.8, 192
    assert bpy.ops.blendsplat.import_video() == {"FINISHED"}
    assert bpy.ops.blendsplat.track() == {"FINISHED"}

    def kill_after_a_checkpoint() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and not list(tmp_path.rglob("*.checkpoint.safetensors")):
            time.sleep(0.02)
        session.link._process.kill()

    killer = threading.Thread(target=kill_after_a_checkpoint, daemon=True)
    killer.start()
    with pytest.raises(RuntimeError):
        bpy.ops.blendsplat.train(overrides=json.dumps(tiny))
    killer.join()
    assert jobs.latest("train").state == "failed"
    assert not list(tmp_path.rglob("*.avatar.npz"))

    assert bpy.ops.blendsplat.train(overrides=json.dumps(tiny)) == {"FINISHED"}
    result = jobs.latest("train").result
    assert 0 < result["resumed_from"] < result["images"] == 600
    assert [item for item in real.objects if item.blendsplat.kind == "AVATAR"]


def test_a_live_capture(real, engine_python, environment, monkeypatch, tmp_path):
    """A video that plays: the avatar in the view is the engine's, and what stays plays as the engine renders it."""
    words = [engine_python, str(Path(__file__).with_name("serve_generated.py")), str(tmp_path)]
    subprocess.run([*words, "make"], env=environment, check=True, timeout=600)
    monkeypatch.setattr(session, "engine_command", lambda: words)
    settings = real.blendsplat.live
    settings.source, settings.video, settings.film = "FILE", str(tmp_path / "talk.mp4"), True
    small = {"image_size": 64, "uv_resolution": 20, "blendshapes": 4, "mlp_width": 16, "batch": 2}
    seen = []
    monkeypatch.setattr(live_avatar, "show", lambda scene, arrays, show=live_avatar.show: note(show(scene, arrays)))

    def note(shown: bool) -> bool:
        seen.append(gather.gather(bpy.context.evaluated_depsgraph_get()))
        return shown

    assert bpy.ops.blendsplat.start_live(overrides=json.dumps(small)) == {"FINISHED"}
    job = jobs.latest("live")
    assert seen and job.figures["tracked"] > 10 and job.preview.shape == (64, 192, 3)
    assert live_avatar.of(real) is None
    carrier = next(item for item in real.objects if item.blendsplat.kind == "AVATAR")
    take = Path(real.blendsplat.directory)
    assert (take / "Take 1 preview.mp4").stat().st_size > 1000
    frames = len(json.loads((take / "clip.json").read_text())["timestamps"])
    assert len(list((take / "images").glob("*.png"))) == frames
    assert abs(real.frame_end - 90) < 3 and real.render.fps == 25, "the video's time, whatever was dropped"
    middles = []
    for frame in range(1, real.frame_end + 1, 4):  # which one was shown last is the machine's business
        real.frame_set(frame)
        middles.append(gather.gather(bpy.context.evaluated_depsgraph_get()).means.mean(0))
    away = np.linalg.norm(np.array(middles) - seen[-1].means.mean(0), axis=1)
    assert away.min() < 0.03, "where it was learned, there it stands"
    fine = {**small, "images": 600, "blendshapes_after": 0}
    real.blendsplat.preset_name = "draft"
    assert bpy.ops.blendsplat.train(overrides=json.dumps(fine)) == {"FINISHED"}
    assert jobs.latest("train").result["resumed_from"] > 0 and jobs.latest("train").params["start"]
    assert [item for item in real.objects if item.blendsplat.kind == "AVATAR"] == [carrier]

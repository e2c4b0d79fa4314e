# SPDX-License-Identifier: Apache-2.0
"""The scripts of examples/, run on small made-up data with the stand-in engine; one of them as a farm runs it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import blender_addon
import bpy
import numpy as np
import pytest
from blender_addon.client import session

import synthetic

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FAKE = shlex.join([sys.executable, str(Path(__file__).with_name("fake_engine.py")), ""])


@pytest.fixture
def example(scene, monkeypatch, capsys):
    """example("turntable", words...) runs a script's main in this Blender -> (its status, what it printed)."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import common

    def load(engine: str = ""):
        command = shlex.split(engine or FAKE)
        monkeypatch.setattr(session, "engine_command", lambda: command)
        return blender_addon

    monkeypatch.setattr(common, "load_extension", load)

    def run(name: str, *words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        capsys.readouterr()
        status = __import__(name).main()
        seen = capsys.readouterr()
        return status, seen.out + seen.err

    return run


@pytest.fixture
def shot(scene, engine, tmp_path) -> Path:
    """A saved shot of three frames of an avatar, 48 x 48 pixels."""
    scene.blendsplat.avatar_file = str(synthetic.write_avatar(tmp_path / "ann.avatar.npz"))
    scene.blendsplat.performance = str(synthetic.write_performance(tmp_path / "ann.npz", frames=8))
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"} and bpy.ops.blendsplat.use_render_engine() == {"FINISHED"}
    scene.render.resolution_x = scene.render.resolution_y = 48
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.frame_start, scene.frame_end, scene.render.filepath = 1, 3, "//render ü/shot_"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    return tmp_path / "shot.blend"


def test_clips_to_avatars(example, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("anna.mp4", "ben.MOV", "notes.txt"):
        (clips / name).write_bytes(b"not read by the stand-in")
    out = tmp_path / "avatars ü"
    status, said = example("clips_to_avatars", clips, "-o", out, "--preset", "draft")
    assert status == 0, said
    assert (out / "anna" / "anna.blend").exists() and (out / "ben" / "ben.blend").exists()
    bpy.ops.wm.open_mainfile(filepath=str(out / "ben" / "ben.blend"))
    kinds = sorted(item.blendsplat.kind for item in bpy.context.scene.objects)
    assert {"AVATAR", "HEAD", "RIG"} <= set(kinds) and bpy.context.scene.render.engine == "BLENDSPLAT"
    before = (out / "anna" / "anna.blend").stat().st_mtime_ns
    assert example("clips_to_avatars", clips, "-o", out)[0] == 0
    assert (out / "anna" / "anna.blend").stat().st_mtime_ns == before, "what is finished was done twice"


def test_a_clip_without_a_face_is_named_and_the_others_go_on(example, tmp_path, monkeypatch):
    from blender_addon.ui.operators.track import Track

    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / "clips" / name).write_bytes(b"x")
    whole = Track.parameters

    def parameters(self, context):
        if context.scene.blendsplat.video.endswith("b.mp4"):
            raise ValueError("No face was found in the clip.")
        return whole(self, context)

    monkeypatch.setattr(Track, "parameters", parameters)
    status, said = example("clips_to_avatars", tmp_path / "clips", "-o", tmp_path / "out")
    rows = [line for line in said.splitlines() if line.startswith(("a.mp4", "b.mp4", "c.mp4"))]
    assert status == 1 and "No face was found" in rows[1]
    assert "a.blend" in rows[0] and "c.blend" in rows[2]


def test_no_clips_no_takes(example, tmp_path):
    with pytest.raises(RuntimeError, match="There is no video in"):
        example("clips_to_avatars", tmp_path, "-o", tmp_path / "out")
    with pytest.raises(RuntimeError, match="There is no performance in"):
        example("retarget_folder", tmp_path / "a.avatar.npz", tmp_path, "-o", tmp_path / "out")


def test_a_farm_renders_what_is_not_there(example, shot, tmp_path):
    folder = tmp_path / "render ü"
    status, said = example("farm_render", "--blend", shot, "--frames", "2-3")
    assert status == 0 and "2 frames rendered" in said, said
    assert sorted(path.name for path in folder.iterdir()) == ["shot_0002.png", "shot_0003.png"]
    assert "1 frames rendered" in example("farm_render", "--blend", shot)[1]
    with pytest.raises(RuntimeError, match="no range such as"):
        example("farm_render", "--blend", shot, "--frames", "two")


def test_a_farm_says_what_is_missing(example, shot, tmp_path, monkeypatch):
    bpy.ops.wm.open_mainfile(filepath=str(shot))
    carrier = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")
    carrier.data["blendsplat_networks"], carrier.blendsplat.shown = {}, "FULL"
    bpy.ops.wm.save_mainfile()
    assert example("farm_render", "--blend", shot, "--dry") == (0, "")
    (tmp_path / "ann.avatar.npz").unlink()
    status, said = example("farm_render", "--blend", shot)
    assert status == 1 and "there is no file" in said and not (tmp_path / "render ü").exists()


def test_a_folder_of_takes(example, tmp_path):
    takes, out = tmp_path / "takes", tmp_path / "shots"
    takes.mkdir()
    avatar = synthetic.write_avatar(tmp_path / "ann.avatar.npz")
    for name, frames in (("one", 8), ("two", 12)):
        synthetic.write_performance(takes / f"{name}.npz", frames=frames)
    (takes / "broken.npz").write_bytes(b"no archive")
    status, said = example("retarget_folder", avatar, takes, "-o", out)
    rows = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert status == 1 and "broken.npz" in rows and ".blend" not in rows["broken.npz"]
    assert sorted(path.name for path in out.glob("*.blend")) == ["one.blend", "two.blend"]
    bpy.ops.wm.open_mainfile(filepath=str(out / "two.blend"))
    assert bpy.context.scene.frame_end > 8


def test_turntable_as_a_farm_runs_it(shot, tmp_path):
    """A process of its own, with the extension beside the script: eight sides, the nose goes round."""
    words = [sys.executable, str(EXAMPLES / "turntable.py"), "--blend", str(shot), "-o", str(tmp_path / "turn" / "a_")]
    words += ["--frames", "4", "--hold", "2", "--size", "64", "--engine", FAKE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    pictures = sorted((tmp_path / "turn").glob("*.png"))
    assert [path.name for path in pictures] == [f"a_000{number}.png" for number in range(1, 5)]
    covered = []
    for path in pictures:
        image = bpy.data.images.load(str(path))
        assert tuple(image.size) == (64, 64)
        alpha = np.array(image.pixels[:]).reshape(64, 64, 4)[..., 3] > 0.5
        rows, columns = np.nonzero(alpha)
        assert 0.02 < alpha.mean() < 0.9 and 8 < rows.mean() < 56 and 8 < columns.mean() < 56, path
        covered.append(np.ptp(columns))
    assert covered[0] > covered[1], "a sheet is narrower from the side"
    wrong = subprocess.run([*words, "--name", "Nobody"], capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 1 and "avatars fit the name 'Nobody'" in wrong.stderr.strip().splitlines()[-1]

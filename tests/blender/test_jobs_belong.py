# SPDX-License-Identifier: Apache-2.0
"""Jobs belong to their clip and file: another .blend shows nothing of them but that they run."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon.client import jobs
from blender_addon.ui.panels.photograph import BLENDSPLAT_PT_photograph
from blender_addon.ui.panels.track import BLENDSPLAT_PT_track
from blender_addon.ui.panels.train import BLENDSPLAT_PT_train
from drawn import drawn

import synthetic

TRAIN, TRACK = BLENDSPLAT_PT_train, BLENDSPLAT_PT_track


@pytest.fixture
def files(scene, engine, tmp_path):
    """Two .blend files with a tracked clip each; the first is open."""
    blends = []
    for name in ("anna", "ben"):
        bpy.ops.wm.read_homefile(use_empty=True)
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
        bpy.context.scene.blendsplat.video = str(tmp_path / f"{name}.mp4")
        assert bpy.ops.blendsplat.import_video() == {"FINISHED"}
        assert bpy.ops.blendsplat.track() == {"FINISHED"}
        blends.append(str(tmp_path / f"{name}.blend"))
        bpy.ops.wm.save_as_mainfile(filepath=blends[-1])
    bpy.ops.wm.open_mainfile(filepath=blends[0])
    return blends


def test_a_training_that_failed_stays_with_its_clip(files, engine):
    engine("die")
    with pytest.raises(RuntimeError):
        bpy.ops.blendsplat.train()
    error = jobs.latest("train").error
    assert error in drawn(TRAIN) and "Continue Training" in drawn(TRAIN)
    bpy.ops.wm.open_mainfile(filepath=files[1])
    assert not [words for words in drawn(TRAIN) if words in (error, "Details")]
    assert "Continue Training" not in drawn(TRAIN)
    bpy.ops.wm.open_mainfile(filepath=files[0])
    assert error in drawn(TRAIN) and "Continue Training" in drawn(TRAIN)


def test_another_files_training_is_named_while_it_runs(files, engine):
    engine("slow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "wait", lambda job, **_how: setattr(job, "state", "done"))  # as in a window: pressed
        bpy.ops.blendsplat.train()
    job = jobs.latest("train")
    job.state, job.message, job.figures = "running", "step 3", {"psnr": 27.0}
    learned = "The frames it learns from: good so far"
    assert "step 3" in drawn(TRAIN) and learned in drawn(TRAIN)
    bpy.ops.wm.open_mainfile(filepath=files[1])
    words = drawn(TRAIN)
    assert "step 3" not in words and learned not in words and "blendsplat.cancel_job" in words
    assert any('"anna"' in line for line in words), words
    jobs.cancel(job)


def test_the_same_file_with_another_clip(files, engine, tmp_path):
    assert bpy.ops.blendsplat.train() == {"FINISHED"}
    assert "Quality" in drawn(TRAIN) and bpy.context.scene.blendsplat.quality == "Sharp (31.0 dB)"
    bpy.context.scene.blendsplat.video = str(tmp_path / "ben.mp4")
    assert "Quality" not in drawn(TRAIN)


def test_what_was_asked_for_stays_with_its_file(files, engine, tmp_path):
    """A head that could not be fetched is no error of another file's."""
    engine("deaf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blender_addon.client.pump.until", lambda *_args: None)
        bpy.ops.blendsplat.add_head()
    assert "Fetching the head..." in drawn(TRACK)
    bpy.ops.wm.open_mainfile(filepath=files[1])
    assert "Fetching the head..." not in drawn(TRACK)


def test_photographs_of_another_file(files, engine, tmp_path):
    synthetic.write_png(tmp_path / "cat.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(RuntimeError, match="No face"):
        bpy.ops.blendsplat.fit_image(filepath=str(tmp_path / "cat.png"))
    assert "No face was found in cat.png." in drawn(BLENDSPLAT_PT_photograph)
    bpy.ops.wm.open_mainfile(filepath=files[1])
    assert "No face was found in cat.png." not in drawn(BLENDSPLAT_PT_photograph)

# SPDX-License-Identifier: Apache-2.0
"""An avatar of the head of earlier versions comes into Blender and plays its clip, though no such head is made now."""

from __future__ import annotations

import shutil
from pathlib import Path

import bpy
import numpy as np
import oracle
from blender_addon import formats, space
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, head_rig
from blender_addon.ui.operators import track, train

import synthetic

EARLIER = Path(__file__).parents[1] / "support" / "earlier_head"
FPS = 25.0


def test_a_clip_of_that_head_says_that_it_must_be_tracked_again(scene, engine, tmp_path):
    folder = tmp_path / "Anna avatar"
    folder.mkdir()
    (folder / "clip.json").write_text("{}")
    shutil.copy(EARLIER / "tracking.npz", folder)
    scene.blendsplat.directory = str(folder)
    for operator in (track.AddHead, train.Train):
        assert "press Track Head again" in operator.reason(bpy.context)
    assert not bpy.ops.blendsplat.train.poll() and bpy.ops.blendsplat.track.poll()
    synthetic.write_performance(folder / "tracking.npz")  # as Track Head leaves it
    assert track.outdated(folder) == "" and bpy.ops.blendsplat.train.poll()
    (folder / "tracking.npz").write_bytes(b"PK nonsense")  # what is wrong with that is said when it is read
    assert track.outdated(folder) == track.outdated(tmp_path / "nothing") == track.outdated(None) == ""


def test_files_older_than_families_are_known_by_the_heads_name(tmp_path):
    meta, arrays = formats.read_npz(EARLIER / "tracking.npz", formats.TRACKING, 1)
    for told, earlier in (
        ({"head_family": "builtin", "head": "Anna"}, True),
        ({"head_family": "", "head": "builtin"}, True),
        ({"head_family": "human", "head": "builtin"}, False),
        ({"head": "flame2023"}, False),
    ):
        kept = {key: value for key, value in meta.items() if key not in ("head", "head_family")}
        path = synthetic.write(tmp_path / "tracking.npz", kept | told, arrays)
        assert formats.is_of_earlier_head(path) == earlier, told


def test_it_comes_into_the_scene_and_plays_its_performance(scene):
    file = formats.read_avatar(EARLIER / "earlier.avatar.npz")
    performance = formats.read_performance(EARLIER / "tracking.npz")
    carrier = avatar_rig.build_avatar(bpy.context, file, "Earlier")
    head = carrier.blendsplat.head
    head_rig.check_performance(head, performance)
    assert avatar_rig.apply_performance(carrier, performance, 1, FPS) == 3
    scene.frame_set(1 + round(float(performance.timestamps[2]) * FPS))
    vertices = space.to_blender(oracle.head_vertices(file.arrays, performance.arrays, 2))
    weights = oracle.mlp(file.arrays, oracle.features(performance.arrays, 2, file.arrays["feature_origin"]))
    have = gather.gather(bpy.context.evaluated_depsgraph_get())
    assert len(have) == file.gaussians == 135
    want = oracle.gaussians(file.arrays, weights, vertices)
    assert np.abs(have.means - want["means"]).max() < 1e-4

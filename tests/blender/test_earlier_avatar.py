# SPDX-License-Identifier: Apache-2.0
"""An avatar of the head of earlier versions comes into Blender and plays its clip, though no such head is made now."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import oracle
from blender_addon import formats, space
from blender_addon.render import gather
from blender_addon.scene import avatar_rig, head_rig

EARLIER = Path(__file__).parents[1] / "support" / "earlier_head"
FPS = 25.0


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

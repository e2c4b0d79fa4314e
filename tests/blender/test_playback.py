# SPDX-License-Identifier: Apache-2.0
"""How fast Blender plays an avatar of 60,000 Gaussians and 20 blendshapes; printed (pytest -s), never asserted."""

from __future__ import annotations

import time

import bpy
import pytest
from blender_addon import formats
from blender_addon.render import gather
from blender_addon.scene import avatar_nodes, avatar_rig, head_rig

import synthetic


@pytest.mark.slow
def test_playback_of_a_full_avatar(scene, tmp_path):
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "big.avatar.npz", 60_000, 20, size=70))
    carrier = avatar_rig.build_avatar(bpy.context, file, "Big")
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz", frames=40))
    head_rig.apply_performance(carrier.blendsplat.head, performance, 1, 25)
    avatar_rig.apply_performance(carrier, performance, 1, 25)
    for points in (True, False):
        avatar_nodes.set_input(carrier.modifiers[0], avatar_nodes.INPUT_PREVIEW, points)
        carrier.update_tag()
        scene.frame_set(1)
        begin, processor = time.perf_counter(), time.process_time()
        for frame in range(2, 32):
            scene.frame_set(frame)
        wall, busy = (time.perf_counter() - begin) / 30, (time.process_time() - processor) / 30
        what = "with points" if points else "without points"
        print(f"Blender {bpy.app.version_string}, {what}: {1 / wall:.1f} evaluations/s, {busy * 1000:.0f} ms busy each")
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) == 60_000

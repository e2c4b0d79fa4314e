# SPDX-License-Identifier: Apache-2.0
"""How fast Blender plays an avatar of 60,000 Gaussians and 20 blendshapes, and how large its file is; printed
(pytest -s), never asserted: machines differ."""

from __future__ import annotations

import time
from collections.abc import Callable

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.render import gather
from blender_addon.scene import avatar_nodes, avatar_rig, head_rig, keyframes

import synthetic


def measured(what: str, step: Callable[[int], object], count: int = 40) -> None:
    """Print the median of ``count`` steps."""
    wall, busy = [], []
    for index in range(count + 3):
        begin, processor = time.perf_counter(), time.process_time()
        step(index)
        wall.append(time.perf_counter() - begin)
        busy.append(time.process_time() - processor)
    wall_ms, busy_ms = (1000 * np.median(values[3:]) for values in (wall, busy))
    print(f"{bpy.app.version_string:12s} {what:36s} {wall_ms:6.1f} ms, {busy_ms:6.1f} ms of the processor")


@pytest.mark.slow
def test_playback_of_a_full_avatar(scene, tmp_path, monkeypatch):
    file = formats.read_avatar(synthetic.write_avatar(tmp_path / "big.avatar.npz", 60_000, 20, size=70))
    carrier = avatar_rig.build_avatar(bpy.context, file, "Big")
    head = carrier.blendsplat.head
    performance = formats.read_performance(synthetic.write_performance(tmp_path / "tracking.npz", frames=40))
    head_rig.apply_performance(head, performance, 1, 25)
    avatar_rig.apply_performance(carrier, performance, 1, 25)

    def play(index: int) -> None:
        scene.frame_set(1 + 7 * index % 40)

    def drag(index: int) -> None:
        head.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.1 * (index % 7)
        for _ in range(2):  # Live answers the first evaluation
            bpy.context.view_layer.update()

    print()
    for points in (True, False):
        avatar_nodes.set_input(carrier.modifiers[0], avatar_nodes.INPUT_PREVIEW, points)
        carrier.update_tag()
        measured(f"baked, {'with' if points else 'without'} points", play)
    carrier.blendsplat.live = True
    measured("Live", play)
    with monkeypatch.context() as patched:
        patched.setattr(avatar_rig, "foresee", lambda *_: None)
        measured("Live, where curves do not tell", play)
    for curve in keyframes.fcurves(head.data.shape_keys):
        curve.mute = True
    measured("Live, a slider of the head dragged", drag)
    path = tmp_path / "big.blend"
    begin = time.perf_counter()
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=False)
    print(f"saved {path.stat().st_size / 1e6:.1f} MB in {time.perf_counter() - begin:.2f} s")
    bpy.data.objects.remove(head)
    bpy.ops.outliner.orphans_purge(do_recursive=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=False)
    print(f"without the head {path.stat().st_size / 1e6:.1f} MB")
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) == 60_000

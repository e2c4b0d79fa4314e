# SPDX-License-Identifier: Apache-2.0
"""Bake Networks: the baked avatar against the engine's own pictures; the artist's scene meanwhile and afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon.client import jobs, session
from blender_addon.render import gather
from blender_addon.render import networks as asking
from blender_addon.scene import baked_avatar, networks, timeline_heads
from blender_addon.ui.operators import bake
from steps import ask, compare_frames, picture

pytestmark = pytest.mark.slow
BAKE = {"frame_start": 1, "frame_end": 16}


def original(scene):
    return next(item for item in scene.objects if networks.drawn_by_networks(item))


def baked(scene):
    return [item for item in scene.objects if baked_avatar.is_baked(item)]


def truth(scene, frames) -> list[gather.Gaussians]:
    """What the networks draw in these frames, with everything else hidden."""
    found = []
    for frame in frames:
        scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        found.append(asking.Networks(depsgraph, ask)(original(scene), "FULL"))
    return found


def test_it_is_the_networks_picture_and_plays_with_the_engine_killed(dipguava_stage, dipguava, tmp_path):
    """With keys enough all that a Gaussian has is the networks' own; the PSNR said is one of such pictures."""
    frames = list(range(1, 17))
    want = truth(dipguava_stage, frames)
    assert bpy.ops.blendsplat.bake_networks(**BAKE, most=100, error=0.0) == {"FINISHED"}
    (made,) = baked(dipguava_stage)
    with np.load(dipguava / "dip.npz") as data:
        compare_frames(dipguava_stage, data["rows"], data["full"], tmp_path)
    session.link._process.kill()
    (tmp_path / "dip.avatar.npz").unlink()
    keys = made.data.shape_keys.key_blocks
    assert [key.name for key in keys[:3]] == ["Basis", "Baked 00", "Baked 01"] and len(keys) > 10
    for frame, true in zip(frames, want, strict=True):
        dipguava_stage.frame_set(frame)
        have = gather.read(made.evaluated_get(bpy.context.evaluated_depsgraph_get()).data)
        np.testing.assert_allclose(have.means, true.means, atol=3e-5)
        np.testing.assert_allclose(have.scales, true.scales, rtol=5e-3, atol=1e-6)
        np.testing.assert_allclose(have.opacities, true.opacities, atol=2e-3)
        np.testing.assert_allclose(have.colors, true.colors, atol=2e-3)
        turns = np.abs((have.quats * true.quats).sum(1) / np.linalg.norm(true.quats, axis=1))
        assert turns.min() > 1 - 1e-4
    told = made.data["blendsplat_baked"]
    assert told["error"] < 1e-3 and told["lowest_psnr"] > 50


def test_what_it_leaves_out_is_said_and_true(dipguava_stage, dipguava, tmp_path):
    """With few keys: Blender's pictures differ from the networks' by what the panel says."""
    pictures = {}
    assert bpy.ops.blendsplat.bake_networks(**BAKE, most=2, error=0.0) == {"FINISHED"}
    (made,) = baked(dipguava_stage)
    told = made.data["blendsplat_baked"]
    assert told["keys"] == len(made.data.shape_keys.key_blocks) - 1 == 2
    assert baked_avatar.line_of(made).startswith("Baked frames 1 to 16 as 2 keys: ")
    assert f"{told['error']:.1%} of the movement is left out" in baked_avatar.line_of(made)
    size = 32  # the training camera's
    dipguava_stage.render.resolution_x = dipguava_stage.render.resolution_y = size
    dipguava_stage.frame_set(told["lowest"])
    for item, name in ((made, "baked"), (original(dipguava_stage), "networks")):
        for other in (made, original(dipguava_stage)):
            other.hide_render = other != item
        pictures[name] = opaque_picture(dipguava_stage, tmp_path / f"{name}.png")
    score = -10 * np.log10(np.mean((pictures["baked"] - pictures["networks"]) ** 2))
    assert score == pytest.approx(told["lowest_psnr"], abs=0.3) and score < 55
    exact = bpy.ops.blendsplat.bake_networks
    bpy.context.view_layer.objects.active = original(dipguava_stage)
    assert exact(**BAKE, most=100, error=0.05) == {"FINISHED"}
    second = next(item for item in baked(dipguava_stage) if item != made)
    assert second.name != made.name and second.data["blendsplat_baked"]["error"] <= 0.05
    assert 2 < second.data["blendsplat_baked"]["keys"] < 15


def opaque_picture(scene, path: Path) -> np.ndarray:
    """Over black, as the engine scores."""
    return np.minimum(picture(scene, path), 1)[..., :3]


def test_nothing_of_the_artists_is_touched(dipguava_stage):
    carrier = original(dipguava_stage)
    rig = carrier.blendsplat.head.blendsplat.rig
    dipguava_stage.frame_set(7)
    rig.pose.bones["jaw"].rotation_euler[0] = 0.77  # not keyed: another frame would take it back
    rig.location = (1, 2, 3)
    carrier.blendsplat.head.hide_viewport = True
    before = [key.name for key in carrier.data.shape_keys.key_blocks], list(bpy.data.scenes), carrier.data.name
    active = bpy.context.view_layer.objects.active
    assert bpy.ops.blendsplat.bake_networks(**BAKE, most=3) == {"FINISHED"}
    assert dipguava_stage.frame_current == 7 and rig.pose.bones["jaw"].rotation_euler[0] == pytest.approx(0.77)
    after = [key.name for key in carrier.data.shape_keys.key_blocks], list(bpy.data.scenes), carrier.data.name
    assert before == after and not [item for item in bpy.data.objects if item.name.startswith(".Blendsplat")]
    assert carrier.hide_render and carrier.hide_get(), "hidden, as the report says"
    (made,) = baked(dipguava_stage)
    assert made.name == "dip Baked" and not made.hide_render and not made.hide_get()
    assert bpy.context.view_layer.objects.active == active and not made.blendsplat.live
    assert "dip, which was baked, is hidden" in baked_avatar.hidden_original(made)
    carrier.hide_render = False
    assert baked_avatar.hidden_original(made) == ""


def test_the_baked_one_stays_when_the_avatar_is_added_again(dipguava_stage):
    assert bpy.ops.blendsplat.bake_networks(**BAKE, most=3) == {"FINISHED"}
    (made,) = baked(dipguava_stage)
    mesh = made.data
    bpy.data.objects.remove(original(dipguava_stage))
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert made.data == mesh and len([item for item in dipguava_stage.objects if item.blendsplat.kind == "AVATAR"]) == 2


def test_a_moved_rig_and_its_modifiers_move_the_baked_one(dipguava_stage):
    carrier = original(dipguava_stage)
    assert bpy.ops.blendsplat.bake_networks(**BAKE, most=100, error=0.0) == {"FINISHED"}
    (made,) = baked(dipguava_stage)
    rig = carrier.blendsplat.head.blendsplat.rig
    rig.location, rig.rotation_euler = (1, -2, 0.5), (0.4, 0.3, 1.2)
    dipguava_stage.frame_set(5)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    drawn = asking.Networks(depsgraph, ask)(carrier, "FULL")
    want = gather.transformed(drawn, np.array(carrier.evaluated_get(depsgraph).matrix_world))
    evaluated = made.evaluated_get(depsgraph)
    have = gather.transformed(gather.read(evaluated.data), np.array(evaluated.matrix_world))
    np.testing.assert_allclose(have.means, want.means, atol=5e-5)


def test_frames_are_read_as_the_timeline_has_them(dipguava_stage):
    """In parts, as short turns make them, and hidden or not."""
    carrier = original(dipguava_stage)
    frames, want = [3, 4, 9], []
    for frame in frames:
        dipguava_stage.frame_set(frame)
        want.append(networks.head_arrays(carrier, bpy.context.evaluated_depsgraph_get()))
    dipguava_stage.frame_set(1)
    carrier.blendsplat.head.hide_viewport = True
    whole = timeline_heads.read(carrier, frames)
    for name, array in whole.items():
        np.testing.assert_allclose(array, np.concatenate([one[name] for one in want]), atol=1e-6, err_msg=name)
    assert np.ptp(whole["vertices"], axis=0).max() > 1e-3
    assert len(timeline_heads.read(carrier, frames, seconds=0.0)["expression"]) == 1


def test_it_can_be_cancelled(dipguava_stage, monkeypatch):
    sent = []
    original_send = bake._send_next

    def send(job, plan):
        if sent:
            jobs.cancel(job)
            return
        monkeypatch.setattr(bake, "_MOST_FRAMES", 2)
        sent.append(original_send(job, plan))

    monkeypatch.setattr(bake, "_MOST_FRAMES", 2)
    monkeypatch.setattr(bake, "_send_next", send)
    with pytest.raises(RuntimeError, match="Cancelled"):
        bpy.ops.blendsplat.bake_networks(**BAKE)
    assert not baked(dipguava_stage) and not original(dipguava_stage).hide_render
    monkeypatch.setattr(bake, "_send_next", original_send)
    assert bpy.ops.blendsplat.bake_networks(**BAKE, most=2) == {"FINISHED"}


def test_reading_waits_while_a_render_or_a_playback_goes_through_frames(dipguava_stage, monkeypatch):
    asked, original_send = [], bake._send_next

    def frames_run() -> bool:
        asked.append(1)
        return len(asked) < 6

    def send(job, plan):
        assert len(asked) >= 6
        original_send(job, plan)

    monkeypatch.setattr(bake, "_frames_run", frames_run)
    monkeypatch.setattr(bake, "_send_next", send)
    assert bpy.ops.blendsplat.bake_networks(**BAKE, most=2) == {"FINISHED"}
    assert len(asked) >= 6


def test_what_goes_wrong_in_reading_ends_the_bake(dipguava_stage, monkeypatch):
    """With a sentence, not with a job that waits for ever."""
    monkeypatch.setattr(timeline_heads, "read", lambda *_: {}["nothing"])
    with pytest.raises(RuntimeError, match="nothing"):
        bpy.ops.blendsplat.bake_networks(**BAKE)
    assert jobs.latest("bake").state == "failed" and not baked(dipguava_stage)


def test_what_cannot_be_baked_is_said(dipguava_stage, tmp_path, dipguava):
    carrier = original(dipguava_stage)
    with pytest.raises(RuntimeError, match="no frame from 9 to 3"):
        bpy.ops.blendsplat.bake_networks(frame_start=9, frame_end=3)
    decimate = carrier.blendsplat.head.modifiers.new("Fewer", "DECIMATE")
    decimate.ratio = 0.2
    with pytest.raises(RuntimeError, match="takes vertices away"):
        bpy.ops.blendsplat.bake_networks(**BAKE)
    carrier.blendsplat.head.modifiers.remove(decimate)
    values = np.zeros(len(carrier.data.edges), np.int32)
    carrier.data.attributes["corner_0"].data.foreach_get("value", values)
    values[0] = 1 - min(values[0], 1)
    carrier.data.attributes["corner_0"].data.foreach_set("value", values)
    with pytest.raises(RuntimeError, match="has been trained anew since the avatar was added: press Add Avatar"):
        bpy.ops.blendsplat.bake_networks(**BAKE)
    (tmp_path / "dip.avatar.npz").unlink()
    assert "there is no file" in bake.BakeNetworks.reason(bpy.context)
    with pytest.raises(RuntimeError, match="poll"):
        bpy.ops.blendsplat.bake_networks(**BAKE)


def test_it_plays_in_a_blender_without_the_extension(dipguava_stage, tmp_path):
    assert bpy.ops.blendsplat.bake_networks(**BAKE, most=100, error=0.0) == {"FINISHED"}
    frame = 6
    (drawn,) = truth(dipguava_stage, [frame])
    np.save(tmp_path / "means.npy", drawn.means)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "plays.blend"))
    code = f"""
import bpy, numpy as np
bpy.ops.wm.open_mainfile(filepath={str(tmp_path / "plays.blend")!r})
assert not hasattr(bpy.types.Object, "blendsplat")
bpy.context.scene.frame_set({frame})
mesh = bpy.data.objects["dip Baked"].evaluated_get(bpy.context.evaluated_depsgraph_get()).data
have = np.empty(len(mesh.vertices) * 3, np.float32)
mesh.attributes["position"].data.foreach_get("vector", have)
print("away", np.abs(have.reshape(-1, 3) - np.load({str(tmp_path / "means.npy")!r})).max())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    line = next((line for line in done.stdout.splitlines() if line.startswith("away")), done.stderr)
    assert float(line.split()[1]) < 3e-5, line

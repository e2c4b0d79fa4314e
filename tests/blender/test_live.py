# SPDX-License-Identifier: Apache-2.0
"""Live: the avatar follows its head's sliders and bones, and a file saved meanwhile plays without the add-on."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon.scene import avatar_rig, head_rig, keyframes, learned_keys
from steps import positions, the_avatar, work


def push_down(keys: bpy.types.Key) -> None:
    """The baked action becomes a strip of the NLA, as by the artist's Push Down Action."""
    data = keys.animation_data
    action, slot = data.action, getattr(data, "action_slot", None)
    strip = data.nla_tracks.new().strips.new("performance", 1, action)
    if slot is not None:  # 4.4 and later
        strip.action_slot = slot
    data.action = None


@pytest.mark.parametrize("pushed", [False, True], ids=["action", "NLA strip"])
def test_saved_while_live_it_plays_without_the_addon(scene, engine, video, tmp_path, pushed):
    import blender_addon

    work(scene)
    scene.frame_set(12)
    carrier = the_avatar(scene)
    name, before = carrier.name, positions(carrier)
    carrier.blendsplat.live = True
    if pushed:
        push_down(carrier.data.shape_keys)
    scene.frame_set(3)
    blend = tmp_path / "live.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    curves = list(keyframes.played(carrier.data.shape_keys))
    assert len(curves) == 6 and all(curve.mute for curve in curves), "Live ended with the saving"
    blender_addon.unregister()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(blend))
        bpy.context.scene.frame_set(1)
        bpy.context.scene.frame_set(12)
        np.testing.assert_allclose(positions(bpy.data.objects[name]), before, atol=1e-6)
    finally:
        blender_addon.register()
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    carrier = bpy.data.objects[name]
    assert carrier.blendsplat.live and all(curve.mute for curve in keyframes.played(carrier.data.shape_keys))


@pytest.mark.parametrize("what", ["baked again", "add-on off and on"])
def test_live_mutes_what_was_unmuted_meanwhile(scene, engine, video, what):
    """Unmuted curves write to the values that Live sets."""
    import blender_addon

    work(scene)
    carrier = the_avatar(scene)
    carrier.blendsplat.live = True
    if what == "baked again":
        assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    else:
        for curve in keyframes.fcurves(carrier.data.shape_keys):
            curve.mute = False  # a file saved with Live on, opened without the add-on
        blender_addon.unregister()
        blender_addon.register()
    scene.frame_set(7)
    curves = list(keyframes.fcurves(carrier.data.shape_keys))
    assert len(curves) == 6 and all(curve.mute for curve in curves)


def test_live_follows_sliders_and_bones(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    head = carrier.blendsplat.head
    carrier.blendsplat.live = True
    assert all(curve.mute for curve in keyframes.fcurves(carrier.data.shape_keys))
    for curve in [*keyframes.fcurves(head.data.shape_keys), *keyframes.fcurves(head.blendsplat.rig)]:
        curve.mute = True
    bpy.context.view_layer.update()
    before = [key.value for key in avatar_rig.blendshape_keys(carrier)]
    head.data.shape_keys.key_blocks["jawOpen"].value = 0.9
    bpy.context.view_layer.update()
    slider = [key.value for key in avatar_rig.blendshape_keys(carrier)]
    assert np.abs(np.subtract(slider, before)).max() > 1e-3
    head.blendsplat.rig.pose.bones["jaw"].rotation_euler = (0.3, 0, 0)
    bpy.context.view_layer.update()
    bone = [key.value for key in avatar_rig.blendshape_keys(carrier)]
    assert np.abs(np.subtract(bone, slider)).max() > 1e-3
    state = head_rig.head_state(head, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(bone, avatar_rig.network_of(carrier).weights(state)[0], atol=1e-5)
    carrier.blendsplat.live = False
    assert not any(curve.mute for curve in keyframes.fcurves(carrier.data.shape_keys))


def test_live_equals_the_baked_performance(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    baked = []
    for frame in (1, 9, 15):
        scene.frame_set(frame)
        baked.append([key.value for key in avatar_rig.blendshape_keys(carrier)])
    carrier.blendsplat.live = True
    for frame, want in zip((1, 9, 15), baked, strict=True):
        scene.frame_set(frame)
        np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(carrier)], want, atol=1e-3)


@pytest.mark.parametrize("moved", ["curves", "curves and a constraint", "an NLA strip"])
def test_a_frame_is_evaluated_once_where_it_can_be_foreseen(scene, engine, video, monkeypatch, moved):
    """The weights that the head's curves foretell are set before Blender evaluates; what else moves it, is noticed."""
    work(scene)
    carrier = the_avatar(scene)
    head = carrier.blendsplat.head
    rig = head.blendsplat.rig
    if moved == "curves and a constraint":
        limit = rig.pose.bones["neck"].constraints.new("LIMIT_ROTATION")
        limit.use_limit_y, limit.min_y, limit.max_y, limit.owner_space = True, 0.4, 0.4, "LOCAL"
    elif moved == "an NLA strip":
        push_down(rig)
        rig.animation_data.nla_tracks[0].strips[0].frame_start = 5
    carrier.blendsplat.live = True
    changes, take = [], learned_keys.take
    monkeypatch.setattr(learned_keys, "take", lambda *args: changes.append(take(*args)) or changes[-1])
    for frame in (3, 9, 14):
        changes.clear()
        scene.frame_set(frame)
        state = head_rig.head_state(head, bpy.context.evaluated_depsgraph_get())
        weights = avatar_rig.network_of(carrier).weights(state)[0]
        np.testing.assert_allclose([key.value for key in avatar_rig.blendshape_keys(carrier)], weights, atol=2e-5)
        assert changes == [True, moved != "curves"], frame
    carrier.blendsplat.live = False
    assert goes_to_without_live(scene, carrier, 9) == []


def goes_to_without_live(scene, carrier, frame: int) -> list[str]:
    """The names of the learned keys that are not where their curves put them."""
    scene.frame_set(frame)
    values = {curve.data_path: curve.evaluate(frame) for curve in keyframes.fcurves(carrier.data.shape_keys)}
    keys = avatar_rig.blendshape_keys(carrier)
    return [key.name for key in keys if abs(key.value - values[learned_keys.value_path(key)]) > 1e-5]


def keyed_by_hand(scene: bpy.types.Scene) -> bpy.types.Object:
    """A live avatar whose head an artist moves from frame 1 to 9 by a slider and the jaw."""
    carrier = the_avatar(scene)
    head = carrier.blendsplat.head
    slider, jaw = head.data.shape_keys.key_blocks[1], head.blendsplat.rig.pose.bones["jaw"]
    for frame, amount in ((1, 0.0), (9, 0.7)):
        slider.value = amount
        slider.keyframe_insert("value", frame=frame)
        jaw.rotation_euler[0] = amount / 2
        jaw.keyframe_insert("rotation_euler", index=0, frame=frame)
    carrier.blendsplat.live = True
    return carrier


def test_baked_a_live_avatar_does_the_same_without_live(scene, engine, video):
    work(scene)
    carrier = keyed_by_hand(scene)
    frames, shown = (1, 4, 9), []
    for frame in frames:
        scene.frame_set(frame)
        shown.append(positions(carrier))
    scene.frame_set(3)
    assert bpy.ops.blendsplat.bake_live(frame_start=1, frame_end=9) == {"FINISHED"}
    assert not carrier.blendsplat.live and scene.frame_current == 3 and len(bpy.data.scenes) == 1
    assert not any(curve.mute for curve in keyframes.played(carrier.data.shape_keys))
    for frame, want in zip(frames, shown, strict=True):
        scene.frame_set(frame)
        np.testing.assert_allclose(positions(carrier), want, atol=1e-6)
    assert np.abs(shown[0] - shown[2]).max() > 1e-3
    assert not bpy.ops.blendsplat.bake_live.poll(), "Live is off"


def test_a_range_without_frames_is_said(scene, engine, video):
    work(scene)
    keyed_by_hand(scene)
    with pytest.raises(RuntimeError, match="too early"):
        bpy.ops.blendsplat.bake_live(frame_start=5, frame_end=4)

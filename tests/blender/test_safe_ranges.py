# SPDX-License-Identifier: Apache-2.0
"""What an avatar's clip showed, in Blender: held back beyond it, told beside the sliders and in the corner of the view;
the learned keys' names, ranges, solo and pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import blender_addon
import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.client import jobs
from blender_addon.render import beyond_words
from blender_addon.scene import arkit, avatar_rig, coverage, head_rig, hold_back, key_preview, learned_keys, seen_ranges
from blender_addon.scene.weight_network import HeadState, WeightNetwork
from blender_addon.space import TO_BLENDER
from blender_addon.ui.operators import common
from blender_addon.ui.operators import learned_keys as operators
from blender_addon.ui.panels import learned_keys as panel
from blender_addon.ui.panels import steps
from drawn import drawn

import synthetic

FPS, KEYS = 25.0, 6
NUMBERS = ("jaw_pose", "neck_pose", "eyes_pose", "eyelids", "expression")


def learned_of(path: Path, arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """(arrays, header) that training adds to an avatar's file, of the valid frames of a clip."""
    valid = arrays["valid"]
    network = WeightNetwork.of(formats.read_avatar(synthetic.write_avatar(path)))
    performance = formats.Performance(path, {"expression_names": list(synthetic.EXPRESSIONS)}, arrays)
    features, weights = (f(HeadState.of(performance))[valid].astype(float) for f in (network.features, network.weights))
    covariance = np.cov(weights.T, bias=True)
    white = hold_back.whitening(covariance.astype(np.float32))
    reach = np.linalg.norm((weights - weights.mean(0)) @ white.T, axis=1).max()
    learned = {
        "feature_range": np.stack([features.min(0), features.max(0)]), "weight_mean": weights.mean(0),
        "weight_range": np.stack([weights.min(0), weights.max(0)]), "weight_covariance": covariance,
        "weight_reach": np.array([reach]), "seen.views": coverage.of(performance).grid / valid.sum(),
    }  # fmt: skip
    learned |= {f"seen.{name}": np.percentile(arrays[name][valid], (0, 1, 99, 100), axis=0) for name in NUMBERS}
    places = [
        ["mouth", 0.1],
        ["brow left", 0.4],
        ["chin", 0.05],
        ["eye right", 0.2],
        ["whole face", 0.15],
        ["hair", 0.1],
    ]
    return {name: array.astype(np.float32) for name, array in learned.items()}, {"blendshape_places": places}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SimpleNamespace:
    """An avatar's file that knows what its clip showed, one of before, and the clip's performance."""
    folder = tmp_path_factory.mktemp("safe ü")
    arrays = synthetic.performance_arrays()
    learned, header = learned_of(folder / "plain.avatar.npz", arrays)
    return SimpleNamespace(
        new=synthetic.write_avatar(folder / "new.avatar.npz", learned=learned, version=2, **header),
        old=synthetic.write_avatar(folder / "old.avatar.npz"), learned=learned, header=header,
        clip=synthetic.write_tracking(folder / "tracking.npz", arrays),
    )  # fmt: skip


@pytest.fixture
def avatar(scene, files) -> bpy.types.Object:
    return avatar_rig.build_avatar(bpy.context, formats.read_avatar(files.new), "Ann")


def weights_of(carrier: bpy.types.Object) -> np.ndarray:
    found = learned_keys.found(carrier)
    return np.array([key.value * learned_keys.scale_of(carrier.data, index) for index, key in found.items()])


def wild(head: bpy.types.Object) -> None:
    """All sliders at their ends and bones turned by 45 degrees."""
    for name in synthetic.EXPRESSIONS:
        head.data.shape_keys.key_blocks[name].value = 1.0
    for bone in ("neck", "jaw", "eye.L", "eye.R"):
        head.blendsplat.rig.pose.bones[bone].rotation_euler = [math.radians(45)] * 3
    bpy.context.view_layer.update()


# --- held back


def test_live_is_held_back_and_its_strength_counts_at_once(avatar):
    network = avatar_rig.network_of(avatar)
    assert network.seen is not None and avatar.blendsplat.hold_back == 1.0
    avatar.blendsplat.live = True
    wild(avatar.blendsplat.head)
    state = head_rig.head_state(avatar.blendsplat.head, bpy.context.evaluated_depsgraph_get())
    for strength in (1.0, 0.3, 0.0):
        avatar.blendsplat.hold_back = strength
        np.testing.assert_allclose(weights_of(avatar), network.weights(state, hold=strength)[0], atol=1e-4)
    gauges = [
        float(network.seen.gauge(network.weights(state, hold=s).astype(float) - network.seen.mean)[0])
        for s in (0.0, 0.3, 1.0)
    ]
    assert gauges[0] > gauges[1] > gauges[2] and gauges[2] <= 1 + hold_back.HEADROOM + 1e-6
    assert gauges[0] > 1.3, "the test must be able to fail"


def test_a_keyed_strength_is_played_baked_and_applied(scene, avatar, files):
    performance = formats.read_performance(files.clip)
    loud = formats.Performance(performance.path, performance.meta, {**performance.arrays})
    loud.arrays["expression"] = performance.expression * 3
    avatar.blendsplat.hold_back = 0.0
    avatar.keyframe_insert("blendsplat.hold_back", frame=1)
    avatar.blendsplat.hold_back = 1.0
    avatar.keyframe_insert("blendsplat.hold_back", frame=11)
    network = avatar_rig.network_of(avatar)
    avatar_rig.apply_performance(avatar, loud, 1, FPS, foreign=False)
    for frame, strength in ((1, 0.0), (11, 1.0), (16, 1.0)):
        scene.frame_set(frame)
        want = network.weights(HeadState.of(loud), hold=strength)[frame - 1]
        np.testing.assert_allclose(weights_of(avatar), want, atol=1e-3)
    head_rig.apply_performance(avatar.blendsplat.head, loud, 1, FPS)
    states = []
    for frame in (1, 11):
        scene.frame_set(frame)
        states.append(head_rig.head_state(avatar.blendsplat.head, bpy.context.evaluated_depsgraph_get()))
    avatar_rig.key_states(avatar, [101, 111], states)
    avatar.blendsplat.live = True
    for frame, strength, state in ((1, 0.0, states[0]), (11, 1.0, states[1])):
        scene.frame_set(frame)
        np.testing.assert_allclose(weights_of(avatar), network.weights(state, hold=strength)[0], atol=1e-3)
    avatar.blendsplat.live = False
    scene.frame_set(101)
    np.testing.assert_allclose(weights_of(avatar), network.weights(states[0], hold=1.0)[0], atol=1e-3)


def test_the_own_clip_is_played_to_the_bit(avatar, files):
    """Whatever the strength, its frames are what the network says."""
    performance = formats.read_performance(files.clip)
    network = avatar_rig.network_of(avatar)
    rows, state = performance.valid_rows, HeadState.of(performance)
    np.testing.assert_array_equal(network.weights(state, hold=1.0)[rows], network.weights(state)[rows])


def test_the_hold_is_kept_in_the_blend_file(avatar, tmp_path):
    want = avatar_rig.network_of(avatar).seen
    avatar.blendsplat.hold_back = 0.4
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    again = bpy.data.objects["Ann"]
    have = avatar_rig.network_of(again).seen
    for name in ("range", "mean", "whitening"):
        np.testing.assert_allclose(getattr(have, name), getattr(want, name), rtol=1e-6)
    assert again.blendsplat.hold_back == pytest.approx(0.4)
    assert seen_ranges.seen_range(again.blendsplat.head, "jawOpen") is not None


def test_an_avatar_of_before_plays_as_it_did_and_says_so(scene, files):
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(files.old), "Old")
    carrier.blendsplat.live = True
    wild(carrier.blendsplat.head)
    network = avatar_rig.network_of(carrier)
    state = head_rig.head_state(carrier.blendsplat.head, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(weights_of(carrier), network.weights(state)[0], atol=1e-4)
    from blender_addon.scene import held_avatar

    assert held_avatar.sentence(carrier, network.seen is not None) == hold_back.UNKNOWN
    carrier.blendsplat.hold_back = 0.0
    assert held_avatar.sentence(carrier, False) == ""
    head = carrier.blendsplat.head
    assert seen_ranges.seen_range(head, "jawOpen") is None and seen_ranges.seen_turn(head, "jaw") is None
    assert not seen_ranges.known(head) and not seen_ranges.view_unseen(head, 170.0, 0.0)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("weight_covariance", lambda a: -a),
        ("weight_covariance", lambda a: a[:2]),
        ("weight_mean", lambda a: a * np.nan),
        ("weight_range", lambda a: a[::-1]),
        ("seen.expression", lambda a: a[:, :1]),
        ("seen.eyelids", None),
        ("seen.views", lambda a: a[:3]),
    ],
)
def test_damaged_files_are_refused_by_the_arrays_name(files, tmp_path, name, change):
    learned = dict(files.learned)
    changed = learned.pop(name)
    if change is not None:
        learned[name] = change(changed)
    path = synthetic.write_avatar(tmp_path / "bad.avatar.npz", learned=learned, version=2)
    with pytest.raises(formats.FileError, match=name):
        formats.read_avatar(path)


# --- what was seen


def test_what_was_seen_is_told_by_name(avatar, files):
    head, learned = avatar.blendsplat.head, files.learned
    for column, name in enumerate(synthetic.EXPRESSIONS):
        assert seen_ranges.seen_range(head, name) == pytest.approx(tuple(learned["seen.expression"][1:3, column]))
    assert seen_ranges.seen_range(head, "Eyelid R") == pytest.approx(tuple(learned["seen.eyelids"][1:3, 1]))
    assert seen_ranges.seen_range(head, "corrective jaw 3") is None and seen_ranges.words(head, "nothing") == ""
    low, high = learned["seen.expression"][1:3, 1]
    assert seen_ranges.words(head, "mouthSmileLeft") == f"{low:.2f} to {high:.2f}"
    low, high = seen_ranges.seen_turn(head, "eye.R")
    np.testing.assert_allclose([low, high], learned["seen.eyes_pose"][1:3, 1], atol=1e-6)
    head["blendsplat_seen"] = "{"
    assert seen_ranges.seen_range(head, "jawOpen") is None, "a damaged note is none"


def test_sliders_that_turn_bones_are_told_by_the_bones():
    names = [name for name in arkit.NAMES if name not in arkit.TURNS]
    rows = np.array([0.0, 0.01, 0.5, 0.6])
    arrays = {"seen.expression": np.tile(rows[:, None], len(names)), "seen.eyelids": np.zeros((4, 2))}
    arrays |= {"seen.neck_pose": np.zeros((4, 3)), "seen.views": np.zeros((7, 9))}
    arrays["seen.jaw_pose"] = np.stack([0.372 * rows, np.zeros(4), np.zeros(4)], 1)
    arrays["seen.eyes_pose"] = np.zeros((4, 2, 3))
    arrays["seen.eyes_pose"][:, 0, 0] = [-0.09, -0.045, 0.1, 0.2]  # the left eye looks up a little and down more
    told = seen_ranges.of_file(SimpleNamespace(arrays=arrays, rig=SimpleNamespace(expression_names=tuple(names))))
    assert told["sliders"]["jawOpen"] == pytest.approx(rows)
    assert told["sliders"]["eyeLookUpLeft"] == pytest.approx([0, 0, 0.1, 0.2])
    assert told["sliders"]["eyeLookDownLeft"] == pytest.approx([0, 0, 0.2, 0.4])
    assert told["sliders"]["eyeLookUpRight"] == [0, 0, 0, 0] and set(told["sliders"]) >= set(arkit.NAMES)


def test_what_goes_beyond_is_named_and_the_farthest_first(scene, avatar, files):
    head = avatar.blendsplat.head
    avatar_rig.apply_performance(avatar, formats.read_performance(files.clip), 1, FPS)
    scene.frame_set(8)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    assert seen_ranges.beyond(head, head_rig.head_state(head, depsgraph)) == []
    blocks = head.data.shape_keys.key_blocks
    head.data.shape_keys.animation_data_clear()
    for key in blocks:
        key.slider_min, key.slider_max = -5, 5
    blocks["mouthSmileLeft"].value, blocks[synthetic.EXPRESSIONS[2]].value = -0.5, 3.0
    bpy.context.view_layer.update()
    assert seen_ranges.beyond(head, head_rig.head_state(head, bpy.context.evaluated_depsgraph_get()))[:2] == [
        synthetic.EXPRESSIONS[2], "mouthSmileLeft",
    ]  # fmt: skip


def view_from(avatar: bpy.types.Object, yaw: float, flat: bool = False) -> list[str]:
    """What the corner says in a view from this side of the head as it stands."""
    rig = avatar.blendsplat.head.blendsplat.rig
    head = head_rig.head_state(avatar.blendsplat.head, bpy.context.evaluated_depsgraph_get())
    turn = head.root[0] @ head.neck[0]
    direction = turn @ [math.sin(math.radians(yaw)), 0, math.cos(math.radians(yaw))]
    towards = np.array(rig.matrix_world)[:3, :3] @ TO_BLENDER @ direction
    eye = (np.array(rig.matrix_world) @ np.append(TO_BLENDER @ head.translation[0], 1))[:3] + 2 * towards
    z = towards / np.linalg.norm(towards)
    x = np.cross([0, 0, 1], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z], 1)
    pose[:3, 3] = eye
    beyond_words._known.clear()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    return beyond_words.sentences(avatar, depsgraph, np.linalg.inv(pose), flat)


def test_the_corner_says_where_it_was_never_seen_from(scene, avatar, files):
    performance = formats.read_performance(files.clip)
    avatar_rig.apply_performance(avatar, performance, 1, FPS)
    scene.frame_set(8)
    rig = avatar.blendsplat.head.blendsplat.rig
    rig.location, rig.rotation_euler = (3.0, -2.0, 0.5), (0.2, 0.4, 1.0)
    bpy.context.view_layer.update()
    yaw, pitch = coverage.angles(performance)
    grid = coverage.of(performance).grid
    unseen = [angle for angle in range(-60, 61, 15) if not grid[2:5, angle // 15 + 4].any()]
    assert unseen and abs(pitch).max() < 80
    for flat in (False, True):
        assert view_from(avatar, float(yaw[7]), flat) == []
        assert view_from(avatar, 179.0, flat) or grid[:, [0, 8]].any()
    avatar.blendsplat.head["blendsplat_seen"] = json.dumps(
        json.loads(avatar.blendsplat.head["blendsplat_seen"]) | {"views": np.eye(7, 9)[[3]].repeat(7, 0).tolist()}
    )  # seen from 15 degrees to the person's right alone
    for flat in (False, True):
        assert view_from(avatar, -15.0, flat) == []
        assert view_from(avatar, -28.0, flat) == [], "half a cell farther is no other side"
        assert view_from(avatar, 40.0, flat) == ["Ann: seen from where the clip never showed it"]
        assert view_from(avatar, 179.0, flat) != []


def test_the_outermost_cells_reach_as_far_as_there_is(avatar):
    head = avatar.blendsplat.head
    told = json.loads(head["blendsplat_seen"])
    views = np.zeros((7, 9))
    views[3, 8] = 1.0
    head["blendsplat_seen"] = json.dumps(told | {"views": views.tolist()})
    assert not seen_ranges.view_unseen(head, 130.0, 0.0) and not seen_ranges.view_unseen(head, 60.0, 5.0)
    assert seen_ranges.view_unseen(head, -60.0, 0.0) and seen_ranges.view_unseen(head, 60.0, 40.0)


def test_the_corner_says_what_is_beyond(avatar):
    head = avatar.blendsplat.head
    for key in head.data.shape_keys.key_blocks:
        key.slider_max = 9
    head.data.shape_keys.key_blocks["jawOpen"].value = 8.0
    bpy.context.view_layer.update()
    assert any(line.startswith("Ann: beyond what the clip showed (jaw open") for line in view_from(avatar, 0.0))
    avatar.blendsplat.head = None
    assert beyond_words.sentences(avatar, bpy.context.evaluated_depsgraph_get(), np.eye(4), False) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mouthSmileLeft", "smile left"), ("browOuterUpRight", "outer brows up right"), ("jawOpen", "jaw open"),
        ("jawLeft", "jaw left"), ("eye.L", "left eye"), ("jaw", "jaw"), ("expr 3", "expr 3"), ("Eyelid L", "Eyelid L"),
    ],
)  # fmt: skip
def test_the_corner_speaks_plainly(name, words):
    assert beyond_words.plain(name) == words


# --- the learned keys


def test_learned_keys_are_named_by_what_they_do_and_sorted_by_how_much(avatar):
    names = [key.name for key in avatar.data.shape_keys.key_blocks]
    assert names[:4] == ["Basis", "GB 02 brow left, 40 %", "GB 04 eye right, 20 %", "GB 05 whole face, 15 %"]
    assert list(learned_keys.found(avatar)) == list(range(KEYS))
    assert learned_keys.found(avatar)[1].name == "GB 02 brow left, 40 %"


def test_sliders_go_as_far_as_training_did(avatar, files):
    low, high = files.learned["weight_range"]
    for index, key in learned_keys.found(avatar).items():
        room = hold_back.HEADROOM * (high[index] - low[index])
        assert key.slider_min == pytest.approx(min(0, low[index] - room), abs=1e-5)
        assert key.slider_max == pytest.approx(max(0, high[index] + room), abs=1e-5)
        assert learned_keys.seen_ends(avatar, index) == pytest.approx((low[index], high[index]), abs=1e-5)


def test_replacing_keeps_names_and_ranges_of_the_artist(avatar, files):
    learned_keys.found(avatar)[0].name = "my own"
    learned_keys.found(avatar)[3].slider_max = 7.0
    made = avatar_rig.replace_avatar(avatar, formats.read_avatar(files.new))
    assert learned_keys.found(made)[0].name == "my own" and learned_keys.found(made)[3].slider_max == 7.0


def test_an_avatar_of_before_that_is_trained_again_can_be_named(scene, files):
    """Its keys keep the names that curves know, until they are named by what they do."""
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(files.old), "Ann")
    avatar_rig.apply_performance(carrier, formats.read_performance(files.clip), 1, FPS)
    made = avatar_rig.replace_avatar(carrier, formats.read_avatar(files.new))
    assert learned_keys.found(made)[1].name == "Blendshape 02" and avatar_rig.network_of(made).seen is not None
    assert seen_ranges.known(made.blendsplat.head)
    assert key_preview.rename(made, [{"index": 1, "place": "brow", "share": 0.4}]) == 1
    assert learned_keys.found(made)[1].name == "GB 02 brow, 40 %"


def test_keys_of_before_are_named_and_what_plays_them_follows(scene, files):
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(files.old), "Old")
    keys = carrier.data.shape_keys
    assert keys.key_blocks[1].name == "Blendshape 01"
    avatar_rig.apply_performance(carrier, formats.read_performance(files.clip), 1, FPS)
    learned_keys.found(carrier)[2].name = "mine"
    scene.frame_set(9)
    before = weights_of(carrier)
    told = [{"index": index, "place": place, "share": share} for index, (place, share) in enumerate(
        files.header["blendshape_places"])]  # fmt: skip
    assert key_preview.rename(carrier, told) == KEYS - 1
    assert learned_keys.found(carrier)[2].name == "mine"
    assert learned_keys.found(carrier)[1].name == "GB 02 brow left, 40 %"
    scene.frame_set(1)
    scene.frame_set(9)
    np.testing.assert_allclose(weights_of(carrier), before, atol=1e-6)
    assert key_preview.rename(carrier, told) == 0, "once is enough"
    told[1]["share"] = 0.3
    assert key_preview.rename(carrier, told) == 1 and learned_keys.found(carrier)[1].name == "GB 02 brow left, 30 %"


def test_solo_mutes_the_others_and_brings_back_what_was(avatar):
    keys = learned_keys.found(avatar)
    keys[4].mute = True
    bpy.context.view_layer.objects.active = avatar
    assert bpy.ops.blendsplat.solo_key(index=1) == {"FINISHED"}
    assert [key.mute for key in keys.values()] == [index != 1 for index in keys]
    bpy.ops.blendsplat.solo_key(index=2)
    assert [key.mute for key in keys.values()] == [index != 2 for index in keys] and key_preview.soloed(avatar) == 2
    bpy.ops.blendsplat.solo_key(index=2)
    assert [key.mute for key in keys.values()] == [index == 4 for index in keys] and key_preview.soloed(avatar) is None
    with pytest.raises(RuntimeError, match="no learned key 99"):
        bpy.ops.blendsplat.solo_key(index=98)


def test_pictures_count_until_the_avatar_is_trained_again(avatar, files, tmp_path):
    path = tmp_path / "Ann.avatar.npz"
    path.write_bytes(files.new.read_bytes())
    avatar.blendsplat.avatar_path = str(path)
    assert key_preview.picture_of(avatar, 0) is None and key_preview.shares(avatar) == {}
    folder = key_preview.folder_of(avatar)
    assert folder == tmp_path / "Ann keys"
    folder.mkdir()
    (folder / "sheet.png").write_bytes(b"x")
    (folder / "keys.json").write_text(json.dumps({"keys": [{"index": 3, "share": 0.25}]}))
    assert key_preview.picture_of(avatar, 0) == folder / "01.png" and key_preview.shares(avatar) == {3: 0.25}
    import os

    os.utime(path, (2e9, 2e9))
    assert key_preview.picture_of(avatar, 0) is None and key_preview.sheet_of(avatar) is None


def test_the_job_names_the_keys_of_its_avatar(scene, files):
    """Whatever it is called by then; a result for a scene that is gone is let go."""
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(files.old), "Old")
    context = {"place": common.Place.of(scene), "carrier": carrier.name, "uid": carrier.session_uid}
    carrier.name = "renamed"
    job = jobs.Job("keys", {}, context, result={"keys": [{"index": 4, "place": "nose", "share": 0.5}]})
    operators._finished(job)
    assert learned_keys.found(carrier)[4].name == "GB 05 nose, 50 %"
    bpy.data.objects.remove(carrier)
    operators._finished(job)


def test_the_button_says_why_it_is_grey(scene, files, monkeypatch):
    button = operators.PreviewKeys
    assert "Add an avatar" in button.reason(bpy.context)
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(files.new), "Ann")
    carrier.blendsplat.avatar_path = str(files.new.with_name("gone.avatar.npz"))
    assert "not where the scene says" in button.reason(bpy.context)
    assert "Name and draw" in operators.ShowKeys.reason(bpy.context)


def test_the_panels_say_it_in_words(scene, avatar, files):
    bpy.context.view_layer.objects.active = avatar
    words = drawn(panel.BLENDSPLAT_PT_learned_keys)
    low, high = files.learned["weight_range"][:, 1]
    assert avatar.active_shape_key.name == "GB 02 brow left, 40 %"
    assert f"The clip went from {low:.2f} to {high:.2f}" in words and "blendsplat.preview_keys" in words
    assert "Hold Back" in drawn(steps.BLENDSPLAT_PT_avatar) and hold_back.UNKNOWN not in drawn(
        steps.BLENDSPLAT_PT_avatar
    )
    bpy.data.objects.remove(avatar)
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(files.old), "Old")
    bpy.context.view_layer.objects.active = carrier
    assert hold_back.UNKNOWN in drawn(steps.BLENDSPLAT_PT_avatar)
    assert "How far the clip went is not known" in drawn(panel.BLENDSPLAT_PT_learned_keys)


def test_registering_twice_leaves_one_handler(scene):
    blender_addon.unregister()
    blender_addon.register()
    assert sum(function is beyond_words._changed for function in bpy.app.handlers.frame_change_post) == 1

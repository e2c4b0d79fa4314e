# SPDX-License-Identifier: Apache-2.0
"""Performances of other objects and captures, and their sound; what of them is played; previews that leave nothing."""

from __future__ import annotations

import json
import math
import wave
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.scene import (
    acting_offsets,
    avatar_rig,
    head_rig,
    keyframes,
    performance_parts,
    performance_sound,
    preview_performance,
    reenact,
    rig_source,
)
from blender_addon.ui.operators import performances
from blender_addon.ui.panels.steps import BLENDSPLAT_PT_avatar as PANEL
from drawn import drawn

import synthetic

NAMES = ("mouthSmileLeft", "mouthSmileRight", "browInnerUp", "browDownLeft", "browDownRight", "eyeBlinkLeft")


def arkit_rig() -> tuple[dict, dict[str, np.ndarray]]:
    """The made-up head with six of ARKit's names; its jaw and eyes are bones."""
    meta, arrays = synthetic.grid_head()
    rng = np.random.default_rng(4)
    vertices = arrays["rig.template"].shape[0]
    arrays["rig.expression_directions"] = rng.normal(0, 0.01, (len(NAMES), vertices, 3)).astype(np.float32)
    arrays["rig.joint_expression_directions"] = np.zeros((len(NAMES), 5, 3), np.float32)
    return meta | {"expression_names": list(NAMES)}, arrays


@pytest.fixture
def ann(scene, tmp_path):
    """An avatar on a head with ARKit's names; 25 frames a second, frames 1 to 20."""
    path = synthetic.write_avatar(tmp_path / "Ann ü.avatar.npz", rig=arkit_rig())
    scene.render.fps, scene.frame_start, scene.frame_end = 25, 1, 20
    return avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Ann")


@pytest.fixture
def plain(scene, tmp_path):
    """An avatar on the made-up head, which tracked clips of the other tests are of."""
    path = synthetic.write_avatar(tmp_path / "plain.avatar.npz", rig=synthetic.grid_head(seed=8))
    scene.render.fps = 25
    return avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Plain")


def face(name: str, keys: dict[str, float], drive: bool = False) -> bpy.types.Object:
    """A mesh with shape keys; each rises from 0 in frame 1 to its value in frame 20."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    item.shape_key_add(name="Basis")
    for key, value in keys.items():
        block = item.shape_key_add(name=key)
        if drive:
            block.driver_add("value").driver.expression = f"(frame - 1) / 19 * {value}"
            continue
        for frame, told in ((1, 0.0), (20, value)):
            block.value = told
            block.keyframe_insert("value", frame=frame)
        for curve in keyframes.fcurves(mesh.shape_keys):
            for point in curve.keyframe_points:
                point.interpolation = "LINEAR"
    return item


def choose(scene, source: bpy.types.Object | Path) -> None:
    """As an artist does in the panel."""
    if isinstance(source, Path):
        scene.blendsplat.acting.source, scene.blendsplat.performance = "FILE", str(source)
    else:
        scene.blendsplat.acting.source, scene.blendsplat.acting.item = "OBJECT", source


def state(scene, carrier, frame: int):
    scene.frame_set(frame)
    return head_rig.head_state(carrier.blendsplat.head, bpy.context.evaluated_depsgraph_get())


def everything(carrier) -> dict[str, object]:
    """All that a performance may change, for a comparison bit by bit."""
    head, found = carrier.blendsplat.head, {}
    for owner in (carrier.data.shape_keys, head.data.shape_keys, head.blendsplat.rig):
        data = owner.animation_data
        found[owner.name] = (
            None if data is None or data.action is None else data.action.name,
            [(c.data_path, c.array_index, keyframes.points(c).tobytes()) for c in keyframes.fcurves(owner)],
        )
        if isinstance(owner, bpy.types.Key):
            found[f"{owner.name} keys"] = [(k.name, k.value, k.slider_min, k.slider_max) for k in owner.key_blocks]
        else:
            found[f"{owner.name} bones"] = [
                (b.name, tuple(b.location), tuple(b.rotation_euler)) for b in owner.pose.bones
            ]
    places = np.empty(3 * len(carrier.data.vertices), np.float32)
    for key in carrier.data.shape_keys.key_blocks:
        key.data.foreach_get("co", places)
        found[f"shape {key.name}"] = places.tobytes()
    found["told"] = [(i.blendsplat.foreign, i.blendsplat.remark, sorted(i.keys())) for i in (carrier, head)]
    found["actions"] = sorted((action.name, action.users, action.use_fake_user) for action in bpy.data.actions)
    return found


# --- another object


@pytest.mark.parametrize("drive", [False, True])
def test_a_face_with_arkits_names_is_played(scene, ann, drive):
    """Keyed by hand or driven; other spellings count, one side counts for itself, a brow that has no sides for both."""
    keys = {
        "mouthSmile_L": 0.6,
        "MouthSmileRight": 0.3,
        "browDown_R": 0.8,
        "browInnerUp": 0.5,
        "jawOpen": 1.0,
        "x": 1.0,
    }
    choose(scene, face("Face", keys, drive))
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    now = state(scene, ann, 20)
    np.testing.assert_allclose(now.expression[0], [0.6, 0.3, 0.5, 0, 0.8, 0], atol=1e-4)
    np.testing.assert_allclose(now.jaw[0][2, 1], math.sin(0.372), atol=1e-4)
    np.testing.assert_allclose(state(scene, ann, 1).expression[0], 0, atol=1e-4)
    half = state(scene, ann, 10).expression[0]
    np.testing.assert_allclose(half, now.expression[0] * 9 / 19, atol=1e-3)
    assert not [item for item in bpy.data.scenes if item != scene], "nothing is left of reading it"


def test_a_muted_key_is_not_heard(scene, ann):
    item = face("Face", dict.fromkeys((*NAMES, "jawOpen"), 0.5))
    item.data.shape_keys.key_blocks["mouthSmileLeft"].mute = True
    choose(scene, item)
    bpy.ops.blendsplat.apply_performance()
    np.testing.assert_allclose(state(scene, ann, 20).expression[0], [0, *[0.5] * 5], atol=1e-4)


def test_another_avatar_of_the_same_head_model(scene, ann, tmp_path):
    """The very state that the other head has, bones included."""
    other = synthetic.write_avatar(tmp_path / "ben.avatar.npz", seed=9, rig=arkit_rig())
    ben = avatar_rig.build_avatar(bpy.context, formats.read_avatar(other), "Ben")
    if ben.blendsplat.head == ann.blendsplat.head:  # of one person: a head of his own
        meta, arrays = arkit_rig()
        arrays["rig.template"] = arrays["rig.template"] * np.float32(1.1)
        ben = avatar_rig.build_avatar(
            bpy.context, formats.read_avatar(synthetic.write_avatar(other, rig=(meta, arrays))), "Ben"
        )
    rig = ben.blendsplat.head.blendsplat.rig
    for frame, turned in ((1, 0.0), (20, 0.4)):
        rig.pose.bones["neck"].rotation_euler = (turned, 0, 0)
        rig.pose.bones["neck"].keyframe_insert("rotation_euler", frame=frame)
        key = ben.blendsplat.head.data.shape_keys.key_blocks["browInnerUp"]
        key.value = turned
        key.keyframe_insert("value", frame=frame)
    bpy.context.view_layer.objects.active = ann
    choose(scene, ben)
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    mine, theirs = state(scene, ann, 14), state(scene, ben, 14)
    np.testing.assert_allclose(mine.expression, theirs.expression, atol=1e-5)
    np.testing.assert_allclose(mine.neck, theirs.neck, atol=1e-5)
    assert mine.expression[0, 2] > 0.1


def test_what_cannot_be_played_says_why(scene, ann, plain):
    bpy.context.view_layer.objects.active = ann
    cube = face("Cube", {"bulge": 1.0})
    assert not rig_source.can_perform(cube) and rig_source.can_perform(ann) and rig_source.can_perform(ann.parent)
    assert "Choose the object" in rig_source.reason(None, ann)
    assert "no shape keys with ARKit's names" in rig_source.reason(cube, ann)
    assert "is Ann itself" in rig_source.reason(ann, ann) and "is Ann itself" in rig_source.reason(ann.parent, ann)
    talker = face("Talker", dict.fromkeys(NAMES, 1.0))
    assert rig_source.reason(talker, ann) == ""
    assert "no names by which Talker's" in rig_source.reason(talker, plain)
    scene.collection.objects.unlink(talker)
    assert "no longer in the scene" in rig_source.reason(talker, ann)
    choose(scene, cube)
    assert not bpy.ops.blendsplat.apply_performance.poll() and not bpy.ops.blendsplat.preview_performance.poll()


# --- what is played, and what is added


def performance(tmp_path: Path, seed: int = 6, fps: float = 25.0) -> Path:
    return synthetic.write_performance(tmp_path / "another" / f"take {seed}.npz", seed=seed, fps=fps)


def test_the_face_alone_leaves_the_heads_keys(scene, plain, tmp_path):
    choose(scene, performance(tmp_path, 5))
    bpy.ops.blendsplat.apply_performance()
    before = state(scene, plain, 9)
    scene.blendsplat.acting.part = performance_parts.FACE
    choose(scene, performance(tmp_path, 6))
    bpy.ops.blendsplat.apply_performance()
    after, given = state(scene, plain, 9), formats.read_performance(performance(tmp_path, 6))
    for name in ("root", "neck", "translation"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-5)
    np.testing.assert_allclose(after.expression[0], given.expression[8], atol=1e-4)
    network = avatar_rig.network_of(plain)
    values = [key.value for key in avatar_rig.blendshape_keys(plain)]
    np.testing.assert_allclose(values, network.weights(after)[0], atol=5e-3)  # for the two together


def test_the_head_alone_leaves_the_face_and_an_artists_keys(scene, plain, tmp_path):
    """Also of an action that the artist made."""
    keys = plain.blendsplat.head.data.shape_keys
    keys.key_blocks["jawOpen"].value = 0.7
    keys.key_blocks["jawOpen"].keyframe_insert("value", frame=1)
    own = keys.animation_data.action
    scene.blendsplat.acting.part = performance_parts.HEAD
    choose(scene, performance(tmp_path))
    bpy.ops.blendsplat.apply_performance()
    now, given = state(scene, plain, 9), formats.read_performance(performance(tmp_path))
    assert keys.animation_data.action == own and now.expression[0, 0] == pytest.approx(0.7)
    np.testing.assert_allclose(now.jaw[0], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(now.translation[0], given.translation[8], atol=5e-4)


def test_offsets_have_two_ends(ann):
    head = avatar_rig.face_of(ann)
    if head is None:  # the made-up file does not say: of the rig
        from blender_addon.scene.neutral_face import Face

        head = Face(NAMES, (0.0, 1.0), np.eye(9), np.zeros(9), -1, {}, None)
    frames = {"expression": np.full((2, 6), 0.2), "jaw_pose": np.zeros((2, 3)), "neck_pose": np.zeros((2, 3))}
    assert acting_offsets.added(frames, head, acting_offsets.Offsets()) is frames
    up = acting_offsets.added(frames, head, acting_offsets.Offsets(brows=0.5, mouth=0.3, jaw=0.5, lids=1.0))
    np.testing.assert_allclose(up["expression"][0], [0.5, 0.5, 0.7, 0.2, 0.2, 1.0])
    np.testing.assert_allclose(up["jaw_pose"][0], [0.186, 0, 0])
    down = acting_offsets.added(frames, head, acting_offsets.Offsets(brows=-0.5, mouth=-1.0, head=(0.1, 0, 0)))
    np.testing.assert_allclose(down["expression"][0], [0.2, 0.2, 0.2, 0.7, 0.7, 0.2])
    np.testing.assert_allclose(down["neck_pose"][0], [0.1, 0, 0], atol=1e-7)


def test_regions_are_smoothed_by_themselves(scene, ann):
    rng = np.random.default_rng(1)
    head = rig_source.read(scene, face("Face", dict.fromkeys(NAMES, 0.0)), ann)
    head.arrays["expression"] = rng.uniform(0, 1, head.arrays["expression"].shape).astype(np.float32)
    calm = reenact._steadied(head, reenact.Acting(smooth=0.5, lively=0.0, steady_brows=0.0), NAMES)["expression"]
    brows = [2, 3, 4]
    np.testing.assert_allclose(calm[:, brows], head.expression[:, brows], atol=1e-3)
    assert np.ptp(calm[:, :2], 0).max() < 0.5 * np.ptp(head.expression[:, :2], 0).min()


# --- punch-in


def curve_of(owner: bpy.types.ID, path: str):
    return next(curve for curve in keyframes.fcurves(owner) if curve.data_path == path)


def test_a_punch_in_leaves_what_is_around_it(scene, plain, tmp_path):
    """Inside it is the new performance, with blends at both ends; outside not a handle moves."""
    keys, path = plain.blendsplat.head.data.shape_keys, 'key_blocks["jawOpen"].value'
    for frame, value in ((1, 0.1), (5, 0.9), (16, 0.4), (30, 0.8)):
        keys.key_blocks["jawOpen"].value = value
        keys.key_blocks["jawOpen"].keyframe_insert("value", frame=frame)
    own, settings = keys.animation_data.action, scene.blendsplat.acting
    around = [(1, 2.0, 3.0), (30, 28.0, 33.0)]
    for frame, left, right in around:
        point = next(point for point in curve_of(keys, path).keyframe_points if point.co.x == frame)
        point.handle_left_type = point.handle_right_type = "FREE"
        point.handle_left, point.handle_right = (left - 2, 0.3), (right, 0.6)
    before = curve_of(keys, path)
    edges = before.evaluate(8), before.evaluate(14)
    told = [
        (tuple(point.handle_left), tuple(point.handle_right))
        for point in before.keyframe_points
        if point.co.x in (1, 30)
    ]
    settings.punch, settings.punch_start, settings.punch_end, settings.punch_blend = True, 14, 8, 2
    choose(scene, performance(tmp_path))
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    curve, given = curve_of(keys, path), formats.read_performance(performance(tmp_path))
    assert keys.animation_data.action == own
    np.testing.assert_allclose([curve.evaluate(8), curve.evaluate(14)], edges, atol=1e-5)
    np.testing.assert_allclose([curve.evaluate(frame) for frame in (10, 11, 12)], given.expression[9:12, 0], atol=1e-4)
    found = {point.co.x: point for point in curve.keyframe_points}
    assert {1.0, 5.0, 16.0, 30.0} < set(found) and len(found) == 4 + 7
    assert [(tuple(found[x].handle_left), tuple(found[x].handle_right)) for x in (1.0, 30.0)] == told
    assert found[5.0].interpolation == "BEZIER" and found[11.0].interpolation == "LINEAR"
    rig = plain.blendsplat.head.blendsplat.rig
    neck = curve_of(rig, 'pose.bones["neck"].rotation_euler')
    assert neck.evaluate(3) == pytest.approx(0, abs=1e-6), "what was not keyed is outside as it was"
    settings.punch_start, settings.punch_end = 400, 500
    with pytest.raises(RuntimeError, match="no frame between 400 and 500: it plays from 1 to 20"):
        bpy.ops.blendsplat.apply_performance()


def test_a_punch_in_into_a_performance(scene, plain, tmp_path):
    """Blendshapes as well: outside the old take's, in the middle the new one's."""
    choose(scene, performance(tmp_path, 5))
    bpy.ops.blendsplat.apply_performance()
    shapes = plain.data.shape_keys
    old = {curve.data_path: [curve.evaluate(frame) for frame in (2, 17)] for curve in keyframes.fcurves(shapes)}
    scene.blendsplat.acting.punch_start, scene.blendsplat.acting.punch_end = 6, 14
    scene.blendsplat.acting.punch = True
    choose(scene, performance(tmp_path, 6))
    bpy.ops.blendsplat.preview_performance()
    bpy.ops.blendsplat.end_preview()
    bpy.ops.blendsplat.apply_performance()
    for curve in keyframes.fcurves(shapes):
        np.testing.assert_allclose([curve.evaluate(frame) for frame in (2, 17)], old[curve.data_path], atol=1e-5)
    given = formats.read_performance(performance(tmp_path, 6))
    np.testing.assert_allclose(state(scene, plain, 10).expression[0], given.expression[9], atol=1e-4)


# --- previews


@pytest.mark.parametrize("keyed", [False, True])
def test_a_preview_leaves_nothing(scene, plain, tmp_path, keyed):
    """Not a bit of keys, sliders, bones, actions and remarks, whether there were keys or not."""
    choose(scene, performance(tmp_path, 5))
    if keyed:
        bpy.ops.blendsplat.apply_performance()
    scene.frame_set(7)
    plain.blendsplat.head.data.shape_keys.key_blocks["jawOpen"].slider_max = 0.9
    before = everything(plain)
    choose(scene, performance(tmp_path, 6))
    scene.blendsplat.acting.mouth = 2.0
    assert bpy.ops.blendsplat.preview_performance() == {"FINISHED"}
    assert preview_performance.running(plain)
    shown, given = state(scene, plain, 12), formats.read_performance(performance(tmp_path, 6))
    np.testing.assert_allclose(shown.neck[0, 0], formats_rotation(given, 11)[0], atol=1e-3)
    scene.blendsplat.acting.mouth = 0.0
    assert bpy.ops.blendsplat.preview_performance() == {"FINISHED"}, "again, otherwise"
    scene.frame_set(7)
    assert bpy.ops.blendsplat.end_preview() == {"FINISHED"}
    scene.frame_set(7)
    assert everything(plain) == before
    assert not bpy.ops.blendsplat.end_preview.poll()


def formats_rotation(given: formats.Performance, row: int) -> np.ndarray:
    from blender_addon.space import rotvec_to_matrix

    return rotvec_to_matrix(given.neck_pose[row])


def test_a_preview_survives_the_file_and_ends_before_it_is_applied(scene, plain, tmp_path):
    choose(scene, performance(tmp_path, 5))
    bpy.ops.blendsplat.apply_performance()
    before = [curve.evaluate(9) for curve in keyframes.fcurves(plain.data.shape_keys)]
    choose(scene, performance(tmp_path, 6))
    bpy.ops.blendsplat.preview_performance()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    plain = bpy.data.objects["Plain"]
    assert bpy.ops.blendsplat.end_preview() == {"FINISHED"}
    np.testing.assert_allclose([c.evaluate(9) for c in keyframes.fcurves(plain.data.shape_keys)], before, atol=1e-6)
    bpy.ops.blendsplat.preview_performance()
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    assert not preview_performance.running(plain)
    given = formats.read_performance(performance(tmp_path, 6))
    np.testing.assert_allclose(state(bpy.context.scene, plain, 9).expression[0], given.expression[8], atol=1e-4)


def test_a_preview_that_fails_changes_nothing(scene, plain, tmp_path, monkeypatch):
    def fail(*_args: object) -> None:
        raise RuntimeError("half way")

    monkeypatch.setattr(avatar_rig, "_key", fail)
    given, before = formats.read_performance(performance(tmp_path)), everything(plain)
    with pytest.raises(RuntimeError, match="half way"):
        preview_performance.start(plain, given, 1, 25.0, reenact.Acting())
    assert everything(plain) == before
    given.arrays["valid"][:] = False
    with pytest.raises(formats.FileError, match="a face in none"):
        preview_performance.start(plain, given, 1, 25.0, reenact.Acting())
    assert everything(plain) == before


# --- captures, through the engine


def test_a_capture_is_read_by_the_engine_once(scene, engine, plain, tmp_path):
    take = tmp_path / "takes ü" / "take.csv"
    take.parent.mkdir()
    take.write_text("whatever")
    choose(scene, take)
    scene.blendsplat.acting.rate = 50.0
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    file = performances.carried_file(take, plain, scene)
    told = json.loads(file.with_suffix(".json").read_text())
    assert (told["performance"], told["fps"], told["relative"]) == (str(take), 50.0, False)
    given = formats.read_performance(file)
    np.testing.assert_allclose(state(scene, plain, 5).expression[0], given.expression[8], atol=1e-4)
    file.with_suffix(".json").unlink()
    assert bpy.ops.blendsplat.apply_performance() == {"FINISHED"}
    assert not file.with_suffix(".json").exists(), "it was not read again"
    scene.blendsplat.acting.rate = 25.0
    assert performances.ready(scene, plain) is None, "at another rate it is another performance"
    assert bpy.ops.blendsplat.preview_performance() == {"FINISHED"} and preview_performance.running(plain)


def test_a_capture_that_the_engine_refuses(scene, engine, plain, tmp_path):
    arrays = synthetic.performance_arrays()
    arrays["expression"] = np.zeros((20, 9), np.float32)
    meta = {"format": "blendsplat-tracking", "version": 1, "width": 8, "height": 8, "expression_names": [""] * 9}
    choose(scene, synthetic.write(tmp_path / "other.npz", meta, arrays))
    before = everything(plain)
    with pytest.raises(RuntimeError, match=r"9 expressions.*cannot be laid"):
        bpy.ops.blendsplat.preview_performance()
    assert everything(plain) == before


def test_a_capture_without_the_avatars_file(scene, engine, plain, tmp_path):
    (tmp_path / "take.json").write_text("[]")
    (tmp_path / "plain.avatar.npz").unlink()
    choose(scene, tmp_path / "take.json")
    with pytest.raises(RuntimeError, match="avatar's file, which is not there"):
        bpy.ops.blendsplat.apply_performance()


# --- the panel


def test_the_panel_says_what_is_going_on(scene, engine, plain, tmp_path):
    scene.frame_end, scene.render.fps = 5, 24
    choose(scene, plain)
    assert "Object" in drawn(PANEL) and "blendsplat.add_performance_sound" not in drawn(PANEL)
    choose(scene, performance(tmp_path, fps=50.0))
    assert not any("on trial" in line for line in drawn(PANEL))
    bpy.ops.blendsplat.preview_performance()
    words = drawn(PANEL)
    assert any("on trial" in line for line in words) and "Preview Again" in words and "blendsplat.end_preview" in words
    bpy.ops.blendsplat.end_preview()
    assert not any("Extend the Scene" in line for line in drawn(PANEL)), "nothing is keyed: nothing to be extended"
    bpy.ops.blendsplat.apply_performance()
    words = drawn(PANEL)
    assert any("has 50 frames a second and the scene 24" in line for line in words), words
    assert "Extend the Scene to 10" in words and scene.frame_end == 5
    take = tmp_path / "take.csv"
    take.write_text("whatever")
    choose(scene, take)
    bpy.ops.blendsplat.apply_performance()
    assert any("no column for x" in line for line in drawn(PANEL)), "what had to be guessed"
    choose(scene, performance(tmp_path))
    assert not any("no column for x" in line for line in drawn(PANEL)), "of another source"


# --- time


@pytest.mark.parametrize(("fps", "base"), [(24, 1.0), (30, 1.001), (60, 1.0)])
def test_keys_keep_their_time(scene, plain, tmp_path, fps, base):
    """Of 50 frames a second in other scenes; the scene's range is offered to be extended, never is by itself."""
    scene.render.fps, scene.render.fps_base, scene.blendsplat.performance_start = fps, base, 11
    scene.frame_start, scene.frame_end = 1, 12
    choose(scene, performance(tmp_path, fps=50.0))
    bpy.ops.blendsplat.apply_performance()
    curve = next(iter(keyframes.fcurves(plain.data.shape_keys)))
    given = formats.read_performance(performance(tmp_path, fps=50.0))
    want = 11 + given.timestamps[given.valid_rows] * fps / base
    np.testing.assert_allclose(keyframes.points(curve)[:, 0], want, atol=1e-4)
    assert scene.frame_end == 12
    assert "has 50 frames a second" in performances.rate_sentence(scene, plain)
    last = performances.beyond(scene, plain)
    assert last == math.floor(want[-1] + 0.5)
    assert bpy.ops.blendsplat.extend_range() == {"FINISHED"} and scene.frame_end == last
    assert not bpy.ops.blendsplat.extend_range.poll()


# --- sound


def tone(path: Path, seconds: float = 2.0) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((3000 * np.sin(np.arange(int(8000 * seconds)) / 5)).astype("<i2").tobytes())
    return path


@pytest.mark.skipif(not bpy.app.build_options.audaspace, reason="this Blender was built without sound")
def test_the_sound_begins_where_the_performance_does(scene, tmp_path):
    scene.render.fps = 24
    file = tone(tmp_path / "take.wav")
    strip = performance_sound.add(scene, file, 0.5, 11)
    assert strip.frame_final_start == 11 and strip.frame_final_duration == pytest.approx(36, abs=1)
    editor = scene.sequence_editor
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    again = performance_sound.add(scene, file, 0.0, 21)
    assert len(strips) == 1 and again.frame_final_start == 21
    performance_sound.add(scene, tone(tmp_path / "other.wav"), 0.0, 1)
    assert sorted(strip.channel for strip in strips) == [1, 2]
    (tmp_path / "mute.wav").write_bytes(b"nothing to hear")
    with pytest.raises(RuntimeError, match="no sound"):
        performance_sound.add(scene, tmp_path / "mute.wav", 0.0, 1)
    assert len(strips) == 2


def test_where_the_sound_is(scene, tmp_path):
    clip = tmp_path / "clip"
    clip.mkdir()
    told = {"source": str(tone(tmp_path / "film.wav")), "trim_start": 1.5}
    (clip / "clip.json").write_text(json.dumps(told))
    assert performance_sound.source_of(clip / "tracking.npz") == (tmp_path / "film.wav", 1.5)
    assert performance_sound.source_of(clip) == (tmp_path / "film.wav", 1.5)
    tone(tmp_path / "take.wav")
    assert performance_sound.source_of(tmp_path / "take.csv") == (tmp_path / "take.wav", 0.0)
    assert performance_sound.source_of(tmp_path / "another.csv") is None
    (clip / "clip.json").write_text("{")
    assert performance_sound.source_of(clip) is None
    choose(scene, tmp_path / "another.csv")
    assert not bpy.ops.blendsplat.add_performance_sound.poll()
    choose(scene, tmp_path / "take.csv")
    if not bpy.app.build_options.audaspace:
        assert not bpy.ops.blendsplat.add_performance_sound.poll()
        return
    scene.blendsplat.performance_start = 5
    assert bpy.ops.blendsplat.add_performance_sound() == {"FINISHED"} and scene.sync_mode == "AUDIO_SYNC"

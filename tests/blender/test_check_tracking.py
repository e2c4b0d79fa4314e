# SPDX-License-Identifier: Apache-2.0
"""The panel "Check the Tracking": the lens, curves of quality, the worst frames, the overlay, corrections by hand."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats, space
from blender_addon.client import jobs
from blender_addon.scene import corrections, head_rig, keyframes, matched_camera, tracking_quality, tracking_view
from blender_addon.ui.operators import check_tracking, track
from blender_addon.ui.panels.check_tracking import BLENDSPLAT_PT_check_tracking
from drawn import drawn
from mathutils import Matrix, Vector

import synthetic

FRAME, ROW = 9, 8
NUMBERS = ("neck_pose", "translation", "jaw_pose", "eyes_pose", "eyelids", "expression")
OPERATORS = bpy.ops.blendsplat


@pytest.fixture
def clip(scene, engine, video) -> Path:
    """A tracked clip whose head is in the scene."""
    folder = video.parent / "Anna spricht 日本 avatar"
    synthetic.write_png(folder / "images" / "000000.png", np.full((256, 256, 3), 90, np.uint8))
    OPERATORS.import_video()
    OPERATORS.track()
    return folder


def the_head(scene):
    return check_tracking.tracked_heads(scene)[0]


def seen(scene, clip: Path) -> corrections.Shown:
    bpy.context.view_layer.update()
    head = the_head(scene)
    performance = formats.read_performance(clip)
    return corrections.shown(head, matched_camera.camera_of(head), performance, ROW, 1.0, 25.0, scene.frame_current)


def vertices(head) -> np.ndarray:
    """Where the scene shows the head's vertices, in Blender's world."""
    evaluated = head.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    flat = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", flat)
    world = np.array(evaluated.matrix_world)
    evaluated.to_mesh_clear()
    return flat.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]


def rigid_of(points: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation and shift that carry points [V,3] best."""
    a, b = points - points.mean(0), moved - moved.mean(0)
    u, _, vt = np.linalg.svd(b.T @ a)
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return turn, moved.mean(0) - turn @ points.mean(0)


# --- what the engine is told


def test_the_engine_hears_of_refining_lens_and_zoom(scene, clip):
    told = json.loads((clip / "track.json").read_text())["params"]
    assert told["refine"] == "dense" and told["zooms"] is False and "focal" not in told
    settings = scene.blendsplat
    settings.refine, settings.zooms, settings.lens = False, True, "given"
    settings.focal_length, settings.lens_shift = 35.0, (0.1, -0.05)
    OPERATORS.track()
    told = json.loads((clip / "track.json").read_text())["params"]
    assert told["refine"] == "none" and told["zooms"] is True and told["focal"] == 35.0
    assert told["lens_shift"] == pytest.approx([0.1, -0.05])


def test_the_found_lens_is_kept(scene, clip):
    """A crop of 512 at (200, 30) out of 1280 x 720, shrunk to 256: the lens of the whole picture."""
    info = {"crop": [200, 30, 512], "source_size": [1280, 720]}
    (clip / "clip.json").write_text(json.dumps(info))
    assert OPERATORS.keep_lens() == {"FINISHED"}
    settings = scene.blendsplat
    K = formats.read_performance(clip).K.astype(float)
    assert settings.lens == "given" and settings.focal_length == pytest.approx(K[0, 0] * 2 * 36 / 1280, rel=1e-5)
    assert settings.lens_shift[0] == pytest.approx((640 - 200 - K[0, 2] * 2) / 1280, abs=1e-5)
    assert settings.lens_shift[1] == pytest.approx((K[1, 2] * 2 + 30 - 360) / 1280, abs=1e-5)
    (clip / "clip.json").write_text("{")
    with pytest.raises(RuntimeError, match=r"clip\.json cannot be read"):
        OPERATORS.keep_lens()


# --- how good the tracking is


def test_quality_lies_over_the_timeline(scene, clip):
    head = the_head(scene)
    performance = formats.read_performance(clip)
    quality = tracking_quality.read(head)
    assert list(np.round(quality.frames)) == list(range(1, 21))
    assert quality.values[3] == 0, "a frame without a face"
    missed = np.clip(1 - (performance.landmark_errors - 0.02) / 0.08, 0, 1)
    expected = np.minimum(performance.confidence, missed)
    assert np.allclose(np.delete(quality.values, 3), np.delete(expected, 3), atol=1e-6)
    scene.frame_set(15)
    assert head[tracking_quality.QUALITY] == pytest.approx(expected[14], abs=1e-5)
    assert head[tracking_quality.ERROR] == pytest.approx(100 * performance.landmark_errors[14], abs=1e-3)
    assert tracking_quality.worst_region(head, 15) == "mouth"
    assert tracking_quality.worst_region(head, 9) in ("mouth", "left eye")
    hidden = {curve.data_path: (curve.hide, curve.lock) for curve in keyframes.fcurves(head)}
    assert hidden[f'["{tracking_quality.QUALITY}"]'] == (False, True), "one curve is seen at first"
    assert hidden[f'["{tracking_quality.ERROR}"]'] == (True, True) and len(hidden) == 5
    groups = {curve.group.name for curve in keyframes.fcurves(head) if curve.group is not None}
    assert groups <= {"Tracking"}


def test_a_frames_error_and_confidence_are_told(scene, clip):
    scene.frame_set(15)
    performance, words = formats.read_performance(clip), drawn(BLENDSPLAT_PT_check_tracking)
    error, confidence = 100 * performance.landmark_errors[14], performance.confidence[14]
    assert f"Landmark error {error:.1f}%" in words
    assert f"Confidence {confidence:.0%}, least: mouth" in words
    synthetic.write_performance(clip / "tracking.npz", told=False)
    track.play(scene, the_head(scene), formats.read_performance(clip))
    assert not any(line.startswith("Confidence ") for line in drawn(BLENDSPLAT_PT_check_tracking))
    assert not OPERATORS.show_curves.poll()


def test_how_the_mesh_sits_is_told_of_the_file(scene, clip):
    """Not of the job, which is forgotten when the file is opened again; older files say nothing."""
    assert not any("head: " in line or "mesh: " in line for line in drawn(BLENDSPLAT_PT_check_tracking))
    figures, notes = {"uncovered": 0.124, "beyond": 0.003}, ["The mesh is too narrow."]
    synthetic.write_tracking(clip / "tracking.npz", synthetic.performance_arrays(), figures=figures, notes=notes)
    words = drawn(BLENDSPLAT_PT_check_tracking)
    assert {"Bare head without mesh: 12.4%", "Mesh beside the head: 0.3%", "The mesh is too narrow."} <= set(words)
    (clip / "tracking.npz").write_bytes(b"damaged")
    assert "The mesh is too narrow." not in drawn(BLENDSPLAT_PT_check_tracking)


def test_the_curves_of_error_and_confidence_are_shown(scene, clip):
    head = the_head(scene)
    assert OPERATORS.show_curves() == {"FINISHED"}
    hidden = {curve.data_path: curve.hide for curve in keyframes.fcurves(head)}
    for name in (tracking_quality.QUALITY, tracking_quality.ERROR, tracking_quality.CONFIDENCE):
        assert not hidden[f'["{name}"]']
    assert hidden[f'["{tracking_quality.region_property("left_eye")}"]'], "a part that is confirmed everywhere"
    assert not hidden[f'["{tracking_quality.region_property("mouth")}"]'], "a part that is doubtful somewhere"
    assert [item for item in scene.objects if item.select_get()] == [head]


def covered(clip: Path, **parts: list[int]) -> formats.Performance:
    """The clip's performance with parts of the face covered in some rows."""
    arrays = synthetic.read(clip / "tracking.npz")
    names = ("mouth", "left_eye")
    arrays["valid"][:] = True
    arrays["region_confidence"] = np.full((20, 2), 0.95, np.float32)
    for name, rows in parts.items():
        arrays["region_confidence"][rows, names.index(name)] = 0.1
    synthetic.write_tracking(clip / "tracking.npz", arrays)
    return formats.read_performance(clip)


def test_doubtful_parts_are_listed_and_gone_to(scene, clip):
    head = the_head(scene)
    track.play(scene, head, covered(clip, mouth=[4, 5, 7, 8], left_eye=[1, 14, 15, 16]))
    assert check_tracking.doubted(scene, head) == [
        tracking_quality.Doubt("mouth", 5, 9), tracking_quality.Doubt("left eye", 15, 17),
    ], "one frame is not told of, and a gap of one parts nothing"  # fmt: skip
    words = drawn(BLENDSPLAT_PT_check_tracking)
    assert "mouth: 5-9" in words and "left eye: 15-17" in words
    assert OPERATORS.go_to_doubt(frame=15) == {"FINISHED"} and scene.frame_current == 15
    track.play(scene, head, covered(clip, mouth=[4, 5, 6], left_eye=[4, 5, 6]))
    assert check_tracking.doubted(scene, head) == [tracking_quality.Doubt(tracking_quality.WHOLE, 5, 7)]
    track.play(scene, head, covered(clip))
    assert not check_tracking.doubted(scene, head) and "Doubtful Parts" not in drawn(BLENDSPLAT_PT_check_tracking)


def test_of_many_doubts_the_longest_are_listed(scene):
    doubts = [tracking_quality.Doubt("mouth", 10 * n, 10 * n + n) for n in range(12)]
    assert check_tracking.longest(doubts) == doubts[-check_tracking.PARTS :]


def test_the_limit_is_the_engines():
    """Read, not imported: the add-on's tests need no torch."""
    source = Path(__file__).parents[2] / "engine" / "blendsplat" / "tracking" / "doubts.py"
    assert f"\nTOLD = {tracking_quality.DOUBTED} " in source.read_text(encoding="utf-8")


def test_worst_frames_are_gone_through(scene, clip):
    head = the_head(scene)
    frames = [frame for frame, _ in check_tracking.ranked(scene, head)]
    assert frames[0] == 4, "the frame without a face is the worst"
    visited = []
    for _ in range(len(frames) + 1):
        assert OPERATORS.go_to_worst() == {"FINISHED"}
        visited.append(scene.frame_current)
    assert visited == [*frames, frames[0]]
    scene.blendsplat.quality_limit = 0.0
    assert not OPERATORS.go_to_worst.poll()
    assert tracking_quality.read(head).share_below(0.7) == pytest.approx(
        (tracking_quality.read(head).values < 0.7).mean()
    )


def test_moments_are_apart(scene):
    values = np.array([0.1, 0.11, 0.12] + [0.9] * 20 + [0.3] + [0.9] * 5)
    quality = tracking_quality.Quality(np.arange(len(values), dtype=float), values)
    assert [frame for frame, _ in quality.worst(2)] == [0, 23]
    assert [frame for frame, _ in quality.worst(1, np.array([1]))] == [23]


def test_older_files_say_nothing(scene, clip):
    head = the_head(scene)
    before = [curve.data_path for curve in keyframes.fcurves(head)]
    assert before
    synthetic.write_performance(clip / "tracking.npz", told=False)
    track.play(scene, head, formats.read_performance(clip))
    assert tracking_quality.read(head) is None and not list(keyframes.fcurves(head))
    assert not [name for name in list(head.keys()) if "onfidence" in name or "Tracking" in name]
    assert not OPERATORS.go_to_worst.poll()
    arrays = synthetic.performance_arrays()
    arrays |= {"landmark_errors": np.zeros(20, np.float32), "confidence": np.ones(20, np.float32)}
    synthetic.write_tracking(clip / "tracking.npz", arrays)
    track.play(scene, head, formats.read_performance(clip))
    assert tracking_quality.read(head) is None, "full confidence everywhere: an engine that does not know"


def test_an_artists_own_curves_on_the_head_stay(scene, clip):
    head = the_head(scene)
    keyframes.write(head, [], "x")
    head.animation_data_clear()
    head.location.x = 0.0
    head.keyframe_insert("location", index=0, frame=1)
    action = head.animation_data.action
    track.play(scene, head, formats.read_performance(clip))
    assert head.animation_data.action == action
    paths = {curve.data_path for curve in keyframes.fcurves(head)}
    assert "location" in paths and tracking_quality.read(head) is not None


def test_a_damaged_array_is_named(scene, clip):
    arrays = synthetic.read(clip / "tracking.npz")
    arrays["confidence"] = arrays["confidence"][:5]
    synthetic.write_tracking(clip / "tracking.npz", arrays)
    with pytest.raises(formats.FileError, match="confidence"):
        formats.read_performance(clip)


# --- the view


def test_the_overlay_and_the_way_back(scene, clip):
    head = the_head(scene)
    tracking_view.put_back(bpy.context)
    head.color = (0.2, 0.3, 0.4, 1.0)
    before = (tuple(head.color), head.show_wire, head.hide_get())

    def veil() -> list[float]:
        images = matched_camera.camera_of(head).data.background_images
        return [item.alpha for item in images if item.display_depth == "FRONT"]

    tracking_view.show(head)
    head.blendsplat.overlay_opacity = 0.25
    assert veil() == [pytest.approx(0.75)] and head.color[3] == 1 and not head.show_wire
    head.blendsplat.overlay = "WIRE"
    assert head.show_wire and head.color[3] == 0 and not veil()
    head.blendsplat.overlay = "OFF"
    assert head.hide_get() and not veil()
    head.blendsplat.overlay = "SHADED"
    assert not head.hide_get() and veil() == [pytest.approx(0.75)]
    bpy.ops.blendsplat.add_head()
    assert veil() == [pytest.approx(0.75)], "the new camera lacks it"
    tracking_view.put_back(bpy.context)
    assert not veil() and len(matched_camera.camera_of(head).data.background_images) == 1
    assert (tuple(head.color), head.show_wire, head.hide_get()) == before
    head.blendsplat.overlay = "WIRE"
    assert not head.show_wire, "settings do nothing to a head that nobody judges"


def test_an_avatar_hides_while_its_head_is_judged(scene, clip):
    OPERATORS.train()
    carrier = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")
    head = carrier.blendsplat.head
    before = (carrier.hide_get(), head.hide_get())
    assert before == (False, True) and "blendsplat_before" not in head, "an added avatar ends the judging"
    tracking_view.show(head)
    assert carrier.hide_get() and not head.hide_get()
    tracking_view.put_back(bpy.context)
    assert (carrier.hide_get(), head.hide_get()) == before


def test_views_are_put_back(scene, clip):
    """Every setting that is changed comes back, in the one view that was changed."""
    screen = (
        bpy.data.screens["Layout"]
        if "Layout" in bpy.data.screens
        else next((s for s in bpy.data.screens if any(a.type == "VIEW_3D" for a in s.areas)), None)
    )
    if screen is None:
        pytest.skip("no screen with a 3D view in this Blender's start file")
    area = tracking_view._largest(screen)
    views = [a.spaces.active for a in screen.areas if a.type == "VIEW_3D"]

    def settings() -> list:
        return [[tracking_view._get(view, place) for place in tracking_view._VIEW] for view in views]

    with bpy.context.temp_override(screen=screen):
        tracking_view.put_back(bpy.context)  # bringing the head has changed it
    area.spaces.active.shading.type = "MATERIAL"
    before = settings()
    head = the_head(scene)
    with bpy.context.temp_override(screen=screen):
        assert tracking_view.look_through(bpy.context, head, matched_camera.camera_of(head))
        assert tracking_view.look_through(bpy.context, head, None), "twice"
        assert tracking_view.looks(screen) and settings() != before
        tracking_view.put_back(bpy.context)
    assert settings() == before and not tracking_view.looks(screen)


def test_a_lens_that_zooms_is_keyed(scene, clip):
    arrays = synthetic.read(clip / "tracking.npz")
    plain = matched_camera.camera_of(the_head(scene)).data.lens
    for zoom, keyed in ((np.ones(20), False), (np.linspace(1.0, 2.0, 20), True)):
        synthetic.write_tracking(clip / "tracking.npz", arrays | {"zoom": zoom.astype(np.float32)})
        OPERATORS.add_head()
        lens = matched_camera.camera_of(the_head(scene)).data
        scene.frame_set(20)
        assert (lens.animation_data is not None) == keyed and lens.lens == pytest.approx(plain * zoom[19], rel=1e-5)
    assert lens.shift_x == pytest.approx((128 - arrays["K"][0, 2]) / 256, abs=1e-6)


# --- corrections


def test_an_untouched_frame_has_no_difference(scene, clip):
    for frame in (FRAME, 12):
        scene.frame_set(frame)
        head = the_head(scene)
        performance = formats.read_performance(clip)
        shown = corrections.shown(head, matched_camera.camera_of(head), performance, frame - 1, 1.0, 25.0, frame)
        assert not shown.changed.any(), shown.words()
        for name in NUMBERS:
            assert np.array_equal(shown.frame[name], performance.arrays[name][frame - 1]), name
    scene.frame_set(FRAME)
    with pytest.raises(RuntimeError, match="Nothing differs"):
        OPERATORS.correct_frame()


def turn_neck(head, rig):
    rig.pose.bones["neck"].rotation_euler.y += 0.2


def move_neck(head, rig):
    rig.pose.bones["neck"].location = Vector(rig.pose.bones["neck"].location) + Vector((0.01, 0.0, -0.02))


def move_root(head, rig):
    rig.pose.bones["root"].location = Vector(rig.pose.bones["root"].location) + Vector((0.01, 0.02, -0.03))


def move_armature(head, rig):
    rig.matrix_world = Matrix.Translation((0.02, -0.01, 0.03)) @ Matrix.Rotation(0.15, 4, "Z")


def move_head(head, rig):
    head.matrix_local = Matrix.Translation((0.0, -0.01, 0.02)) @ Matrix.Rotation(-0.1, 4, "X")


def turn_in_quaternions(head, rig):
    neck = rig.pose.bones["neck"]
    before = neck.matrix_basis.copy()
    neck.rotation_mode = "QUATERNION"
    neck.matrix_basis = before @ Matrix.Rotation(0.2, 4, "Y")


def test_the_heads_bone_is_at_hand(scene, clip):
    rig = the_head(scene).blendsplat.rig
    for _ in range(2):  # again from pose mode
        assert OPERATORS.pose_head() == {"FINISHED"}
        assert rig.mode == "POSE" and bpy.context.view_layer.objects.active == rig
        assert rig.data.bones.active.name == "neck"
    turn_neck(the_head(scene), rig)
    assert scene.frame_current == 1 and OPERATORS.correct_frame() == {"FINISHED"}
    assert rig.mode == "POSE", "the artist goes on posing"


@pytest.mark.parametrize(
    "move", [turn_neck, move_neck, move_root, move_armature, move_head, turn_in_quaternions], ids=lambda f: f.__name__
)
def test_however_the_head_was_moved_it_is_where_it_was_seen(scene, clip, move):
    """Oracle: the corrected frame, put into the curves, shows the vertices where the artist saw them."""
    arrays = synthetic.read(clip / "tracking.npz")
    arrays["jaw_pose"] *= 0.0  # the sheet hangs on jaw and eyes as well: moved before they turn, it moves otherwise
    arrays["eyes_pose"] *= 0.0
    synthetic.write_tracking(clip / "tracking.npz", arrays)
    track.play(scene, the_head(scene), formats.read_performance(clip))
    scene.frame_set(FRAME)
    head = the_head(scene)
    still = vertices(head)
    move(head, head.blendsplat.rig)
    bpy.context.view_layer.update()
    wanted = vertices(head)
    assert np.linalg.norm(wanted - still, axis=1).mean() > 0.004
    shown = seen(scene, clip)
    assert shown.changed[:6].all() and not shown.changed[6:].any(), shown.words()
    assert OPERATORS.correct_frame() == {"FINISHED"}
    scene.frame_set(2)
    scene.frame_set(FRAME)
    after = vertices(head)
    # What hangs on the neck and beyond must agree; the torso, which a clip has but one of, need not.
    carried = np.array([sum(g.weight for g in v.groups if g.group > 0) for v in head.data.vertices]) > 0.97
    assert carried.sum() > 5
    turn, shift = rigid_of(after[carried], wanted[carried])
    assert np.abs(turn - np.eye(3)).max() < 0.005
    assert np.abs(turn @ after.mean(0) + shift - after.mean(0)).max() < 0.0007
    assert np.allclose(np.array(head.matrix_world), np.eye(4), atol=1e-5)


def test_camera_and_head_moved_together_moved_nothing(scene, clip):
    scene.frame_set(FRAME)
    head = the_head(scene)
    camera = matched_camera.camera_of(head)
    away = Matrix.Translation((1.0, 2.0, 0.5)) @ Matrix.Rotation(0.7, 4, "Z")
    head.blendsplat.rig.matrix_world = away @ head.blendsplat.rig.matrix_world
    camera.matrix_world = away @ camera.matrix_world
    assert not seen(scene, clip).changed.any()
    camera.matrix_world = away.inverted() @ camera.matrix_world
    with pytest.raises(formats.FileError, match="stands far"):
        seen(scene, clip)


def test_sliders_jaw_and_eyes(scene, clip):
    scene.frame_set(FRAME)
    head = the_head(scene)
    performance = formats.read_performance(clip)
    key = head.data.shape_keys.key_blocks["mouthSmileLeft"]
    key.value = 0.123
    head.blendsplat.rig.pose.bones["jaw"].rotation_euler.x += 0.1
    head.blendsplat.rig.pose.bones["eye.R"].rotation_euler.y += 0.1
    shown = seen(scene, clip)
    assert list(np.flatnonzero(shown.changed)) == [6, 7, 8, 11, 12, 16]
    assert shown.words() == "the jaw, the eyes, 1 slider"
    assert shown.frame["expression"][1] == pytest.approx(0.123, abs=1e-6)
    assert np.array_equal(shown.frame["eyes_pose"][0], performance.eyes_pose[ROW, 0])
    jaw = space.rotvec_to_matrix(shown.frame["jaw_pose"])
    euler = space.matrix_to_euler(jaw[None])[0]
    before = space.matrix_to_euler(space.rotvec_to_matrix(performance.jaw_pose[ROW])[None])[0]
    assert euler[0] - before[0] == pytest.approx(0.1, abs=1e-4)


def test_a_keyed_change_counts_as_well(scene, clip):
    """With auto-keying the curve itself holds what the artist set."""
    scene.frame_set(FRAME)
    head = the_head(scene)
    key = head.data.shape_keys.key_blocks["mouthSmileLeft"]
    key.value = 0.05
    key.keyframe_insert("value", frame=FRAME)
    scene.frame_set(2)
    scene.frame_set(FRAME)
    shown = seen(scene, clip)
    assert list(np.flatnonzero(shown.changed)) == [16] and shown.frame["expression"][1] == pytest.approx(0.05)


def test_a_frame_without_a_face_is_what_the_artist_says(scene, clip):
    scene.frame_set(4)
    head = the_head(scene)
    performance = formats.read_performance(clip)
    shown = corrections.shown(head, matched_camera.camera_of(head), performance, 3, 1.0, 25.0, 4)
    assert shown.changed.all()
    between = (performance.expression[2] + performance.expression[4]) / 2
    assert np.allclose(shown.frame["expression"], between, atol=1e-4)


def test_corrections_add_up_and_are_forgotten(scene, clip):
    head = the_head(scene)
    uncorrected = formats.read_performance(clip)
    for frame in (12, FRAME):
        scene.frame_set(frame)
        head.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.01 * frame
        assert OPERATORS.correct_frame() == {"FINISHED"}
    assert check_tracking.corrected_frames(scene, head) == [(ROW, FRAME), (11, 12)]
    assert not (clip / "corrections.new.npz").exists()
    scene.frame_set(12)
    assert head.data.shape_keys.key_blocks["mouthSmileLeft"].value == pytest.approx(0.12, abs=1e-5)
    assert OPERATORS.forget_correction() == {"FINISHED"}
    assert check_tracking.corrected_frames(scene, head) == [(ROW, FRAME)]
    assert formats.read_performance(clip).expression[11, 1] == uncorrected.expression[11, 1]
    with pytest.raises(RuntimeError, match="was not corrected"):
        OPERATORS.forget_correction()
    assert OPERATORS.forget_correction(row=ROW) == {"FINISHED"}
    assert not OPERATORS.forget_correction.poll()


def test_the_same_frame_again_keeps_what_was_said(scene, clip):
    head = the_head(scene)
    scene.frame_set(FRAME)
    head.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.2
    OPERATORS.correct_frame()
    turn_neck(head, head.blendsplat.rig)
    OPERATORS.correct_frame()
    told = formats.read_corrections(clip)
    assert list(told["frames"]) == [ROW] and told["changed"][0, 16] and told["changed"][0, :6].all()
    assert told["expression"][0, 1] == pytest.approx(0.2, abs=1e-5)


def test_cancelled_or_failed_nothing_is_corrected(scene, engine, clip):
    head = the_head(scene)
    scene.frame_set(FRAME)
    before = (clip / "tracking.npz").read_bytes()
    head.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.2
    engine("die")
    with pytest.raises(RuntimeError):
        OPERATORS.correct_frame()
    assert (clip / "tracking.npz").read_bytes() == before and not (clip / "corrections.npz").exists()
    assert head.data.shape_keys.key_blocks["mouthSmileLeft"].value == pytest.approx(0.2), "the artist's work is there"
    engine("")
    assert OPERATORS.correct_frame() == {"FINISHED"}


def test_grey_buttons_say_why(scene, engine, video, clip):
    operators = check_tracking
    scene.frame_set(90)
    with pytest.raises(RuntimeError, match="no image at this frame"):
        OPERATORS.correct_frame()
    (clip / "tracking.npz").unlink()
    assert "no longer" in operators.CorrectFrame.reason(bpy.context)
    for head in operators.tracked_heads(scene):
        bpy.data.objects.remove(head)
    for operator in (operators.CorrectFrame, operators.LookThroughClip, operators.GoToWorst):
        assert "Track a clip" in operator.reason(bpy.context)
    assert "No frame" in operators.ForgetCorrection.reason(bpy.context)


def test_heads_of_earlier_versions_and_of_other_models(scene, clip):
    """A head that remembers no clip takes the chosen one's, if that is of its model."""
    head = the_head(scene)
    scene.blendsplat.performance_start = 11
    OPERATORS.add_head()
    head.blendsplat.property_unset("clip_path")
    head.blendsplat.property_unset("clip_start")
    scene.frame_set(FRAME + 10)
    head.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.2
    assert OPERATORS.correct_frame() == {"FINISHED"}
    assert check_tracking.corrected_frames(scene, head) == [(ROW, FRAME + 10)]
    assert head.blendsplat.clip_start == 11
    arrays = synthetic.read(clip / "tracking.npz")
    arrays["expression"] = arrays["expression"][:, :2]
    synthetic.write_tracking(clip / "tracking.npz", arrays)
    with pytest.raises(RuntimeError, match="is another"):
        OPERATORS.correct_frame()


def test_a_damaged_file_of_corrections_is_named(scene, clip):
    scene.frame_set(FRAME)
    head = the_head(scene)
    (clip / "corrections.npz").write_bytes(b"no archive")
    head.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.2
    with pytest.raises(RuntimeError, match=r"corrections\.npz is damaged"):
        OPERATORS.correct_frame()
    assert check_tracking.corrected_frames(scene, head) == []


def test_an_avatar_follows_its_corrected_head(scene, engine, clip):
    OPERATORS.train()
    carrier = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")
    head = carrier.blendsplat.head
    scene.frame_set(FRAME)
    before = [key.value for key in carrier.data.shape_keys.key_blocks]
    head.data.shape_keys.key_blocks["mouthSmileLeft"].value = 0.9
    assert OPERATORS.correct_frame() == {"FINISHED"}
    scene.frame_set(2)
    scene.frame_set(FRAME)
    assert np.abs(np.array([key.value for key in carrier.data.shape_keys.key_blocks]) - before).max() > 1e-4
    assert not carrier.blendsplat.foreign
    carrier.blendsplat.foreign = True
    assert "another clip" in check_tracking.CorrectFrame.reason(bpy.context)


def test_the_heads_clip_is_remembered(scene, clip):
    """Another clip is chosen meanwhile: the head still belongs to its own."""
    head = the_head(scene)
    scene.blendsplat.directory = str(clip.parent / "another")
    assert check_tracking.clip_of(scene, head) == clip
    assert jobs.TITLES["correct"] == "Correct"
    assert head_rig.CUSTOM in head

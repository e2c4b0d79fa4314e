# SPDX-License-Identifier: Apache-2.0
"""Renders as part of a scene, by the real engine: what hides avatars and what is held out, flat and clipping cameras,
both blurs, and every pass."""

from __future__ import annotations

from pathlib import Path

import bpy
import exr
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.render import blur, camera, gather, occluders, passes
from blender_addon.scene import avatar_rig
from steps import picture

import synthetic

pytestmark = pytest.mark.slow
SIZE = 64


@pytest.fixture
def stage(real, tmp_path):
    """An opaque avatar 0.8 m before a camera that looks along +y, 64 x 64 pixels."""
    avatar = add(tmp_path, "Ann")
    item = bpy.data.objects.new("C", bpy.data.cameras.new("C"))
    real.collection.objects.link(item)
    item.location, item.rotation_euler = (0.0, -0.8, 0.0), (np.pi / 2, 0, 0)
    item.data.clip_start = 0.01
    real.camera = item
    real.render.engine, real.render.resolution_percentage = "BLENDSPLAT", 100
    real.render.resolution_x = real.render.resolution_y = SIZE
    real.view_settings.view_transform = "Standard"
    real.blendsplat_render.blur_samples = 4
    return avatar


def add(folder: Path, name: str, seed: int = 7) -> bpy.types.Object:
    """An avatar of opaque Gaussians."""
    opaque = {"opacity_logits": np.full(1500, 5.0, np.float32), "log_scales": np.full((1500, 3), -5.0, np.float32)}
    path = synthetic.write_avatar(folder / f"{name}.avatar.npz", gaussians=1500, seed=seed, learned=opaque)
    return avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), name)


def wall(left: float, right: float, depth: float, name: str = "Wall") -> bpy.types.Object:
    """A rectangle across the view at y = depth."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([(left, depth, -2), (right, depth, -2), (right, depth, 2), (left, depth, 2)], [], [(0, 1, 2, 3)])
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def channels(scene: bpy.types.Scene, path: Path) -> dict[str, np.ndarray]:
    """The frame's passes by "Pass.Channel"."""
    settings = scene.render.image_settings
    before = settings.file_format
    if hasattr(settings, "media_type"):
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format = before
    return {".".join(name.split(".")[-2:]): plane for name, plane in exr.channels(path).items()}


def test_other_objects_hide_what_is_behind_them(real, stage, tmp_path):
    alone = picture(real, tmp_path / "a.png")
    assert alone[..., 3].max() > 0.95
    item = wall(0.0, 2.0, -0.4)
    before = picture(real, tmp_path / "b.png")
    assert not before[:, 33:].any(), "the right half is behind the wall"
    np.testing.assert_allclose(before[:, :31], alone[:, :31], atol=2 / 255)
    item.location.y = 0.9
    np.testing.assert_allclose(picture(real, tmp_path / "c.png"), alone, atol=2 / 255)
    item.location.y = 0.0
    for attribute, value in (("hide_render", True), ("visible_camera", False)):
        setattr(item, attribute, value)
        np.testing.assert_allclose(picture(real, tmp_path / "d.png"), alone, atol=2 / 255)
        setattr(item, attribute, not value)
    real.blendsplat_render.hidden_by_others = False
    np.testing.assert_allclose(picture(real, tmp_path / "e.png"), alone, atol=2 / 255)


def test_curves_texts_and_instances_hide_too_and_what_cannot_is_named(real, stage, tmp_path):
    item = wall(0.0, 2.0, -0.4)
    group = bpy.data.collections.new("G")
    real.collection.objects.unlink(item)
    group.objects.link(item)
    empty = bpy.data.objects.new("I", None)
    empty.instance_type, empty.instance_collection, empty.location = "COLLECTION", group, (0, 0.1, 0)
    real.collection.objects.link(empty)
    letters = bpy.data.curves.new("T", "FONT")
    letters.body = "O"
    text = bpy.data.objects.new("T", letters)
    real.collection.objects.link(text)
    bpy.context.view_layer.update()
    found = occluders.gather(bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(found.vertices[found.faces].reshape(-1, 3)[:, 0].max(), 2.0)
    assert np.isclose(found.vertices[:, 1], -0.3).sum() == 4 and len(found) > 20, "the instance, and the letter"
    assert found.faces.max() < len(found.vertices)
    real.collection.objects.link(bpy.data.objects.new("Smoke", bpy.data.volumes.new("Smoke")))
    assert occluders.left_out(real) == ["Smoke"]


def test_an_orthographic_camera_is_a_perspective_one_far_away(real, stage, tmp_path):
    data = real.camera.data
    data.type, data.ortho_scale, data.shift_x, data.shift_y = "ORTHO", 0.5, 0.1, -0.05
    flat = picture(real, tmp_path / "flat.png")
    data.type, data.clip_end = "PERSP", 1000.0
    real.camera.location.y = -200.0
    data.lens = data.sensor_width * 200.0 / 0.5
    far = picture(real, tmp_path / "far.png")
    assert flat[..., 3].max() > 0.95
    assert np.abs(flat - far).mean() < 0.003 and np.percentile(np.abs(flat - far), 99.9) < 0.1


def test_the_depth_of_a_flat_camera_is_its_own(real, stage, tmp_path):
    layer = real.view_layers[0]
    layer.use_pass_z = True
    real.camera.data.type, real.camera.data.ortho_scale = "ORTHO", 0.5
    depth = channels(real, tmp_path / "z.exr")["Depth.Z"]
    there = depth < 1e9
    assert there.any() and 0.6 < depth[there].min() < depth[there].max() < 1.0


def test_the_camera_clips(real, stage, tmp_path):
    whole = picture(real, tmp_path / "a.png")
    depth = camera_depth(real)
    middle = float(np.median(depth))
    real.camera.data.clip_end = middle
    near = picture(real, tmp_path / "b.png")
    real.camera.data.clip_start, real.camera.data.clip_end = middle, 100.0
    far = picture(real, tmp_path / "c.png")
    assert near[..., 3].sum() < whole[..., 3].sum() and far[..., 3].sum() < whole[..., 3].sum()
    assert np.abs(near - far).mean() > 0.01
    real.camera.data.clip_end = middle + 1e-6
    assert not picture(real, tmp_path / "d.png").any()


def camera_depth(scene: bpy.types.Scene) -> np.ndarray:
    depsgraph = bpy.context.evaluated_depsgraph_get()
    return camera.view_of(scene, depsgraph, scene.camera).depth(gather.gather(depsgraph).means)


def test_mattes_share_out_alpha_and_a_held_out_avatar_cuts_a_hole(real, stage, tmp_path):
    others = [add(tmp_path, name, seed) for name, seed in (("Bea", 8), ("Cem", 9), ("Dora", 10))]
    for index, item in enumerate(others):
        item.parent.location.x = 0.03 * (index + 1)
    layer = real.view_layers[0]
    layer.blendsplat.use_pass_mattes = layer.blendsplat.use_pass_alpha = True
    real.render.film_transparent = True
    found = channels(real, tmp_path / "m.exr")
    mattes = {name: found[f"Matte {name}.X"] for name in ("Ann", "Bea", "Cem", "Dora")}
    assert all(matte.max() > 0.2 for matte in mattes.values())
    np.testing.assert_allclose(sum(mattes.values()), found["Alpha.X"], atol=2e-3)
    np.testing.assert_allclose(found["Combined.A"], found["Alpha.X"], atol=1e-5)
    others[0].is_holdout = True
    held = channels(real, tmp_path / "h.exr")
    np.testing.assert_allclose(held["Alpha.X"], sum(mattes.values()) - mattes["Bea"], atol=2e-3)
    assert held["Combined.A"].max() > 0.5
    others[0].is_holdout = False
    others[0].visible_camera = False
    gone = channels(real, tmp_path / "g.exr")
    assert not gone["Matte Bea.X"].any() and gone["Alpha.X"].sum() > held["Alpha.X"].sum()


@pytest.mark.parametrize("offsets", [(-0.1875, -0.0625, 0.0625, 0.1875), (-1 / 6, 0.0, 1 / 6)], ids=["even", "odd"])
def test_motion_blur_is_the_mean_of_its_moments(real, stage, tmp_path, offsets):
    """An odd number has a moment at the frame itself, between others."""
    real.blendsplat_render.blur_samples = len(offsets)
    handle = stage.parent
    for frame, x in ((1, 0.0), (3, 0.2)):
        handle.location.x = x
        handle.keyframe_insert("location", index=0, frame=frame)
    real.render.use_motion_blur, real.render.motion_blur_shutter = True, 0.5
    real.frame_set(2)
    blurred = channels(real, tmp_path / "b.exr")
    assert real.frame_current == 2 and real.frame_subframe == 0
    real.render.use_motion_blur = False
    parts = []
    for offset in offsets:
        real.frame_set(1 if offset < 0 else 2, subframe=offset % 1)
        parts.append(channels(real, tmp_path / "p.exr"))
    for name in ("Combined.R", "Combined.A"):
        np.testing.assert_allclose(blurred[name], np.mean([part[name] for part in parts], 0), atol=1e-4)
    assert np.abs(parts[0]["Combined.R"] - parts[-1]["Combined.R"]).max() > 0.1


def test_depth_of_field_keeps_what_is_in_focus(real, stage, tmp_path):
    real.view_layers[0].use_pass_z = True
    sharp = channels(real, tmp_path / "a.exr")
    dof = real.camera.data.dof
    dof.use_dof, dof.aperture_fstop, dof.focus_distance = True, 0.5, 0.8
    real.blendsplat_render.blur_samples = 16
    focused = channels(real, tmp_path / "b.exr")
    target = bpy.data.objects.new("Target", None)
    real.collection.objects.link(target)
    target.location = (0.3, -0.5, 0.2)  # 0.3 m along the view's axis
    dof.focus_object = target
    before = channels(real, tmp_path / "c.exr")
    detail = {
        name: np.abs(np.diff(one["Combined.R"])).mean() for name, one in (("s", sharp), ("f", focused), ("b", before))
    }
    assert detail["b"] < 0.6 * detail["f"] < 0.61 * detail["s"]
    assert abs(before["Combined.R"].sum() / sharp["Combined.R"].sum() - 1) < 0.1, "blur moves light, and keeps it"
    np.testing.assert_array_equal(before["Depth.Z"], sharp["Depth.Z"])


def test_the_vector_pass_is_what_cycles_writes(real, stage, tmp_path):
    """An orthographic camera, so that a plane behind and the avatar move alike."""
    real.camera.data.type, real.camera.data.ortho_scale = "ORTHO", 0.6
    plane = wall(-2, 2, 1.0)
    plane.parent = stage.parent
    for frame, place in ((1, (-0.05, 0, 0)), (2, (0, 0, 0.02)), (3, (0.03, 0, 0.1))):
        stage.parent.location = place
        stage.parent.keyframe_insert("location", frame=frame)
    real.view_layers[0].use_pass_vector = True
    real.frame_set(2)
    mine = channels(real, tmp_path / "mine.exr")
    stage.hide_render = True
    real.render.engine = "CYCLES"
    real.cycles.samples, real.cycles.use_denoising, real.cycles.device = 1, False, "CPU"
    theirs = channels(real, tmp_path / "theirs.exr")
    there = np.abs(mine["Vector.X"]) > 0
    assert there.sum() > 50
    for letter in "XYZW":
        want = np.median(theirs[f"Vector.{letter}"])
        assert abs(want) > 1 and np.abs(mine[f"Vector.{letter}"][there] - want).max() < 0.02, letter


def test_the_normal_pass_looks_at_the_camera(real, stage, tmp_path):
    real.view_layers[0].use_pass_normal = True
    real.view_layers[0].use_pass_z = True
    found = channels(real, tmp_path / "n.exr")
    normal = np.stack([found[f"Normal.{letter}"] for letter in "XYZ"], -1)
    there = found["Depth.Z"] < 1e9
    np.testing.assert_allclose(np.linalg.norm(normal[there], axis=-1), 1, atol=1e-4)
    assert not normal[~there].any() and (normal[there][:, 1] < 0).mean() > 0.95


def test_normals_are_the_shortest_axes_turned_to_the_camera():
    rng = np.random.default_rng(1)
    count = 200
    quats = rng.normal(size=(count, 4)).astype(np.float32)
    scales = rng.uniform(0.01, 1, (count, 3)).astype(np.float32)
    g = gather.Gaussians(rng.normal(size=(count, 3)), quats, scales, np.ones(count), np.ones((count, 3)))
    viewmat = np.eye(4)
    viewmat[:3, 3] = 0.3, -0.2, 5.0
    view = camera.View(8, 8, np.eye(3), viewmat)
    colors = passes.normal_colors(g, view)
    assert colors.min() >= 0 and colors.max() <= 1
    vectors, eye = colors * 2 - 1, -viewmat[:3, 3]
    assert ((vectors * (eye - g.means)).sum(1) >= 0).all()
    w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
    axes = np.stack([
        np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1),
        np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], -1),
        np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1),
    ], 1)  # fmt: skip
    along = np.abs((axes * vectors[:, None]).sum(-1))
    assert np.array_equal(along.argmax(1), scales.argmin(1)) and np.allclose(along.max(1), 1, atol=1e-5)


@pytest.mark.parametrize(("blades", "ratio"), [(0, 1.0), (6, 1.0), (3, 1.0), (5, 2.0)])
def test_points_of_the_aperture(blades, ratio):
    lens = blur.Lens(0.01, 1.0, blades, 0.4, ratio)
    points = blur.aperture_points(400, lens) * [ratio, 1.0]
    radius = np.linalg.norm(points, axis=1)
    assert radius.max() <= 0.01 + 1e-9 and np.abs(points.mean(0)).max() < 5e-4
    area = {0: np.pi, 3: 3 * np.sqrt(3) / 4, 6: 3 * np.sqrt(3) / 2, 5: 2.5 * np.sin(2 * np.pi / 5)}[blades] * 1e-4
    angle = np.arctan2(points[:, 1], points[:, 0])
    if blades:
        normals = 0.4 + np.pi / blades * (2 * np.arange(blades) + 1)
        inside = np.cos(angle[:, None] - normals) * radius[:, None]
        assert inside.max() <= 0.01 * np.cos(np.pi / blades) + 1e-9, "outside of the blades"
    # as many points a unit of area as there ought to be
    assert abs((radius < 0.004).mean() - np.pi * 0.004**2 / area) < 0.06


def test_what_is_in_focus_stays_and_the_rest_moves_by_its_parallax():
    K = np.array([[500.0, 0, 32], [0, 480, 30], [0, 0, 1]])
    view = camera.View(64, 64, K, np.eye(4))
    aside = (0.004, -0.007)
    moved = view.from_beside(aside, 2.0)
    points = np.array([[0.1, -0.2, 2.0], [0.3, 0.1, 4.0], [0.0, 0.0, 1.0]])
    shift = moved.pixels(points) - view.pixels(points)
    want = np.array(aside) * [500, 480] * (1 / 2.0 - 1 / points[:, 2:])
    np.testing.assert_allclose(shift, want, atol=1e-9)
    np.testing.assert_array_equal(view.K, K)

# SPDX-License-Identifier: Apache-2.0
"""Splats as Geometry: faces against the formulas in numpy, Cycles' pictures against the same, what artists press."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.render import camera, gather
from blender_addon.render.color import linear_to_srgb, srgb_to_linear
from blender_addon.scene import avatar_nodes, avatar_rig, splat_geometry, splat_nodes
from blender_addon.space import quat_to_matrix
from blender_addon.ui.operators import splat_geometry as operators
from blender_addon.ui.panels.steps import BLENDSPLAT_PT_render
from drawn import drawn
from steps import picture

import synthetic

QUADS, ELLIPSOIDS = splat_geometry.QUADS, splat_geometry.ELLIPSOIDS
UNLIT, LIT, AS_TRAINED = splat_geometry.UNLIT, splat_geometry.LIT, splat_geometry.AS_TRAINED


@pytest.fixture
def avatar(scene, tmp_path):
    """An avatar with faint, opaque and too bright Gaussians, before a turned and shifted camera of 64 x 48 pixels."""
    path = synthetic.write_avatar(tmp_path / "a.avatar.npz")
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Ann")
    item = bpy.data.objects.new("C", bpy.data.cameras.new("C"))
    scene.collection.objects.link(item)
    item.location, item.rotation_euler = (0.35, -0.7, 0.06), (np.pi / 2 - 0.1, 0.2, 0.45)
    item.data.lens, item.data.shift_x = 60, 0.03
    scene.camera = item
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 128, 96, 50
    bpy.context.view_layer.update()
    return carrier


def faces(carrier) -> bpy.types.Mesh:
    """The evaluated faces; of a viewport's evaluation there is exactly one body of them."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    found = [
        bpy.data.meshes.new_from_object(instance.object)
        for instance in depsgraph.object_instances
        if instance.is_instance and instance.parent.original == carrier
    ]
    assert len(found) == 1
    return found[0]


def values(mesh: bpy.types.Mesh, name: str, width: int, what: str) -> np.ndarray:
    attribute = mesh.attributes[name]
    found = np.empty(len(attribute.data) * width, np.float32)
    attribute.data.foreach_get(what, found)
    return found.reshape(-1, width)


def drawn_in_order(mesh: bpy.types.Mesh) -> np.ndarray:
    """The quads' Gaussians in the order of the faces, which is the one that EEVEE blends in."""
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    assert (corners.reshape(-1, 4) // 4 == corners[::4, None] // 4).all()
    return corners[::4] // 4


def gaussians() -> gather.Gaussians:
    """The avatar's, without those that the rasterizer never draws."""
    g = gather.gather(bpy.context.evaluated_depsgraph_get())
    seen = g.opacities > splat_nodes.ALPHA_MIN
    return gather.Gaussians(*(getattr(g, name)[seen] for name in gather.Gaussians.__dataclass_fields__))


def projected(g: gather.Gaussians, view: camera.View, orthographic: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """EWA: pixels [N,2], covariances with low-pass [N,2,2], depths [N]; written down once more."""
    place = g.means @ view.viewmat[:3, :3].T + view.viewmat[:3, 3]
    x, y, z = place.T
    focal, centre, one = view.K.diagonal()[:2], view.K[:2, 2], np.ones_like(z)
    over = one if orthographic else z
    jacobian = np.zeros((len(z), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 1, 1] = focal[0] / over, focal[1] / over
    if not orthographic:
        jacobian[:, 0, 2], jacobian[:, 1, 2] = -focal[0] * x / z**2, -focal[1] * y / z**2
    axes = jacobian @ view.viewmat[:3, :3] @ quat_to_matrix(g.quats) * g.scales[:, None, :]
    covariance = axes @ axes.transpose(0, 2, 1) + 0.3 * np.eye(2)
    return np.stack([x / over, y / over], 1) * focal + centre, covariance, z


def view_of(scene) -> tuple[camera.View, bool]:
    """The scene's view; of an orthographic camera with the K that takes metres to pixels."""
    depsgraph, item = bpy.context.evaluated_depsgraph_get(), scene.camera
    orthographic = item.data.type == "ORTHO"
    if not orthographic:
        return camera.view_of(scene, depsgraph, item), False
    item.data.type = "PERSP"
    bpy.context.view_layer.update()
    view = camera.view_of(scene, bpy.context.evaluated_depsgraph_get(), item)
    item.data.type = "ORTHO"
    bpy.context.view_layer.update()
    pixels = 64 / item.data.ortho_scale
    return replace(view, K=np.array([[pixels, 0, 32], [0, pixels, 24], [0, 0, 1.0]])), True


def composited(scene, g: gather.Gaussians, colors: np.ndarray) -> np.ndarray:
    """What the rasterizer's formulas make of them [H,W,4], premultiplied."""
    view, orthographic = view_of(scene)
    centres, covariances, depth = projected(g, view, orthographic)
    rows, columns = np.mgrid[: view.height, : view.width] + 0.5
    image, left = np.zeros((view.height, view.width, 4)), np.ones((view.height, view.width))
    for i in np.argsort(depth):
        offset = np.stack([columns - centres[i, 0], rows - centres[i, 1]], -1)
        square = np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(covariances[i]), offset)
        alpha = np.minimum(g.opacities[i] * np.exp(-0.5 * square), 0.99)
        alpha[alpha < splat_nodes.ALPHA_MIN] = 0
        image += (left * alpha)[..., None] * np.append(colors[i], 1)
        left *= 1 - alpha
    return image


@pytest.mark.parametrize("kind", ["PERSP", "VERTICAL", "ORTHO"])
@pytest.mark.parametrize("moved", [False, True])
def test_quads_are_the_ellipses_that_the_engine_draws(scene, avatar, kind, moved):
    """Each quad in the picture: its centre, its covariance, and that its corners lie where alpha has ended."""
    if kind == "VERTICAL":
        scene.camera.data.sensor_fit = kind
    if kind == "ORTHO":
        scene.camera.data.type, scene.camera.data.ortho_scale, scene.camera.data.shift_x = kind, 0.4, 0
    if moved:
        avatar.location, avatar.rotation_euler, avatar.scale = (0.01, 0.02, 0.03), (0.3, 0.2, 0.1), (0.8, 0.8, 0.8)
    splat_geometry.add(avatar, QUADS, UNLIT, in_viewport=True)
    mesh, g, (view, orthographic) = faces(avatar), gaussians(), view_of(scene)
    centres, covariances, depth = projected(g, view, orthographic)
    assert len(mesh.polygons) == len(g) > 400
    np.testing.assert_array_equal(drawn_in_order(mesh), np.argsort(-depth))  # far ones first
    view_of_avatar = view.viewmat @ np.array(avatar.matrix_world)
    corners = values(mesh, "position", 3, "vector") @ view_of_avatar[:3, :3].T + view_of_avatar[:3, 3]
    np.testing.assert_allclose(corners[:, 2].reshape(-1, 4), np.repeat(depth[:, None], 4, 1), atol=1e-6)
    over = 1.0 if orthographic else corners[:, 2:]
    pixels = (corners[:, :2] / over * view.K.diagonal()[:2] + view.K[:2, 2]).reshape(-1, 4, 2)
    place = values(mesh, "splat", 3, "vector")[:, :2].reshape(-1, 4, 2)
    np.testing.assert_allclose(pixels.mean(1), centres, atol=2e-3)
    spanned = np.linalg.pinv(place) @ (pixels - pixels.mean(1, keepdims=True))
    np.testing.assert_allclose(spanned.transpose(0, 2, 1) @ spanned, covariances, rtol=2e-3, atol=2e-3)
    opacity = values(mesh, "splat_opacity", 1, "value").reshape(-1, 4)
    np.testing.assert_allclose(opacity, np.repeat(g.opacities[:, None], 4, 1), atol=1e-6)
    np.testing.assert_allclose(opacity * np.exp(-0.5 * place[..., :1] ** 2)[..., 0], 1 / 255, rtol=1e-3)
    color = values(mesh, "splat_color", 4, "color")[::4, :3]
    np.testing.assert_allclose(color, srgb_to_linear(g.colors), atol=1e-5)


def kinds() -> list[str]:
    """What is drawn of the scene's objects."""
    return [instance.object.type for instance in bpy.context.evaluated_depsgraph_get().object_instances]


@pytest.mark.parametrize("shape", [QUADS, ELLIPSOIDS])
def test_the_gaussians_stay_the_only_vertices(avatar, shape):
    """What reads Gaussians from the evaluated mesh finds them as before, once."""
    before = gather.gather(bpy.context.evaluated_depsgraph_get())
    avatar_nodes.set_input(avatar_rig.nodes_of(avatar), avatar_nodes.INPUT_PREVIEW, True)
    avatar.update_tag()
    assert "POINTCLOUD" in kinds()
    splat_geometry.add(avatar, shape, LIT, in_viewport=True)
    after = gather.gather(bpy.context.evaluated_depsgraph_get())
    assert len(faces(avatar).polygons) > 200
    for name, array in before.as_arrays().items():
        np.testing.assert_array_equal(after.as_arrays()[name], array)
    assert "POINTCLOUD" not in kinds(), "the preview's points would hide the faces"


def test_it_follows_keys_camera_and_resolution(scene, avatar):
    modifier = splat_geometry.add(avatar, QUADS, UNLIT, in_viewport=True)
    before = values(faces(avatar), "position", 3, "vector")
    avatar_rig.blendshape_keys(avatar)[0].value = 2.0
    moved = values(faces(avatar), "position", 3, "vector")
    assert np.abs(moved - before).max() > 1e-3
    scene.camera.location.z += 0.1
    turned = values(faces(avatar), "position", 3, "vector")
    assert np.abs(turned - moved).max() > 1e-3
    pixel = avatar_nodes.input_of(modifier, splat_nodes.PIXEL)
    assert pixel == pytest.approx(scene.camera.data.sensor_width / scene.camera.data.lens / 64)
    scene.render.resolution_percentage, scene.camera.data.lens = 100, 30
    bpy.context.view_layer.update()
    evaluated = avatar.evaluated_get(bpy.context.evaluated_depsgraph_get()).modifiers[modifier.name]
    assert avatar_nodes.input_of(evaluated, splat_nodes.PIXEL) == pytest.approx(
        scene.camera.data.sensor_width / 30 / 128
    )


def test_only_faces_change_their_order(scene, avatar):
    """Cycles' motion blur takes a vertex of one moment for the one of the same number in the next."""
    splat_geometry.add(avatar, QUADS, UNLIT, in_viewport=True)
    before = faces(avatar)
    scene.camera.location.x, scene.camera.rotation_euler.z = -0.35, -0.45
    after = faces(avatar)
    assert (drawn_in_order(before) != drawn_in_order(after)).mean() > 0.5
    np.testing.assert_array_equal(
        values(before, "splat_opacity", 1, "value"), values(after, "splat_opacity", 1, "value")
    )


def test_ellipsoids_have_the_gaussians_axes(avatar):
    splat_geometry.add(avatar, ELLIPSOIDS, UNLIT, in_viewport=True)
    mesh, g = faces(avatar), gather.gather(bpy.context.evaluated_depsgraph_get())
    opaque = np.flatnonzero(g.opacities > 0.3)
    points = values(mesh, "position", 3, "vector").reshape(len(opaque), 12, 3) - g.means[opaque, None]
    turned = np.einsum("nij,nki->nkj", quat_to_matrix(g.quats[opaque]), points)
    np.testing.assert_allclose(np.linalg.norm(turned / g.scales[opaque, None], axis=2), 2.0, rtol=1e-3)


def cycles(scene) -> None:
    """Cycles that samples each pixel's centre, as the rasterizer does."""
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.use_adaptive_sampling = 2, False, False
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 0.01


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_cycles_renders_the_engines_picture(scene, avatar, tmp_path, kind):
    """With the colours as trained; all that is left are faces so near each other that Cycles skips one."""
    scene.camera.data.type, scene.camera.data.ortho_scale = kind, 0.4
    if kind == "ORTHO":
        scene.camera.data.shift_x = 0
    assert bpy.ops.blendsplat.splat_geometry(look=AS_TRAINED) == {"FINISHED"}
    cycles(scene)
    have, g = picture(scene, tmp_path / "a.png"), gaussians()
    want = composited(scene, g, np.maximum(g.colors, 0))
    assert want[..., 3].max() > 0.9 and (want[..., 3] > 0.5).mean() > 0.1
    error = np.abs(have - np.minimum(want, want[..., 3:])).max(-1)
    assert error.mean() < 0.3 / 255 and np.percentile(error, 95) < 1 / 255


def test_unlit_is_blended_as_light(scene, avatar, tmp_path):
    assert bpy.ops.blendsplat.splat_geometry(look=UNLIT) == {"FINISHED"}
    assert scene.view_settings.view_transform == "Standard"
    cycles(scene)
    have, g = picture(scene, tmp_path / "a.png"), gaussians()
    want = composited(scene, g, srgb_to_linear(g.colors))
    straight = linear_to_srgb(want[..., :3] / np.maximum(want[..., 3:], 1e-6))
    error = np.abs(have[..., :3] - np.minimum(straight, 1) * want[..., 3:]).max(-1)
    assert error.mean() < 0.3 / 255 and np.percentile(error, 95) < 1 / 255
    assert np.abs(have[..., 3] - want[..., 3]).mean() < 1 / 255


@pytest.mark.parametrize("shape", [QUADS, ELLIPSOIDS])
def test_lit_faces_wait_for_lamps(scene, avatar, tmp_path, shape):
    assert bpy.ops.blendsplat.splat_geometry(shape=shape, look=LIT) == {"FINISHED"}
    cycles(scene)
    dark = picture(scene, tmp_path / "dark.png")
    lamp = bpy.data.objects.new("L", bpy.data.lights.new("L", "SUN"))
    lamp.data.energy, lamp.matrix_world = 3, scene.camera.matrix_world
    scene.collection.objects.link(lamp)
    lit = picture(scene, tmp_path / "lit.png")
    assert dark[..., 3].max() > 0.9 and dark[..., :3].max() < 0.01 and lit[..., :3].mean() > 0.05


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
def test_lit_quads_have_the_heads_normals(scene, avatar, kind):
    """Those of the surface that the camera sees, here a ball; without a head the camera's direction."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, radius=0.06, location=(0, 0, 0))
    ball = bpy.context.object
    bpy.context.view_layer.objects.active = avatar
    scene.camera.data.type, scene.camera.data.ortho_scale = kind, 0.5
    modifier = splat_geometry.add(avatar, QUADS, LIT, in_viewport=True)
    avatar_nodes.set_input(modifier, splat_nodes.HEAD, ball)
    avatar.update_tag()
    mesh = faces(avatar)
    normals = values(mesh, "splat_normal", 3, "vector")[::4]
    centres = values(mesh, "position", 3, "vector").reshape(-1, 4, 3).mean(1)
    view = np.array(scene.camera.matrix_world)
    to_camera = view[:3, 2] if kind == "ORTHO" else view[:3, 3] - centres
    to_camera = np.broadcast_to(to_camera / np.linalg.norm(to_camera, axis=-1, keepdims=True), centres.shape)
    along = (centres * to_camera).sum(1)
    inside = 0.06**2 - ((centres**2).sum(1) - along**2)
    hit = centres + to_camera * (np.sqrt(np.maximum(inside, 0)) - along)[:, None]  # of the line through ball and camera
    near = (inside > 4e-4) & (np.linalg.norm(hit - centres, axis=1) < splat_nodes.SKIN * 0.95)
    assert near.sum() > 10
    np.testing.assert_allclose(normals[near], hit[near] / 0.06, atol=0.02)
    assert (np.linalg.norm(normals, axis=1) > 0.9).all()
    avatar_nodes.set_input(modifier, splat_nodes.HEAD, None)
    avatar.update_tag()
    np.testing.assert_allclose(
        values(faces(avatar), "splat_normal", 3, "vector"),
        np.broadcast_to(view[:3, 2], (4 * len(centres), 3)),
        atol=1e-5,
    )


def test_lit_quads_stand_in_no_shadow_of_their_own(avatar):
    splat_geometry.add(avatar, QUADS, LIT, in_viewport=False)
    assert not avatar.visible_shadow
    splat_geometry.add(avatar, ELLIPSOIDS, LIT, in_viewport=False)
    assert avatar.visible_shadow
    avatar.visible_shadow = False  # the artist's own
    splat_geometry.add(avatar, QUADS, LIT, in_viewport=False)
    splat_geometry.remove(avatar)
    assert not avatar.visible_shadow


def test_a_frame_as_a_mesh(scene, avatar):
    """It stays when the avatar moves on, and is the present frame of an avatar whose faces only renders show."""
    bpy.ops.blendsplat.splat_geometry(in_viewport=False)
    modifier = splat_geometry.modifier_of(avatar)
    scene.frame_set(7)
    assert bpy.ops.blendsplat.bake_frame() == {"FINISHED"}
    made = scene.objects["Ann Frame 7"]
    assert not modifier.show_viewport and made.users_collection == avatar.users_collection
    assert made.type == "MESH" and not made.modifiers and len(made.data.polygons) == len(gaussians())
    assert [material.name for material in made.data.materials] == ["Splat Quads Unlit"]
    assert made.data.materials[0] == avatar_nodes.input_of(modifier, splat_nodes.MATERIAL)
    before = values(made.data, "position", 3, "vector")
    bpy.ops.blendsplat.splat_geometry(in_viewport=True)
    np.testing.assert_array_equal(before, values(faces(avatar), "position", 3, "vector"))
    avatar_rig.blendshape_keys(avatar)[0].value = 2.0
    np.testing.assert_array_equal(before, values(made.data, "position", 3, "vector"))
    avatar.hide_set(True)
    with pytest.raises(RuntimeError, match="Ann is hidden"):
        bpy.ops.blendsplat.bake_frame()


def test_it_is_changed_and_removed(scene, avatar):
    scene.view_settings.view_transform = "AgX"
    bpy.ops.blendsplat.splat_geometry(set_up=False)
    assert scene.view_settings.view_transform == "AgX" and scene.cycles.transparent_max_bounces == 8
    bpy.ops.blendsplat.splat_geometry(shape=ELLIPSOIDS, look=AS_TRAINED)
    assert scene.view_settings.view_transform == "Raw" and scene.render.engine != "CYCLES"
    modifier = splat_geometry.modifier_of(avatar)
    assert (splat_geometry.shape_of(modifier), splat_geometry.look_of(modifier)) == (ELLIPSOIDS, AS_TRAINED)
    assert len(avatar.modifiers) == 2 and len(avatar.animation_data.drivers) == 2
    assert bpy.ops.blendsplat.remove_splat_geometry() == {"FINISHED"}
    assert len(avatar.modifiers) == 1 and not avatar.animation_data.drivers
    assert avatar_rig.nodes_of(avatar) is not None


def test_grey_buttons_say_why(scene, tmp_path):
    assert "Add an avatar" in operators.SplatGeometry.reason(bpy.context)
    path = synthetic.write_avatar(tmp_path / "a.avatar.npz")
    carrier = avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Ann")
    assert not operators.SplatGeometry.reason(bpy.context)
    assert "press Splats as Geometry" in operators.BakeFrame.reason(bpy.context)
    assert "press Splats as Geometry" in operators.RemoveSplatGeometry.reason(bpy.context)
    with pytest.raises(RuntimeError, match="poll"):
        bpy.ops.blendsplat.bake_frame()
    carrier.modifiers.clear()
    assert "Press Repair Avatar" in operators.SplatGeometry.reason(bpy.context)


def test_the_panel_says_what_hides_the_colours(scene, avatar):
    def words() -> str:
        return " ".join(drawn(BLENDSPLAT_PT_render))

    assert "has faces" not in words() and "blendsplat.bake_frame" in words()
    bpy.ops.blendsplat.splat_geometry()
    scene.render.engine = "CYCLES"
    assert "monitor icon" in words() and "Color Management" not in words()
    scene.view_settings.view_transform = "Raw"
    assert '"Standard"' in words()
    scene.view_settings.view_transform, scene.cycles.transparent_max_bounces = "Standard", 8
    assert "looks through 8 quads" in words()
    scene.camera.data.type = "PANO"
    assert "choose Ellipsoids" in words()
    scene.camera.data.type = "PERSP"
    bpy.ops.blendsplat.splat_geometry(look=AS_TRAINED)
    assert "Color Management" not in words()
    scene.view_settings.view_transform = "Standard"
    assert '"Raw"' in words() and "Convert Colorspace" in words()
    compositor(scene).nodes.new("CompositorNodeConvertColorSpace")
    assert "Convert Colorspace" not in words()
    scene.render.engine = operators.EEVEE[bpy.app.version >= (5, 0)]
    scene.render.use_motion_blur = True
    assert "Motion Blur > Steps" in words()
    scene.eevee.motion_blur_steps = 8
    assert "Motion Blur > Steps" not in words()
    scene.render.engine = "BLENDSPLAT"
    assert "this scene renders with Blendsplat" in words()


def compositor(scene) -> bpy.types.NodeTree:
    """The scene's compositor, switched on."""
    if hasattr(scene, "compositing_node_group"):
        scene.compositing_node_group = bpy.data.node_groups.new("Compositor", "CompositorNodeTree")
        return scene.compositing_node_group
    scene.use_nodes = True
    return scene.node_tree


def test_a_saved_file_needs_no_addon(avatar, tmp_path):
    """Another process without the add-on: the faces move with a shape key."""
    splat_geometry.add(avatar, QUADS, UNLIT, in_viewport=True)
    path = tmp_path / "a.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    done = subprocess.run([sys.executable, "-c", _ALONE, str(path)], capture_output=True, text=True, timeout=120)
    assert f"faces {len(gaussians())} moved True" in done.stdout, done.stdout + done.stderr


_ALONE = """
import os, sys
import bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
def corner():
    depsgraph = bpy.context.evaluated_depsgraph_get()
    mesh = next(i.object.data for i in depsgraph.object_instances if i.is_instance and len(i.object.data.polygons))
    return len(mesh.polygons), mesh.vertices[0].co.copy()
count, before = corner()
bpy.data.objects["Ann"].data.shape_keys.key_blocks[1].value = 3
print("faces", count, "moved", (corner()[1] - before).length > 1e-5, flush=True)
os._exit(0)
"""

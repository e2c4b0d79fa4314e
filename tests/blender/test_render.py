# SPDX-License-Identifier: Apache-2.0
"""The render engine against the stand-in engine, which paints each Gaussian as one opaque pixel of its colour."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.client import session
from blender_addon.render import camera, color, frame, gather, passes
from blender_addon.scene import avatar_rig

import synthetic

FAKE = Path(__file__).with_name("fake_engine.py")


@pytest.fixture
def stage(scene, tmp_path, monkeypatch):
    """An avatar, a camera, 96 x 64 pixels, the stand-in engine."""
    monkeypatch.setattr(session, "engine_command", lambda: [sys.executable, str(FAKE)])
    carrier = avatar_rig.build_avatar(
        bpy.context, formats.read_avatar(synthetic.write_avatar(tmp_path / "a.avatar.npz")), "Ann"
    )
    data = bpy.data.cameras.new("C")
    item = bpy.data.objects.new("C", data)
    scene.collection.objects.link(item)
    item.location, item.rotation_euler = (0.02, -0.8, 0.01), (np.pi / 2, 0, 0)
    scene.camera = item
    render = scene.render
    render.engine, render.resolution_x, render.resolution_y, render.resolution_percentage = "BLENDSPLAT", 192, 128, 50
    render.film_transparent = True
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    render.dither_intensity = 0
    scene.view_settings.view_transform = "Standard"
    scene.display_settings.display_device = "sRGB"
    render.filepath = str(tmp_path / "out.png")
    return carrier


def render(scene, path: Path | None = None) -> np.ndarray:
    """Render to a file and read it back: [H,W,4] in display values, first row at the top."""
    if path is not None:
        scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return read(Path(scene.render.filepath))


def read(path: Path) -> np.ndarray:
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    values = np.array(image.pixels[:], np.float32).reshape(image.size[1], image.size[0], 4)[::-1]
    bpy.data.images.remove(image)
    return values


def expected(scene) -> tuple[np.ndarray, np.ndarray]:
    """(color [H,W,3], alpha [H,W]) of every pixel's nearest Gaussian, by projecting with Blender's own function."""
    from bpy_extras.object_utils import world_to_camera_view

    depsgraph = bpy.context.evaluated_depsgraph_get()
    g = gather.gather(depsgraph)
    width, height = 96, 64
    color, alpha, nearest = np.zeros((height, width, 3)), np.zeros((height, width)), np.full((height, width), np.inf)
    from mathutils import Vector

    for mean, rgb in zip(g.means, g.colors, strict=True):
        u, v, z = world_to_camera_view(scene, scene.camera, Vector(mean.tolist()))
        x, y = int(np.floor(u * width)), int(np.floor((1 - v) * height))
        if 0 <= x < width and 0 <= y < height and 0 < z < nearest[y, x]:
            nearest[y, x], color[y, x], alpha[y, x] = z, rgb, 1
    return color, alpha


def agree(have: np.ndarray, scene) -> None:
    color, alpha = expected(scene)
    same = have[..., 3] > 0.5
    # a Gaussian on a pixel's border may fall on either side
    assert (same != (alpha > 0.5)).mean() < 0.002 and same.sum() > 100
    both = same & (alpha > 0.5)
    error = np.abs(have[..., :3] - np.clip(color, 0, 1))[both].max(-1)
    assert np.mean(error > 2 / 255) < 0.02


def test_a_frame_shows_the_trained_colours_where_blender_projects_them(scene, stage):
    agree(render(scene), scene)


@pytest.mark.parametrize("fit", ["AUTO", "HORIZONTAL", "VERTICAL"])
def test_sensor_fit_and_shift(scene, stage, fit):
    data = scene.camera.data
    data.sensor_fit, data.shift_x, data.shift_y, data.lens = fit, 0.1, -0.07, 40
    agree(render(scene), scene)


def test_a_turned_and_scaled_camera_under_a_parent(scene, stage):
    parent = bpy.data.objects.new("P", None)
    scene.collection.objects.link(parent)
    scene.camera.parent = parent
    parent.rotation_euler, parent.scale, scene.camera.scale = (0.1, 0.05, 0.2), (1.2, 1.2, 1.2), (2, 2, 2)
    bpy.context.view_layer.update()
    agree(render(scene), scene)


def test_opaque_film_has_the_worlds_colour(scene, stage):
    scene.render.film_transparent = False
    scene.world = bpy.data.worlds.new("W")
    scene.world.use_nodes = True
    node = next(item for item in scene.world.node_tree.nodes if item.type == "BACKGROUND")
    node.inputs["Color"].default_value = (0.2140411, 0.0, 1.0, 1.0)  # sRGB 0.5, 0, 1
    image = render(scene)
    empty = expected(scene)[1] < 0.5
    np.testing.assert_allclose(np.median(image[empty], 0), [0.5, 0, 1, 1], atol=2 / 255)


def test_depth_pass(scene, stage, tmp_path):
    scene.view_layers[0].use_pass_z = True
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format = "OPEN_EXR_MULTILAYER"
    scene.render.filepath = str(tmp_path / "depth.exr")
    bpy.ops.render.render(write_still=True)
    channels = exr_channels(tmp_path / "depth.exr")
    assert any(name.endswith("Depth.Z") or name.endswith("Depth.V") for name in channels), channels


def test_every_view_layer_gets_its_own_picture(scene, stage, monkeypatch):
    second = scene.view_layers.new("Empty")
    name = stage.users_collection[0].name
    second.layer_collection.children[name].exclude = True
    seen = {}
    original = color.compose

    def spy(premultiplied, alpha, background):
        seen[len(seen)] = float(alpha.max())
        return original(premultiplied, alpha, background)

    monkeypatch.setattr(frame, "compose", spy)
    image = render(scene)  # of the first view layer, as nothing composites them
    assert sorted(seen.values()) == [0.0, 1.0]
    assert image[..., 3].max() == 1


def exr_channels(path: Path) -> list[str]:
    """Names in an EXR's headers (one a layer from Blender 5.0 on), read by hand."""
    data = path.read_bytes()
    names, found = [], data.find(b"chlist\0")
    while found >= 0:
        start = found + 7 + 4
        while data[start] != 0:
            end = data.index(b"\0", start)
            names.append(data[start:end].decode())
            start = end + 1 + 16
        found = data.find(b"chlist\0", start)
    return names


def test_depth_values():
    depth = passes.expected_depth(np.array([[[0.4]], [[0.0]]]), np.array([[[0.5]], [[0.0]]]))
    np.testing.assert_allclose(depth[:, 0, 0], [0.8, passes.NO_HIT])


def test_render_region_is_a_cut_of_the_whole(scene, stage, tmp_path):
    whole = render(scene, tmp_path / "whole.png")
    scene.render.use_border = True
    scene.render.border_min_x, scene.render.border_max_x = 0.25, 0.75
    scene.render.border_min_y, scene.render.border_max_y = 0.125, 0.5
    part = render(scene, tmp_path / "part.png")
    np.testing.assert_allclose(part[32:56, 24:72], whole[32:56, 24:72], atol=1.5 / 255)
    assert part[:32, :, 3].max() == 0
    scene.render.use_crop_to_border = True
    cut = render(scene, tmp_path / "cut.png")
    np.testing.assert_allclose(cut, whole[32:56, 24:72], atol=1.5 / 255)


def test_animation(scene, stage, tmp_path):
    keys = stage.data.shape_keys.key_blocks
    keys[1].value = 0.0
    keys[1].keyframe_insert("value", frame=1)
    keys[1].value = 8.0
    keys[1].keyframe_insert("value", frame=3)
    scene.frame_start, scene.frame_end = 1, 3
    scene.render.filepath = str(tmp_path / "anim" / "f_")
    bpy.ops.render.render(animation=True)
    frames = [read(tmp_path / "anim" / f"f_{frame:04d}.png") for frame in (1, 2, 3)]
    assert np.abs(frames[0] - frames[1]).max() > 0.05 and np.abs(frames[1] - frames[2]).max() > 0.05
    scene.frame_set(3)
    agree(frames[2], scene)


def test_instances_and_hidden_avatars(scene, stage):
    empty = bpy.data.objects.new("I", None)
    scene.collection.objects.link(empty)
    group = bpy.data.collections.new("G")
    group.objects.link(stage)
    empty.instance_type, empty.instance_collection, empty.location = "COLLECTION", group, (1, 0, 0)
    bpy.context.view_layer.update()
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) == 1000
    stage.hide_viewport = True
    bpy.context.view_layer.update()
    assert len(gather.gather(bpy.context.evaluated_depsgraph_get())) == 0


def test_a_panorama_is_refused_in_words(scene, stage):
    scene.camera.data.type = "PANO"
    with pytest.raises(camera.CameraError, match="panoramic"):
        camera.view_of(scene, bpy.context.evaluated_depsgraph_get(), scene.camera)
    with pytest.raises(RuntimeError, match="panoramic"):
        bpy.ops.render.render()


def test_no_camera_is_refused_in_words(scene, stage):
    with pytest.raises(camera.CameraError, match="no camera"):
        camera.view_of(scene, bpy.context.evaluated_depsgraph_get(), None)


def test_no_engine_is_said_and_blender_lives(scene, stage, monkeypatch):
    session.stop()
    monkeypatch.setattr(session, "engine_command", lambda: ["/no/such/engine"])
    with pytest.raises(RuntimeError, match="cannot be started"):
        bpy.ops.render.render()


def test_colours_survive_there_and_back():
    values = np.linspace(0, 1.5, 50)
    np.testing.assert_allclose(color.linear_to_srgb(color.srgb_to_linear(values)), values, atol=1e-7)


def test_compose_over_a_background_blends_as_in_training():
    premultiplied, alpha = np.full((1, 1, 3), 0.3), np.full((1, 1, 1), 0.6)
    out = color.compose(premultiplied, alpha, color.srgb_to_linear(np.array([0.5, 0.25, 1.0])))
    np.testing.assert_allclose(color.linear_to_srgb(out[0, 0, :3]), [0.5, 0.4, 0.7], atol=1e-6)
    film = color.compose(premultiplied, alpha, None)
    np.testing.assert_allclose(color.linear_to_srgb(film[0, 0, :3] / 0.6), [0.5] * 3, atol=1e-6)

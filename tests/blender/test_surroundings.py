# SPDX-License-Identifier: Apache-2.0
"""One render of two engines: avatars by Blendsplat over everything else by Cycles."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon.render import limits
from blender_addon.scene import surroundings
from test_render_scene import add, stage, wall  # noqa: F401 (a fixture)


def render(scene: bpy.types.Scene, path) -> np.ndarray:
    """The composited picture [H,W,4] in display values, the first row at the top."""
    scene.render.dither_intensity = 0
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    return np.array(image.pixels[:], np.float32).reshape(image.size[1], image.size[0], 4)[::-1]


def emitting(item: bpy.types.Object, color: tuple[float, float, float]) -> None:
    material = bpy.data.materials.new("Light")
    if material.node_tree is None:
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    node, end = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    node.inputs[0].default_value = (*color, 1)
    tree.links.new(node.outputs[0], end.inputs[0])
    item.data.materials.append(material)


def behind(scene: bpy.types.Scene) -> bpy.types.Scene:
    assert bpy.ops.blendsplat.add_surroundings(engine="CYCLES") == {"FINISHED"}
    other = surroundings.of(scene)
    other.cycles.samples, other.cycles.use_denoising, other.cycles.device = 4, False, "CPU"
    other.cycles.pixel_filter_type = "BOX"
    return other


@pytest.mark.slow
def test_walls_before_and_behind_an_avatar(real, stage, tmp_path):  # noqa: F811
    real.render.film_transparent = True
    alone = render(real, tmp_path / "alone.png")
    before, back = wall(-2.0, 0.0, -0.4, "Before"), wall(-2.0, 2.0, 0.5, "Back")
    emitting(before, (1, 0, 0))
    emitting(back, (0, 0, 1))
    behind(real)
    got = render(real, tmp_path / "both.png")
    assert (got[..., 3] > 0.999).all()
    np.testing.assert_allclose(got[:, :31, :3], np.broadcast_to([1, 0, 0], (64, 31, 3)), atol=0.02)
    opaque = alone[:, 33:, 3] > 0.999
    assert opaque.sum() > 100
    np.testing.assert_allclose(got[:, 33:, :3][opaque], alone[:, 33:, :3][opaque], atol=0.02)
    empty = alone[:, 33:, 3] == 0
    np.testing.assert_allclose(got[:, 33:, :3][empty], np.broadcast_to([0, 0, 1], (empty.sum(), 3)), atol=0.02)
    assert bpy.ops.blendsplat.remove_surroundings() == {"FINISHED"}
    assert list(bpy.data.scenes) == [real]
    np.testing.assert_allclose(render(real, tmp_path / "again.png")[:, 33:], alone[:, 33:], atol=0.01)


@pytest.mark.slow
def test_a_head_casts_its_shadow_and_is_not_seen(real, stage, tmp_path):  # noqa: F811
    """A floor lit from the front and above: darker behind the avatar."""
    mesh = bpy.data.meshes.new("Floor")
    mesh.from_pydata([(-3, -3, -0.2), (3, -3, -0.2), (3, 3, -0.2), (-3, 3, -0.2)], [], [(0, 1, 2, 3)])
    floor = bpy.data.objects.new("Floor", mesh)
    lamp = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    lamp.rotation_euler, lamp.data.energy = (0.9, 0, 0), 0.5
    for item in (floor, lamp):
        real.collection.objects.link(item)
    real.camera.location, real.camera.rotation_euler = (0, -0.8, 0.5), (1.0, 0, 0)
    behind(real)
    stage.hide_render = True
    lit = render(real, tmp_path / "shadow.png")
    head = stage.blendsplat.head
    head.visible_shadow = False
    plain = render(real, tmp_path / "plain.png")
    darker = plain[..., :3].sum(-1) - lit[..., :3].sum(-1)
    assert darker.max() > 0.5 and (darker > 0.2).mean() > 0.003, "no shadow"
    assert plain[..., :3].std((0, 1)).max() < 0.02, "the head is seen"


def test_the_second_scene_follows(scene, stage_of_fakes):
    other = behind(scene)
    scene.render.resolution_x, scene.render.fps, scene.frame_end = 333, 17, 77
    item = wall(0, 1, 0, "Late")
    group = bpy.data.collections.new("G")
    scene.collection.children.link(group)
    bpy.context.view_layer.update()
    assert (other.render.resolution_x, other.render.fps, other.frame_end) == (333, 17, 77)
    assert item.name in other.collection.objects and "G" in other.collection.children
    scene.view_layers[0].layer_collection.children["G"].exclude = True
    bpy.data.objects.remove(bpy.data.objects["Late"])
    surroundings.follow(scene)
    assert other.view_layers[0].layer_collection.children["G"].exclude and "Late" not in other.collection.objects
    assert other.render.engine == "CYCLES" and scene.render.engine == "BLENDSPLAT"
    assert bpy.ops.blendsplat.add_surroundings(engine="CYCLES") == {"FINISHED"}
    assert surroundings.of(scene) == other and len(bpy.data.scenes) == 2, "twice is once"


def test_an_artists_grading_goes_on_and_stays(scene, stage_of_fakes):
    tree = surroundings._own_tree(scene)
    layers = next((node for node in tree.nodes if node.bl_idname == "CompositorNodeRLayers"), None)
    layers = layers or tree.nodes.new("CompositorNodeRLayers")
    blur = tree.nodes.new("CompositorNodeBlur")
    tree.links.new(layers.outputs["Image"], blur.inputs[0])
    tree.links.new(blur.outputs[0], surroundings._end(tree))
    behind(scene)
    assert blur.inputs[0].links[0].from_node.name == surroundings._OVER
    assert bpy.ops.blendsplat.remove_surroundings() == {"FINISHED"}
    assert blur.inputs[0].links[0].from_node == layers and surroundings._OVER not in tree.nodes


def test_what_a_render_will_not_show_is_said_before(scene, stage_of_fakes):
    assert limits.sentences(scene) == []
    scene.collection.objects.link(bpy.data.objects.new("Fog", bpy.data.volumes.new("Fog")))
    scene.collection.objects.link(bpy.data.objects.new("Key", bpy.data.lights.new("Key", "POINT")))
    scene.render.use_multiview = True
    scene.camera.data.type = "ORTHO"
    scene.camera.data.dof.use_dof = True
    text = " ".join(limits.sentences(scene))
    for word in ("Fog", "Lights", "Stereoscopy", "Depth of Field"):
        assert word in text
    scene.camera.data.type = "PANO"
    assert len(limits.sentences(scene)) == 1 and "panoramic" in limits.sentences(scene)[0]
    scene.camera = None
    assert "no camera" in limits.sentences(scene)[0]


@pytest.fixture
def stage_of_fakes(scene, tmp_path):
    """An avatar and a camera; nothing is rendered."""
    avatar = add(tmp_path, "Ann")
    scene.camera = bpy.data.objects.new("C", bpy.data.cameras.new("C"))
    scene.collection.objects.link(scene.camera)
    scene.render.film_transparent = True
    return avatar

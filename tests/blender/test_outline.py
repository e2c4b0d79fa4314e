# SPDX-License-Identifier: Apache-2.0
"""What a click on an avatar selects: the head's surface, seen by nobody and in no render."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon import formats
from blender_addon.render import gather
from blender_addon.scene import avatar_nodes, avatar_rig

import synthetic


@pytest.fixture
def avatar(scene, tmp_path) -> bpy.types.Object:
    path = synthetic.write_avatar(tmp_path / "a.avatar.npz")
    return avatar_rig.build_avatar(bpy.context, formats.read_avatar(path), "Ann")


def surfaces(depsgraph: bpy.types.Depsgraph, carrier: bpy.types.Object) -> list[np.ndarray]:
    """The places of every surface that stands for the avatar [V,3] in the world."""
    found = []
    for instance in depsgraph.object_instances:
        item = instance.object
        if item.original == carrier and item.type == "MESH" and len(item.data.polygons):
            flat = np.empty(3 * len(item.data.vertices), np.float32)
            item.data.vertices.foreach_get("co", flat)
            matrix = np.array(instance.matrix_world)
            found.append(flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
    return found


def test_it_is_the_head_where_the_avatar_stands(scene, avatar):
    head = avatar.blendsplat.head
    head.data.shape_keys.key_blocks["jawOpen"].value = 1.0
    avatar.location = (1, 2, 3)
    bpy.context.view_layer.update()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    (surface,) = surfaces(depsgraph, avatar)
    flat = np.empty(surface.size, np.float32)
    head.evaluated_get(depsgraph).data.vertices.foreach_get("co", flat)
    np.testing.assert_allclose(surface, flat.reshape(-1, 3) + [1, 2, 3], atol=1e-6)
    mesh = avatar.evaluated_get(depsgraph).data
    assert len(mesh.vertices) == len(gather.gather(depsgraph)) == 500 and not len(mesh.polygons)


def test_it_can_be_switched_off(scene, avatar):
    avatar_nodes.set_input(avatar.modifiers[0], avatar_nodes.INPUT_OUTLINE, False)
    avatar.update_tag()
    bpy.context.view_layer.update()
    assert surfaces(bpy.context.evaluated_depsgraph_get(), avatar) == []


def test_no_shading_shows_it(scene, avatar):
    depsgraph = bpy.context.evaluated_depsgraph_get()
    (mesh,) = {
        instance.object.data
        for instance in depsgraph.object_instances
        if instance.object.original == avatar and len(instance.object.data.polygons)
    }
    (index,) = {polygon.material_index for polygon in mesh.polygons}
    material = mesh.materials[index]
    assert material.diffuse_color[3] == avatar.color[3] == 0.0
    (node,) = [node for node in material.node_tree.nodes if node.type != "OUTPUT_MATERIAL"]
    assert node.type == "BSDF_TRANSPARENT" and material.surface_render_method == "BLENDED"


@pytest.mark.parametrize("shown", [False, True], ids=["without", "with points"])
def test_no_render_has_it(scene, avatar, shown, tmp_path):
    """Neither in its picture nor behind it: light would have to go through as many surfaces as the head has."""
    seen = []

    def look(scene_, depsgraph):
        seen.append((depsgraph.mode, len(surfaces(depsgraph, avatar))))

    avatar_nodes.set_input(avatar.modifiers[0], avatar_nodes.INPUT_PREVIEW, shown)
    camera = bpy.data.objects.new("C", bpy.data.cameras.new("C"))
    scene.collection.objects.link(camera)
    scene.camera, camera.location, camera.rotation_euler = camera, (0, -0.8, 0), (np.pi / 2, 0, 0)
    scene.render.engine, scene.render.resolution_x, scene.render.resolution_y = "CYCLES", 16, 16
    scene.cycles.samples, scene.render.filepath = 1, str(tmp_path / "a.png")
    bpy.app.handlers.frame_change_post.append(look)
    try:
        bpy.ops.render.render(animation=False, write_still=True)
        scene.frame_set(2)
    finally:
        bpy.app.handlers.frame_change_post.remove(look)
    counts = dict(seen)
    assert counts["RENDER"] == 0 and counts["VIEWPORT"] == 1


def test_an_avatars_own_colour_stays(scene, avatar):
    avatar.color = (0.2, 0.4, 0.6, 0.8)
    avatar.modifiers.remove(avatar.modifiers[0])
    avatar_rig.restore_nodes(avatar)
    np.testing.assert_allclose(avatar.color, (0.2, 0.4, 0.6, 0.8))

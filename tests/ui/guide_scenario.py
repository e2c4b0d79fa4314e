# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: the pictures of docs/artist-guide.md, from what ``make demo`` has made.

blender --factory-startup --python guide_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
from mathutils import Euler, Vector

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, addon, install, note, open_sidebar, run, screenshot, until, view

EEVEE = "BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0) else "BLENDER_EEVEE"


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    scene, space = bpy.context.scene, view()["area"].spaces.active
    bpy.utils.unregister_class(bpy.types.BLENDSPLAT_PT_engine)  # it names the machine
    bpy.ops.wm.save_as_mainfile(filepath=OPTIONS["blend"])  # paths are relative to it
    open_sidebar()
    yield from screenshot("guide-1-empty")
    scene.blendsplat.video, scene.blendsplat.directory = "//clip.mp4", "//clip"
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.add_head()
    yield from until(lambda: any(item.blendsplat.kind == "HEAD" for item in scene.objects), 120)
    scene.frame_set(OPTIONS["frame"])
    yield 2.0
    yield from screenshot("guide-2-tracked")
    scene.blendsplat.avatar_file, scene.blendsplat.performance = "//demo.avatar.npz", "//clip/tracking.npz"
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.add_avatar()
    yield 1.0
    yield from screenshot("guide-3-avatar")
    stage(scene)
    yield from sides(scene, space)
    yield from together(scene)
    yield from geometry(scene)
    note("pictures", problem=addon().render.viewport.problem())


def material(item: bpy.types.Object, color: tuple[float, float, float]) -> None:
    made = bpy.data.materials.new(item.name)
    if made.node_tree is None:
        made.use_nodes = True
    made.diffuse_color = (*color, 1)
    shader = next(node for node in made.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (*color, 1)
    item.data.materials.append(made)


def stage(scene: bpy.types.Scene) -> None:
    """A cube through the cheek, a wall behind, a sun; a camera that can be turned around the head."""
    with bpy.context.temp_override(**view()):
        bpy.ops.mesh.primitive_cube_add(size=0.07, location=OPTIONS["cheek"], rotation=(0.3, 0.4, 0.5))
        material(bpy.context.object, (0.8, 0.3, 0.05))
        bpy.ops.mesh.primitive_plane_add(size=4, location=(0, 0.3, 0), rotation=(math.pi / 2, 0, 0))
        material(bpy.context.object, (0.5, 0.6, 0.7))
        bpy.context.object.name = "Wall"
        bpy.ops.object.light_add(type="SUN", rotation=(0.9, -0.6, 0))
    bpy.context.object.data.energy = 3
    scene.world = bpy.data.worlds.new("Grey")
    scene.world.color = (0.25, 0.25, 0.25)
    if scene.world.node_tree is None:
        scene.world.use_nodes = True
    node = next((node for node in scene.world.node_tree.nodes if node.type == "BACKGROUND"), None)
    if node is not None:
        node.inputs["Color"].default_value = (0.25, 0.25, 0.25, 1)
    data = bpy.data.cameras.new("Round")
    camera = bpy.data.objects.new("Round", data)
    scene.collection.objects.link(camera)
    data.lens, data.clip_start = 60, 0.01
    scene.camera = camera
    scene.render.resolution_x = scene.render.resolution_y = 512
    scene.render.resolution_percentage = 100


def turn(scene: bpy.types.Scene, degrees: float) -> None:
    angle, middle = math.radians(degrees), Vector(OPTIONS["middle"])
    scene.camera.location = middle + Vector((math.sin(angle), -math.cos(angle), 0)) * 0.75
    scene.camera.rotation_euler = (math.pi / 2, 0, angle)


def sides(scene: bpy.types.Scene, space: bpy.types.SpaceView3D) -> Iterator[float]:
    space.show_region_ui, space.overlay.show_overlays = False, True
    clutter = ("floor", "axis_x", "axis_y", "cursor", "outline_selected", "object_origins", "bones", "extras", "text")
    for name in clutter:
        setattr(space.overlay, f"show_{name}", False)
    bpy.data.objects["Wall"].hide_set(True)
    space.shading.color_type = "MATERIAL"
    region = space.region_3d
    region.view_perspective, space.lens = "PERSP", 60
    region.view_location, region.view_distance = Vector(OPTIONS["middle"]), 0.55
    for shading in ("SOLID", "MATERIAL", "RENDERED"):
        scene.render.engine = EEVEE
        space.shading.type = shading
        for degrees in (-45, 0, 45):
            region.view_rotation = Euler((math.pi / 2, 0, math.radians(degrees))).to_quaternion()
            yield 3.0 if shading != "SOLID" else 0.5
            region_ = view()["region"]
            yield from screenshot(f"guide-4-{shading.lower()}-{degrees}")
            top = view()["window"].height - region_.y - region_.height
            note("view", name=f"guide-4-{shading.lower()}-{degrees}", left=region_.x, top=top,
                 size=(region_.width, region_.height))  # fmt: skip
    bpy.data.objects["Wall"].hide_set(False)
    space.shading.type = "SOLID"
    yield 0.3


def render(scene: bpy.types.Scene, name: str) -> None:
    scene.render.image_settings.file_format, scene.render.filepath = "PNG", str(FOLDER / f"{name}.png")
    bpy.ops.render.render(write_still=True)


def together(scene: bpy.types.Scene) -> Iterator[float]:
    """One render of two engines."""
    for engine in ("EEVEE", "CYCLES"):
        bpy.ops.blendsplat.add_surroundings(engine=engine)
        behind = scene.blendsplat_render.surroundings
        behind.cycles.samples, behind.cycles.use_denoising = 32, False
        for degrees in (0, 40):
            turn(scene, degrees)
            render(scene, f"guide-5-{engine.lower()}-{degrees}")
            yield 0.2
    bpy.ops.blendsplat.remove_surroundings()


def geometry(scene: bpy.types.Scene) -> Iterator[float]:
    """The same by EEVEE and Cycles alone."""
    avatar = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")
    bpy.context.view_layer.objects.active = avatar
    scene.cycles.samples, scene.cycles.use_denoising = 16, False
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.splat_geometry(shape="QUADS", look="UNLIT", set_up=True)
    turn(scene, 40)
    for engine in (EEVEE, "CYCLES"):
        scene.render.engine = engine
        render(scene, f"guide-6-{'cycles' if engine == 'CYCLES' else 'eevee'}")
        yield 0.2


run(steps())

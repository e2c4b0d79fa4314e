# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: avatars as splats in 3D views.

First the GPU programs alone: made-up Gaussians from several views, kept for a comparison with the engine's rasterizer.
Then the view as an artist sees it: pixels of the window, with a cube before and behind an avatar, in every shading.

blender --factory-startup --python viewport_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import bpy
import numpy as np
from mathutils import Euler, Vector

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, addon, install, note, run, screenshot, view

EEVEE = "BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0) else "BLENDER_EEVEE"


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    space = view()["area"].spaces.active
    space.show_region_ui = False
    for name in (
        "floor",
        "axis_x",
        "axis_y",
        "cursor",
        "outline_selected",
        "object_origins",
        "bones",
        "extras",
        "text",
    ):
        setattr(space.overlay, f"show_{name}", False)
    yield from programs(space)
    yield from seen(space)
    yield from broken()


def look(space: bpy.types.SpaceView3D, turn: tuple[float, float, float], away: float, kind: str = "PERSP") -> None:
    region = space.region_3d
    region.view_perspective = kind
    region.view_location, region.view_rotation, region.view_distance = Vector(), Euler(turn).to_quaternion(), away
    space.lens = 60


def viewport() -> ModuleType:
    return sys.modules[f"{MODULE}.render.viewport"]


def redraw() -> Iterator[float]:
    view()["area"].tag_redraw()
    yield 0.3


def programs(space: bpy.types.SpaceView3D) -> Iterator[float]:
    """The blended pictures of made-up Gaussians, with all that the engine needs to make them again."""
    gather, real = viewport().gather, viewport().shown_parts
    given = np.load(OPTIONS["gaussians"])
    made = gather.Part(None, None, gather.Gaussians(**{name: given[name] for name in given.files}))
    viewport().shown_parts = lambda _context: [made]
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    camera.location, camera.rotation_euler = (0.3, -1.1, 0.2), (1.4, 0.1, 0.25)
    camera.data.shift_x, camera.data.shift_y, camera.data.lens = 0.12, -0.07, 40
    views = {
        "front": ((1.57, 0, 0), 1.0, "PERSP"), "near": ((1.2, 0.3, 2.0), 0.25, "PERSP"),
        "flat": ((1.4, 0, -0.8), 1.0, "ORTHO"), "camera": ((0, 0, 0), 1.0, "CAMERA"),
        "clipped": ((0, 0, 0), 1.0, "CAMERA"),
    }  # fmt: skip
    for name, (turn, away, kind) in views.items():
        if name == "clipped":
            camera.data.clip_start, camera.data.clip_end = 1.1, 1.3
        look(space, turn, away, kind)
        yield from redraw()
        region, matrices = view()["region"], space.region_3d
        picture = viewport()._kept.pictures[(region.as_pointer(), (region.width, region.height))]
        np.savez(
            FOLDER / f"{name}.npz", view=np.array(matrices.view_matrix), projection=np.array(matrices.window_matrix),
            picture=pixels(picture.color), distances=pixels(picture.distances),
            ends=(camera.data.clip_start, camera.data.clip_end) if kind == "CAMERA" else (0.01, 1000.0),
        )  # fmt: skip
    viewport().shown_parts = real
    bpy.data.objects.remove(camera)
    viewport()._loaded()
    version = ".".join(map(str, bpy.app.version[:2]))
    note("programs", views=list(views), problem=viewport().problem(), version=version)


def pixels(texture: object) -> np.ndarray:
    """[H,W,4], the first row the lowest."""
    return np.array(texture.read().to_list(), np.float32).reshape(texture.height, texture.width, 4)


def seen(space: bpy.types.SpaceView3D) -> Iterator[float]:
    """Screenshots of an avatar with a cube, and what it takes to hide it."""
    scene = bpy.context.scene
    scene.blendsplat.avatar_file = OPTIONS["avatar"]
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.add_avatar()
    avatar = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")
    mesh = bpy.data.meshes.new("Cube")
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh.from_pydata([tuple(0.03 * value for value in corner) for corner in corners], [], faces)
    cube = bpy.data.objects.new("Cube", mesh)
    scene.collection.objects.link(cube)
    look(space, (1.57, 0, 0), 0.6)
    scene.world = bpy.data.worlds.new("World")
    scene.world.color = (0.2, 0.2, 0.2)
    for side, depth in (("before", -0.4), ("behind", 0.4)):
        cube.location = (0, depth, 0)
        for shading in ("SOLID", "MATERIAL", EEVEE, "CYCLES"):
            scene.render.engine = EEVEE if shading in ("SOLID", "MATERIAL") else shading
            space.shading.type = shading if shading in ("SOLID", "MATERIAL") else "RENDERED"
            yield 2.0 if shading != "SOLID" else 0.3
            yield from shot(f"{side}-{shading.replace('BLENDER_', '').replace('_NEXT', '')}")
        space.overlay.show_overlays = False
        yield from shot(f"{side}-without overlays")
        space.overlay.show_overlays = True
    bpy.data.objects.remove(cube)
    scene.render.engine, space.shading.type, scene.view_settings.view_transform = "BLENDSPLAT", "RENDERED", "Standard"
    yield 1.0
    yield from shot("own")
    space.shading.type = "WIREFRAME"
    yield from shot("wireframe")
    space.shading.type = "SOLID"
    yield from shot("solid")
    avatar.select_set(True)
    space.overlay.show_outline_selected = True
    yield from shot("selected")
    avatar.select_set(False)
    yield from shot("deselected")
    space.overlay.show_outline_selected = False
    key = addon().scene.avatar_rig.blendshape_keys(avatar)[0]
    key.value = 6.0
    yield from shot("slid")
    key.value = 0.0
    handle = avatar.parent
    handle.location.x += 0.08
    yield from shot("moved")
    handle.location.x -= 0.08
    for name, hide in HIDES.items():
        hide(avatar, True)
        yield from shot(f"hidden-{name}")
        hide(avatar, False)
        if name != "collection":
            yield from shot(f"shown-{name}")
    avatar.blendsplat.head.hide_set(True)
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo_push(message="before")
        bpy.data.objects.remove(avatar)
        bpy.ops.ed.undo_push(message="deleted")
    yield from shot("deleted")
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield from shot("undone")


def _collection(avatar: bpy.types.Object, hide: bool) -> None:
    layers = [bpy.context.view_layer.layer_collection]
    for layer in layers:
        layers += layer.children
        if avatar.name in layer.collection.objects:
            layer.exclude = hide


def _bounds(avatar: bpy.types.Object, hide: bool) -> None:
    avatar.display_type = "BOUNDS" if hide else "TEXTURED"


HIDES = {
    "eye": lambda avatar, hide: avatar.hide_set(hide),
    "screen": lambda avatar, hide: setattr(avatar, "hide_viewport", hide),
    "bounds": _bounds,
    "collection": _collection,  # the last: Blender forgets which objects of a collection were hidden, the head too
}


def shot(name: str) -> Iterator[float]:
    """A screenshot, and where the view lies on it."""
    region = view()["region"]
    yield from screenshot(name)
    window = view()["window"]
    note(
        "shot",
        name=name,
        left=region.x,
        top=window.height - region.y - region.height,
        size=(region.width, region.height),
    )


def broken() -> Iterator[float]:
    """A driver that cannot build the programs: said once, and Blender goes on."""

    def fail() -> None:
        raise RuntimeError("no GLSL today")

    shader, real = viewport().splat_shader, viewport().splat_shader.splats
    shader.splats = fail
    viewport().unregister()
    viewport().register()
    for _ in range(3):
        yield from redraw()
    note("broken", problem=viewport().problem())
    yield from screenshot("broken")
    shader.splats = real
    viewport().unregister()
    viewport().register()
    yield from redraw()
    note("mended", problem=viewport().problem())


run(steps())

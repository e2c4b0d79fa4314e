# SPDX-License-Identifier: GPL-3.0-or-later
"""Avatars in 3D views: drawn as their Gaussians in every shading, over what else the view shows.

A draw handler blends the splats into a picture of its own (splat_shader) and lays it over the view. What did not change
since the last redraw is kept: the Gaussians on the graphics card, their order, and each view's picture. In Rendered
shading with Blendsplat as the engine there is nothing else: the render engine calls ``draw_alone``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import bpy
import gpu
import numpy as np
from mathutils import Matrix

from ..scene import handlers
from . import gather, splat_shader
from .splat_cloud import Quads, SplatCloud

ENGINE_ID = "BLENDSPLAT"
_NEAREST = splat_shader.NEAREST
_WIREFRAME = 0.25  # how much of the splats is seen in Wireframe shading
_VIEWS = 8  # pictures that are kept


@dataclass
class _Picture:
    """What the splats look like from one view; ``key`` says of what it was drawn."""

    size: tuple[int, int]
    key: tuple = ()
    color: gpu.types.GPUTexture = field(init=False)
    distances: gpu.types.GPUTexture = field(init=False)
    target: gpu.types.GPUFrameBuffer = field(init=False)

    def __post_init__(self) -> None:
        self.color = gpu.types.GPUTexture(self.size, format="RGBA16F")
        self.distances = gpu.types.GPUTexture(self.size, format="RGBA32F")
        self.target = gpu.types.GPUFrameBuffer(color_slots=(self.color, self.distances))


class _Programs:
    """The two programs and their vertices."""

    def __init__(self) -> None:
        self.splats, self.overlay = splat_shader.splats(), splat_shader.overlay()
        self.quads = Quads()
        layout = gpu.types.GPUVertFormat()
        layout.attr_add(id="corner", comp_type="F32", len=2, fetch_mode="FLOAT")
        corners = gpu.types.GPUVertBuf(layout, 4)
        corners.attr_fill("corner", [(-1, -1), (1, -1), (-1, 1), (1, 1)])
        self.strip = gpu.types.GPUBatch(type="TRI_STRIP", buf=corners)


class _Kept:
    """Everything that lives from one redraw to the next."""

    def __init__(self) -> None:
        self.programs: _Programs | None = None
        # last: changes, its own number, what it was made of
        self.clouds: dict[tuple, tuple[int, int, gather.Gaussians, np.ndarray, SplatCloud]] = {}
        self.pictures: dict[tuple, _Picture] = {}
        self.numbers = 0  # clouds made so far: a number is never used again
        self.problem = ""


_kept = _Kept()
_changes = 0  # events after which Gaussians may be others
_handle: object | None = None


def problem() -> str:
    """Why splats cannot be drawn in this Blender's views, as a sentence; "" when they can, or nobody looked yet."""
    return _kept.problem


@dataclass
class _View:
    """A view's matrices [4,4] in OpenGL's sense, and its size in pixels."""

    view: np.ndarray
    projection: np.ndarray
    size: tuple[int, int]

    @classmethod
    def current(cls, context: bpy.types.Context) -> _View:
        """What is drawn now. (gpu.matrix knows it in a draw handler only, not in view_draw.)"""
        region, seen = context.region, context.region_data
        return cls(np.array(seen.view_matrix), np.array(seen.window_matrix), (region.width, region.height))

    @property
    def orthographic(self) -> bool:
        return bool(self.projection[3, 3] == 1.0)

    def key(self) -> tuple:
        return (self.view.tobytes(), self.projection.tobytes(), self.size)

    def ends(self) -> tuple[float, float]:
        """The distances between which splats are drawn."""
        a, b = self.projection[2, 2:]
        if self.orthographic:
            return (b + 1) / a, (b - 1) / a
        near, far = b / (a - 1), b / (a + 1) if a != -1 else np.inf
        return max(near, _NEAREST), far if far > 0 else np.inf


def _draw_over() -> None:
    """The draw handler: splats over one 3D view."""
    context = bpy.context
    space = context.space_data
    if _kept.problem or space is None or space.type != "VIEW_3D":
        return
    shading = space.shading
    if shading.type == "RENDERED" and context.scene.render.engine == ENGINE_ID:
        return
    strength = 1.0
    if shading.type == "WIREFRAME":
        strength = _WIREFRAME
    elif shading.type == "SOLID" and shading.show_xray:
        strength = shading.xray_alpha
    # EEVEE and Cycles leave no depth where overlays are off: splats then lie over everything.
    deep = space.overlay.show_overlays or shading.type in ("SOLID", "WIREFRAME")
    _guarded(lambda: _overlaid(context, strength, deep=deep))


def draw_alone(context: bpy.types.Context, background: np.ndarray | None) -> None:
    """The view of the render engine itself: avatars and nothing else, scene-linear, over a background [3] in display
    values or over what is there."""
    if not _kept.problem:
        _guarded(lambda: _overlaid(context, 1.0, background, deep=False))


def _guarded(draw: Callable[[], None]) -> None:
    """One failure ends the drawing of splats, with a sentence in the panel: it would come again with every redraw."""
    before = gpu.state.blend_get(), gpu.state.depth_test_get(), gpu.state.depth_mask_get()
    try:
        draw()
    except Exception as error:  # drivers raise whatever they like
        _kept.problem = (
            f"This graphics driver ({gpu.platform.renderer_get()}) cannot draw splats: {str(error).strip()[:200]} "
            "Turn on Show Points in the avatar's modifier to see it as points, or update the driver."
        )
        print(f"Blendsplat: {_kept.problem}", file=sys.stderr)
    finally:
        gpu.state.blend_set(before[0])
        gpu.state.depth_test_set(before[1])
        gpu.state.depth_mask_set(before[2])


def _overlaid(context: bpy.types.Context, strength: float, background: np.ndarray | None = None, *, deep: bool) -> None:
    """Lay the splats over the view: ``strength`` of them, behind what is nearer where the view is ``deep``."""
    cloud = _cloud(context)
    if cloud is None and background is None:
        return
    if _kept.programs is None:
        _kept.programs = _Programs()
    seen = _View.current(context)
    picture = _picture(context, seen, cloud)
    shader = _kept.programs.overlay
    shader.bind()
    shader.uniform_sampler("picture", picture.color)
    shader.uniform_sampler("distances", picture.distances)
    p = seen.projection
    shader.uniform_float("clip", (p[2, 2], p[2, 3], p[3, 2], p[3, 3]))
    shader.uniform_float("strength", strength)
    shader.uniform_float("outline", _outline(context))
    shader.uniform_float("background", (*background, 1.0) if background is not None else (0.0, 0.0, 0.0, 0.0))
    gpu.state.blend_set("NONE" if background is not None else "ALPHA_PREMULT")
    gpu.state.depth_test_set("LESS_EQUAL" if deep else "NONE")
    gpu.state.depth_mask_set(deep)
    _kept.programs.strip.draw(shader)


def _picture(context: bpy.types.Context, seen: _View, cloud: tuple[int, SplatCloud] | None) -> _Picture:
    """The splats as this view sees them, drawn again when view or Gaussians are others."""
    place = (context.region.as_pointer() if context.region else 0, seen.size)
    if place not in _kept.pictures:
        if len(_kept.pictures) >= _VIEWS:
            _kept.pictures.clear()
        _kept.pictures[place] = _Picture(seen.size)
    picture = _kept.pictures[place]
    key = (cloud[0] if cloud else 0, *seen.key())
    if picture.key != key:
        with picture.target.bind():
            picture.target.clear(color=(0.0, 0.0, 0.0, 0.0))
            if cloud is not None:
                _blend(seen, cloud[1])
        picture.key = key
    return picture


def _blend(seen: _View, cloud: SplatCloud) -> None:
    """The splats into the bound target."""
    gpu.state.depth_test_set("NONE")
    gpu.state.depth_mask_set(False)
    gpu.state.blend_set("ALPHA_PREMULT")
    shader, p = _kept.programs.splats, seen.projection
    near, far = seen.ends()
    shader.bind()
    shader.uniform_float("view", Matrix(seen.view.tolist()))
    shift = p[:2, 3] if seen.orthographic else p[:2, 2]
    shader.uniform_float("lens", (p[0, 0], p[1, 1], *shift))
    shader.uniform_float("bounds", slopes(p))
    shader.uniform_float("frame", (*seen.size, near, min(far, 3e38)))
    shader.uniform_int("orthographic", int(seen.orthographic))
    cloud.bind(shader, seen.view)
    _kept.programs.quads.draw(shader, cloud.count)


def slopes(projection: np.ndarray) -> tuple[float, float, float, float]:
    """The least x and y, then the greatest, of tan(angle) at which a perspective projection [4,4] is linearised:
    FRUSTUM_MARGIN of half the field of view outside the picture."""
    half = 1 / np.diag(projection)[:2]
    middle = projection[:2, 2] * half
    reach = (1 + splat_shader.FRUSTUM_MARGIN) * half
    return (*(middle - reach), *(middle + reach))


def _cloud(context: bpy.types.Context) -> tuple[int, SplatCloud] | None:
    """(its number, the Gaussians that the view shows); None when there are none."""
    space = context.space_data
    local = space.local_view is not None or space.use_local_collections
    place = (context.scene.name_full, context.view_layer.name, space.as_pointer() if local else 0)
    known = _kept.clouds.get(place)
    if known is None or known[0] != _changes:
        parts = shown_parts(context)
        found = gather.joined([part.gaussians for part in parts])
        chosen = np.repeat([float(part.selected) for part in parts], [len(part.gaussians) for part in parts])
        if known is not None and _same(known[2], found) and np.array_equal(known[3], chosen):
            known = (_changes, *known[1:])
        else:
            _kept.numbers += 1
            known = (_changes, _kept.numbers, found, chosen, SplatCloud(found, chosen))
        if len(_kept.clouds) >= _VIEWS:
            _kept.clouds.clear()
        _kept.clouds[place] = known
    return (known[1], known[4]) if known[4].count else None


def _outline(context: bpy.types.Context) -> tuple[float, float, float, float]:
    """The theme's colour around selected objects, where the view shows outlines."""
    overlay, theme = context.space_data.overlay, context.preferences.themes[0].view_3d
    if not (overlay.show_overlays and overlay.show_outline_selected):
        return (0.0, 0.0, 0.0, 0.0)
    active = context.view_layer.objects.active
    mine = active is not None and active.blendsplat.kind == "AVATAR" and active.select_get()
    return (*(theme.object_active if mine else theme.object_selected), 1.0)


def shown_parts(context: bpy.types.Context) -> list[gather.Part]:
    """The avatars that the context's 3D view shows."""
    space = context.space_data
    return gather.parts(context.evaluated_depsgraph_get(), shows=lambda item: _is_shown(item, space))


def _is_shown(item: bpy.types.Object, space: bpy.types.SpaceView3D) -> bool:
    return item.display_type not in ("BOUNDS", "WIRE") and item.visible_in_viewport_get(space)


def _same(a: gather.Gaussians, b: gather.Gaussians) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in gather.Gaussians.__dataclass_fields__)


@bpy.app.handlers.persistent
def _changed(*_: object) -> None:
    global _changes
    _changes += 1


@bpy.app.handlers.persistent
def _loaded(*_: object) -> None:
    """Another file: nothing on the graphics card is of use."""
    _kept.clouds.clear()
    _kept.pictures.clear()
    _changed()


_HANDLERS = (
    ("depsgraph_update_post", _changed), ("frame_change_post", _changed), ("undo_post", _changed),
    ("redo_post", _changed), ("load_post", _loaded),
)  # fmt: skip


def register() -> None:
    global _handle
    handlers.add(_HANDLERS)
    if not bpy.app.background:
        _handle = bpy.types.SpaceView3D.draw_handler_add(_draw_over, (), "WINDOW", "POST_VIEW")


def unregister() -> None:
    global _handle, _kept
    handlers.remove(_HANDLERS)
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
        _handle = None
    _kept = _Kept()

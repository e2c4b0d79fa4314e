# SPDX-License-Identifier: GPL-3.0-or-later
"""The render engine BLENDSPLAT: F12, animations and ``blender -b -a`` through the engine's rasterizer.

It renders avatars only, those with networks as their networks draw them, and leaves out what other objects hide: those
are for EEVEE and Cycles, over whose pictures it is laid (scene/composite). Blender makes a fresh instance for every
frame, so the connection lives in ``session``.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..client import session
from ..client.link import EngineError, LinkError
from ..scene import avatar_repair
from ..scene.networks import NetworksError
from . import gather, passes, viewport
from .camera import CameraError
from .color import film, linear_to_srgb
from .frame import Frame
from .viewport import ENGINE_ID

RENDER_SECONDS = 900.0


class BlendsplatRenderEngine(bpy.types.RenderEngine):
    """Avatars as their Gaussians, in the colours they were trained in."""

    bl_idname = ENGINE_ID
    bl_label = "Blendsplat"
    bl_use_preview = False
    bl_use_eevee_viewport = True
    bl_use_shading_nodes_custom = False

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)

    def update_render_passes(self, scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> None:
        for one in _wanted(view_layer):
            self.register_pass(scene, view_layer, one.name, len(one.channels), one.channels, one.kind)

    def render(self, depsgraph: bpy.types.Depsgraph) -> None:
        """One view layer of one frame. A failure ends the render with one sentence, and never Blender."""
        try:
            self._render(depsgraph)
        except (LinkError, EngineError, NetworksError, CameraError) as error:
            if not self.test_break():
                sentence = f"Blendsplat: {session.sentence_of(error)}"
                self.error_set(sentence)  # ends an animation, shown over the picture
                self.report({"ERROR"}, sentence)  # raises in scripts

    def view_update(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        """Rendered shading: viewport notices by itself what changes."""

    def view_draw(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        """Rendered shading: what the avatars' sliders show, over the film's background."""
        background = film(depsgraph.scene)
        viewport.draw_alone(context, None if background is None else linear_to_srgb(background))

    def _render(self, depsgraph: bpy.types.Depsgraph) -> None:
        scene = depsgraph.scene
        for carrier in scene.original.objects:
            if not carrier.hide_render and (sentence := avatar_repair.sentence(carrier)):
                self.report({"WARNING"}, f"Blendsplat: {sentence} Press Repair Avatar in the panel 4 Avatar.")
        wanted = _wanted(depsgraph.view_layer)
        frame, part = scene.frame_current, scene.frame_subframe

        def seek(offset: float) -> None:
            whole = int(np.floor(frame + part + offset))
            self.frame_set(whole, float(frame + part + offset - whole))

        picture = Frame(depsgraph, self._ask, seek, session.device(), wanted)
        planes = picture.planes()
        self.update_stats("Blendsplat", f"{picture.seen:,} Gaussians")
        if not picture.seen:
            self.report({"WARNING"}, "Blendsplat: no avatar is visible to this camera's scene.")
        layer_name = depsgraph.view_layer.name
        for one in wanted:
            if one.name not in _BLENDERS:
                self.add_pass(one.name, len(one.channels), one.channels, layer=layer_name)
        height, width = planes[gather.COMBINED].shape[:2]
        # A render region counts from its own corner.
        result = self.begin_result(0, 0, width, height, layer=layer_name)
        for name, plane in planes.items():
            if name in result.layers[0].passes:
                # foreach_set is a hundred times faster than assigning rect.
                result.layers[0].passes[name].rect.foreach_set(_rows(plane))
        self.end_result(result)

    def _ask(self, method: str, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of the engine's answer, waited for: nobody else does. Raises LinkError, EngineError."""
        link = session.ready(stop=self.test_break, patient=False)
        _, answer = link.request(method, params, arrays).wait(RENDER_SECONDS, self.test_break)
        return answer


_BLENDERS = (gather.COMBINED, passes.DEPTH, passes.NORMAL, passes.VECTOR)  # passes that Blender itself adds


def _rows(plane: np.ndarray) -> np.ndarray:
    """A plane [H,W,C] flat, Blender's first row the lowest, in floats of the machine's own kind: Blender refuses those
    whose byte order is spelled out, as it is in what comes over the wire."""
    rows = np.empty((plane.shape[0], plane[0].size), np.float32)
    rows[::-1] = plane.reshape(rows.shape)
    return rows.ravel()


def _wanted(view_layer: bpy.types.ViewLayer) -> list[passes.Pass]:
    avatars = [item.name for item in view_layer.objects if item.blendsplat.kind == "AVATAR" and not item.hide_render]
    return passes.wanted(view_layer, sorted(avatars))


_PANELS = (
    "RENDER_PT_format", "RENDER_PT_frame_range", "RENDER_PT_output", "RENDER_PT_stamp", "RENDER_PT_color_management",
    "RENDER_PT_post_processing", "RENDER_PT_time_stretching", "RENDER_PT_encoding", "DATA_PT_camera", "DATA_PT_lens",
    "DATA_PT_camera_background_image", "DATA_PT_context_camera", "VIEWLAYER_PT_layer", "WORLD_PT_context_world",
    "WORLD_PT_viewport_display",
)  # fmt: skip


def _compatible_panels() -> list[type]:
    return [
        panel
        for name in _PANELS
        if (panel := getattr(bpy.types, name, None)) is not None and hasattr(panel, "COMPAT_ENGINES")
    ]


def register() -> None:
    bpy.utils.register_class(BlendsplatRenderEngine)
    for panel in _compatible_panels():
        panel.COMPAT_ENGINES.add(ENGINE_ID)


def unregister() -> None:
    for panel in _compatible_panels():
        panel.COMPAT_ENGINES.discard(ENGINE_ID)
    bpy.utils.unregister_class(BlendsplatRenderEngine)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The render engine BLENDSPLAT: F12, animations and ``blender -b -a`` through the engine's rasterizer.

It renders avatars only, those with networks as their networks draw them; other objects are for other engines (render
both and composite with the Depth pass). Blender makes a fresh instance for every frame, so the connection lives in
``session``.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..client import session
from ..client.link import EngineError, LinkError
from ..scene import avatar_repair
from ..scene.networks import NetworksError
from . import camera, gather, viewport
from .networks import Networks
from .viewport import ENGINE_ID

RENDER_SECONDS = 900.0
NO_HIT = 1e10  # Blender's depth where nothing is


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
        self.register_pass(scene, view_layer, "Combined", 4, "RGBA", "COLOR")
        if view_layer.use_pass_z:
            self.register_pass(scene, view_layer, "Depth", 1, "Z", "VALUE")
        for name in wanted_passes(view_layer):
            self.register_pass(scene, view_layer, name, 4, "RGBA", "COLOR")

    def render(self, depsgraph: bpy.types.Depsgraph) -> None:
        """One view layer of one frame. A failure ends the render with one sentence, and never Blender."""
        try:
            self._render(depsgraph)
        except (LinkError, EngineError, NetworksError, camera.CameraError) as error:
            if not self.test_break():
                sentence = f"Blendsplat: {session.sentence_of(error)}"
                self.error_set(sentence)  # ends an animation, shown over the picture
                self.report({"ERROR"}, sentence)  # raises in scripts

    def view_update(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        """Rendered shading: viewport notices by itself what changes."""

    def view_draw(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        """Rendered shading: what the avatars' sliders show, over the film's background."""
        scene = depsgraph.scene
        viewport.draw_alone(context, None if scene.render.film_transparent else linear_to_srgb(world_color(scene)))

    def _render(self, depsgraph: bpy.types.Depsgraph) -> None:
        scene = depsgraph.scene
        for carrier in scene.original.objects:
            if not carrier.hide_render and (sentence := avatar_repair.sentence(carrier)):
                self.report({"WARNING"}, f"Blendsplat: {sentence} Press Repair Avatar in the panel 4 Avatar.")
        view = camera.view_of(scene, depsgraph, scene.camera)
        background = None if scene.render.film_transparent else world_color(scene)
        networks, extra = Networks(depsgraph, self._ask), wanted_passes(depsgraph.view_layer)
        planes = {}
        for name in (gather.COMBINED, *extra):
            gaussians = gather.gather(depsgraph, name, networks)
            self.update_stats("Blendsplat", f"{name}: {len(gaussians):,} Gaussians")
            premultiplied, alpha, depth = self._rasterize(view, gaussians, name)
            planes[name] = compose(premultiplied, alpha, background)
            if name == gather.COMBINED:
                planes["Depth"] = expected_depth(depth, alpha)
        layer_name = depsgraph.view_layer.name
        for name in extra:
            self.add_pass(name, 4, "RGBA", layer=layer_name)
        # A render region counts from its own corner.
        result = self.begin_result(0, 0, view.width, view.height, layer=layer_name)
        for name, plane in planes.items():
            if name in result.layers[0].passes:
                # Blender's first row is the lowest; foreach_set is a hundred times faster than assigning rect.
                result.layers[0].passes[name].rect.foreach_set(np.ascontiguousarray(plane[::-1]).ravel())
        self.end_result(result)

    def _rasterize(
        self, view: camera.View, gaussians: gather.Gaussians, picture: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """premultiplied [H,W,3], alpha [H,W,1], depth [H,W,1]; an empty scene needs no engine."""
        size = (view.height, view.width)
        if not len(gaussians):
            if picture == gather.COMBINED:
                self.report({"WARNING"}, "Blendsplat: no avatar is visible to this camera's scene.")
            return np.zeros((*size, 3), np.float32), np.zeros((*size, 1), np.float32), np.zeros((*size, 1), np.float32)
        arrays = gaussians.as_arrays() | {"viewmat": view.viewmat.astype(np.float32), "K": view.K.astype(np.float32)}
        params = {"width": view.width, "height": view.height, "device": session.device()}
        answer = self._ask("render.gaussians", params, arrays)
        for name, channels in (("image", 3), ("alpha", 1), ("depth", 1)):
            if answer.get(name) is None or answer[name].shape != (*size, channels):
                raise LinkError(f"The engine's answer lacks {name!r} in the right size; install the engine again.")
        return answer["image"], answer["alpha"], answer["depth"]

    def _ask(self, method: str, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of the engine's answer, waited for: nobody else does. Raises LinkError, EngineError."""
        link = session.ready(stop=self.test_break, patient=False)
        _, answer = link.request(method, params, arrays).wait(RENDER_SECONDS, self.test_break)
        return answer


def wanted_passes(view_layer: bpy.types.ViewLayer) -> list[str]:
    """The passes beside Blender's own that are switched on."""
    settings = view_layer.blendsplat
    wanted = {gather.BASE: settings.use_pass_base, gather.RESIDUAL: settings.use_pass_residual}
    return [name for name, on in wanted.items() if on]


def compose(premultiplied: np.ndarray, alpha: np.ndarray, background: np.ndarray | None) -> np.ndarray:
    """Display-referred premultiplied colour -> scene-linear RGBA [H,W,4] float32, premultiplied.

    Over a background (linear RGB) the blend happens in display values, as in training, so that the view transform
    "Standard" gives the trained picture back; a transparent film keeps straight colours right.
    """
    if background is not None:
        shown = premultiplied + (1 - alpha) * linear_to_srgb(background)
        return np.concatenate([srgb_to_linear(shown), np.ones_like(alpha)], -1).astype(np.float32)
    straight = premultiplied / np.maximum(alpha, 1e-6)
    return np.concatenate([srgb_to_linear(straight) * alpha, alpha], -1).astype(np.float32)


def expected_depth(depth: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Premultiplied depth -> distance along the view axis, Blender's far value where hardly anything is."""
    return np.where(alpha > 0.01, depth / np.maximum(alpha, 1e-6), NO_HIT).astype(np.float32)


def srgb_to_linear(value: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1; values above 1 follow the curve on."""
    value = np.maximum(value, 0)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    """The inverse of srgb_to_linear."""
    value = np.maximum(value, 0)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def world_color(scene: bpy.types.Scene) -> np.ndarray:
    """The world's colour (linear RGB): its Background node's when it is a plain one, else its viewport colour."""
    world = scene.world
    if world is None:
        return np.zeros(3)
    node = None
    if world.node_tree is not None:
        node = next((item for item in world.node_tree.nodes if item.type == "BACKGROUND"), None)
    if node is None or node.inputs["Color"].is_linked:
        return np.array(world.color)
    return np.array(node.inputs["Color"].default_value[:3]) * node.inputs["Strength"].default_value


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a render of this scene will not show as an artist might expect: said before it is rendered."""

from __future__ import annotations

import bpy

from . import camera, occluders, viewport
from .color import world_is_plain


def sentences(scene: bpy.types.Scene) -> list[str]:
    """One for each thing; the first that keeps the scene from being rendered at all is the only one."""
    if sentence := camera.problem(scene.camera):
        return [sentence]
    found = []
    if scene.camera.data.type == "ORTHO" and scene.camera.data.dof.use_dof:
        found.append("Depth of Field is for perspective cameras: this orthographic one renders everything sharp.")
    if scene.render.use_multiview:
        found.append("Stereoscopy is not rendered: avatars are the same for both eyes. Turn it off, or render twice.")
    if scene.blendsplat_render.hidden_by_others and (names := occluders.left_out(scene)):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        found.append(f"{', '.join(names[:3])}{more}: no surface, so avatars lie over it.")
    if not scene.render.film_transparent and not world_is_plain(scene):
        found.append("The world's texture is not rendered behind avatars: its plain viewport colour is.")
    if any(item.type == "LIGHT" and not item.hide_render for item in scene.objects):
        found.append("Lights do not change avatars: they keep the light of their video.")
    return found


def view_sentence() -> str:
    """Why 3D views show no splats; "" when they do."""
    return viewport.problem()

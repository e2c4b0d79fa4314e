# SPDX-License-Identifier: GPL-3.0-or-later
"""The preferences' page: where the engine lives, its device, the face network; ../preferences.py reads the answers."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..client import session, weights_check
from ..preferences import PACKAGE
from .panels.layout import paragraph


class BlendsplatPreferences(bpy.types.AddonPreferences):
    """Engine, device, package index."""

    bl_idname = PACKAGE

    engine_kind: EnumProperty(
        name="Engine",
        items=[
            ("INSTALLED", "Installed Here", "The engine that this add-on installs into its own folder"),
            ("COMMAND", "Existing Engine", "A command line that starts an engine, on this machine or through ssh"),
        ],
        description="Where the engine is that tracks, trains and renders",
    )
    engine_command: StringProperty(
        name="Command",
        description="Words that start the engine, for example:  ssh gpu-box blendsplat serve",
    )
    device: StringProperty(
        name="Device", description="What the engine computes on: cpu, cuda, cuda:1, ...; empty: its best"
    )
    package_index: StringProperty(
        name="Package Index", description="Install the engine's libraries from this index instead of the public one"
    )
    landmarker: StringProperty(
        name="Landmark Model",
        subtype="FILE_PATH",
        description="A FaceLandmarker bundle (.task); only needed with an engine on Python 3.13",
    )
    network: EnumProperty(
        name="Face Network",
        description="What reads a face's shape and expression from its pixels, before the landmarks refine them",
        items=[
            ("AUTO", "Built-in", "The small network that comes with Blendsplat: free for any use"),
            ("FOLDER", "From a Folder", "Weights that you fetched or trained, e.g. KaoLRM's: mind their licence"),
            ("NONE", "None", "Fit heads to the face's landmarks alone"),
        ],
    )
    weights: StringProperty(
        name="Weights",
        subtype="DIR_PATH",
        description="Folder with a network's config.json and model.safetensors",
    )
    path_here: StringProperty(
        name="Folder Here",
        subtype="DIR_PATH",
        description="A folder that both machines share, as this machine calls it",
    )
    path_there: StringProperty(name="Folder There", description="The same folder as the engine's machine calls it")
    add_results: BoolProperty(
        name="Add Results to the Scene",
        default=True,
        description="When tracking or training ends, add the head or the avatar at once",
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "engine_kind", expand=True)
        if self.engine_kind == "COMMAND":
            layout.prop(self, "engine_command")
            layout.prop(self, "path_here")
            layout.prop(self, "path_there")
        else:
            layout.prop(self, "package_index")
            layout.operator("blendsplat.engine_install")
        layout.prop(self, "device")
        layout.prop(self, "landmarker")
        layout.prop(self, "add_results")
        self._draw_weights(context, layout)
        row = layout.row()
        row.operator("blendsplat.engine_check")
        row.operator("blendsplat.engine_log")

    def _draw_weights(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        layout.separator()
        row = layout.row(align=True)
        row.prop(self, "network")
        row.operator("blendsplat.check_weights", text="Check")
        if self.network == "FOLDER":
            layout.prop(self, "weights")
        for sentence, icon in weights_check.lines(session.weights()):
            paragraph(context, layout, sentence, icon)


register, unregister = bpy.utils.register_classes_factory((BlendsplatPreferences,))

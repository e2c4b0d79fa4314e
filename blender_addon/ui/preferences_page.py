# SPDX-License-Identifier: GPL-3.0-or-later
"""The preferences' page: where the engine lives, its device, the face network; ../preferences.py reads the answers."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, StringProperty

from .. import preferences
from ..client import session, weights_check
from ..preferences import PACKAGE
from .operators import installation
from .panels.engine_parts import draw_installation, draw_online_access, draw_test_picture, plan
from .panels.layout import paragraph


class SharedFolder(bpy.types.PropertyGroup):
    """A folder that this machine and the engine's share."""

    here: StringProperty(name="Here", subtype="DIR_PATH", description="The folder as this machine calls it")
    there: StringProperty(name="There", description="The same folder as the engine's machine calls it")


class BlendsplatPreferences(bpy.types.AddonPreferences):
    """Engine, device, where its parts come from."""

    bl_idname = PACKAGE

    engine_kind: EnumProperty(
        name="Engine",
        description="Which engine works for this Blender",
        items=[
            ("INSTALLED", "Installed Here", "The engine that this add-on installs into its own folder"),
            ("COMMAND", "Existing Engine", "A command line that starts an engine, on this machine or through ssh"),
        ],
    )
    engine_command: StringProperty(
        name="Command",
        description="Words that start the engine, for example:  ssh -o BatchMode=yes gpu-box blendsplat serve",
    )
    device: StringProperty(
        name="Device", description="What the engine computes on: cpu, cuda, cuda:1, ...; empty: its best"
    )
    torch: EnumProperty(
        name="Torch",
        description="Which build of torch, the library that the engine computes with, is installed",
        items=[
            (
                "AUTO",
                "For This Machine",
                "For the graphics card where a driver of Nvidia's is found, else for the processor",
            ),
            (
                "CPU",
                "For the Processor",
                "The small build, about 2 GB with the engine: trains slowly, everything works",
            ),
            ("CUDA", "For a Graphics Card", "The large build for Nvidia's cards, about 6 GB with the engine"),
            ("INDEX", "The Package Index's Own", "What the ordinary package index has: on Linux the large build"),
        ],
    )
    package_index: StringProperty(
        name="Package Index",
        description="A company's own index (https://...) to install from, instead of the public one",
    )
    torch_index: StringProperty(
        name="Torch Index",
        description="A company's copy of torch's own index, with the build at its end: https://.../whl/cpu",
    )
    certificate: StringProperty(
        name="Certificate File",
        subtype="FILE_PATH",
        description="A company's certificates (.pem, .crt), where its network puts its own in place of the public ones",
    )
    python_mirror: StringProperty(
        name="Python Mirror",
        description="Where a Python is fetched from when this machine has none that fits: a company's copy of "
        "python-build-standalone's releases, as uv takes it",
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
    folders: CollectionProperty(
        type=SharedFolder,
        name="Shared Folders",
        description="Folders that this machine and the engine's share under different names",
    )
    # The one pair that version 0.1.0 knew; register() moves it into ``folders``.
    path_here: StringProperty(options={"HIDDEN"}, description="See Shared Folders")
    path_there: StringProperty(options={"HIDDEN"}, description="See Shared Folders")
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
            self._draw_command(context, layout)
        else:
            self._draw_installed(context, layout)
        layout.separator()
        layout.prop(self, "device")
        layout.prop(self, "landmarker")
        layout.prop(self, "add_results")
        self._draw_weights(context, layout)
        layout.separator()
        row = layout.row()
        row.operator("blendsplat.engine_check")
        row.operator("blendsplat.test_picture")
        row.operator("blendsplat.engine_log")
        draw_test_picture(context, layout)

    def _draw_installed(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        engine, removal = preferences.installed_engine(), installation.removal()
        version, torch = engine.get("version"), engine.get("torch")
        if version:
            paragraph(context, layout, f"Installed: engine {version}, torch {torch}.", "CHECKMARK")
        layout.prop(self, "torch")
        paragraph(context, layout, plan(), "INFO")
        row = layout.row()
        update = installation.update()
        text = f"Update Engine to {update[1]}" if update else "Install Again" if version else "Install Engine"
        row.operator("blendsplat.engine_install", text=text)
        row.operator("blendsplat.engine_remove", icon="TRASH")
        draw_online_access(context, layout)
        draw_installation(context, layout)
        if removal is not None:
            sentence = "Removing the engine..." if removal.running else removal.sentence
            paragraph(context, layout, sentence, "ERROR" if removal.failed else "INFO")
        header, body = layout.panel("BLENDSPLAT_company", default_closed=True)
        header.label(text="In a Company's Network")
        if body is not None:
            for name in ("package_index", "torch_index", "certificate", "python_mirror"):
                body.prop(self, name)

    def _draw_command(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        layout.prop(self, "engine_command")
        header, body = layout.panel("BLENDSPLAT_folders", default_closed=False)
        header.label(text="Shared Folders")
        if body is None:
            return
        if session.elsewhere() and not preferences.folder_pairs():
            paragraph(
                context, body,
                "The engine runs on another machine. Where a folder has another name there, say both here; folders "
                "of the same name need nothing.", "INFO",
            )  # fmt: skip
        for index, folder in enumerate(self.folders):
            row = body.row(align=True)
            row.use_property_split = False
            row.prop(folder, "here", text="", placeholder="Here")
            row.label(text="", icon="FORWARD")
            row.prop(folder, "there", text="", placeholder="There")
            row.operator("blendsplat.remove_folder", text="", icon="REMOVE").index = index
        body.operator("blendsplat.add_folder", icon="ADD")

    def _draw_weights(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        layout.separator()
        row = layout.row(align=True)
        row.prop(self, "network")
        row.operator("blendsplat.check_weights", text="Check")
        if self.network == "FOLDER":
            layout.prop(self, "weights")
        for sentence, icon in weights_check.lines(session.weights()):
            paragraph(context, layout, sentence, icon)


def _move_old_pair() -> None:
    """Version 0.1.0 knew one shared folder."""
    prefs = preferences.get()
    if isinstance(prefs, BlendsplatPreferences) and prefs.path_here and prefs.path_there:
        folder = prefs.folders.add()
        folder.here, folder.there = prefs.path_here, prefs.path_there
        prefs.path_here = prefs.path_there = ""


CLASSES = (SharedFolder, BlendsplatPreferences)
_register, unregister = bpy.utils.register_classes_factory(CLASSES)


def register() -> None:
    _register()
    _move_old_pair()

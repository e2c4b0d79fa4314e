# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab "Avatar", its panels in the order of the work. Panels only read; operators and jobs do."""

from __future__ import annotations

import textwrap

import bpy

from . import jobs, preferences, preview, render_engine, session
from .operators import avatar as avatar_operators
from .operators import common
from .operators import engine as engine_operators


class _Panel(bpy.types.Panel):
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Avatar"

    def column(self) -> bpy.types.UILayout:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        return layout.column()


class BLENDSPLAT_PT_engine(_Panel):
    bl_label = "Engine"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        column = self.column()
        installation = engine_operators.installation()
        if installation is not None and installation.state == "running":
            progress(column, installation.fraction, installation.step)
            column.label(text=(installation.lines or [""])[-1][:60])
            column.operator("blendsplat.engine_install_cancel", icon="X")
            return
        if installation is not None and installation.state == "failed":
            paragraph(context, column, installation.error, "ERROR")
        self._state(context, column)
        prefs = preferences.get()
        if not isinstance(prefs, bpy.types.AddonPreferences):
            return
        column.prop(prefs, "engine_kind", text="")
        if prefs.engine_kind == "COMMAND":
            column.prop(prefs, "engine_command", text="Command")
        elif not preferences.installed_command():
            column.operator("blendsplat.engine_install", icon="IMPORT")
            if not bpy.app.online_access:
                paragraph(
                    context,
                    column,
                    "Installing needs the network: allow Online Access in Preferences > System.",
                    "INTERNET_OFFLINE",
                )

    def _state(self, context: bpy.types.Context, column: bpy.types.UILayout) -> None:
        link = session.link
        if link.state == "ready":
            devices = ", ".join(str(item.get("name", item.get("id"))) for item in link.hello.get("devices", [])[-1:])
            column.label(text=f"Ready: {link.hello.get('version', '?')}", icon="CHECKMARK")
            if devices:
                column.label(text=devices[:48])
        elif link.state == "starting":
            column.label(text="Starting...", icon="TIME")
        elif link.state == "failed":
            paragraph(context, column, link.sentence, "ERROR")
        else:
            column.label(text="Not running: it starts when needed", icon="RADIOBUT_OFF")
        row = column.row(align=True)
        row.operator("blendsplat.engine_check", text="Check")
        row.operator("blendsplat.engine_stop", text="End")
        row.operator("blendsplat.engine_log", text="Log")


class BLENDSPLAT_PT_video(_Panel):
    bl_label = "1  Video"
    bl_order = 1

    def draw(self, context: bpy.types.Context) -> None:
        column, settings = self.column(), context.scene.blendsplat
        column.prop(settings, "video")
        column.prop(settings, "directory", placeholder=_placeholder(common.directory_of(context.scene)))
        trim = column.column(align=True)
        trim.prop(settings, "start")
        trim.prop(settings, "end")
        column.prop(settings, "crop_auto")
        if not settings.crop_auto:
            column.prop(settings, "crop", text="Left, Top, Size")
        column.prop(settings, "size")
        column.prop(settings, "matte")
        if settings.matte == "folder":
            column.prop(settings, "matte_folder")
        step(context, column, "import", "blendsplat.import_video", "FILE_MOVIE")


class BLENDSPLAT_PT_track(_Panel):
    bl_label = "2  Track"
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        column, settings = self.column(), context.scene.blendsplat
        column.prop(settings, "head")
        if settings.head == "file":
            column.prop(settings, "head_path", text="File")
        column.prop(settings, "match_scene")
        step(context, column, "track", "blendsplat.track", "TRACKING")
        column.operator("blendsplat.add_head", icon="USER")


class BLENDSPLAT_PT_train(_Panel):
    bl_label = "3  Train"
    bl_order = 3

    def draw(self, context: bpy.types.Context) -> None:
        column, settings = self.column(), context.scene.blendsplat
        column.prop(settings, "preset")
        column.prop(settings, "output", placeholder=_placeholder(common.output_of(context.scene)))
        step(context, column, "train", "blendsplat.train", "SHADING_RENDERED")
        job = jobs.latest("train")
        if job is not None and preview.icon():
            column.template_icon(icon_value=preview.icon(), scale=10.0)
        if job is not None and job.figures:
            column.label(text="   ".join(f"{name} {value:.3g}" for name, value in list(job.figures.items())[:3]))


class BLENDSPLAT_PT_avatar(_Panel):
    bl_label = "4  Avatar"
    bl_order = 4

    def draw(self, context: bpy.types.Context) -> None:
        column, settings = self.column(), context.scene.blendsplat
        column.prop(settings, "avatar_file", placeholder=_placeholder(avatar_operators.file_of(context.scene)))
        column.operator("blendsplat.add_avatar", icon="OUTLINER_OB_POINTCLOUD")
        column.separator()
        column.prop(settings, "performance")
        column.prop(settings, "performance_start")
        column.operator("blendsplat.apply_performance", icon="KEY_HLT")
        carrier = avatar_operators.selected_avatar(context)
        if carrier is not None:
            column.separator()
            column.label(text=carrier.name, icon="OUTLINER_OB_POINTCLOUD")
            column.prop(carrier.blendsplat, "live", toggle=True)


class BLENDSPLAT_PT_sliders(_Panel):
    bl_label = "Sliders"
    bl_parent_id = "BLENDSPLAT_PT_avatar"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _head(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        column.use_property_split = False
        for key in _head(context).data.shape_keys.key_blocks[1:]:
            if not key.name.startswith("corrective "):
                column.prop(key, "value", text=key.name, slider=True)


class BLENDSPLAT_PT_render(_Panel):
    bl_label = "5  Render"
    bl_order = 5

    def draw(self, context: bpy.types.Context) -> None:
        column, scene = self.column(), context.scene
        if scene.render.engine != render_engine.ENGINE_ID:
            column.operator("blendsplat.use_render_engine", icon="RENDER_STILL")
        column.prop(scene.render, "film_transparent", text="Transparent")
        if scene.render.engine == render_engine.ENGINE_ID and scene.view_settings.view_transform != "Standard":
            paragraph(context, column, 'The trained colours appear with the view transform "Standard".', "INFO")
        row = column.row(align=True)
        row.operator("render.render", text="Image", icon="RENDER_STILL").use_viewport = False
        row.operator("render.render", text="Animation", icon="RENDER_ANIMATION").animation = True
        column.operator("blendsplat.export_ply", icon="EXPORT")


class BLENDSPLAT_PT_film(bpy.types.Panel):
    bl_label = "Film"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "render"
    COMPAT_ENGINES = {render_engine.ENGINE_ID}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.engine in cls.COMPAT_ENGINES

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(context.scene.render, "film_transparent", text="Transparent")
        layout.prop(context.view_layer, "use_pass_z", text="Depth Pass")


def step(context: bpy.types.Context, column: bpy.types.UILayout, kind: str, operator: str, icon: str) -> None:
    """A step's button, or its progress while it runs; its last error in words."""
    job = jobs.latest(kind)
    if job is not None and job.running:
        progress(column, job.fraction, job.status())
        column.operator("blendsplat.cancel_job", icon="X")
        return
    again = job is not None and job.state in ("cancelled", "failed") and kind == "train"
    column.operator(operator, icon=icon, **({"text": "Continue Training"} if again else {}))
    if job is not None and job.state == "failed":
        paragraph(context, column, job.error, "ERROR")
    elif job is not None and job.state == "cancelled":
        paragraph(context, column, job.status(), "INFO")


def progress(column: bpy.types.UILayout, fraction: float, text: str) -> None:
    """A bar with words beneath it that always fit."""
    column.progress(factor=fraction, text=f"{fraction:.0%}")
    column.label(text=text)


def paragraph(context: bpy.types.Context, column: bpy.types.UILayout, sentence: str, icon: str) -> None:
    """A sentence, wrapped to the sidebar's width."""
    width = (
        max(24, int(context.region.width / (7.2 * context.preferences.system.ui_scale)) - 6) if context.region else 40
    )
    box = column.column(align=True)
    for index, line in enumerate(textwrap.wrap(sentence, width) or [""]):
        box.label(text=line, icon=icon if index == 0 else "BLANK1")


def _placeholder(path: object) -> str:
    return str(path) if path is not None else ""


def _head(context: bpy.types.Context) -> bpy.types.Object | None:
    """The head whose sliders are shown: the selected avatar's, else the active one."""
    carrier = avatar_operators.selected_avatar(context)
    head = carrier.blendsplat.head if carrier is not None else None
    active = context.view_layer.objects.active
    if head is None and active is not None and active.blendsplat.kind == "HEAD":
        head = active
    return head if head is not None and head.data is not None and head.data.shape_keys is not None else None


CLASSES = (
    BLENDSPLAT_PT_engine, BLENDSPLAT_PT_video, BLENDSPLAT_PT_track, BLENDSPLAT_PT_train, BLENDSPLAT_PT_avatar,
    BLENDSPLAT_PT_sliders, BLENDSPLAT_PT_render, BLENDSPLAT_PT_film,
)  # fmt: skip


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)

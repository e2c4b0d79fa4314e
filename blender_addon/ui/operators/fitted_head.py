# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done with a fitted head: look at it through its photograph's camera, put its sliders back, export it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy.props import EnumProperty
from bpy_extras.io_utils import ExportHelper

from ...client import jobs, session
from ...scene import fit_scene
from .. import photographs
from . import common

_SUFFIXES = {"GLB": ".glb", "OBJ": ".obj"}


def fitted_heads(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The scene's heads that were fitted to photographs."""
    return [item for item in scene.objects if item.blendsplat.kind == "HEAD" and fit_scene.fits_of(item)]


def meant_head(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active object's fitted head (its mesh or its rig), else that of the highlighted photograph, else the only."""
    heads = fitted_heads(context.scene)
    current = context.view_layer.objects.active if context.view_layer is not None else None
    for head in heads:
        if current is not None and current in (head, head.blendsplat.rig, *fit_scene.cameras_of(head)):
            return head
    folder = photographs.folder_of(photographs.active(context.scene.blendsplat.photographs))
    of_photograph = [head for head in heads if folder is not None and folder in fit_scene.fits_of(head)]
    return (of_photograph or heads or [None])[0]


def meant_camera(context: bpy.types.Context) -> bpy.types.Object | None:
    """The camera of the highlighted photograph, else the first of the head that is meant."""
    folder = photographs.folder_of(photographs.active(context.scene.blendsplat.photographs))
    for head in fitted_heads(context.scene):
        for fit, camera in zip(fit_scene.fits_of(head), fit_scene.cameras_of(head), strict=False):
            if folder is not None and fit == folder:
                return camera
    head = meant_head(context)
    cameras = fit_scene.cameras_of(head) if head is not None else []
    return cameras[0] if cameras else None


class LookThrough(common.Grey, bpy.types.Operator):
    """Look through the photograph's camera: the head should lie on the photograph"""

    bl_idname = "blendsplat.look_through"
    bl_label = "Look Through Its Camera"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if meant_camera(context) is not None else "This photograph has no camera in the scene: add its head."

    def execute(self, context: bpy.types.Context) -> set[str]:
        fit_scene.look_through(context.scene, meant_camera(context))
        space = context.space_data
        if space is not None and space.type == "VIEW_3D":
            space.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


class ShowAllHeads(common.Grey, bpy.types.Operator):
    """Show the heads again that are hidden while another head's photograph is looked at"""

    bl_idname = "blendsplat.show_all_heads"
    bl_label = "Show All Heads"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if fit_scene.hidden_heads(context.scene) else "No head is hidden for another one's photograph."

    def execute(self, context: bpy.types.Context) -> set[str]:
        fit_scene.show_all(context.scene)
        return {"FINISHED"}


class ResetSliders(common.Grey, bpy.types.Operator):
    """Put all sliders and bones of the head back to what was found in the photograph"""

    bl_idname = "blendsplat.reset_sliders"
    bl_label = "Reset Sliders"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if meant_head(context) is not None else "Fit a head first."

    def execute(self, context: bpy.types.Context) -> set[str]:
        fit_scene.reset_sliders(meant_head(context))
        return {"FINISHED"}


class ExportHead(common.JobOperator, bpy.types.Operator, ExportHelper):
    """Write the head as it is now for another program: GLB with sliders and skeleton, or a plain OBJ"""

    bl_idname = "blendsplat.export_head"
    bl_label = "Export Head"
    kind = "export_head"
    filter_glob: bpy.props.StringProperty(default="*.glb;*.obj", options={"HIDDEN"})
    file_format: EnumProperty(
        name="Format",
        items=[
            ("GLB", "glTF Binary (.glb)", "Mesh, sliders, skeleton and skin in one file: for engines and the web"),
            ("OBJ", "Wavefront (.obj)", "The mesh as it looks now, with UVs: for sculpting and modelling"),
        ],
        description="What the other program reads",
    )

    @property
    def filename_ext(self) -> str:
        return _SUFFIXES[self.file_format]

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "Fit a head first." if meant_head(context) is None else common.cannot_start(cls.kind)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        head = meant_head(context)
        output = Path(bpy.path.abspath(self.filepath))
        if output.suffix.lower() not in _SUFFIXES.values():
            output = output.with_name(output.name + self.filename_ext)
        fit = fit_scene.fits_of(head)[0]
        # An engine behind ssh sees the fit's folder, not this machine's own temporary one.
        place = fit if session.remote() else Path(bpy.app.tempdir)
        now = fit_scene.write_state(head, context.evaluated_depsgraph_get(), place / "as-shown.npz")
        return {
            "fit": session.engine_path(fit), "output": session.engine_path(output),
            "performance": session.engine_path(now),
        }  # fmt: skip

    def tell(self, job: jobs.Job) -> None:
        self.report({"INFO"}, f"Wrote {job.params['output']}.")


CLASSES = (LookThrough, ShowAllHeads, ResetSliders, ExportHead)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

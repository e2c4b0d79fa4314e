# SPDX-License-Identifier: GPL-3.0-or-later
"""A head from photographs: chosen in the file browser or dropped into the view, fitted by the engine, brought in.

The file browser, the dialog of a drop and the panel show the same settings, which live in the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, CollectionProperty, StringProperty

from ... import preferences
from ...client import jobs, session
from ...file_names import name_in
from ...scene import fit_scene
from .. import photographs
from . import common, results

TOPIC = "fits"  # what panels find fitted heads on their way by


def draw_settings(layout: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    """How to fit: for the file browser's side, the dialog of a drop, and the panel."""
    settings = scene.blendsplat.photographs
    layout.prop(settings, "same_person")
    layout.prop(settings, "pixels")
    layout.prop(settings, "lens")
    if settings.lens == "LENGTH":
        layout.prop(settings, "focal_length")
    elif settings.lens == "VIEW":
        layout.prop(settings, "field_of_view")
    layout.prop(scene.blendsplat, "head")
    if scene.blendsplat.head == "file":
        layout.prop(scene.blendsplat, "head_path", text="File")


class _Fit(common.JobOperator):
    """Mix-in: fits ``self.images``."""

    kind = "fit_image"
    images = ()

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return common.no_weights() or common.cannot_start(cls.kind)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        settings = context.scene.blendsplat.photographs
        params: dict[str, Any] = {
            "images": [session.engine_path(path) for path in self.images],
            "directory": session.engine_path(self._directory(context)),
            "head": common.head_of(context.scene), "weights": session.weights(),
            "same_person": settings.same_person and len(self.images) > 1, "device": session.device(),
        }  # fmt: skip
        if settings.pixels:
            params["pixels"] = True
        if (degrees := photographs.view_degrees(settings)) is not None:
            params["field_of_view"] = degrees
        if landmarker := preferences.get().landmarker:
            params["landmarker"] = session.engine_path(landmarker)
        photographs.remember(settings, self.images)
        return params

    def _directory(self, context: bpy.types.Context) -> Path:
        chosen = common.path_of(context.scene.blendsplat.photographs.directory)
        if chosen is None:
            return photographs.default_directory(self.images)
        return chosen / name_in(chosen, self.images[0].stem) if len(self.images) == 1 else chosen

    def notes(self, context: bpy.types.Context) -> dict[str, Any]:
        return {**super().notes(context), "images": [str(path) for path in self.images]}

    def tell(self, job: jobs.Job) -> None:
        fits, failed = photographs.results(job.result)
        for failure in failed:
            self.report({"WARNING"}, f"Skipped: {failure.get('sentence')}")
        self.report({"INFO"}, f"Heads fitted: {len(fits)}." + (f" Skipped: {len(failed)}." if failed else ""))


class FitImage(_Fit, bpy.types.Operator):
    """Make a head like the person's in a photograph, with sliders, bones and a camera. Also several, or a folder"""

    bl_idname = "blendsplat.fit_image"
    bl_label = "Fit Head from Image"
    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})
    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})
    filter_image: BoolProperty(default=True, options={"SKIP_SAVE", "HIDDEN"})
    filter_folder: BoolProperty(default=True, options={"SKIP_SAVE", "HIDDEN"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        if any(item.name for item in self.files):  # dropped into the view
            return context.window_manager.invoke_props_dialog(self, width=380, confirm_text="Fit Head")
        last = photographs.active(context.scene.blendsplat.photographs)
        if last is not None:
            self.directory = str(Path(bpy.path.abspath(last.path)).parent)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        names = [item.name for item in self.files if item.name]
        if names and context.area is not None and context.area.type != "FILE_BROWSER":
            layout.label(text=names[0] if len(names) == 1 else f"{len(names)} photographs", icon="IMAGE_DATA")
        draw_settings(layout, context.scene)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        self.images = photographs.chosen(self.directory, [item.name for item in self.files], self.filepath)
        return super().parameters(context)


class FitAgain(_Fit, bpy.types.Operator):
    """Fit the listed photographs again, with the settings above. What you changed on the heads stays"""

    bl_idname = "blendsplat.fit_again"
    bl_label = "Fit Again"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if not context.scene.blendsplat.photographs.files:
            return "Choose photographs first."
        return super().reason(context)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        self.images = photographs.chosen_again(context.scene.blendsplat.photographs)
        return super().parameters(context)


class AddFit(common.Grey, bpy.types.Operator):
    """Add the heads of the fitted photographs to the scene, or bring back what was deleted"""

    bl_idname = "blendsplat.add_fit"
    bl_label = "Add Fitted Heads"
    wait: common.WAIT
    folder: StringProperty(
        name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"},
        description="A folder that fit-image wrote (for scripts); empty: those of the listed photographs",
    )  # fmt: skip

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return results.busy(context.scene) or common.cannot_ask(context.scene, TOPIC)

    def execute(self, context: bpy.types.Context) -> set[str]:
        items = context.scene.blendsplat.photographs.files
        folders = [f for item in items if (f := photographs.folder_of(item)) is not None]
        if self.folder:
            folders = [common.path_of(self.folder)]
        if not folders:
            self.report({"ERROR"}, "There is no fitted head yet: fit one first.")
            return {"CANCELLED"}
        place = common.Place.of(context.scene)
        return common.outcome(self, fetch_fits(place, folders, wait=self.wait or None))


def fetch_fits(
    place: common.Place,
    folders: Sequence[Path],
    *,
    before: Callable[[bpy.types.Context], None] = lambda _context: None,
    message: str = "Add Fitted Heads",
    wait: bool | None = None,
) -> session.Errand:
    """Ask the engine for the heads of fits; they come into the scene when all are here, as one undo step that begins
    with ``before(context)``. Those that cannot be brought do not keep the others out."""
    asked = [("head.rig", {"directory": session.engine_path(folder), "identity": True}) for folder in folders]

    def then(answers: list[session.Answer | str]) -> None:
        def build(context: bpy.types.Context) -> str:
            before(context)
            cameras = set(_cameras(context.scene))
            _heads, sentences = fit_scene.bring_fits(context, list(zip(folders, answers, strict=True)))
            if not cameras.issuperset(_cameras(context.scene)):
                common.look(context)
            return " ".join(sentences)

        if (scene := place.find()) is None:
            return
        if results.busy(scene):  # what came of the photographs is known, even while their heads wait
            common.in_scene(scene, before, message)
        results.bring(scene, "fit_image", message, folders[0] if folders else Path(), build)

    errand = session.ask_all(asked, then=then, topic=TOPIC, wait=wait)
    errand.home = place
    return errand


def _finished(job: jobs.Job) -> session.Errand | None:
    """Keep what came of each photograph, and bring the heads in."""
    fits, failed = photographs.results(job.result)

    def note(context: bpy.types.Context) -> None:
        settings = context.scene.blendsplat.photographs
        photographs.remember(settings, [Path(path) for path in job.context["images"]])  # may have been undone
        for fit in fits:
            folder = session.local_path(fit.get("directory", ""))
            photographs.note(settings, session.local_path(fit.get("image", "")), folder, fit.get("warnings") or [])
        for failure in failed:
            photographs.note(
                settings, session.local_path(failure.get("image", "")), None, [failure.get("sentence", "")]
            )

    place = job.context["place"]
    if place.find() is None:
        return None
    folders = [session.local_path(fit.get("directory", "")) for fit in fits if preferences.get().add_results]
    return fetch_fits(place, folders, before=note, message="Fit Head from Image")


def _cameras(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    return [item for item in scene.objects if item.blendsplat.kind == "CAMERA"]


class BLENDSPLAT_FH_photograph(bpy.types.FileHandler):
    """Photographs dropped into a 3D view"""

    bl_idname = "BLENDSPLAT_FH_photograph"
    bl_label = "Fit Head from Image"
    bl_import_operator = "blendsplat.fit_image"
    bl_file_extensions = ";".join(photographs.SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


CLASSES = (FitImage, FitAgain, AddFit, BLENDSPLAT_FH_photograph)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    jobs.on_finished("fit_image", _finished)


def unregister() -> None:
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)

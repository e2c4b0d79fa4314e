# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scene remembers about the photographs that heads are fitted to: which, how, and what came of each.

The files on disk are the truth (one folder for each fit); this is the list that the panel shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from ..file_names import name_in
from ..paths import RELATIVE, kept
from ..scene import fit_scene

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".tga", ".jp2")
FILM = 36.0  # millimetres along the longer side: what Blender's cameras have, and photographers' "35 mm"


class BlendsplatPhotograph(bpy.types.PropertyGroup):
    """One photograph and its fit."""

    path: StringProperty(name="Photograph", subtype="FILE_PATH", options=RELATIVE, description="The photograph")
    folder: StringProperty(
        name="Fit", subtype="DIR_PATH", options=RELATIVE, description="Where its fitted head is kept"
    )
    state: EnumProperty(
        name="State",
        description="What came of this photograph",
        items=[
            ("NEW", "Not Fitted", "Not fitted yet", "RADIOBUT_OFF", 0),
            ("FITTED", "Fitted", "Its head is fitted", "CHECKMARK", 1),
            ("DOUBTFUL", "Doubtful", "Fitted, but look at it closely: see the notes", "ERROR", 2),
            ("FAILED", "Failed", "No head could be fitted: see the note", "CANCEL", 3),
        ],
    )
    notes: StringProperty(
        name="Notes", description="What is doubtful about this fit, or why there is none; a sentence a line"
    )


def _chosen(settings: BlendsplatPhotographs, context: bpy.types.Context) -> None:
    """Select the highlighted photograph's head; a view that looks through a photograph's camera looks through its own.
    While the artist is in another mode than Object Mode nothing changes."""
    folder, layer = folder_of(active(settings)), context.view_layer
    current = layer.objects.active if layer is not None else None
    if folder is None or layer is None or (current is not None and current.mode != "OBJECT"):
        return
    for head in [item for item in context.scene.objects if fit_scene.is_fitted(item)]:
        for fit, camera in zip(fit_scene.fits_of(head), fit_scene.cameras_of(head), strict=True):
            if fit != folder:
                continue
            if context.scene.camera is not None and context.scene.camera.blendsplat.fit_path:
                fit_scene.look_through(context.scene, camera)
            if head.name in layer.objects:
                for item in layer.objects:
                    item.select_set(item == head)
                layer.objects.active = head
            return


class BlendsplatPhotographs(bpy.types.PropertyGroup):
    """The photographs of a scene and how heads are fitted to them."""

    files: CollectionProperty(type=BlendsplatPhotograph)
    active: IntProperty(
        name="Photograph",
        description="The photograph that the buttons below are for. Choosing one selects its head, and shows it where "
        "the view looks through a photograph's camera",
        update=_chosen,
    )
    same_person: BoolProperty(
        name="Same Person",
        description="All these photographs show one person: fit one head that agrees with all of them. "
        "Take views from several sides",
    )
    pixels: BoolProperty(
        name="Refine on Pixels",
        description="Compare the head's shading and outline with the photograph as well: takes some seconds more, "
        "and finds the width of jaw and cheeks better than the face's landmarks alone",
    )
    lens: EnumProperty(
        name="Lens",
        description="How wide the photograph's lens was. A wrong lens gives a head that is too flat or too deep",
        items=[
            ("FILE", "From the File", "As the camera wrote it into the file; a usual lens where it did not"),
            ("LENGTH", "Focal Length", "You know the lens in millimetres of 35 mm film (full frame)"),
            ("VIEW", "Field of View", "You know the angle that the photograph covers"),
        ],
    )
    focal_length: FloatProperty(
        name="Focal Length", default=50.0, min=8.0, max=1000.0, unit="CAMERA", subtype="DISTANCE_CAMERA",
        description="Of the lens on full frame: 85 mm for a portrait lens, 26 mm for most telephones",
    )  # fmt: skip
    field_of_view: FloatProperty(
        name="Field of View", default=math.radians(27), min=math.radians(2), max=math.radians(160), subtype="ANGLE",
        description="Angle across the photograph's longer side",
    )  # fmt: skip
    directory: StringProperty(
        name="Heads Folder",
        subtype="DIR_PATH",
        options=RELATIVE,
        description='Where the fitted heads are kept. Empty: in a folder "heads" beside the photographs',
    )


def view_degrees(settings: BlendsplatPhotographs) -> float | None:
    """The angle across the longer side that the artist gave; None: it is left to the file."""
    if settings.lens == "LENGTH":
        return math.degrees(2 * math.atan(FILM / 2 / settings.focal_length))
    return math.degrees(settings.field_of_view) if settings.lens == "VIEW" else None


def chosen(directory: str, names: Sequence[str], filepath: str = "") -> list[Path]:
    """The files of a file browser's answer; a folder alone means the photographs in it. Raises ValueError."""
    folder = Path(bpy.path.abspath(directory)) if directory else None
    if folder is not None and any(names):
        return checked([folder / name for name in names if name])
    one = Path(bpy.path.abspath(filepath)) if filepath else folder
    if one is None:
        raise ValueError("Choose a photograph.")
    if one.is_dir() and not (found := inside(one)):
        raise ValueError(f"There is no photograph in {one}.")
    return found if one.is_dir() else checked([one])


def chosen_again(settings: BlendsplatPhotographs) -> list[Path]:
    """The listed photographs. Raises ValueError."""
    return checked([Path(bpy.path.abspath(item.path)) for item in settings.files])


def checked(images: list[Path]) -> list[Path]:
    """The files, each once. Raises ValueError naming those that do not exist."""
    missing = [str(path) for path in images if not path.is_file()]
    if missing:
        more = f" (nor {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ValueError(f"There is no file {missing[0]}{more}.")
    return list(dict.fromkeys(images))


def inside(folder: Path) -> list[Path]:
    """The photographs in a folder, by name."""
    return sorted(
        path for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )  # fmt: skip


def default_directory(images: Sequence[Path]) -> Path:
    """Where fits go when no folder is chosen: one folder each in "heads" beside the photographs, so that fitting a
    photograph alone or among others ends up in the same place."""
    heads = images[0].parent / "heads"
    return heads / name_in(heads, images[0].stem) if len(images) == 1 else heads


def remember(settings: BlendsplatPhotographs, images: Sequence[Path]) -> None:
    """Make these the scene's photographs; those that were fitted before keep what is known of them."""
    known = {bpy.path.abspath(item.path): (item.folder, item.state, item.notes) for item in settings.files}
    settings.files.clear()
    for path in images:
        item = settings.files.add()
        item.name, item.path = path.name, kept(path)
        item.folder, item.state, item.notes = known.get(str(path), ("", "NEW", ""))
    if settings.active >= len(images):
        settings.active = max(0, len(images) - 1)


def note(settings: BlendsplatPhotographs, image: Path, folder: Path | None, notes: Sequence[str]) -> None:
    """What came of one photograph: its fit's folder (None: none) and what is to be said about it."""
    for item in settings.files:
        if bpy.path.abspath(item.path) == str(image):
            item.folder = kept(folder) if folder is not None else ""
            item.state = "FAILED" if folder is None else "DOUBTFUL" if notes else "FITTED"
            item.notes = "\n".join(notes)


def active(settings: BlendsplatPhotographs) -> BlendsplatPhotograph | None:
    """The photograph that the list highlights."""
    return settings.files[settings.active] if 0 <= settings.active < len(settings.files) else None


def folder_of(item: BlendsplatPhotograph | None) -> Path | None:
    """The folder of a photograph's fit; None when it has none or it is gone."""
    if item is None or not item.folder:
        return None
    folder = Path(bpy.path.abspath(item.folder))
    return folder if (folder / "fit.json").is_file() else None


def results(result: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(fits, failed) of the job's result, whatever an engine sends."""
    answer = result if isinstance(result, dict) else {}
    return [f for f in answer.get("fits") or [] if isinstance(f, dict)], [
        f for f in answer.get("failed") or [] if isinstance(f, dict)
    ]


CLASSES = (BlendsplatPhotograph, BlendsplatPhotographs)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scene and an object remember for this add-on, with tooltips in an artist's words."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..client import session
from ..paths import RELATIVE
from ..scene import follow_head
from . import photographs

# Older files kept a preset's place in the list that the engine told, not its name.
_OLD_PRESETS = ("detailed", "draft", "rgbavatar")
_DEFAULT_PRESET = "draft"
_items: list[tuple[str, str, str]] = []  # Blender needs an enum's texts to be kept alive


def _presets(settings: BlendsplatScene, _context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    """The engine's presets, and the scene's own where this engine does not know it (or has not said hello yet)."""
    global _items
    items, name = list(session.preset_items()), settings.chosen_preset()
    if name not in (item[0] for item in items):
        items.append((name, name, "The engine does not know this preset"))
    if items != _items:
        _items = items
    return _items


def _preset_number(settings: BlendsplatScene) -> int:
    return [item[0] for item in _presets(settings, None)].index(settings.chosen_preset())


def _choose_preset(settings: BlendsplatScene, number: int) -> None:
    settings.preset_name = _presets(settings, None)[number][0]


class BlendsplatScene(bpy.types.PropertyGroup):
    """The steps of the work: which video, where its folder, how to train."""

    video: StringProperty(
        name="Video",
        subtype="FILE_PATH",
        options=RELATIVE,
        description="Video (or first image of a sequence) of one person talking, the face well visible",
    )
    directory: StringProperty(
        name="Folder",
        subtype="DIR_PATH",
        options=RELATIVE,
        description="Where the imported clip and everything learned from it is kept. Empty: beside the video",
    )
    start: FloatProperty(
        name="Start", min=0.0, subtype="TIME", unit="TIME_ABSOLUTE", description="Where in the video to begin"
    )
    end: FloatProperty(
        name="End",
        min=0.0,
        subtype="TIME",
        unit="TIME_ABSOLUTE",
        description="Where in the video to end; 0 means at its end",
    )
    crop_auto: BoolProperty(
        name="Crop Around the Head", default=True, description="Find the head and crop one fixed square around it"
    )
    crop: FloatVectorProperty(
        name="Crop",
        size=3,
        default=(0.0, 0.0, 512.0),
        min=0.0,
        description="The square to keep, in the video's pixels: left, top, size",
    )
    size: IntProperty(
        name="Size", default=512, min=64, max=2048, description="Pixels of the cropped square that is worked with"
    )
    matte: EnumProperty(
        name="Matte",
        items=[
            ("auto", "Automatic", "The file's own transparency if it has one, else find the person"),
            ("alpha", "The Video's Alpha", "Use the file's own transparency"),
            ("none", "None", "The whole picture belongs to the person"),
            ("folder", "Folder of Masks", "Use masks that you made, one image per frame"),
        ],
    )
    matte_folder: StringProperty(
        name="Masks",
        subtype="DIR_PATH",
        options=RELATIVE,
        description="Folder with one black and white image per frame",
    )
    head: EnumProperty(
        name="Head",
        items=[
            (
                "human",
                "Blendsplat's Own",
                "The head that comes with the add-on, for anyone of any age: free for any use",
            ),
            ("file", "From a File", "Your own FLAME model or ICT-FaceKit"),
        ],
    )
    head_path: StringProperty(
        name="Head File",
        subtype="FILE_PATH",
        options=RELATIVE,
        description="A FLAME .pkl, or an ICT-FaceKit folder or file",
    )
    track_init: EnumProperty(
        name="Start From",
        items=[
            ("landmarks", "Landmarks", "Start from the points found on the face alone: fast, good for most clips"),
            (
                "kaolrm",
                "KaoLRM",
                "A network also looks at the face in the frames and expects its shape and expression. Takes longer",
            ),
        ],
        description="What the tracker knows of the face before it fits the head",
    )
    match_scene: BoolProperty(
        name="Match Scene to Clip",
        default=True,
        description="Set the scene's size, frame rate and range to the clip's, so that camera and background fit",
    )
    preset_name: StringProperty(
        name="Preset",
        description="The name of the preset to train with, whether or not an engine is there to know it (for scripts)",
    )
    preset: EnumProperty(
        name="Preset",
        items=_presets,
        get=_preset_number,
        set=_choose_preset,
        description="How long and how finely to train",
    )
    output: StringProperty(
        name="Avatar File",
        subtype="FILE_PATH",
        options=RELATIVE,
        description="Where the avatar is written. Empty: in the clip's folder",
    )
    avatar_file: StringProperty(
        name="Avatar File", subtype="FILE_PATH", options=RELATIVE, description="A trained avatar (.avatar.npz) to add"
    )
    performance: StringProperty(
        name="Performance",
        subtype="FILE_PATH",
        options=RELATIVE,
        description="A tracked clip's tracking.npz, of this or another person",
    )
    performance_start: IntProperty(
        name="Start Frame", default=1, description="Frame of the timeline where the performance begins"
    )
    photographs: PointerProperty(type=photographs.BlendsplatPhotographs)

    def chosen_preset(self) -> str:
        """The name of the preset to train with; a file's own choice stands, whatever this engine knows."""
        if self.preset_name:
            return self.preset_name
        old = self.get("preset")
        return _OLD_PRESETS[old] if isinstance(old, int) and 0 <= old < len(_OLD_PRESETS) else _DEFAULT_PRESET


class BlendsplatObject(bpy.types.PropertyGroup):
    """What an object is to this add-on, and whom it belongs to."""

    kind: EnumProperty(
        name="Kind",
        items=[
            ("NONE", "None", ""), ("HEAD", "Head", ""), ("RIG", "Rig", ""), ("CAMERA", "Camera", ""),
            ("AVATAR", "Avatar", ""),
        ],
    )  # fmt: skip
    head: PointerProperty(name="Head", type=bpy.types.Object, description="The head that moves this avatar")
    rig: PointerProperty(name="Rig", type=bpy.types.Object, description="The armature of this head")
    rig_id: StringProperty()
    avatar_path: StringProperty(
        name="Avatar File", subtype="FILE_PATH", options=RELATIVE, description="The file this avatar was made from"
    )
    fit_path: StringProperty(
        name="Fit",
        subtype="DIR_PATH",
        options=RELATIVE,
        description="The folder of the fitted photograph that this camera matches",
    )
    foreign: BoolProperty(
        name="Another Clip's Performance",
        description="The avatar plays a performance of another clip than it was trained on: it is kept inside what the "
        "training has seen",
    )
    remark: StringProperty(name="Remark", description="What of the performance Blender's sliders cannot hold")
    live: BoolProperty(
        name="Live",
        description="Moving the head's sliders and bones updates the avatar at once. Baked keys are muted meanwhile",
        update=follow_head.toggled,
    )


CLASSES = (BlendsplatScene, BlendsplatObject)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.blendsplat = PointerProperty(type=BlendsplatScene)
    bpy.types.Object.blendsplat = PointerProperty(type=BlendsplatObject)


def unregister() -> None:
    del bpy.types.Object.blendsplat
    del bpy.types.Scene.blendsplat
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)

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
from ..scene import avatar_quality, follow_head, networks, tracking_view
from . import acting, face_properties, live_properties, photographs, posing_properties, step_state
from .operators import train

# Older files kept a preset's place in the list that the engine told, not its name.
_OLD_PRESETS = ("detailed", "draft", "rgbavatar")
_DEFAULT_PRESET = "draft"
# Of an object, all that is: else an overridden avatar forgets its head when its file is opened again.
_OVERRIDABLE = {"LIBRARY_OVERRIDABLE"}
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


def _quality(settings: BlendsplatScene) -> str:
    return train.quality(settings.id_data)


def _shown(step: str, title: str) -> bpy.props.BoolProperty:
    """Whether a step's panel stands open."""
    return BoolProperty(
        name=title,
        options={"SKIP_SAVE"},
        description="Open or fold this step. What is done folds by itself when the work goes on",
        get=lambda settings: step_state.is_open(settings, step),
        set=lambda settings, shown: step_state.set_open(settings, step, shown),
    )


class BlendsplatScene(bpy.types.PropertyGroup):
    """The steps of the work: which video, where its folder, how to train."""

    video: StringProperty(
        name="Video",
        subtype="FILE_PATH",
        options=RELATIVE,
        description="Video (or first image of a sequence) of one person talking, the face well visible",
    )
    directory: StringProperty(
        name="Clip Folder",
        subtype="DIR_PATH",
        options=RELATIVE,
        description="Where the imported clip and everything learned from it is kept. Empty: beside the video",
    )
    start: FloatProperty(
        name="Trim Start", min=0.0, subtype="TIME", unit="TIME_ABSOLUTE", description="Where in the video to begin"
    )
    end: FloatProperty(
        name="Trim End",
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
            (
                "auto",
                "Automatic",
                "The file's own transparency if it has one, else find the person. Hair comes out finest when the "
                "camera stands still before something plain",
            ),
            ("alpha", "The Video's Alpha", "Use the file's own transparency"),
            ("none", "None", "The whole picture belongs to the person"),
            ("folder", "Folder of Masks", "Use masks that you made, one image per frame"),
        ],
        description="What separates the person from the background, which is not learned",
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
        description="Which head model is fitted to the person; it decides the names of the sliders",
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
    refine: BoolProperty(
        name="Refine on the Picture",
        default=True,
        description="Move the head until the pictures themselves confirm it, not only the points found on the face. "
        "Takes longer, and sticks to the skin",
    )
    lens: EnumProperty(
        name="Lens",
        items=[
            ("found", "Find It", "The focal length is found from the clip: face and background alone tell it roughly"),
            ("given", "Known", "You know the camera's lens, or keep the one that was found: it is not changed"),
        ],
        description="Where the camera's focal length comes from",
    )
    focal_length: FloatProperty(
        name="Focal Length",
        default=50.0,
        min=1.0,
        max=10000.0,
        soft_min=10.0,
        soft_max=300.0,
        subtype="DISTANCE_CAMERA",
        unit="CAMERA",
        description="Of the camera that filmed the whole video, for a sensor 36 mm wide (along the longer side), as a "
        "Blender camera says it",
    )
    lens_shift: FloatVectorProperty(
        name="Shift",
        size=2,
        min=-2.0,
        max=2.0,
        step=1,
        precision=3,
        description="How far the lens looks beside the middle of the video, right and up, as a Blender camera's Shift. "
        "Needed where the video is a part of a larger picture",
    )
    zooms: BoolProperty(
        name="Lens Zooms",
        description="The camera zooms during the take: find a focal length for every frame. Size alone cannot tell a "
        "zoom from a step forwards, so the head is taken to stay about as far away: what grows or shrinks slowly, over "
        "half a second or more, is the lens, what is quicker is the head. Leave it off where the lens stands still",
    )
    quality_limit: FloatProperty(
        name="Good From",
        default=0.7,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        description="Frames whose tracking is worse than this are counted as doubtful",
    )
    match_scene: BoolProperty(
        name="Match Scene to Clip",
        default=True,
        description="Set the size, frame rate and range of a scene without animation to the clip's, so that camera and "
        "background fit. In a scene that is animated already only the end moves, where the clip is longer",
    )
    scene_note: StringProperty(
        name="Scene and Clip",
        options={"HIDDEN"},
        description="What of the scene was set to the clip when its head was added, and what was left",
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
    minutes: FloatProperty(
        name="Minutes",
        min=0.0,
        soft_max=600.0,
        max=100_000.0,
        precision=0,
        step=100,
        description="End training after about so many minutes, with as much as this machine learns by then; 0: as long "
        "as the preset takes",
    )
    quality: StringProperty(
        name="Quality",
        options={"SKIP_SAVE"},
        description=avatar_quality.EXPLAINED,
        get=_quality,
    )
    output: StringProperty(
        name="Save Avatar As",
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
        description="A tracked clip's tracking.npz, of this or another person; a phone's face capture or ARKit's "
        "expressions (.csv, .json); or a folder that VHAP or metrical-tracker made",
    )
    performance_start: IntProperty(
        name="Start Frame", default=1, description="Frame of the timeline where the performance begins"
    )
    acting: PointerProperty(
        type=acting.BlendsplatActing,
        name="How It Is Played",
        description="How another person's performance becomes this avatar's",
    )
    posing: PointerProperty(
        type=posing_properties.BlendsplatPosing,
        name="Expressions",
        description="How expressions are put onto a face",
    )
    photographs: PointerProperty(
        type=photographs.BlendsplatPhotographs,
        name="Photographs",
        description="The photographs that heads are fitted to, and how",
    )
    live: PointerProperty(
        type=live_properties.BlendsplatLive,
        name="Live Capture",
        description="The camera that is learned from while it runs, and how",
    )
    go_on_live: BoolProperty(
        name="Go On From Live Capture",
        default=True,
        description="Train on from the avatar that was captured live instead of beginning anew. Its preset must be of "
        "the same make, as Draft is",
    )
    folds: StringProperty(
        name="Folded Panels", options={"HIDDEN"}, description="Which steps of the work the artist opened or folded"
    )
    show_engine: _shown("engine", "Engine")
    show_photograph: _shown("photograph", "Head from a Photograph")
    show_live: _shown("live", "Live Capture")
    show_video: _shown("video", "Video")
    show_track: _shown("track", "Track")
    show_check: _shown("check", "Check the Tracking")
    show_train: _shown("train", "Train")
    show_avatar: _shown("avatar", "Avatar")
    show_render: _shown("render", "Render")

    def chosen_preset(self) -> str:
        """The name of the preset to train with; a file's own choice stands, whatever this engine knows."""
        if self.preset_name.strip():
            return self.preset_name.strip()
        old = self.get("preset")
        return _OLD_PRESETS[old] if isinstance(old, int) and 0 <= old < len(_OLD_PRESETS) else _DEFAULT_PRESET


class BlendsplatObject(bpy.types.PropertyGroup):
    """What an object is to this add-on, and whom it belongs to."""

    kind: EnumProperty(
        name="Kind",
        items=[
            ("NONE", "None", "Nothing of this add-on's"),
            ("HEAD", "Head", "A head's mesh, with its sliders"),
            ("RIG", "Rig", "The bones of a head"),
            ("CAMERA", "Camera", "A camera that matches a clip or a photograph"),
            ("AVATAR", "Avatar", "A trained avatar's Gaussians"),
            ("LIVE", "Live Avatar", "What a live capture has learned so far; it goes when the capture ends"),
        ],
        description="What this object is to Blendsplat",
        override=_OVERRIDABLE,
    )
    head: PointerProperty(
        name="Head", type=bpy.types.Object, description="The head that moves this avatar", override=_OVERRIDABLE
    )
    rig: PointerProperty(
        name="Rig", type=bpy.types.Object, description="The armature of this head", override=_OVERRIDABLE
    )
    rig_id: StringProperty(
        name="Head Model", description="Which head model and person this head was made from", override=_OVERRIDABLE
    )
    face: PointerProperty(
        type=face_properties.BlendsplatFace,
        name="Face",
        description="How this head's face is animated by hand",
        override=_OVERRIDABLE,
    )
    avatar_path: StringProperty(
        name="Avatar File",
        subtype="FILE_PATH",
        options=RELATIVE,
        description="The file this avatar was made from",
        override=_OVERRIDABLE,
    )
    fit_path: StringProperty(
        name="Fit",
        subtype="DIR_PATH",
        options=RELATIVE,
        description="The folder of the fitted photograph that this camera matches",
        override=_OVERRIDABLE,
    )
    clip_path: StringProperty(
        name="Clip",
        subtype="DIR_PATH",
        options=RELATIVE,
        description="The folder of the clip that this head was tracked in",
        override=_OVERRIDABLE,
    )
    clip_start: FloatProperty(
        name="Clip's First Frame",
        default=1.0,
        description="Frame of the timeline at which the clip's first image is",
        override=_OVERRIDABLE,
    )
    overlay: EnumProperty(
        name="Overlay",
        items=[
            (tracking_view.WIRE, "Wire", "The head's edges over the picture: see where each lies", "SHADING_WIRE", 0),
            (tracking_view.SHADED, "Shaded", "The head's surface over the picture", "SHADING_SOLID", 1),
            (tracking_view.OFF, "Off", "The picture alone", "HIDE_ON", 2),
        ],
        default=tracking_view.SHADED,
        description="How the head is drawn over the clip",
        update=tracking_view.overlay_changed,
        override=_OVERRIDABLE,
    )
    overlay_opacity: FloatProperty(
        name="Opacity",
        default=0.5,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        description="How much of the head is seen over the picture",
        update=tracking_view.overlay_changed,
        override=_OVERRIDABLE,
    )
    foreign: BoolProperty(
        name="Another Clip's Performance",
        description="The avatar plays a performance of another clip than it was trained on, or a changed one: it is "
        "kept inside what the training has seen",
        override=_OVERRIDABLE,
    )
    remark: StringProperty(
        name="Remark", description="What of the performance Blender's sliders cannot hold", override=_OVERRIDABLE
    )
    hold_back: FloatProperty(
        name="Hold Back",
        default=1.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        description="How firmly the avatar is held back where its clip never went: smoothly, so that no slider makes "
        "it fly apart. What the clip showed stays as it is. 0: not at all. It can be keyed",
        update=follow_head.held,
        override=_OVERRIDABLE,
    )
    live: BoolProperty(
        name="Live",
        description="Moving the head's sliders and bones updates the avatar at once. Baked keys are muted meanwhile",
        update=follow_head.toggled,
        override=_OVERRIDABLE,
    )
    shown: EnumProperty(
        name="Render",
        items=[
            (networks.SLIDERS, "Sliders", "What the viewport shows: quick, and it needs no avatar file"),
            (networks.FULL, "Full", "As it was trained: networks draw every frame, with this person's own wrinkles"),
            (networks.BASE, "Base Only", "What all expressions share, without this person's own wrinkles"),
            (
                networks.RESIDUAL,
                "Personal Residual",
                "What this person's own wrinkles change, on grey: to check them",
            ),
        ],
        default=networks.FULL,
        description="What renders show of this avatar. All but the sliders asks the networks in its avatar file; the "
        "viewport always shows the sliders",
        override=_OVERRIDABLE,
    )


CLASSES = (BlendsplatScene, BlendsplatObject)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.blendsplat = PointerProperty(type=BlendsplatScene)
    bpy.types.Object.blendsplat = PointerProperty(type=BlendsplatObject, override=_OVERRIDABLE)


def unregister() -> None:
    del bpy.types.Object.blendsplat
    del bpy.types.Scene.blendsplat
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)

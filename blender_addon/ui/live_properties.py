# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scene remembers of Live Capture, with tooltips in an artist's words."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty, StringProperty

from ..paths import RELATIVE
from . import live_sources, live_words
from .operators import live_results


def _quality(settings: BlendsplatLive) -> str:
    job = live_results.running(settings.id_data)
    return live_words.quality(job.figures) if job is not None else ""


class BlendsplatLive(bpy.types.PropertyGroup):
    """Where the pictures come from, how they are learned, and where the takes lie."""

    source: EnumProperty(
        name="Source",
        items=[
            ("CAMERA", "Camera", "A camera of the computer on which the engine runs", "OUTLINER_OB_CAMERA", 0),
            ("STREAM", "Stream", "A camera in the network, or a telephone's camera app, by its address", "URL", 1),
            ("FILE", "Video File", "A video that plays at its own rate, as if it were a camera", "FILE_MOVIE", 2),
        ],
        description="Where the pictures of the person come from",
    )
    camera_source: StringProperty(
        name="Camera's Number or Name",
        options={"HIDDEN"},
        description="The camera as the engine takes it (for scripts); empty: the first one",
    )
    camera: EnumProperty(
        name="Camera",
        items=live_sources.camera_items,
        get=live_sources.camera_number,
        set=live_sources.choose_camera,
        description="Which camera is captured. Press the button beside it to look for cameras again",
    )
    address: StringProperty(
        name="Address",
        description="The stream's address, such as rtsp://camera.local/stream or http://telephone.local:8080/video",
    )
    video: StringProperty(
        name="Video File",
        subtype="FILE_PATH",
        options=RELATIVE,
        description="The video that is played and learned from",
    )
    drive: PointerProperty(
        name="Drive",
        type=bpy.types.Object,
        poll=lambda _settings, item: item.blendsplat.kind == "AVATAR",
        description="An avatar of the scene that does what the person before the camera does, while the camera runs. "
        "Its keys stay; the take is the performance to apply afterwards",
    )
    learn: BoolProperty(
        name="Learn an Avatar Too",
        description="Also learn an avatar of the person before the camera. Off: all of the machine is for the driving",
    )
    mirror: BoolProperty(
        name="Mirrored",
        description="The source shows a mirror image, as many webcams do: turn it round, so that the person's left is "
        "the avatar's left",
    )
    seconds: FloatProperty(
        name="Take Length",
        min=0.0,
        soft_max=3600.0,
        subtype="TIME",
        unit="TIME_ABSOLUTE",
        description="End by itself after this time; 0: when you stop it, or at the video's end",
    )
    preset_name: StringProperty(
        name="Live Preset",
        options={"HIDDEN"},
        description="The name of the preset to learn with, or a .toml file of your own (for scripts)",
    )
    preset: EnumProperty(
        name="Preset",
        items=live_sources.preset_items,
        get=live_sources.preset_number,
        set=live_sources.choose_preset,
        description="How finely is learned while the camera runs. Continue Offline makes it finer afterwards",
    )
    film: BoolProperty(
        name="Keep the Preview",
        description="Also write what the preview shows (source, avatar, mesh) as a video into the take's folder",
    )
    takes: StringProperty(
        name="Takes Folder",
        subtype="DIR_PATH",
        options=RELATIVE,
        description="Where takes are kept, each in a folder of its own with its avatar. Empty: a folder named takes "
        "beside the saved file",
    )
    quality: StringProperty(
        name="New Frames",
        options={"SKIP_SAVE"},
        description=live_words.NEW_FRAMES,
        get=_quality,
    )
    take: StringProperty(
        name="Latest Take",
        subtype="DIR_PATH",
        options=RELATIVE | {"HIDDEN"},
        description="The folder of the take that was captured last",
    )


CLASSES = (BlendsplatLive,)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

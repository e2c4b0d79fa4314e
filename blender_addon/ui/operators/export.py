# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves Blender: the avatars as splats of one frame or of many (PLY, USD), and a head with its animation (glTF).

It is what the scene shows now (poses, sliders, the artist's own changes), so it needs no engine.
"""

from __future__ import annotations

from collections.abc import Iterator

import bpy
from bpy.props import StringProperty
from bpy_extras.io_utils import ExportHelper

from ...exports import ExportError, head_glb, splat_ply, splat_usd
from ...render import gather
from ...scene import linked
from . import avatar, common, frame_range
from .frame_by_frame import FrameByFrame, target_of


class ExportPly(common.Grey, bpy.types.Operator, ExportHelper):
    """Write the avatars of the current frame, as the viewport shows them, as a splat PLY in world space"""

    bl_idname = "blendsplat.export_ply"
    bl_label = "Export Splat PLY"
    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return _no_avatar(context.scene)

    def execute(self, context: bpy.types.Context) -> set[str]:
        gaussians = gather.gather(context.evaluated_depsgraph_get())
        if not len(gaussians):
            self.report({"ERROR"}, "No avatar is visible.")
            return {"CANCELLED"}
        try:
            splat_ply.write_ply(target_of(self), gaussians)
        except ExportError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except OSError as error:
            self.report({"ERROR"}, f"Could not write {self.filepath}: {error.strerror or error}.")
            return {"CANCELLED"}
        self.report({"INFO"}, f"{len(gaussians):,} Gaussians written.")
        return {"FINISHED"}


class ExportPlySequence(FrameByFrame, bpy.types.Operator, ExportHelper):
    """Write the avatars as the viewport shows them, a splat PLY for every frame of a range: name_0001.ply and so on, in
    world space. Players of splat sequences and other 3D programs read them"""

    bl_idname = "blendsplat.export_ply_sequence"
    bl_label = "Export PLY Sequence"
    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})

    @classmethod
    def hindrance(cls, context: bpy.types.Context) -> str:
        return _no_avatar(context.scene)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        frame_range.take(self, context.scene)
        return ExportHelper.invoke(self, context, event)

    def work(self, context: bpy.types.Context, frames: range) -> Iterator[float]:
        self._frames, target = 0, self.target
        for frame in frames:
            context.scene.frame_set(frame)
            gaussians = gather.gather(context.evaluated_depsgraph_get())
            if not len(gaussians):
                raise ExportError(f"No avatar is visible in frame {frame}.")
            splat_ply.write_ply(splat_ply.frame_path(target, frame), gaussians)
            self._frames += 1
            yield self._frames / len(frames)

    def told(self) -> str:
        return f"{self._frames} frames written, beginning with {splat_ply.frame_path(self.target, self.frame_start)}."


class ExportUsd(FrameByFrame, bpy.types.Operator, ExportHelper):
    """Write the avatars as the viewport shows them over a range of frames as one USD file: a point cloud for each
    avatar, with the splats' sizes, rotations, colors and opacities. Houdini, Omniverse and other 3D programs read it"""

    bl_idname = "blendsplat.export_usd"
    bl_label = "Export USD Point Clouds"
    filename_ext = ".usdc"
    filter_glob: StringProperty(default="*.usdc;*.usda;*.usd", options={"HIDDEN"})
    check_extension = None  # each of the three is right

    @classmethod
    def hindrance(cls, context: bpy.types.Context) -> str:
        return _no_avatar(context.scene) or splat_usd.missing()

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        frame_range.take(self, context.scene)
        return ExportHelper.invoke(self, context, event)

    def work(self, context: bpy.types.Context, frames: range) -> Iterator[float]:
        target = self.target
        stage = splat_usd.SplatStage(context.scene.render.fps / context.scene.render.fps_base)
        for done, frame in enumerate(frames, 1):
            context.scene.frame_set(frame)
            stage.add(frame, gather.parts(context.evaluated_depsgraph_get()))
            yield done / (len(frames) + 1)
        self._count = stage.write(target)
        yield 1.0

    def told(self) -> str:
        avatars = f"{self._count} avatars" if self._count > 1 else "The avatar"
        return f"{avatars} in frames {self.frame_start} to {self.frame_end}: {self.target}."


class ExportHeadAnimation(FrameByFrame, bpy.types.Operator, ExportHelper):
    """Write the avatar's head (its mesh, not its splats) with its animation as a GLB, for game engines and the web:
    sliders become morph targets, bones a skeleton, and what drives them is baked into keys"""

    bl_idname = "blendsplat.export_head_animation"
    bl_label = "Export Animated Head"
    filename_ext = ".glb"
    filter_glob: StringProperty(default="*.glb", options={"HIDDEN"})

    @classmethod
    def hindrance(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        head = _head(context)
        if head is None:
            return f"{carrier.name} has no head." if carrier is not None else "Add an avatar or a tracked head first."
        return head_glb.problem(head)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        frame_range.take(self, context.scene)
        return ExportHelper.invoke(self, context, event)

    def work(self, context: bpy.types.Context, frames: range) -> Iterator[float]:
        head, target = _head(context), self.target
        reading = head_glb.Reading(head)
        for done, frame in enumerate(frames, 1):
            context.scene.frame_set(frame)
            reading.take(context.evaluated_depsgraph_get())
            yield done / (len(frames) + 1)
        self._count = head_glb.write(context, head, reading, frames.start, target)
        yield 1.0

    def told(self) -> str:
        return f"{self._count} morph targets, frames {self.frame_start} to {self.frame_end}: {self.target}."


def _no_avatar(scene: bpy.types.Scene) -> str:
    """Why there is nothing to export; an avatar in a collection that an empty shows is one, too."""
    shown = any(item.blendsplat.kind == "AVATAR" or linked.linked_collection(item) for item in scene.objects)
    return "" if shown else "Add an avatar first."


def _head(context: bpy.types.Context) -> bpy.types.Object | None:
    """The head that is meant: the active one, else the selected avatar's."""
    active = context.view_layer.objects.active if context.view_layer is not None else None
    if active is not None and active.blendsplat.kind == "HEAD":
        return active
    carrier = avatar.selected_avatar(context)
    if carrier is not None:
        return carrier.blendsplat.head
    return next((item for item in context.scene.objects if item.blendsplat.kind == "HEAD"), None)


CLASSES = (ExportPly, ExportPlySequence, ExportUsd, ExportHeadAnimation)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 4: an avatar file comes into the scene, with the performance that is chosen as keyframes."""

from __future__ import annotations

from pathlib import Path

import bpy

from ... import formats
from ...paths import kept
from ...render import engine as render_engine
from ...scene import avatar_repair, avatar_rig, head_rig, linked, matched_camera, tracking_quality, tracking_view
from .. import acting
from . import common, results


class AddAvatar(common.Grey, bpy.types.Operator):
    """Add a trained avatar: its blendshapes are shape keys that can be keyframed, driven and mixed"""

    bl_idname = "blendsplat.add_avatar"
    bl_label = "Add Avatar"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        path = file_of(context.scene)
        if path is None:
            return "Choose an avatar file, or train one."
        return results.busy(context.scene) if path.exists() else f"There is no file {path}."

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            path = file_of(context.scene)
            carrier = add_avatar(context, path, performance_for(context.scene, path))
        except formats.FileError as error:
            return self.failed(context, str(error))
        for item in context.view_layer.objects:
            item.select_set(False)  # active, but not covered by the selection's outline
        context.view_layer.objects.active = carrier
        return self.solved(context)


class RepairAvatar(common.Grey, bpy.types.Operator):
    """Bring back what the avatar has lost: its head, the head's bones, or its Geometry Nodes. What is there stays"""

    bl_idname = "blendsplat.repair_avatar"
    bl_label = "Repair Avatar"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        return results.busy(context.scene) if avatar_repair.lost(carrier) else f"Nothing is missing of {carrier.name}."

    def execute(self, context: bpy.types.Context) -> set[str]:
        scene, carrier = context.scene, selected_avatar(context)
        try:
            if avatar_repair.repair(context, carrier):
                self.report({"INFO"}, "The head is a new one, from the avatar's file.")
                path = common.path_of(scene.blendsplat.performance)
                if path is not None and path.exists():
                    fps, start = scene.render.fps / scene.render.fps_base, scene.blendsplat.performance_start
                    chosen = acting.chosen(scene)
                    avatar_repair.play(carrier, formats.read_performance(path), start, fps, chosen)
        except formats.FileError as error:
            return self.failed(context, str(error))
        return self.solved(context)


class UseEngine(common.Grey, bpy.types.Operator):
    """Set the scene's Render Engine to Blendsplat, which draws avatars and nothing else, and the View Transform (Color
    Management) to Standard, which shows the colours of the video as they are"""

    bl_idname = "blendsplat.use_render_engine"
    bl_label = "Use Blendsplat for Rendering"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "This scene is already rendered with Blendsplat." if uses_render_engine(context.scene) else ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        use_render_engine(context.scene)
        return {"FINISHED"}


def file_of(scene: bpy.types.Scene) -> Path | None:
    """The avatar file to add: the chosen one, else what training writes."""
    return common.path_of(scene.blendsplat.avatar_file) or common.output_of(scene)


def performance_for(scene: bpy.types.Scene, file: Path) -> Path | None:
    """What an avatar of this file plays when it is added: the chosen performance. Beside other avatars, whose it may
    be, a new one plays its own clip where its file lies in that, and one that is updated keeps its keyframes."""
    chosen = common.path_of(scene.blendsplat.performance)
    here = avatar_rig.avatars_of(scene, file)
    if len(avatars(scene)) == len(here):
        return chosen
    own = file.with_name("tracking.npz")
    return None if here else own if own.is_file() else chosen


def avatars(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The scene's avatars, by name."""
    return sorted((item for item in scene.objects if item.blendsplat.kind == "AVATAR"), key=lambda item: item.name)


def selected_avatar(context: bpy.types.Context) -> bpy.types.Object | None:
    """The avatar that is meant: the active one, the active head's or bones', else the scene's only or first one."""
    active = context.view_layer.objects.active if context.view_layer is not None else None
    found = [item for item in context.scene.objects if item.blendsplat.kind == "AVATAR"]
    if active is not None and active not in found:  # an avatar of two that share a head is only meant by itself
        for item in found:
            head = item.blendsplat.head
            if active in (head, item.parent, head.blendsplat.rig if head is not None else None):
                return item
    return active if active in found else found[0] if found else None


def add_avatar(context: bpy.types.Context, path: Path, performance_path: Path | None) -> bpy.types.Object:
    """Add the avatar of ``path``, or bring the scene's own up to date; with a performance, key it. Needs Object Mode.
    Raises FileError."""
    file = formats.read_avatar(path)
    name = path.name.removesuffix(".avatar.npz")
    scene = context.scene
    tracking_view.put_back(context, perspective=False)  # an overlay's colours are no avatar's
    for item in avatar_rig.avatars_of(scene, path):
        if sentence := linked.follows_sentence(item):
            raise formats.FileError(sentence)
    known = avatar_rig.find_avatars(scene, file)
    for item in known:
        avatar_rig.replace_avatar(item, file)
    carrier = known[0] if known else avatar_rig.build_avatar(context, file, name)
    if scene.camera is None and "camera.K" in file.arrays:
        K, size = file.arrays["camera.K"], file.arrays["camera.size"]
        meta = {"width": int(size[0]), "height": int(size[1])}
        view = formats.Performance(path, meta, {"K": K, "viewmat": file.arrays["camera.viewmat"]})
        matched_camera.match_size(scene, *matched_camera.size_of(view))  # another shape would cut the head off
        matched_camera.add_camera(context, view, carrier.users_collection[0], None, 1)
        common.look(context)
    if performance_path is not None and performance_path.exists():
        apply_performance(scene, carrier, formats.read_performance(performance_path))
        scene.blendsplat.performance = kept(performance_path)
    return carrier


def apply_performance(scene: bpy.types.Scene, carrier: bpy.types.Object, performance: formats.Performance) -> int:
    """Key head and blendshapes; returns the number of frames. Raises FileError when the heads do not match."""
    head, start = carrier.blendsplat.head, scene.blendsplat.performance_start
    fps = scene.render.fps / scene.render.fps_base
    if head is not None:
        head_rig.check_performance(head, performance)
        head.blendsplat.clip_path, head.blendsplat.clip_start = kept(performance.path.parent), start
        tracking_quality.write(head, performance, start, fps)
    return avatar_rig.apply_performance(carrier, performance, start, fps, acting=acting.chosen(scene))


def uses_render_engine(scene: bpy.types.Scene) -> bool:
    """Renders of this scene are Blendsplat's, in the colours that were trained."""
    return scene.render.engine == render_engine.ENGINE_ID and scene.view_settings.view_transform == "Standard"


def use_render_engine(scene: bpy.types.Scene) -> None:
    """Blendsplat as the scene's engine, and the view transform that shows trained colours as they are."""
    scene.render.engine = render_engine.ENGINE_ID
    scene.view_settings.view_transform = "Standard"


CLASSES = (AddAvatar, RepairAvatar, UseEngine)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done with a head's face: reset, mirror and key its parts, favourites, bone shapes, eye target, board."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ...scene import bone_shapes, control_board, eye_target, face_controls, face_link, face_words, handles
from .. import face_properties
from . import avatar, common

_GROUPS = [
    ("ALL", "Whole Face", "Everything but how the head is turned and where it is"),
    ("FAVOURITES", "Favourites", "The sliders that you marked with a star"),
    *((name.upper(), face_words.TITLES[name], f"The sliders of this part: {name}") for name in face_words.GROUPS),
    ("MORE", "More", "Sliders that belong to no part of the face"),
]


def _group() -> bpy.props.EnumProperty:
    return EnumProperty(name="Part", items=_GROUPS, description="Which part of the face")


def meant_head(context: bpy.types.Context) -> bpy.types.Object | None:
    """The head whose face is meant: of the active object (head, armature, avatar, eye target, board), else that of the
    scene's avatar, else the scene's only head."""
    active = context.view_layer.objects.active if context.view_layer is not None else None
    heads = [item for item in context.scene.objects if item.blendsplat.kind == "HEAD" and item.type == "MESH"]
    for head in heads if active is not None else ():
        if active in (head, head.blendsplat.rig) or head in (
            handles.heads(active, handles.TARGET), handles.heads(active, handles.BOARD)
        ):  # fmt: skip
            return head
    carrier = avatar.selected_avatar(context)
    if carrier is not None and carrier.blendsplat.head in heads:
        return carrier.blendsplat.head
    own = [head for head in heads if head.library is None] or heads  # not what an override was made from
    return own[0] if len(own) == 1 else None


def controls_of(head: bpy.types.Object, group: str) -> list[face_controls.Control]:
    """The controls of one of the parts that an operator takes."""
    controls = face_controls.of(head)
    if group == "ALL":
        return [control for control in controls.values() if control.group != "head"]
    if group == "FAVOURITES":
        return [controls[name] for name in face_properties.favourites(head) if name in controls]
    return [control for control in controls.values() if (control.group.upper() or "MORE") == group]


class _OfHead(common.Grey):
    """An operator on the head that is meant."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head = meant_head(context)
        if head is None:
            return "Add an avatar or a head first, or select one of several."
        return face_controls.locked(head)

    def moved(self, context: bpy.types.Context, controls: list[face_controls.Control]) -> set[str]:
        """After a hand's work on controls: with Auto Keying it is keyed, else what keys take back is said; both sides
        are as they were meant -> what the operator returns."""
        head, scene = meant_head(context), context.scene
        state = face_controls.keyed_at(head, scene.frame_current)
        if scene.tool_settings.use_keyframe_insert_auto:
            face_controls.insert_keys(head, controls, scene.frame_current)
        elif any(state(control) for control in controls):
            self.report({"INFO"}, "These sliders have keyframes: insert new ones (Key) before you leave the frame.")
        face_link.read(head)
        return {"FINISHED"}


class _Builds(_OfHead):
    """An operator that adds something to the head or takes it away."""

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return super().reason(context) or face_controls.fixed(meant_head(context))


class FaceReset(_OfHead, bpy.types.Operator):
    """Put this part of the face to rest in this frame. What a driver sets stays; with Auto Keying it is keyed"""

    bl_idname = "blendsplat.face_reset"
    bl_label = "Reset Face"
    group: _group()

    def execute(self, context: bpy.types.Context) -> set[str]:
        head = meant_head(context)
        return self.moved(context, face_controls.reset(head, controls_of(head, self.group)))


class FaceMirror(_OfHead, bpy.types.Operator):
    """Let left and right change places in this frame, as in a mirror: sliders, gaze and jaw. With Auto Keying it is
    keyed"""

    bl_idname = "blendsplat.face_mirror"
    bl_label = "Mirror Face"
    group: _group()
    head: BoolProperty(
        name="The Head's Turn As Well", description="Mirror how the head is turned and where it is, not only the face"
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        head = meant_head(context)
        chosen = controls_of(head, self.group)
        if self.head and self.group == "ALL":
            chosen += controls_of(head, "HEAD")
        return self.moved(context, face_controls.mirror(head, face_controls.of(head), chosen))


class FaceKey(_OfHead, bpy.types.Operator):
    """Insert keyframes for all sliders of this part at the current frame; what a driver sets gets none"""

    bl_idname = "blendsplat.face_key"
    bl_label = "Key Face"
    group: _group()

    def execute(self, context: bpy.types.Context) -> set[str]:
        head = meant_head(context)
        count = face_controls.insert_keys(head, controls_of(head, self.group), context.scene.frame_current)
        self.report({"INFO"}, f"{count} keyframes.")
        return {"FINISHED"} if count else {"CANCELLED"}


class FaceFavourite(_OfHead, bpy.types.Operator):
    """Put this slider at the top of the panel, or take it away from there; saved with the head"""

    bl_idname = "blendsplat.face_favourite"
    bl_label = "Favourite"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}
    name: StringProperty(name="Slider", description="The name of the slider, or of both sides with a | between")

    def execute(self, context: bpy.types.Context) -> set[str]:
        head = meant_head(context)
        names = [name for name in self.name.split("|") if name]
        chosen = not set(names) <= set(face_properties.favourites(head))
        face_properties.set_favourite(head, names, chosen)
        return {"FINISHED"}


class AddEyeTarget(_Builds, bpy.types.Operator):
    """Add a thing before the face that both eyes can look at. It changes nothing until you raise Look"""

    bl_idname = "blendsplat.add_eye_target"
    bl_label = "Add Eye Target"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        why = super().reason(context)
        return why or eye_target.cannot_add(meant_head(context)) or handles.cannot_add(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        eye_target.add(context, meant_head(context))
        return {"FINISHED"}


class RemoveEyeTarget(_Builds, bpy.types.Operator):
    """Take the eye target away: the eyes look as they did before"""

    bl_idname = "blendsplat.remove_eye_target"
    bl_label = "Remove Eye Target"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        there = super().reason(context)
        return there or ("" if eye_target.target_of(meant_head(context)) is not None else "There is no eye target.")

    def execute(self, context: bpy.types.Context) -> set[str]:
        eye_target.remove(meant_head(context))
        return {"FINISHED"}


class AddControlBoard(_Builds, bpy.types.Operator):
    """Add a board beside the head with handles for mouth and brows. They add to what is keyed: no keyframe changes"""

    bl_idname = "blendsplat.add_control_board"
    bl_label = "Add Control Board"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        why = super().reason(context)
        if not why and control_board.board_of(meant_head(context)) is not None:
            why = f"{meant_head(context).name} has a control board already."
        return why or handles.cannot_add(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        control_board.add(context, meant_head(context))
        if not control_board.keys_of(meant_head(context)):
            self.report({"WARNING"}, "This head has no sliders for mouth and brows: the board can only open the jaw.")
        return {"FINISHED"}


class RemoveControlBoard(_Builds, bpy.types.Operator):
    """Take the board and all that it moved away; keyframes on the board's handles go with it"""

    bl_idname = "blendsplat.remove_control_board"
    bl_label = "Remove Control Board"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        why = super().reason(context)
        return why or ("" if control_board.is_there(meant_head(context)) else "There is no control board.")

    def execute(self, context: bpy.types.Context) -> set[str]:
        control_board.remove(meant_head(context))
        return {"FINISHED"}


class PoseFace(_OfHead, bpy.types.Operator):
    """Take the head's bones, the eye target and the board's handles in hand: Pose Mode with all of them, and back"""

    bl_idname = "blendsplat.pose_face"
    bl_label = "Pose the Face"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        why = super().reason(context)
        if not why and context.mode != "POSE" and not posable(context, meant_head(context)):
            why = "The head's armature is hidden, or not in this view layer: show it first."
        return why or handles.cannot_add(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        if context.mode == "POSE":
            bpy.ops.object.mode_set(mode="OBJECT")
        else:
            handles.pose(context, posable(context, meant_head(context)))
        return {"FINISHED"}


def posable(context: bpy.types.Context, head: bpy.types.Object) -> list[bpy.types.Object]:
    """The armatures by which the head is moved, as far as they are seen, its own first."""
    found = (head.blendsplat.rig, eye_target.target_of(head), control_board.board_of(head))
    return [item for item in found if item is not None and item.visible_get(view_layer=context.view_layer)]


class ShapeBones(_Builds, bpy.types.Operator):
    """Give the head's bones shapes that a hand can take: rings around head and shoulders, an arc along the jaw, circles
    before the eyes"""

    bl_idname = "blendsplat.shape_bones"
    bl_label = "Shape the Bones"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        why = super().reason(context)
        return why or ("" if meant_head(context).blendsplat.rig is not None else "This head has no armature.")

    def execute(self, context: bpy.types.Context) -> set[str]:
        bone_shapes.dress(meant_head(context))
        return {"FINISHED"}


CLASSES = (
    FaceReset, FaceMirror, FaceKey, FaceFavourite, AddEyeTarget, RemoveEyeTarget, AddControlBoard, RemoveControlBoard,
    PoseFace, ShapeBones,
)  # fmt: skip
register, unregister = bpy.utils.register_classes_factory(CLASSES)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack Avatar: the avatar's file travels inside the .blend, where its renders ask for it."""

from __future__ import annotations

import bpy

from ...client import session
from ...scene import linked, networks, packed_avatar
from . import avatar, common


class PackAvatar(common.Grey, bpy.types.Operator):
    """Put the avatar's file into this .blend, so that renders of its networks need no other file. The .blend grows by
    as much; the file itself stays where it is"""

    bl_idname = "blendsplat.pack_avatar"
    bl_label = "Pack Avatar"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        if not networks.drawn_by_networks(carrier):
            return f"Nothing is to be packed: all of {carrier.name} is in this .blend already."
        if sentence := linked.follows_sentence(carrier, cls.bl_label):
            return sentence
        if session.remote():
            return "The engine runs on another machine: it reads the avatar's file there, not from this .blend."
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        carrier = avatar.selected_avatar(context)
        try:
            size = packed_avatar.pack(carrier)
        except packed_avatar.PackError as error:
            return self.failed(context, str(error))
        self.report({"INFO"}, f"{carrier.name}: {size / 1e6:.1f} MB are in this .blend now.")
        return self.solved(context)


class UnpackAvatar(common.Grey, bpy.types.Operator):
    """Take the avatar's file out of this .blend again. Where it is not where Its File says, it is written there"""

    bl_idname = "blendsplat.unpack_avatar"
    bl_label = "Unpack Avatar"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None or not packed_avatar.is_packed(carrier):
            return "No avatar's file is packed."
        return linked.follows_sentence(carrier, cls.bl_label)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            path = packed_avatar.unpack(avatar.selected_avatar(context))
        except packed_avatar.PackError as error:
            return self.failed(context, str(error))
        self.report({"INFO"}, f"The avatar's file is {path}.")
        return self.solved(context)


CLASSES = (PackAvatar, UnpackAvatar)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

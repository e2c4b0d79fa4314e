# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose keyframes an animation of a face is: the head's sliders, its bones, and the avatars' learned keys; and why
those of a head cannot be changed now.
"""

from __future__ import annotations

import bpy


def owners(head: bpy.types.Object, carrier: bpy.types.Object | None = None) -> list[bpy.types.ID]:
    """The data blocks that hold the keyframes: the head's shape keys, its armature, and an avatar's shape keys."""
    found = [head.data.shape_keys, head.blendsplat.rig]
    if carrier is not None and carrier.data.shape_keys is not None:
        found.append(carrier.data.shape_keys)
    return [owner for owner in found if owner is not None]


def avatars_on(head: bpy.types.Object) -> list[bpy.types.Object]:
    """The avatars that follow this head, of all scenes."""
    return [item for item in bpy.data.objects if item.blendsplat.kind == "AVATAR" and item.blendsplat.head == head]


def has_face(head: bpy.types.Object | None) -> bool:
    """Whether there is a head with sliders."""
    return head is not None and head.data is not None and head.data.shape_keys is not None


def why_not(head: bpy.types.Object | None) -> str:
    """Why the face of a head cannot be posed, in a sentence; "": it can."""
    if head is None or not has_face(head):
        return "Add a head or an avatar first (or select one)."
    for owner in (head, *owners(head)):
        if not owner.is_editable:
            return (
                f"{head.name} is linked from another file: make a library override of it, with its data, first "
                "(Object > Library Override > Make)."
            )
    return ""


def why_no_keys(head: bpy.types.Object | None, carrier: bpy.types.Object | None = None) -> str:
    """Why the keyframes of a head, and of its avatar, cannot be changed, in a sentence; "": they can."""
    if sentence := why_not(head):
        return sentence
    assert head is not None
    for owner in owners(head, carrier):
        data = owner.animation_data
        if data is None:
            continue
        if data.use_tweak_mode:
            return f"A strip of {head.name} is being tweaked in the NLA Editor: leave it with Tab first."
        if data.action is not None and not data.action.is_editable:
            return f"The action {data.action.name} is linked from another file: make a local copy of it first."
    return ""


def no_curves(head: bpy.types.Object, carrier: bpy.types.Object | None = None) -> str:
    """The sentence for a head without keyframes; "": there are some."""
    animated = (owner.animation_data for owner in owners(head, carrier))
    if any(data is not None and data.action is not None for data in animated):
        return ""
    return f"{head.name} has no keyframes: apply a performance, or key its sliders."

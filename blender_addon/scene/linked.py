# SPDX-License-Identifier: GPL-3.0-or-later
"""Avatars that are linked from another .blend: what can be done with them, and the way to animate them.

A plainly linked avatar is played and rendered, never changed. With a library override of its collection the head's and
the avatar's sliders, bones and settings are this file's own, and all else follows the file that it came from.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import bpy
from mathutils import Matrix

_SAME = 1e-4  # values this near are one
_TIE = "blendsplat_moved_by"


def tie(carrier: bpy.types.Object) -> None:
    """Let the avatar's mesh, which has its sliders, point at its head. Blender overrides with a collection only what
    points at something in it: without this it would leave the sliders linked, and forget an override of them whenever
    the linked file changes."""
    if carrier.data.library is None and carrier.blendsplat.head is not None:
        carrier.data[_TIE] = carrier.blendsplat.head
        carrier.data.property_overridable_library_set(f'["{_TIE}"]', True)


def sentence(carrier: bpy.types.Object) -> str:
    """Why the avatar cannot be animated in this file, with the way out, or ""."""
    if carrier.library is not None:
        return (
            f"{carrier.name} is linked from {_file(carrier.library)} and cannot be changed here: press Make Library "
            "Override to animate it in this file."
        )
    for item, what in _parts(carrier):
        if item is not None and item.library is not None:
            return (
                f"Only a part of {carrier.name} is overridden: {what} still belongs to {_file(item.library)}. Press "
                "Make Library Override to override the rest."
            )
        if item is not None and item.override_library is not None and item.override_library.is_system_override:
            return (
                f"{carrier.name} is overridden, but {what} cannot be changed (a system override): press Make Library "
                "Override to make it editable."
            )
    return ""


def follows_sentence(carrier: bpy.types.Object, button: str = "Update Avatar") -> str:
    """Why a button that changes what the avatar is made of cannot be pressed here, or "": it is another file's,
    overridden or not."""
    if carrier.library is None and carrier.override_library is None:
        return ""
    library = carrier.library or carrier.override_library.reference.library
    return (
        f"{carrier.name} comes from {_file(library)}: press {button} in that file and save it; here it follows "
        "when this file is opened again."
    )


def too_narrow(mesh: bpy.types.Mesh, key: bpy.types.ShapeKey, low: float, high: float) -> str | None:
    """None: the slider can be made as wide as its values (low to high) need. Else it is a library override's, which
    keeps values but neither ranges nor shapes: "" where it is wide enough, or what it cuts off, in a sentence."""
    if mesh.override_library is None:
        return None
    if key.slider_min - _SAME <= low and high <= key.slider_max + _SAME:
        return ""
    file = _file(mesh.override_library.reference.library)
    return (
        f"{key.name} goes from {low:.2f} to {high:.2f}, and its slider ends at {key.slider_min:g} and "
        f"{key.slider_max:g}: make it wider in {file}, where it comes from."
    )


def collections_for(item: bpy.types.Object, scene: bpy.types.Scene) -> list[bpy.types.Collection]:
    """Where something new that belongs to the object goes: its collections, but for those of other files (overridden or
    not), which take nothing; the scene's own where it has no other."""
    own = [one for one in item.users_collection if one.library is None and one.override_library is None]
    return own or [scene.collection]


def instancer_sentence(item: bpy.types.Object | None) -> str:
    """What an artist is told of an empty that shows a linked collection with an avatar, or ""."""
    collection = linked_collection(item)
    if collection is None:
        return ""
    return (
        f"{item.name} shows {collection.name!r}, linked from {_file(collection.library)}: press Make Library Override "
        "to animate the avatar in it."
    )


def linked_collection(item: bpy.types.Object | None) -> bpy.types.Collection | None:
    """The linked collection with an avatar that an empty shows."""
    if item is None or item.type != "EMPTY" or item.instance_type != "COLLECTION":
        return None
    collection = item.instance_collection
    if collection is None or collection.library is None:
        return None
    return collection if any(one.blendsplat.kind == "AVATAR" for one in collection.all_objects) else None


def override(context: bpy.types.Context, item: bpy.types.Object) -> bpy.types.Object | None:
    """Make a library override of a linked avatar's collection, or of what an empty shows -> the avatar to animate.

    What is overridden already becomes editable. None where Blender refuses.
    """
    collection = linked_collection(item)
    if collection is not None:
        found = _instead_of_empty(context, item, collection)
    elif item.library is not None:
        found = _instead_of_linked(context, item)
    else:
        found = item
    if found is None:
        return None
    head = found.blendsplat.head
    for owner in (found, head, head.blendsplat.rig if head is not None else None):
        _make_editable(owner)
        if owner is not None and owner.type == "MESH":  # sliders are its mesh's; Blender links meshes on
            _make_editable(owner.data)
    context.view_layer.update()
    if head is not None:
        with contextlib.suppress(RuntimeError):  # in a collection that the view layer excludes
            head.hide_set(True)  # the eye is not linked: without this it would cover the avatar
    return found


def _instead_of_empty(
    context: bpy.types.Context, empty: bpy.types.Object, collection: bpy.types.Collection
) -> bpy.types.Object | None:
    """The override of what an empty shows, standing where it stood; the empty goes."""
    made = collection.override_hierarchy_create(
        context.scene, context.view_layer, reference=empty, do_fully_editable=True
    )
    if made is None:
        return None
    context.view_layer.update()
    place = empty.matrix_world @ Matrix.Translation(-collection.instance_offset)
    bpy.data.objects.remove(empty)
    for item in made.all_objects:
        if item.parent is None:
            item.matrix_world = place @ item.matrix_world
    return next((item for item in made.all_objects if item.blendsplat.kind == "AVATAR"), None)


def _instead_of_linked(context: bpy.types.Context, item: bpy.types.Object) -> bpy.types.Object | None:
    """The override of a linked avatar, with its collection where it has one."""
    scene, home = context.scene, _linked_home(context.scene, item)
    before = set(scene.objects)
    if (home or item).override_hierarchy_create(scene, context.view_layer, do_fully_editable=True) is None:
        return None
    if home in scene.collection.children.values():  # a local one may bear its name
        scene.collection.children.unlink(home)
    return next((one for one in scene.objects if one not in before and one.blendsplat.kind == "AVATAR"), None)


def _make_editable(item: bpy.types.ID | None) -> None:
    if item is None:
        return
    if item.library is not None:
        item = item.override_create(remap_local_usages=True) or item
    if item.override_library is not None and item.override_library.is_system_override:
        item.override_library.is_system_override = False


def _parts(carrier: bpy.types.Object) -> list[tuple[bpy.types.ID | None, str]]:
    """What an avatar is animated by, and what it is called."""
    head = carrier.blendsplat.head
    parts: list[tuple[bpy.types.ID | None, str]] = [
        (carrier, "the avatar"), (carrier.data.shape_keys if carrier.data is not None else None, "its sliders"),
        (head, "its head"),
    ]  # fmt: skip
    if head is not None and head.data is not None:
        parts += [(head.data.shape_keys, "its head's sliders"), (head.blendsplat.rig, "its bones")]
    return parts


def _linked_home(scene: bpy.types.Scene, item: bpy.types.Object) -> bpy.types.Collection | None:
    """The linked collection of this scene that holds the object."""
    for collection in scene.collection.children_recursive:
        if collection.library is not None and item.name in collection.all_objects:
            return collection
    return None


def _file(library: bpy.types.Library) -> str:
    return Path(bpy.path.abspath(library.filepath)).name

# SPDX-License-Identifier: Apache-2.0
"""Everything that an artist can point at says what it is, and every grey button says why it is grey."""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Iterator

import blender_addon
import bpy
import pytest

# What Blender itself fills in: of a file browser's answer, and of its presets.
_BLENDERS = {
    "filepath", "directory", "filename", "files", "filter_glob", "filter_image", "filter_folder", "check_existing",
    "remove_name", "remove_active", "name", "rna_type", "bl_idname",
}  # fmt: skip


_CLICKS = {"blendsplat.pick"}  # of a keymap, no button


def classes() -> Iterator[type]:
    """What the add-on has registered."""
    for item in pkgutil.walk_packages(blender_addon.__path__, "blender_addon."):
        __import__(item.name)
    seen = set()
    for name, module in list(sys.modules.items()):
        if name.startswith("blender_addon"):
            for cls in vars(module).values():
                if inspect.isclass(cls) and cls.__module__ == name and getattr(cls, "is_registered", False):
                    seen.add(cls)
    yield from sorted(seen, key=lambda cls: cls.__name__)


def rna_of(cls: type) -> bpy.types.Struct:
    """An operator's own properties and tooltip are not its class's."""
    if not issubclass(cls, bpy.types.Operator):
        return cls.bl_rna
    category, name = cls.bl_idname.split(".")
    return getattr(getattr(bpy.ops, category), name).get_rna_type()


def own_properties(cls: type) -> Iterator[bpy.types.Property]:
    base = {prop.identifier for prop in bpy.types.AddonPreferences.bl_rna.properties}
    for prop in rna_of(cls).properties:
        if prop.identifier not in _BLENDERS and prop.identifier not in base and not prop.identifier.startswith("bl_"):
            yield prop


def is_sentence(text: str) -> bool:
    return len(text.split()) > 1 and not text.endswith(".") and text[0].isupper()


def operators() -> list[type[bpy.types.Operator]]:
    return [cls for cls in classes() if issubclass(cls, bpy.types.Operator)]


def test_the_walk_finds_what_there_is(scene):
    names = {cls.__name__ for cls in classes()}
    assert {"Track", "ShowPicture", "BlendsplatScene", "BlendsplatPreferences", "BLENDSPLAT_PT_train"} <= names
    found = {prop.identifier for cls in classes() for prop in own_properties(cls)}
    assert {"video", "overlay_opacity", "quality_limit", "wait", "engine_kind"} <= found


def test_every_property_has_a_tooltip(scene):
    groups = (bpy.types.PropertyGroup, bpy.types.Operator, bpy.types.AddonPreferences)
    missing = [
        f"{cls.__name__}.{prop.identifier}: {prop.description!r}"
        for cls in classes() if issubclass(cls, groups) for prop in own_properties(cls)
        if not is_sentence(prop.description)
    ]  # fmt: skip
    assert not missing, "\n".join(missing)


def test_every_choice_has_a_tooltip(scene):
    groups = (bpy.types.PropertyGroup, bpy.types.Operator, bpy.types.AddonPreferences)
    missing = [
        f"{cls.__name__}.{prop.identifier} {item.identifier}: {item.description!r}"
        for cls in classes() if issubclass(cls, groups) for prop in own_properties(cls) if prop.type == "ENUM"
        for item in prop.enum_items_static if not is_sentence(item.description)
    ]  # fmt: skip
    assert not missing, "\n".join(missing)


def test_every_operator_has_a_tooltip(scene):
    told = {cls.bl_idname: rna_of(cls).description for cls in operators()}
    missing = [f"{name}: {text!r}" for name, text in told.items() if not is_sentence(text)]
    assert not missing, "\n".join(missing)


def asked(cls: type[bpy.types.Operator]) -> tuple[bool, list[str]]:
    """Whether an operator can be pressed, and what it says why not."""
    said: list[str] = []
    stand_in = type("Asked", (cls,), {"poll_message_set": classmethod(lambda _cls, *words: said.extend(words))})
    return bool(stand_in.poll(bpy.context)), said


def test_every_grey_button_says_why(scene):
    """In an empty scene without an engine most buttons are grey."""
    silent, grey = [], 0
    for cls in operators():
        if cls.bl_idname in _CLICKS or not any("poll" in vars(parent) for parent in cls.__mro__[:-1]):
            continue
        pressable, said = asked(cls)
        grey += not pressable
        if not pressable and not any(words.endswith(".") and len(words.split()) > 2 for words in said):
            silent.append(f"{cls.bl_idname}: {said}")
    assert grey > 8, "the test asks nobody"
    assert not silent, "\n".join(silent)


def test_a_tooltip_of_one_word_would_be_found():
    assert not is_sentence("") and not is_sentence("Video") and not is_sentence("where it lies")
    assert is_sentence("Where it lies")


@pytest.mark.parametrize(
    "cls", [f"BLENDSPLAT_PT_{step}" for step in ("video", "live", "track", "train", "avatar", "photograph")]
)
def test_panels_can_be_drawn_in_an_empty_scene(scene, cls):
    from drawn import drawn

    assert drawn(getattr(bpy.types, cls))

# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel in other languages than English, one module a language. Blender shows them where its own interface is in
that language (Preferences > Interface > Translation).

A language is a dictionary from what stands in the source to its translation; a test finds ids that the source no longer
has. To add one: a module beside de.py, and its line in LANGUAGES.
"""

from __future__ import annotations

import bpy

from . import de

LANGUAGES = {"de_DE": de.WORDS}
_CONTEXTS = ("*", "Operator")  # Blender looks operators' names up in one of their own


def messages() -> dict[str, dict[tuple[str, str], str]]:
    """The translations as Blender takes them."""
    return {
        language: {(context, text): told for text, told in words.items() for context in _CONTEXTS}
        for language, words in LANGUAGES.items()
    }


def register() -> None:
    bpy.app.translations.register(__name__, messages())


def unregister() -> None:
    bpy.app.translations.unregister(__name__)

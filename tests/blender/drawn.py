# SPDX-License-Identifier: Apache-2.0
"""The words that a panel draws, by a stand-in for Blender's layout: labels, and buttons by their text or name."""

from __future__ import annotations

import bpy
from blender_addon.ui.panels import job_button, layout, photograph, steps


class Layout:
    """Takes whatever is drawn into it and keeps the words."""

    use_property_split = use_property_decorate = enabled = True

    def __init__(self) -> None:
        self.words: list[str] = []

    def column(self, **_how):
        return self

    row = box = column

    def operator(self, name: str, text: str = "", icon: str = "", **_how):
        self.words.append(text or name)
        return self

    def label(self, text: str = "", icon: str = "") -> None:
        self.words.append(text)

    def __getattr__(self, _name: str):
        return lambda *_args, **_how: None


def drawn(panel: type[layout.Panel]) -> list[str]:
    """The words of a panel in the present scene, sentences whole."""
    seen = Layout()
    panel_like = type("Drawn", (), {"column": staticmethod(lambda: seen), "layout": seen})
    patched = [module for module in (job_button, photograph, steps) if hasattr(module, "paragraph")]
    for module in patched:
        module.paragraph = lambda _context, column, sentence, _icon: column.label(text=sentence)
    try:
        panel.draw(panel_like, bpy.context)
    finally:
        for module in patched:
            module.paragraph = layout.paragraph
    return seen.words

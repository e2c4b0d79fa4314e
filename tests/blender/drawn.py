# SPDX-License-Identifier: Apache-2.0
"""The words that a panel draws, by a stand-in for Blender's layout: labels, buttons, settings by text or name."""

from __future__ import annotations

import inspect
import pkgutil
from types import MethodType

import bpy
from blender_addon.ui import panels
from blender_addon.ui.panels import layout


class Layout:
    """Takes whatever is drawn into it and keeps the words; everything that folds is open."""

    use_property_split = use_property_decorate = enabled = True

    def __init__(self) -> None:
        self.words: list[str] = []

    def column(self, **_how):
        return self

    row = box = split = column

    def panel(self, _name: str, default_closed: bool = False):
        return self, self

    panel_prop = panel

    def operator(self, name: str, text: str = "", icon: str = "", **_how):
        self.words.append(text or name)
        return self

    def label(self, text: str = "", icon: str = "", **_how) -> None:
        self.words.append(text)

    def prop(self, owner, name: str, text: str | None = None, **_how) -> None:
        self.words.append(owner.bl_rna.properties[name].name if text is None else text)

    def progress(self, factor: float, text: str = "") -> None:
        self.words.append(text)

    def __getattr__(self, _name: str):
        return lambda *_args, **_how: None


class _Drawn:
    """A panel that Blender did not make: it has the class's functions and words."""

    def __init__(self, panel: type[bpy.types.Panel], seen: Layout) -> None:
        self._panel, self.layout = panel, seen

    def __getattr__(self, name: str):
        value = inspect.getattr_static(self._panel, name)
        return MethodType(value, self) if inspect.isfunction(value) else getattr(self._panel, name)


def drawn(panel: type[layout.Panel]) -> list[str]:
    """The words of a panel in the present scene, sentences whole."""
    seen = Layout()
    names = [f"{panels.__name__}.{item.name}" for item in pkgutil.iter_modules(panels.__path__)]
    patched = [module for name in names if hasattr(module := __import__(name, fromlist=["x"]), "paragraph")]
    real = layout.paragraph
    for module in patched:
        module.paragraph = lambda _context, column, sentence, _icon: column.label(text=sentence)
    try:
        panel.draw(_Drawn(panel, seen), bpy.context)
    finally:
        for module in patched:
            module.paragraph = real
    return seen.words

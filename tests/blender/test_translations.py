# SPDX-License-Identifier: Apache-2.0
"""The panel's words in other languages: every id is still in the source, settings and steps have one."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import blender_addon
import pytest
from blender_addon.scene import face_words
from blender_addon.ui import face_properties, live_properties, photographs, properties, translations
from blender_addon.ui.operators import face
from blender_addon.ui.panels import check_tracking, live, photograph, steps, track, train, video, work
from blender_addon.ui.panels import face as face_panel

SOURCE = Path(blender_addon.__file__).parent


@pytest.fixture(scope="module")
def texts() -> set[str]:
    """Every text in the source."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        if path.parent.name != "translations":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_every_id_is_still_in_the_source(texts, language):
    gone = [text for text in translations.LANGUAGES[language] if text not in texts]
    assert not gone, "the source says something else now: change or remove these ids"


def seen() -> list[str]:
    """The names of the steps and of what is set in them."""
    names = [cls.bl_label for module in (work, photograph, live, video, track, check_tracking, train, steps)
             for cls in module.CLASSES if hasattr(cls, "step")]  # fmt: skip
    names += [face_panel.BLENDSPLAT_PT_face.bl_label, *face_words.TITLES.values()]
    names += [cls.bl_label for cls in face.CLASSES]
    for group in (
        properties.BlendsplatScene,
        photographs.BlendsplatPhotographs,
        live_properties.BlendsplatLive,
        face_properties.BlendsplatFace,
    ):
        told = [prop for prop in group.bl_rna.properties if prop.type not in ("COLLECTION", "POINTER")]
        told = [prop for prop in told if prop.identifier not in ("rna_type", "name") and not prop.is_hidden]
        names += [prop.name for prop in told if not prop.identifier.startswith("show_")]
    return names


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_what_stands_in_the_steps_is_translated(scene, language):
    kept = {"Video", "Crop", "Shift", "Photograph"}  # the same there, or shown under another text
    missing = set(seen()) - set(translations.LANGUAGES[language]) - kept
    assert not missing, sorted(missing)


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_what_is_filled_in_stays(language):
    for text, told in translations.LANGUAGES[language].items():
        assert told.strip() == told and told, text
        assert text.count("%") == told.count("%") and text.count("{") == told.count("{"), text
        assert not (text.endswith(".") and not text.endswith("...")) or told.endswith("."), text


def test_blender_takes_them_and_lets_them_go(monkeypatch):
    calls = []
    blender = SimpleNamespace(
        register=lambda name, words: calls.append((name, words)), unregister=lambda name: calls.append((name, None))
    )
    monkeypatch.setattr(translations, "bpy", SimpleNamespace(app=SimpleNamespace(translations=blender)))
    blender_addon.register()
    blender_addon.unregister()
    (name, words), gone = calls
    assert gone == (name, None)
    assert words["de_DE"]["Operator", "Track Head"] == words["de_DE"]["*", "Track Head"] == "Kopf verfolgen"

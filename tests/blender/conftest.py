# SPDX-License-Identifier: Apache-2.0
"""The add-on, enabled in a fresh bpy for every test; the whole folder skips where bpy is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

bpy = pytest.importorskip("bpy", reason="the bpy module is not installed here")

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import blender_addon  # noqa: E402


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """An empty scene with the add-on registered; its own files go to the test's folder."""
    from blender_addon import preferences
    from blender_addon.client import session

    bpy.ops.wm.read_factory_settings(use_empty=True)
    monkeypatch.setattr(preferences, "user_directory", lambda: tmp_path / "user")
    blender_addon.register()
    yield bpy.context.scene
    session.stop()
    blender_addon.unregister()

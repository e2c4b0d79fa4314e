# SPDX-License-Identifier: Apache-2.0
"""Animates and renders a shot of ten seconds with somebody's avatar, to be watched; runs only where it is told whose.

BLENDSPLAT_UI_SHOT=talk.avatar.npz BLENDSPLAT_UI_ENGINE="chroot /host .../python -m blendsplat serve"
BLENDSPLAT_UI_PICTURES=out/shot python -m pytest tests/ui/test_shot.py -k 5.2
"""

from __future__ import annotations

import os
import shutil

import pytest
from playing import ROOT, by_name, played

pytestmark = pytest.mark.skipif("BLENDSPLAT_UI_SHOT" not in os.environ, reason="is watched, on demand")


def test_ten_seconds_by_hand(blender, extension, tmp_path):
    folder = tmp_path / "ui"
    folder.mkdir()
    avatar = folder / "person.avatar.npz"
    shutil.copy(os.environ["BLENDSPLAT_UI_SHOT"], avatar)
    options = {"folder": str(folder), "zip": str(extension), "engine": os.environ["BLENDSPLAT_UI_ENGINE"]}
    steps = by_name(played(blender, "shot_scenario.py", options | {"avatar": str(avatar)}, [ROOT, extension.parent]))
    assert steps["baked"][0]["live"] is False and steps["rendered"][0]["pictures"] == 240

# SPDX-License-Identifier: Apache-2.0
"""A face animated by hand in a whole Blender, with its own event loop, undo and drawing."""

from __future__ import annotations

import sys

import pytest
from playing import FAKE, ROOT, by_name, played


def test_a_face_is_animated_by_hand(blender, extension, tmp_path):
    sys.path.insert(0, str(FAKE.parent))
    import human_head

    import synthetic

    folder = tmp_path / "ui"
    avatar = synthetic.write_avatar(folder / "ana.avatar.npz", rig=human_head.human_head())
    options = {"folder": str(folder), "zip": str(extension), "engine": f"python3 {FAKE}", "avatar": str(avatar)}
    report = played(blender, "face_scenario.py", options, [ROOT, extension.parent])
    steps = by_name(report)
    assert steps["dragged"][0]["left"] == steps["dragged"][0]["right"] > 0.3
    assert (steps["drag undone"][0]["left"], steps["drag undone"][0]["right"]) == (0, 0)
    assert (steps["linked"][0]["left"], steps["linked"][0]["right"]) == (0.7, 0.7)
    mirrored = steps["mirrored"][0]
    assert (mirrored["left"], mirrored["right"], mirrored["brow"]) == (0.1, 0.7, 0.6)
    assert (steps["reset"][0]["left"], steps["reset"][0]["brow"]) == (0, 0)
    assert (steps["undone"][0]["left"], steps["undone"][0]["brow"]) == (0.1, 0.6)
    assert steps["board"][0]["smile"] == pytest.approx(0.9, abs=1e-3) and steps["board"][0]["own"] == 0.1
    assert (steps["posing"][0]["mode"], steps["posing"][0]["objects"]) == ("POSE", 3)
    assert not steps["removed"][0]["left"] and steps["back"][0]["keys"] > 8

# SPDX-License-Identifier: Apache-2.0
"""An artist's day in whole Blenders 4.3 and 5.2 destroys nothing: what finishes waits, what is lost is said, mended."""

from __future__ import annotations

from playing import FAKE, ROOT, by_name, played


def test_nothing_of_the_artists_is_lost(blender, extension, tmp_path):
    folder = tmp_path / "ui"
    folder.mkdir()
    video = folder / "talk.mp4"
    video.write_bytes(b"the stand-in does not read it")
    options = {
        "folder": str(folder), "zip": str(extension), "engine": f"python3 {FAKE} slow", "video": str(video),
        "clip": str(folder / "Klip ä"),
    }  # fmt: skip
    steps = by_name(played(blender, "faults_scenario.py", options, [ROOT, extension.parent]))
    assert [step["state"] for step in steps["train"]] == ["done"] * 3
    assert steps["looks"][0]["unchanged"], "Add Avatar changed render engine or view transform"
    assert steps["edited"][0] == {
        "step": "edited", "there": True, "mode": "EDIT", "offers": ["Update Avatar"], "keys": True,
    }  # fmt: skip
    assert steps["taken"][0] == {"step": "taken", "offers": [], "avatars": 1}
    assert steps["posed"][0] == {"step": "posed", "mode": "POSE", "active": True, "offers": ["Update Avatar"]}
    assert steps["another file"][0] == {"step": "another file", "jobs": [], "can_train": False}
    assert (steps["reopened"][0]["preset"], steps["reopened"][0]["chosen"]) == ("full", "full")
    repaired = steps["repaired"][0]
    assert "head" in repaired["said"] and not repaired["left"] and repaired["gap"] < 1e-4
    assert repaired["keys"] == 6, "a renamed key was lost"
    without = steps["without"][0]
    assert max(without["gaps"]) < 1e-5 < 1e-3 < without["moves"], "frozen without the extension"

# SPDX-License-Identifier: Apache-2.0
"""The library of expressions in whole Blenders: made without blocking, put on by clicks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from playing import FAKE, ROOT, by_name, played


def names() -> list[str]:
    """ARKit's that are shapes of a head, from the add-on's table, which needs no Blender."""
    path = ROOT / "blender_addon" / "scene" / "arkit.py"
    spec = importlib.util.spec_from_file_location("arkit_table", path)
    assert spec is not None and spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    return [name for name in table.NAMES if name not in table.TURNS]


def test_faces_are_made_and_put_on_by_clicks(blender, extension, tmp_path):
    sys.path.insert(0, str(FAKE.parent))
    import synthetic

    folder: Path = tmp_path / "ui"
    avatar = synthetic.write_avatar(folder / "Ana.avatar.npz", gaussians=200, rig=synthetic.named_head(names()))
    options = {"folder": str(folder), "zip": str(extension), "engine": f"python3 {FAKE}", "avatar": str(avatar)}
    steps = by_name(played(blender, "faces_scenario.py", options, [ROOT, extension.parent]))
    library = steps["library"][0]
    assert library["faces"] == library["drawn"] == 33 and not library["sentence"]
    assert library["turns"] > 2, "Blender had turns of its own"
    assert (folder / "blender_assets.cats.txt").read_text(encoding="utf-8").count("Expressions/Ana") == 1
    assert steps["browser"][0]["face"].get("jawOpen") == 0.5, "the first of the browser is aa"
    assert steps["shelf"][0]["face"].get("browDownLeft") == 0.95, "the second of the shelf is Anger"

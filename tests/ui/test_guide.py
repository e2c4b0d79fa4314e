# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of docs/artist-guide.md; not a check: runs only where it is told what to photograph.

BLENDSPLAT_UI_DEMO=out/demo (of make demo) BLENDSPLAT_UI_ENGINE="chroot /host .../python -m blendsplat serve"
BLENDSPLAT_UI_GUIDE=docs/pictures python -m pytest tests/ui/test_guide.py -k 5.2
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from playing import ROOT, by_name, played

pytestmark = pytest.mark.skipif("BLENDSPLAT_UI_DEMO" not in os.environ, reason="makes pictures, on demand")


def test_the_guides_pictures(blender, extension, tmp_path):
    demo = tmp_path / "demo"
    shutil.copytree(os.environ["BLENDSPLAT_UI_DEMO"], demo)
    folder, out = tmp_path / "ui", Path(os.environ.get("BLENDSPLAT_UI_GUIDE", tmp_path / "guide")).resolve()
    folder.mkdir()
    out.mkdir(exist_ok=True)
    options = {
        "folder": str(folder), "zip": str(extension), "engine": os.environ["BLENDSPLAT_UI_ENGINE"],
        "blend": str(demo / "guide.blend"), "frame": 60,
        "middle": [0, 0, -0.02], "cheek": [0.06, -0.07, -0.05],
    }  # fmt: skip
    report = played(blender, "guide_scenario.py", options, [ROOT, demo, extension.parent])
    steps = by_name(report)
    assert steps["pictures"][0]["problem"] == ""
    for name in ("1-empty", "2-tracked", "3-avatar"):
        save(Image.open(folder / f"guide-{name}.png").convert("RGB"), out / f"guide_{name[2:]}.jpg", 1200)
    views = [cut(Image.open(folder / f"{step['name']}.png"), step) for step in steps["view"]]
    save(sheet(views, 3, 420), out / "guide_sides.jpg", 1260)
    renders = [Image.open(path) for path in sorted(folder.glob("guide-5-*.png"))]
    renders += [Image.open(path) for path in sorted(folder.glob("guide-6-*.png"))]
    save(sheet(renders, 3, 420), out / "guide_renders.jpg", 1260)


def cut(picture: Image.Image, step: dict) -> Image.Image:
    """The middle square of a view on a screenshot."""
    width, height = step["size"]
    side = height - 60  # without the header
    left, top = step["left"] + (width - side) // 2, step["top"] + 60
    return picture.crop((left, top, left + side, top + side))


def sheet(pictures: list[Image.Image], columns: int, side: int) -> Image.Image:
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (columns * side, rows * side))
    for index, picture in enumerate(pictures):
        place = (index % columns * side, index // columns * side)
        whole.paste(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), place)
    return whole


def save(picture: Image.Image, path: Path, width: int) -> None:
    size = (width, round(picture.height * width / picture.width))
    picture.resize(size, Image.Resampling.LANCZOS).save(path, quality=82, optimize=True)

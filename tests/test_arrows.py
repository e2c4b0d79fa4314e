# SPDX-License-Identifier: Apache-2.0
"""Keeps the house's order (tests/support/rooms.py): every import of every file is looked at, those in functions too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rooms import (
    ADDON,
    ADDON_FLOORS,
    BEGIN,
    END,
    ENGINE,
    ENGINE_FLOORS,
    ROOT,
    circles,
    drawing,
    files,
    imports,
    module_graph,
    package_of,
    room_graph,
)

BLENDER_MODULES = {
    "bpy", "bpy_extras", "bmesh", "mathutils", "gpu", "gpu_extras", "blf", "bl_ui", "bl_operators", "addon_utils",
    "pxr",
}  # fmt: skip
PROGRAMS = pytest.mark.parametrize(
    ("folder", "floors"), [(ENGINE, ENGINE_FLOORS), (ADDON, ADDON_FLOORS)], ids=["engine", "addon"]
)


def test_no_torch_and_no_engine_in_the_addon() -> None:
    allowed = set(sys.stdlib_module_names) | BLENDER_MODULES | {"numpy", ADDON.name}
    for path in files(ADDON):
        for name in imports(path, package_of(path, ADDON)):
            assert name.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_no_blender_in_the_engine() -> None:
    for path in files(ENGINE):
        for name in imports(path, package_of(path, ENGINE)):
            assert name.split(".")[0] not in BLENDER_MODULES | {ADDON.name}, f"{path.relative_to(ROOT)} imports {name}"


@PROGRAMS
def test_arrows_point_down(folder: Path, floors: tuple[tuple[str, ...], ...]) -> None:
    """A room uses rooms of lower floors only."""
    floor_of = {room: number for number, floor in enumerate(floors) for room in floor}
    graph = room_graph(folder, floors)
    wrong = [f"{a} uses {b}" for a, others in graph.items() for b in others if floor_of[b] >= floor_of[a]]
    assert not wrong, wrong


@PROGRAMS
def test_no_modules_import_each_other(folder: Path, floors: tuple[tuple[str, ...], ...]) -> None:
    assert not circles(module_graph(folder))


@PROGRAMS
def test_every_floor_is_lived_on(folder: Path, floors: tuple[tuple[str, ...], ...]) -> None:
    """A room that is gone must leave the list."""
    compiled = {"_kernels_cpu", "_kernels_cuda"}
    assert {room for floor in floors for room in floor} - compiled == set(room_graph(folder, floors))


def test_the_picture_is_the_houses() -> None:
    """docs/design.md shows the rooms as they are. BLENDSPLAT_DRAW=1 draws them anew."""
    page = ROOT / "docs" / "design.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    shown, after = rest.split(END)
    if os.environ.get("BLENDSPLAT_DRAW"):
        page.write_text(f"{before}{BEGIN}\n{drawing()}\n{END}{after}", encoding="utf-8")
        return
    assert shown.strip() == drawing(), "run BLENDSPLAT_DRAW=1 pytest tests/test_arrows.py and look at docs/design.md"


def test_the_kernels_know_nothing_of_torch() -> None:
    sources = [p for p in (ROOT / "cuda_ext").rglob("*") if p.suffix in (".cpp", ".cu", ".h", ".cuh", ".hpp")]
    assert sources
    for path in sources:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.lstrip().startswith("#include"):
                assert "torch" not in line and "ATen" not in line and "c10" not in line, (
                    f"{path.relative_to(ROOT)}: {line}"
                )


@pytest.mark.parametrize("module", ["blendsplat.cli", "blendsplat.serving"])
def test_the_command_line_and_the_server_start_without_torch(module: str) -> None:
    code = f"import sys, {module}; print([n for n in ('torch', 'mediapipe', 'av', 'scipy', 'bpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_check_sees_lazy_and_relative_imports(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text(
        "def f():\n    import torch.nn\n    from . import a\n    from ..b import c\n    __import__('bpy')\n"
    )
    assert list(imports(source, ("top", "sub"))) == ["torch.nn", "top.sub.a", "top.b.c", "bpy"]


def test_the_check_sees_circles_and_names_of_modules(tmp_path: Path) -> None:
    package = tmp_path / "top"
    for name, text in {
        "__init__.py": "VERSION = 1\n",
        "a/__init__.py": "",
        "a/one.py": "from top.a.two import thing\n",
        "a/two.py": "def later():\n    from . import three\n",
        "a/three.py": "from .. import VERSION\nfrom top.a import one\n",
        "b.py": "import top.a.one\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = module_graph(package)
    assert graph["a.three"] == {"", "a.one"} and graph["b"] == {"a.one"}
    assert circles(graph) == [["a.one", "a.three", "a.two"]]
    assert room_graph(package, (("__init__",), ("a",), ("b",)))["b"] == {"a"}

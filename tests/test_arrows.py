# SPDX-License-Identifier: Apache-2.0
"""Keeps the house's arrows (docs/design.md): every import of every file is looked at, those inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "engine" / "blendsplat"
ADDON = ROOT / "blender_addon"

# A room may use rooms of a lower rank. Some modules of tracking and training are ground that others stand on: what a
# detector and a performance are, and how pictures are compared.
RANKS = {
    "errors": -1, "progress": 0, "files": 0, "folders": 0, "geometry": 0, "_kernels_cpu": 0, "_kernels_cuda": 0,
    "splatting": 1, "tracking.landmarks": 1, "tracking.quiet": 1, "training.lpips": 1, "training.metrics": 1,
    "heads": 2,
    "tracking.result": 3,
    "video": 4, "avatars": 4,
    "tracking": 5, "training": 5,
    "serving": 6, "demo": 6,
    "bench": 7,
    "commands": 8,
    "cli": 9,
    "__main__": 10,
}  # fmt: skip
BLENDER_MODULES = {
    "bpy",
    "bpy_extras",
    "bmesh",
    "mathutils",
    "gpu",
    "gpu_extras",
    "blf",
    "bl_ui",
    "bl_operators",
    "addon_utils",
}


def imports(path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Absolute names of everything that a file imports, at the top or later; ``package`` is the file's own package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module or "")))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__", "find_spec") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, folder
    return found


def package_of(path: Path, folder: Path) -> tuple[str, ...]:
    return (folder.name, *path.relative_to(folder).parent.parts)


def room(module: str) -> str | None:
    """The entry of RANKS that ``module`` (without "blendsplat.") belongs to: the longest that fits."""
    parts = module.split(".")
    return next((name for n in (2, 1) if (name := ".".join(parts[:n])) in RANKS), None)


def test_no_torch_and_no_engine_in_the_addon() -> None:
    allowed = set(sys.stdlib_module_names) | BLENDER_MODULES | {"numpy", ADDON.name}
    for path in files(ADDON):
        for name in imports(path, package_of(path, ADDON)):
            assert name.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_no_blender_in_the_engine() -> None:
    for path in files(ENGINE):
        for name in imports(path, package_of(path, ENGINE)):
            assert name.split(".")[0] not in BLENDER_MODULES | {ADDON.name}, f"{path.relative_to(ROOT)} imports {name}"


def test_arrows_of_the_engine_point_down() -> None:
    wrong = []
    for path in files(ENGINE):
        own = ".".join(path.relative_to(ENGINE).with_suffix("").parts).removesuffix(".__init__")
        if own == "__init__":
            continue
        mine = room(own)
        assert mine is not None, f"{path.relative_to(ROOT)} is a room that RANKS does not know"
        for name in imports(path, package_of(path, ENGINE)):
            if not name.startswith("blendsplat."):
                continue
            theirs = room(name.removeprefix("blendsplat."))
            same_room = theirs is not None and theirs.split(".")[0] == mine.split(".")[0]
            # tracking's ground stones must not lean on the rest of tracking
            if theirs is not None and RANKS[theirs] >= RANKS[mine] and not (same_room and RANKS[theirs] == RANKS[mine]):
                wrong.append(f"{own} imports {name}")
    assert not wrong, wrong


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

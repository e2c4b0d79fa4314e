# SPDX-License-Identifier: Apache-2.0
"""Builds dist/blendsplat-<version>.zip, the Blender extension with the engine's wheels inside; checks it and lists it.

    python build_addon.py [--wheel-dir dist] [--output dist] [--no-engine] [--release] [--blender PATH]

Without a wheel in --wheel-dir it builds one with pip, which only the Python that runs this can use. --release refuses a
zip whose engine does not run on every Python that the engine supports. --blender asks that Blender's validator as well.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SOURCE = ROOT / "blender_addon"
ALLOWED_IMPORTS = {
    "addon_utils", "bl_operators", "bl_ui", "blf", "bpy", "bpy_extras", "gpu", "mathutils", "numpy", "pxr",
    *sys.stdlib_module_names,
}  # fmt: skip
PYTHONS = ("311", "312", "313")  # as pyproject.toml's requires-python
_DATE = (2020, 1, 1, 0, 0, 0)  # the same input gives the same zip


class BuildError(Exception):
    """The extension cannot be built; the text says why."""


def read_manifest(source: Path = SOURCE) -> dict:
    """The manifest, checked as far as we can without Blender. Raises BuildError."""
    manifest = tomllib.loads((source / "blender_manifest.toml").read_text(encoding="utf-8"))
    for key in (
        "schema_version",
        "id",
        "name",
        "tagline",
        "version",
        "type",
        "maintainer",
        "license",
        "blender_version_min",
    ):
        if not manifest.get(key):
            raise BuildError(f"blender_manifest.toml lacks {key!r}.")
    if not re.fullmatch(r"\d+\.\d+\.\d+([-+].+)?", manifest["version"]):
        raise BuildError(f"blender_manifest.toml: {manifest['version']!r} is not a semantic version.")
    texts = {"tagline": manifest["tagline"], **manifest.get("permissions", {})}
    for key, text in texts.items():
        if len(text) > 64 or text.endswith("."):
            raise BuildError(
                f"blender_manifest.toml: {key} must be one phrase of at most 64 letters without a full stop."
            )
    return manifest


def source_files(source: Path = SOURCE) -> Iterator[Path]:
    """What goes into the zip, in a fixed order."""
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if (
            path.is_file()
            and not any(part.startswith((".", "__pycache__")) for part in inside.parts)
            and inside.parts[0] != "engine"
        ):
            yield path


def check_imports(source: Path = SOURCE) -> None:
    """bpy, numpy and the standard library, nothing else. Raises BuildError."""
    for path in source_files(source):
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            foreign = [name for name in names if name.split(".")[0] not in ALLOWED_IMPORTS]
            if foreign and path.name != "batch.py":
                raise BuildError(
                    f"{path.relative_to(ROOT)} imports {foreign[0]}: only bpy, numpy and the standard library may be."
                )


def find_wheels(folder: Path, version: str) -> list[Path]:
    """The engine's wheels of this version, built here when there are none. Raises BuildError."""
    wheels = sorted(folder.glob(f"blendsplat-{version}*.whl"))
    if not wheels:
        print(f"No wheel of version {version} in {folder}; building one.", flush=True)
        words = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--disable-pip-version-check",
            "-q",
            "-w",
            str(folder),
            str(ROOT),
        ]
        if subprocess.run(words).returncode != 0:
            raise BuildError(
                "The engine's wheel could not be built (see above); --no-engine builds the extension without it."
            )
        wheels = sorted(folder.glob(f"blendsplat-{version}*.whl"))
    if not wheels:
        raise BuildError(
            f"There is no blendsplat-{version}*.whl in {folder}: engine and extension must have the same version."
        )
    return wheels


def pythons_of(wheels: list[Path]) -> dict[str, set[str]]:
    """The Pythons (311, 312, ...) that each platform's wheels are for, from their names."""
    found: dict[str, set[str]] = {}
    for wheel in wheels:
        python, abi, platform = wheel.stem.split("-")[-3:]
        fits = [p for p in PYTHONS if f"cp{p}" in python.split(".") or python.startswith("py3")]
        if abi == "abi3" and python.startswith("cp3"):
            fits = [p for p in PYTHONS if int(p) >= int(python[2:])]
        found.setdefault(platform, set()).update(fits)
    return found


def check_pythons(wheels: list[Path], release: bool) -> None:
    """Say which Pythons the engine inside runs on. Raises BuildError for a release that lacks one."""
    for platform, found in sorted(pythons_of(wheels).items()):
        names = ", ".join(f"3.{python[1:]}" for python in PYTHONS if python in found)
        print(f"The engine for {platform} runs on Python {names}.")
        lacking = [f"3.{python[1:]}" for python in PYTHONS if python not in found]
        if release and lacking:
            raise BuildError(
                f"The engine for {platform} lacks a wheel for Python {', '.join(lacking)}: put those of cibuildwheel "
                "(pyproject.toml) into --wheel-dir."
            )


def build(output: Path, wheels: list[Path]) -> Path:
    """Write the zip under a temporary name, then rename it."""
    manifest = read_manifest()
    check_imports()
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{manifest['id']}-{manifest['version']}.zip"
    temporary = target.with_suffix(".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in source_files():
            _add(archive, path, path.relative_to(SOURCE).as_posix())
        _add(archive, ROOT / "LICENSES" / "GPL-3.0-or-later.txt", "LICENSE")
        for wheel in wheels:
            _add(archive, wheel, f"engine/{wheel.name}")
    os.replace(temporary, target)
    return target


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    if not path.exists():
        return
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_STORED if path.suffix == ".whl" else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, path.read_bytes())


def check(target: Path) -> None:
    """The finished zip: whole, with manifest and entry at its top. Raises BuildError."""
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
        if archive.testzip() is not None or not {"blender_manifest.toml", "__init__.py"} <= set(names):
            raise BuildError(f"{target} is not a whole extension.")
        print(f"{target} ({target.stat().st_size:,} bytes)")
        for info in archive.infolist():
            print(f"  {info.file_size:>12,}  {info.filename}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel-dir", type=Path, default=ROOT / "dist", help="where the engine's wheels are")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where the zip goes")
    parser.add_argument("--no-engine", action="store_true", help="build without an engine inside")
    parser.add_argument("--release", action="store_true", help="refuse a zip that lacks a Python")
    parser.add_argument("--blender", nargs="+", help="words that start a Blender whose validator is asked too")
    options = parser.parse_args()
    try:
        manifest = read_manifest()
        wheels = [] if options.no_engine else find_wheels(options.wheel_dir, manifest["version"])
        check_pythons(wheels, options.release)
        target = build(options.output, wheels)
        check(target)
    except BuildError as error:
        print(f"build_addon.py: {error}", file=sys.stderr)
        return 1
    if options.blender:
        return subprocess.run([*options.blender, "--command", "extension", "validate", str(target)]).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())

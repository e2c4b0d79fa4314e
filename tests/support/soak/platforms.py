# SPDX-License-Identifier: Apache-2.0
"""What differs from one machine to the next: compilers, what the wheel holds, text files' line endings and encodings,
names of files, and a system that speaks no UTF-8."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .table import Row, Share

ROOT = Path(__file__).resolve().parents[3]
CPU = ROOT / "cuda_ext" / "cpu"
COMPILERS = {  # what is asked for -> its program
    "clang": "clang++", "mingw-w64 (Windows)": "x86_64-w64-mingw32-g++-posix",
}  # fmt: skip
PYTHON_ONLY = re.compile("bindings")  # sources that need Python's headers, which a Windows' Python has
FOLDERS = ("plain", "with space", "Grüße", "影片", "dots.in.name", "it's", "a,b;c", "100%", "#1")
LOCALES = ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"})
WHEEL = re.compile(
    r"blendsplat/(?!.*emulated|(.*/)?tests?/).*(\.|/)(py|npz|toml|json|safetensors|so|pyd|txt|md|LICENSE)$"
    r"|blendsplat/.*py\.typed$|blendsplat-[^/]+\.dist-info/"
)


def run(share: Share) -> Iterator[Row]:
    for name, program in COMPILERS.items():
        yield _compiled(share, name, program)
    yield _wheel()
    yield _named(share)


def _compiled(share: Share, name: str, program: str) -> Row:
    row = Row("platforms", f"CPU kernels' sources compiled by {name}")
    found = shutil.which(program)
    if found is None:
        row.note = f"not here: {program}"
        return row
    for source in sorted(CPU.glob("*.cpp")):
        if PYTHON_ONLY.search(source.stem) and name != "clang":
            continue
        if not share.wants(row.tried, 1000):
            break
        began = time.monotonic()
        complaint = compile_one(found, source, share.folder)
        seconds = time.monotonic() - began
        if complaint:
            row.bad(f"{source.name}: {complaint[-600:]}", seconds=seconds)
        else:
            row.good(seconds)
    return row


def compile_one(program: str, source: Path, folder: Path) -> str:
    """What a compiler has to say of a source; "": nothing."""
    target = "scalar" if source.stem.endswith("scalar") else "generic"
    includes = [CPU.parent / "include", CPU]
    if PYTHON_ONLY.search(source.stem):
        import pybind11

        includes += [Path(pybind11.get_include()), Path(sysconfig.get_path("include"))]
    words = [program, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-DBLENDSPLAT_TARGET={target}"]
    words += [*(f"-I{path}" for path in includes), "-c", str(source), "-o", str(folder / "object.o")]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace")
    return "" if done.returncode == 0 else done.stderr or f"code {done.returncode}"


def _wheel() -> Row:
    row = Row("platforms", "files in the built wheel")
    wheels = sorted((ROOT / "dist").glob("blendsplat-*.whl"))
    if not wheels:
        row.note = "not here: dist/blendsplat-*.whl (make build it first)"
        return row
    with zipfile.ZipFile(wheels[-1]) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    for name in names:
        if WHEEL.match(name):
            row.good()
        else:
            row.bad(f"{name} has no place in the wheel")
    for wanted in (r"_kernels_cpu\.", r"presets/draft\.toml", r"licenses?/.*LICENSE", r"human_head\.npz"):
        if any(re.search(wanted, name) for name in names):
            row.good()
        else:
            row.bad(f"the wheel lacks {wanted}")
    return row


def _named(share: Share) -> Row:
    """The command line in folders of odd names, in systems that speak UTF-8 and in those that do not."""
    row = Row("platforms", "the command line in folders of odd names and languages")
    for index, (name, language) in enumerate([(name, language) for language in LOCALES for name in FOLDERS]):
        if index and not share.wants(row.tried, 1000):
            break
        began = time.monotonic()
        complaint = refused_in_words(share.folder / f"{index}", name, language)
        seconds = time.monotonic() - began
        if complaint:
            row.bad(f"{name} with {language}: {complaint}", seconds=seconds)
        else:
            row.good(seconds)
    return row


def refused_in_words(home: Path, name: str, language: dict[str, str]) -> str:
    """A folder without a clip, tracked as JSON: exit code 2, its name in one sentence, logs in a folder of that name.
    -> what went wrong, or ""."""
    folder = home / name
    folder.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LC_") and key != "LANG"}
    environment |= language | {
        "BLENDSPLAT_LOG_DIR": str(home / f"{name} logs"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    words = [sys.executable, "-m", "blendsplat", "track", str(folder), "--json"]
    done = subprocess.run(words, env=environment, capture_output=True)
    try:
        sentence = json.loads(done.stdout)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"code {done.returncode}, {done.stdout[-200:]!r} {done.stderr[-400:]!r}"
    if done.returncode != 2 or str(folder) not in sentence:
        return f"code {done.returncode}: {sentence}"
    return "" if list((home / f"{name} logs").glob("*.log")) else "no log was written"

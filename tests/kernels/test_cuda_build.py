# SPDX-License-Identifier: Apache-2.0
"""The CUDA sources compile where nvcc is, for one architecture: a machine without a GPU finds a broken kernel too."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "cuda_ext" / "cuda").glob("*.cu"))


@pytest.mark.slow
def test_every_kernel_compiles(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not on this machine")
    assert SOURCES

    def compile_one(source: Path) -> subprocess.CompletedProcess:
        includes = ["-I", str(ROOT / "cuda_ext" / "include"), "-I", str(ROOT / "cuda_ext" / "cuda")]
        # PTX shows every error of the kernels; turning it into machine code is the slower half of the work.
        command = [nvcc, "-std=c++17", "-arch=compute_80", "-ptx", "-DBLENDSPLAT_TARGET=device", *includes]
        return subprocess.run(
            [*command, str(source), "-o", str(tmp_path / f"{source.stem}.ptx")], capture_output=True, text=True
        )

    with ThreadPoolExecutor(2) as pool:
        for source, done in zip(SOURCES, pool.map(compile_one, SOURCES), strict=True):
            assert done.returncode == 0, f"{source.name}:\n{done.stderr[-3000:]}"


def test_both_backends_have_the_same_operations():
    """One file per operation, the same names: what one backend does can be read beside what the other does."""
    names = [
        {path.stem for path in (ROOT / "cuda_ext" / part).glob(f"*.{ext}")}
        for part, ext in (("cpu", "cpp"), ("cuda", "cu"))
    ]
    operations = {"project", "bin", "blend_forward", "blend_backward", "project_backward", "pixel_weights"}
    assert operations <= names[0] and operations <= names[1]

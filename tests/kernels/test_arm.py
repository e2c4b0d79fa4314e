# SPDX-License-Identifier: Apache-2.0
"""The CPU kernels for 64-bit Arm: built with a cross compiler, run by an emulator, compared with this machine's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.splatting.scenes import random_scene

from blendsplat.splatting import rasterize_gaussians

ROOT = Path(__file__).resolve().parents[2]
CPU = ROOT / "cuda_ext" / "cpu"
SHARED = ("rasterize", "bin", "threads")  # once; the others are vector files, here in their plain set
VECTOR = ("project", "emit_pairs", "blend_forward", "blend_backward", "project_backward", "pixel_weights")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static")
    if compiler is None or emulator is None:
        pytest.skip("no Arm cross compiler and emulator (Debian: g++-aarch64-linux-gnu, qemu-user-static)")
    built = tmp_path_factory.mktemp("arm") / "scene"
    stub = built.with_suffix(".cpp")
    stub.write_text(DISPATCH)
    program = Path(__file__).with_name("scene_program.cpp")
    sources = [*(CPU / f"{name}.cpp" for name in (*SHARED, *VECTOR)), program, stub]
    flags = ["-std=c++17", "-O1", "-static", "-DBLENDSPLAT_TARGET=generic"]
    includes = [f"-I{CPU}", f"-I{ROOT / 'cuda_ext' / 'include'}"]
    command = [compiler, *flags, *includes, *map(str, sources), "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [emulator, str(built)]


@pytest.mark.slow
def test_arm_draws_the_same_picture(program):
    scene = random_scene(images=2, gaussians=200, width=45, height=33, seed=12, size=0.15)
    leaves = [tensor.float().requires_grad_() for tensor in scene.gaussians]
    cameras = scene.viewmats.float(), scene.Ks.float()
    outputs = rasterize_gaussians(*leaves, *cameras, scene.width, scene.height)
    sum(output.sum() for output in outputs).backward()
    expected = [*(output.detach() for output in outputs), *(leaf.grad for leaf in leaves)]

    header = np.array([2, 200, scene.width, scene.height], np.int32).tobytes()
    arrays = b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in (*leaves, *cameras))
    done = subprocess.run(program, input=header + arrays, capture_output=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    values = torch.from_numpy(np.frombuffer(done.stdout, np.float32).copy())
    for tensor in expected:
        drawn, values = values[: tensor.numel()].view_as(tensor), values[tensor.numel() :]
        assert (drawn - tensor).abs().max() < 2e-4 * tensor.abs().max().clamp_min(1)
    assert len(values) == 0


# What dispatch.cpp does where there is one set: it also knows operations that this program does not link.
DISPATCH = """
#include "dispatch.h"
namespace blendsplat {
const Operations& operations() {
  static const Operations set = [] {
    Operations made = {};
    made.name = "generic";
    made.project = generic::project;
    made.emit_pairs = generic::emit_pairs;
    made.blend_forward = generic::blend_forward;
    made.blend_backward = generic::blend_backward;
    made.project_backward = generic::project_backward;
    made.pixel_weights = generic::pixel_weights;
    return made;
  }();
  return set;
}
}
"""

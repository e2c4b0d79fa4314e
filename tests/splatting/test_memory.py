# SPDX-License-Identifier: Apache-2.0
"""Out of memory: the rasterizer says how much it wanted, and draws the next scene as if nothing had been."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
torch.set_num_threads(2)
from blendsplat.errors import OutOfMemory
from blendsplat.splatting import rasterize_gaussians
from blendsplat.splatting.backend import make_pass
from tests.splatting.scenes import random_scene

size = 4096
scene = random_scene(images=1, gaussians=400, width=size, height=size, seed=3, size=0.02)
gigantic = [t.clone() for t in scene.gaussians]
gigantic[2] += 100.0  # 400 Gaussians x 1,048,576 tiles x 8 bytes = 3.1 GiB
cameras = (scene.viewmats, scene.Ks)
raster = make_pass(1, 400, size, size, "cpu")
raster.forward(scene.of())
raster.backward(torch.ones_like(raster.image))
image, grads = raster.image.clone(), [t.clone() for t in raster.grads]
kept = [t.clone() for t in gigantic]

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY))
for attempt in range(2):
    for draw in (
        lambda: raster.forward(scene.of(gigantic)),
        lambda: rasterize_gaussians(*gigantic, *cameras, size, size),
    ):
        try:
            draw()
            sys.exit("no error")
        except OutOfMemory as error:
            assert "GiB" in error.sentence and error.detail, error.sentence
            asked = float(error.sentence.split(" GiB")[0].split()[-1])
            assert 3 < asked < 6, asked
assert torch.equal(raster.image, image)
assert all(torch.equal(a, b) for a, b in zip(gigantic, kept))
raster.forward(scene.of())
raster.backward(torch.ones_like(raster.image))
assert torch.equal(raster.image, image)
assert all(torch.equal(a, b) for a, b in zip(raster.grads, grads))
print("fine")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its own memory as Linux does")
def test_out_of_memory_says_how_much_and_changes_nothing():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()]), "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.strip() == "fine", done.stderr[-2000:]

# SPDX-License-Identifier: Apache-2.0
"""In Blender: add the avatar, render it again and again with the engine, say what both processes take meanwhile.

python in_blender_renders.py EARLIER COUNT SECONDS        EARLIER: a folder with clip and avatar (steps.py)
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import bpy
import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
import blender_addon  # noqa: E402
from blender_addon import preferences  # noqa: E402
from blender_addon.client import session  # noqa: E402

from soak.vitals import vital_of  # noqa: E402

SIDE, EVERY = 48, 10  # pixels; renders between two looks


def prepare(earlier: Path, own: Path) -> bpy.types.Scene:
    """A scene with the avatar on its head."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    preferences.user_directory = lambda: own
    session.engine_command = lambda: [sys.executable, "-m", "blendsplat", "serve"]
    blender_addon.register()
    scene = bpy.context.scene
    scene.blendsplat.directory = str(earlier / "clip")
    scene.blendsplat.avatar_file = str(earlier / "a.avatar.npz")
    for add in (bpy.ops.blendsplat.add_head, bpy.ops.blendsplat.add_avatar, bpy.ops.blendsplat.use_render_engine):
        assert add() == {"FINISHED"}, add
    scene.render.resolution_x = scene.render.resolution_y = SIDE
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.film_transparent = True
    return scene


def look(begun: float) -> None:
    for name, process in (("blender", os.getpid()), ("engine", session.link._process.pid)):
        v = vital_of(process, begun)
        print(f"{name} {v.seconds:.1f} {v.memory_mb:.1f} {v.files} {v.threads}", flush=True)


def seen(path: Path) -> float:
    """How much of the picture is not empty, 0 to 1."""
    image = bpy.data.images.load(str(path))
    pixels = np.array(image.pixels[:]).reshape(-1, 4)
    bpy.data.images.remove(image)
    return float((pixels[:, 3] > 0.5).mean())


def main() -> None:
    earlier, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    with tempfile.TemporaryDirectory() as own:
        scene, begun, done = prepare(earlier, Path(own)), time.monotonic(), 0
        scene.render.filepath = str(Path(own) / "picture.png")
        while done < count and (not done or time.monotonic() - begun < seconds):
            scene.frame_set(1 + done % 4)
            bpy.ops.render.render(write_still=True)
            done += 1
            if done % EVERY == 1:
                look(begun)
                if (share := seen(Path(scene.render.filepath))) < 0.05:
                    print(f"wrong render {done} shows the avatar in {share:.0%} of its pixels", flush=True)
        print(f"rendered {done}", flush=True)
        session.stop()


try:
    main()
except BaseException:
    import traceback

    traceback.print_exc()
    os._exit(1)
sys.stdout.flush()
os._exit(0)  # bpy may hang at exit

# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds and renders a scene without a window, for farms and for the demo: the panel's own steps, one after the other.

python blender_addon/batch.py --clip DIR --avatar FILE [--blend OUT.blend] [--frames DIR [--first I] [--count N]]
        [--engine WORDS...]
blender -b --python batch.py -- --clip ...      (with the extension installed)
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

import bpy


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="batch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, required=True, help="folder of the tracked clip")
    parser.add_argument("--avatar", type=Path, required=True, help="the avatar file")
    parser.add_argument("--blend", type=Path, help="save the scene here")
    parser.add_argument("--frames", type=Path, help="render PNG files with alpha into this folder")
    parser.add_argument("--count", type=int, default=0, help="render only this many frames, evenly spread (0: all)")
    parser.add_argument("--first", type=int, default=0, help="first frame of the clip to render")
    parser.add_argument("--engine", nargs=argparse.REMAINDER, help="the words that start the engine; must come last")
    options = parser.parse_args(words)
    addon = _load_addon()
    if options.engine:
        addon.client.session.engine_command = lambda: list(options.engine)
    scene = build_scene(addon, options.clip.resolve(), options.avatar.resolve())
    if options.blend:
        options.blend.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(options.blend.resolve()), compress=True)
    if options.frames:
        render_frames(scene, options.frames.resolve(), options.first, options.count)
    addon.client.session.stop()
    return 0


def build_scene(addon: ModuleType, clip: Path, avatar: Path) -> bpy.types.Scene:
    """The tracked head with its camera, the avatar, and the performance as keyframes, in an empty scene."""
    scene = bpy.context.scene
    settings = scene.blendsplat
    settings.directory, settings.avatar_file, settings.performance = str(clip), str(avatar), str(clip / "tracking.npz")
    errand = addon.ui.operators.track.fetch_head(scene, clip, wait=True)
    if errand.error:
        raise RuntimeError(errand.error)
    addon.ui.operators.avatar.add_avatar(bpy.context, avatar, clip / "tracking.npz")
    addon.ui.operators.avatar.use_render_engine(scene)
    return scene


def render_frames(scene: bpy.types.Scene, folder: Path, first: int, count: int) -> None:
    """Render the clip's frames from ``first`` on (``count`` of them, evenly spread) as PNG files with alpha."""
    folder.mkdir(parents=True, exist_ok=True)
    scene.render.film_transparent = True
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.frame_start += first
    first, last = scene.frame_start, scene.frame_end
    if count and count < last - first + 1:
        scene.frame_step = max(1, (last - first) // max(1, count - 1))
    scene.render.filepath = str(folder / "frame_")
    bpy.ops.render.render(animation=True)
    scene.frame_step = 1


def _load_addon() -> ModuleType:
    """The installed extension when there is one; else this folder as a package, in an empty scene."""
    names = [entry.module for entry in bpy.context.preferences.addons]
    installed = next((name for name in names if name.rsplit(".", 1)[-1] == "blendsplat"), None)
    if installed is not None:
        return importlib.import_module(installed)
    source = Path(__file__).resolve().parent
    sys.path.insert(0, str(source.parent))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    addon = importlib.import_module(source.name)
    addon.register()
    return addon


if __name__ == "__main__":
    try:
        status = main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
    except Exception as failure:  # a farm reads the last line and the status
        traceback.print_exc()
        print(f"batch.py: {failure}", file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if not bpy.app.binary_path:
        os._exit(status)  # the bpy module can hang while it is torn down with render engines registered
    sys.exit(status)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's work without a window, for farms and the demo: a tracked clip and an avatar become a keyframed .blend
and a rendered sequence.

    blender -b --python batch.py -- --clip DIR --avatar FILE --blend OUT.blend --render FOLDER --engine PYTHON -m blendsplat serve
    python batch.py --clip ...          (with the bpy module)
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from pathlib import Path
from types import ModuleType

import bpy


def arguments(words: list[str]) -> argparse.Namespace:
    """Parse what stands behind Blender's own ``--``."""
    parser = argparse.ArgumentParser(prog="batch.py", description=__doc__)
    parser.add_argument("--clip", type=Path, required=True, help="folder of a tracked clip")
    parser.add_argument("--avatar", type=Path, required=True, help="trained avatar file (.avatar.npz)")
    parser.add_argument("--blend", type=Path, required=True, help="scene to write")
    parser.add_argument("--render", type=Path, help="folder for the rendered PNG sequence; nothing is rendered without it")
    parser.add_argument("--first", type=int, default=0, help="first frame of the clip to render")
    parser.add_argument("--last", type=int, help="last frame of the clip to render (its end by default)")
    parser.add_argument("--step", type=int, default=1, help="render every so many frames")
    parser.add_argument("--engine", nargs=argparse.REMAINDER, required=True, help="command that starts the engine (last option)")
    return parser.parse_args(words)


def build(clip: Path, avatar: Path) -> bpy.types.Object:
    """Head, camera, avatar and their keyframes in the current scene; returns the avatar."""
    scene = bpy.context.scene
    scene.blendsplat.directory = str(clip)
    scene.blendsplat.avatar_file = str(avatar)
    _press(bpy.ops.blendsplat.add_head)
    _press(bpy.ops.blendsplat.add_avatar)
    carrier = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")
    bpy.context.view_layer.objects.active = carrier
    _press(bpy.ops.blendsplat.apply_performance)
    if scene.render.engine != "BLENDSPLAT":
        _press(bpy.ops.blendsplat.use_render_engine)
    return carrier


def render(folder: Path, first: int, last: int | None, step: int) -> None:
    """Render frames of the clip as PNG with alpha: FOLDER/0001.png, ..., numbered as the timeline is."""
    scene = bpy.context.scene
    start = scene.blendsplat.performance_start
    scene.frame_start = start + first
    if last is not None:
        scene.frame_end = min(scene.frame_end, start + last)
    scene.frame_step = step
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(folder / "####")
    bpy.ops.render.render(animation=True)


def _press(operator) -> None:
    if operator() != {"FINISHED"}:
        raise SystemExit(f"{operator.idname()} did not finish; see the messages above.")


def main(words: list[str]) -> None:
    """Build, save, render; the engine ends with this process."""
    options = arguments(words)
    bpy.ops.wm.read_homefile(use_empty=True)
    _enable()
    preferences, session = _parts("preferences", "session")
    settings = preferences.get()
    settings.engine_kind, settings.engine_command = "COMMAND", shlex.join(options.engine)
    try:
        carrier = build(options.clip.resolve(), options.avatar.resolve())
        options.blend.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(options.blend.resolve()))
        blendshapes, gaussians = len(carrier.data.shape_keys.key_blocks) - 1, len(carrier.data.vertices) // 5
        print(f"{options.blend}: {carrier.name} with {blendshapes} blendshapes of {gaussians} Gaussians")
        if options.render:
            render(options.render.resolve(), options.first, options.last, options.step)
    finally:
        session.stop()


def _enable() -> None:
    """Register the add-on from this folder, unless it is installed and enabled already."""
    if not hasattr(bpy.types.Scene, "blendsplat"):
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        importlib.import_module(Path(__file__).resolve().parent.name).register()


def _parts(*names: str) -> list[ModuleType]:
    """The add-on's modules, whatever name it was imported under (an extension's is bl_ext.REPOSITORY.blendsplat)."""
    package = type(bpy.context.scene.blendsplat).__module__.rpartition(".")[0]
    return [importlib.import_module(f"{package}.{name}") for name in names]


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])

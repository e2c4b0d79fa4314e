# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a part of a shot's frames on one machine of a farm.

    blender -b SHOT.blend --python examples/farm_render.py -- --frames 1-50 -o //render/shot_ [--dry]

Plain ``blender -b SHOT.blend -s 1 -e 50 -a`` renders the same. This script looks first whether the machine has all that
the shot needs (--dry does nothing else), leaves out frames that are there, and ends with a status that a farm reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bpy
import common


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--blend", type=Path, help="the shot, where Blender has not opened it already")
    parser.add_argument("--frames", default="", help="FIRST-LAST of the timeline; else the scene's own range")
    parser.add_argument("-o", "--output", default="", help="the beginning of the pictures' names; else the scene's own")
    parser.add_argument("--again", action="store_true", help="render frames that are there once more")
    parser.add_argument("--dry", action="store_true", help="only say what is missing on this machine")
    options = parser.parse_args(common.words())
    extension = common.load_extension(options.engine)
    if options.blend:
        bpy.ops.wm.open_mainfile(filepath=str(options.blend.resolve()))
    scene = bpy.context.scene
    problems = missing(extension, scene)
    for sentence in problems:
        print(f"missing: {sentence}", file=sys.stderr)
    if problems or options.dry:
        return 1 if problems else 0
    if options.output:
        scene.render.filepath = options.output
    done = render(scene, frames_of(scene, options.frames), options.again)
    extension.client.session.stop()
    print(f"{done} frames rendered.")
    return 0


def missing(extension, scene: bpy.types.Scene) -> list[str]:
    """What this machine lacks for the shot, a sentence each."""
    networks, repair = extension.scene.networks, extension.scene.avatar_repair
    found = list(extension.render.limits.sentences(scene)[:1]) if scene.camera is None else []
    for carrier in (item for item in scene.objects if item.blendsplat.kind == "AVATAR" and not item.hide_render):
        found.append(repair.sentence(carrier))
        if networks.shown_of(carrier) != networks.SLIDERS:
            found.append(networks.missing_file(carrier))
    if scene.render.engine == extension.render.viewport.ENGINE_ID:
        found.append(extension.ui.operators.common.no_command())
    return [sentence for sentence in found if sentence]


def frames_of(scene: bpy.types.Scene, text: str) -> range:
    """``"3-7"``, ``"5"`` or the scene's range. Raises RuntimeError."""
    if not text:
        return range(scene.frame_start, scene.frame_end + 1, scene.frame_step)
    first, _, last = text.partition("-")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError:
        raise RuntimeError(f"--frames {text!r} is no range such as 1-50.") from None


def render(scene: bpy.types.Scene, frames: range, again: bool) -> int:
    """Render the frames that are not there yet -> how many."""
    pattern, done = scene.render.filepath, 0
    for frame in frames:
        scene.frame_set(frame)
        path = Path(bpy.path.abspath(scene.render.frame_path(frame=frame)))
        if path.exists() and not again:
            continue
        scene.render.filepath = str(path.with_name(f".{path.stem}.part{path.suffix}"))
        bpy.ops.render.render(write_still=True)  # raises RuntimeError with the engine's sentence
        Path(scene.render.filepath).replace(path)  # a machine that dies leaves no half picture
        scene.render.filepath, done = pattern, done + 1
    return done


if __name__ == "__main__":
    common.run(main)

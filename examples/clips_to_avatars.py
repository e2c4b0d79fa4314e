# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of videos becomes avatars, one after the other: import, track, train, and a .blend of each.

    blender -b --python examples/clips_to_avatars.py -- CLIPS/ -o AVATARS/ [--preset draft] [--minutes 10]

A clip that cannot be used (nobody in it, a broken file) is named in the table at the end, and the others go on. Run
again it goes on where it was stopped: what is finished is not done twice. On several machines: ``blendsplat batch``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bpy
import common

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("clips", type=Path, help="the folder with the videos")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the folder for clips, avatars and .blend files"
    )
    parser.add_argument("--preset", default="draft", help="how finely to train")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="end each training after so long; 0: as the preset says"
    )
    parser.add_argument("--overrides", default="", help="values of the preset to change, as JSON")
    options = parser.parse_args(common.words())
    videos = sorted(path for path in options.clips.iterdir() if path.suffix.lower() in VIDEOS)
    if not videos:
        raise RuntimeError(f"There is no video in {options.clips} ({', '.join(VIDEOS)}).")
    extension = common.load_extension(options.engine)
    rows, failures = [("clip", "seconds", "result")], 0
    for video in videos:
        begin = time.monotonic()
        try:
            result = str(make_avatar(video.resolve(), options.output.resolve() / video.stem, options))
        except RuntimeError as error:  # what an operator reports as an error
            result, failures = str(error).strip().removeprefix("Error: "), failures + 1
        rows.append((video.name, f"{time.monotonic() - begin:.0f}", result.splitlines()[0]))
    extension.client.session.stop()
    print(common.table(rows), flush=True)
    return 1 if failures else 0


def make_avatar(video: Path, folder: Path, options) -> Path:
    """One video's avatar in a .blend of its own -> the .blend. Raises RuntimeError with the reason."""
    blend = folder / f"{video.stem}.blend"
    if blend.exists():
        return blend
    bpy.ops.wm.read_homefile(use_empty=True)
    settings = bpy.context.scene.blendsplat
    settings.video, settings.directory = str(video), str(folder)
    settings.preset_name, settings.minutes = options.preset, options.minutes
    if not (folder / "clip.json").exists():
        bpy.ops.blendsplat.import_video()
    if not (folder / "tracking.npz").exists():
        bpy.ops.blendsplat.track()
    bpy.ops.blendsplat.train(overrides=options.overrides)  # goes on from a checkpoint, where there is one
    bpy.ops.blendsplat.use_render_engine()
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True)
    return blend


if __name__ == "__main__":
    common.run(main)

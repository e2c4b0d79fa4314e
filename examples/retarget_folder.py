# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of performances is played by an avatar: a .blend of each.

    blender -b --python examples/retarget_folder.py -- AVATAR.avatar.npz TAKES/ -o SHOTS/

Takes are captures of the phone app Live Link Face (.csv), or tracked clips (.npz). The engine's ``blendsplat reenact``
carries a capture over to the avatar's head first. A take that cannot be read is named in the table, the others go on.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bpy
import common


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("avatar", type=Path, help="the avatar's file")
    parser.add_argument("takes", type=Path, help="the folder with the performances (.csv, .npz)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder for the .blend files")
    parser.add_argument("--smooth", type=float, default=0.0, help="seconds over which trembling is taken out")
    options = parser.parse_args(common.words())
    takes = sorted(path for path in options.takes.iterdir() if path.suffix.lower() in (".csv", ".npz"))
    if not takes:
        raise RuntimeError(f"There is no performance in {options.takes} (.csv, .npz).")
    extension = common.load_extension(options.engine)
    command = [word for word in extension.client.session.engine_command() if word != "serve"]
    options.output.mkdir(parents=True, exist_ok=True)
    rows, failures = [("take", "frames", "result")], 0
    for take in takes:
        blend = options.output.resolve() / f"{take.stem}.blend"
        try:
            performance = carried_over(command, options.avatar.resolve(), take.resolve(), options)
            rows.append((take.name, str(play(options.avatar.resolve(), performance, blend)), str(blend)))
        except RuntimeError as error:
            failures += 1
            rows.append((take.name, "", str(error).strip().removeprefix("Error: ").splitlines()[0]))
    extension.client.session.stop()
    print(common.table(rows), flush=True)
    return 1 if failures else 0


def carried_over(command: list[str], avatar: Path, take: Path, options) -> Path:
    """A capture as a performance of the avatar's own head. Raises RuntimeError."""
    if take.suffix.lower() == ".npz":
        return take
    made = options.output.resolve() / f"{take.stem}.npz"
    words = [*command, "reenact", str(avatar), "-p", str(take), "-o", str(made)]
    if options.smooth:
        words += ["--smooth", str(options.smooth)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or shlex.join(words)).splitlines()
        raise RuntimeError(said[-1])
    return made


def play(avatar: Path, performance: Path, blend: Path) -> int:
    """A .blend in which the avatar plays the performance -> its frames. Raises RuntimeError."""
    bpy.ops.wm.read_homefile(use_empty=True)
    scene = bpy.context.scene
    scene.blendsplat.avatar_file, scene.blendsplat.performance = str(avatar), str(performance)
    bpy.ops.blendsplat.add_avatar()
    bpy.ops.blendsplat.use_render_engine()
    curves = common.the_avatar().blendsplat.head.blendsplat.rig.animation_data.action.frame_range
    scene.frame_start, scene.frame_end = int(curves[0]), int(curves[1] + 0.5)
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True)
    return scene.frame_end - scene.frame_start + 1


if __name__ == "__main__":
    common.run(main)

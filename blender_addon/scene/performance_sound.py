# SPDX-License-Identifier: GPL-3.0-or-later
"""The sound of a performance's video in the sequencer, where the performance plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import formats

_OURS = "blendsplat_sound"
_RENAMED = {  # from Blender 5.2 on
    "frame_start": "content_start", "frame_offset_start": "left_handle_offset", "frame_final_duration": "duration",
}  # fmt: skip
_HEARD = (".wav", ".mp3", ".m4a", ".aac", ".ogg", ".flac", ".mov", ".mp4", ".m4v", ".mkv", ".avi", ".webm")


def source_of(performance: Path) -> tuple[Path, float] | None:
    """The file with a performance's sound, and the seconds of it at which the performance begins: of a tracked clip its
    video; of a capture a file of its name beside it, as phones record one. None where there is none."""
    folder = performance if performance.is_dir() else performance.parent
    if performance.is_dir() or performance.suffix.lower() == ".npz":
        return _of_clip(folder / "clip.json")
    beside = [path for path in _files(folder) if path.stem == performance.stem and path.suffix.lower() in _HEARD]
    return (min(beside, key=lambda path: _HEARD.index(path.suffix.lower())), 0.0) if beside else None


def add(scene: bpy.types.Scene, file: Path, begins: float, frame: float) -> Any:
    """Put a sound into the sequencer so that its second ``begins`` is heard at ``frame`` -> the strip. One that was put
    there before for the same file is replaced. Raises RuntimeError where Blender finds no sound in the file."""
    editor = scene.sequence_editor or scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    for strip in list(strips):
        if strip.get(_OURS) == str(file):
            strips.remove(strip)
    rate = scene.render.fps / scene.render.fps_base
    strip = strips.new_sound(file.stem, str(file), _free_channel(strips), round(frame))
    if strip.sound is None or getattr(strip, _name(strip, "frame_final_duration")) <= 1:
        strips.remove(strip)
        raise RuntimeError(f"{file} holds no sound that Blender can play.")
    strip[_OURS] = str(file)
    setattr(strip, _name(strip, "frame_start"), frame - begins * rate)
    setattr(strip, _name(strip, "frame_offset_start"), begins * rate)
    return strip


def _name(strip: Any, name: str) -> str:
    """A strip's property under the name that this Blender has for it."""
    renamed = _RENAMED[name]
    return renamed if hasattr(strip, renamed) else name


def _of_clip(path: Path) -> tuple[Path, float] | None:
    try:
        clip = formats.read_json(path)
        source = Path(str(clip["source"]))
        begins = float(clip.get("trim_start") or 0.0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not source.is_absolute():
        source = path.parent / source
    return (source, begins) if source.is_file() and source.suffix.lower() in _HEARD else None


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def _free_channel(strips: Any) -> int:
    """The lowest channel above all that is there."""
    return max((strip.channel for strip in strips), default=0) + 1

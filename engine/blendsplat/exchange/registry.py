# SPDX-License-Identifier: Apache-2.0
"""Every foreign format that recordings come in and clips go out as: one file each, one line here."""

from __future__ import annotations

from pathlib import Path

from blendsplat.errors import FormatError, InputError
from blendsplat.exchange import metrical_tracker, vhap
from blendsplat.exchange.format import Format
from blendsplat.exchange.recording import write_recording
from blendsplat.heads.load import load_head, stored_source
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.video.clip import Clip

FORMATS: dict[str, Format] = {one.name: one for one in (vhap.FORMAT, metrical_tracker.FORMAT)}


def format_of(source: Path) -> Format:
    """The format of a folder. Raises FormatError naming what would be known."""
    found = next((one for one in FORMATS.values() if one.detect(source)), None)
    if found is None:
        known = ", nor ".join(one.marked_by for one in FORMATS.values())
        raise FormatError(f"{source} is neither {known}.")
    return found


def import_recording(
    source: Path | str,
    directory: Path | str,
    head: str | Path | HeadModel,
    fps: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    views: bool = False,
    matte: str = "auto",
) -> tuple[Clip, Performance]:
    """Copy a recording of any format into a clip's folder, with tracking.npz and camera.json. head: the FLAME it was
    made with. fps: frames per second; None: the recording's own, where it has none 25. views: of every camera, to train
    on, instead of the first. matte: "auto" or "none", where the recording has none.

    Raises FormatError (no such recording, damaged, empty), InputError (another head, a folder in use, one camera where
    several are asked for), VideoError (its pictures), UnsafeFileError.
    """
    source, directory = Path(source), Path(directory)
    known = format_of(source)
    recording = known.read_views(source) if views and known.read_views is not None else known.read(source)
    if views and not recording.views:
        raise InputError(f"{source} has one camera only; take it over without asking for all cameras.")
    model = head if isinstance(head, HeadModel) else load_head(head, landmarks=False)
    head_source = head.name if isinstance(head, HeadModel) else stored_source(head)
    return write_recording(
        recording, source, directory, model, head_source, fps, overwrite, progress or Progress(), matte
    )


def export_recording(name: str, directory: Path | str, output: Path | str, progress: Progress | None = None) -> None:
    """Write a tracked clip in the format ``name`` into an empty folder.

    Raises FormatError (no tracked clip), InputError (no such format, its heads are others, a folder in use),
    StorageError.
    """
    write = FORMATS[name].write if name in FORMATS else None
    if write is None:
        written = ", ".join(one.name for one in FORMATS.values() if one.write)
        raise InputError(f"The format {name!r} cannot be written; choose {written}.")
    clip, performance, output = Clip.open(directory), Performance.load(directory), Path(output)
    if clip.frame_count != performance.frame_count:
        raise FormatError(
            f"{directory} has {clip.frame_count} images but {performance.frame_count} tracked frames; track it again."
        )
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty; choose another folder for the export.")
    write(clip, performance, output, progress or Progress())

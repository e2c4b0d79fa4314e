# SPDX-License-Identifier: Apache-2.0
"""The work on clip folders: import a video, track the head in it, exchange tracked clips with other trackers."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendsplat.errors import InputError
from blendsplat.jobs import options as opt
from blendsplat.jobs.devices import import_torch, resolve_device
from blendsplat.jobs.json_values import plain
from blendsplat.progress import Progress

if TYPE_CHECKING:
    from blendsplat.video import ClipOptions

CUT_OFF = "The live session that recorded this take did not end by itself; its last moments may be missing."


def run_import(options: opt.ImportOptions, progress: Progress) -> dict[str, Any]:
    """-> {directory, frames, width, height, fps, notes}."""
    from blendsplat.video import import_clip

    clip = import_clip(options.video, options.directory, import_options(options), progress, load_tracking)
    return {
        "directory": str(options.directory), "frames": clip.frame_count, "width": clip.width, "height": clip.height,
        "fps": float(clip.fps), "notes": list(clip.info.notes),
    }  # fmt: skip


def load_tracking() -> threading.Thread:
    """Load what tracking needs, torch above all, in a thread beside an import, which hardly uses Python's lock.

    What fails here fails again, and is told, when tracking asks for it.
    """

    def load() -> None:
        with contextlib.suppress(Exception):
            import_torch()
            import blendsplat.tracking  # noqa: F401
            from blendsplat.heads.load import SHIPPED, load_head

            load_head(SHIPPED[0], landmarks=False)

    thread = threading.Thread(target=load, name="blendsplat-load")
    thread.start()
    return thread


def import_options(options: opt.ImportOptions) -> ClipOptions:
    """The same as the import itself takes it."""
    from blendsplat.video import ClipOptions

    matte = options.matte if options.matte in ("auto", "alpha", "none") else Path(options.matte)
    return ClipOptions(
        start=options.start, end=options.end, crop=options.crop, size=options.size, matte=matte, fps=options.fps,
        detector=options.landmarker, overwrite=options.overwrite,
    )  # fmt: skip


def was_imported(options: opt.ImportOptions) -> bool:
    """Whether this very import was made already and its clip is not tracked yet: an earlier command was stopped."""
    from blendsplat.video.clip_import import is_import_of
    from blendsplat.video.staged_folder import recover

    recover(options.directory)
    untracked = not (options.directory / "tracking.npz").exists()
    return untracked and is_import_of(options.directory, options.video, import_options(options))


def notes_of_import(directory: Path) -> list[str]:
    """What the import of a clip folder said."""
    from blendsplat.video import Clip

    return list(Clip.open(directory).info.notes)


def run_track(options: opt.TrackOptions, progress: Progress) -> dict[str, Any]:
    """-> {directory, head, init, frames, valid, figures, notes}."""
    from blendsplat.tracking import TrackOptions, track_clip

    need_clip(options.directory)
    chosen = TrackOptions(
        head=options.head, device=resolve_device(options.device), detector=options.landmarker, init=options.init,
        refine=options.refine, zooms=options.zooms, lens_mm=options.focal, lens_shift=options.lens_shift,
        weights=options.weights,
    )  # fmt: skip
    tracking = track_clip(options.directory, chosen, progress)
    return {
        "directory": str(options.directory), "head": tracking.head, "init": tracking.init,
        "frames": tracking.frame_count, "valid": int(tracking.valid.sum()), "figures": plain(tracking.figures),
        "notes": list(tracking.notes),
    }  # fmt: skip


def run_evaluate_tracking(options: opt.EvaluateTrackingOptions, progress: Progress) -> dict[str, Any]:
    """-> {rows: {folder: {stick_px, tremble_px, crawl_px, fast_px, lag_frames, follow, ...}}}, and with a truth
    {vertex_error_mm, face_error_mm, rotation_error_deg, ...}."""
    from blendsplat.evaluation.sticking import evaluate_sticking
    from blendsplat.heads.load import load_head_of
    from blendsplat.heads.performance import Performance
    from blendsplat.tracking import evaluate_tracking
    from blendsplat.video import Clip

    rows = {}
    for folder in options.folders:
        need_clip(folder)
        file = folder / options.tracking
        if not file.is_file():
            raise InputError(f"{folder} holds no {options.tracking}: track the clip first.")
        tracking, truth = Performance.load(file), options.truth or folder / "truth.npz"
        head = load_head_of(tracking)
        rows[str(folder)] = evaluate_sticking(Clip.open(folder), tracking, head, progress)
        if options.truth or truth.is_file():
            rows[str(folder)] |= evaluate_tracking(tracking, Performance.load(truth), head)
    return plain({"rows": rows})


def run_recording(options: opt.RecordingOptions, progress: Progress) -> dict[str, Any]:
    """-> {directory, head, frames, valid, figures, notes}, as for track."""
    from blendsplat.exchange.registry import import_recording

    clip, tracking = import_recording(
        options.source,
        options.directory,
        options.head,
        options.fps,
        options.overwrite,
        progress,
        options.all_cameras,
        options.matte,
    )
    return {
        "directory": str(options.directory), "head": tracking.head, "frames": clip.frame_count,
        "valid": int(tracking.valid.sum()), "figures": plain(tracking.figures), "notes": list(clip.info.notes[1:]),
    }  # fmt: skip


def run_correct(options: opt.CorrectOptions, progress: Progress) -> dict[str, Any]:
    """-> {directory, head, frames, valid, corrected, figures, notes}."""
    from blendsplat.tracking import CorrectOptions, correct_clip

    need_tracking(options.directory)
    chosen = CorrectOptions(corrections=options.corrections, forget=options.forget, overlay=options.overlay)
    tracking = correct_clip(options.directory, chosen, progress)
    return {
        "directory": str(options.directory), "head": tracking.head, "frames": tracking.frame_count,
        "valid": int(tracking.valid.sum()), "corrected": int(tracking.figures.get("corrected_frames", 0)),
        "figures": plain(tracking.figures), "notes": list(tracking.notes),
    }  # fmt: skip


def run_vhap(options: opt.VhapOptions, progress: Progress) -> dict[str, Any]:
    """-> {output}."""
    from blendsplat.exchange.registry import export_recording

    need_tracking(options.directory)
    export_recording("vhap", options.directory, options.output, progress)
    return {"output": str(options.output)}


def need_clip(directory: Path) -> None:
    """Raise InputError unless ``directory`` is a clip folder; a live take that a crash cut off is made one first, and
    an import or a tracking that a kill cut off while it was put in place is brought to an end."""
    from blendsplat.live.take import complete_take, unfinished
    from blendsplat.video.staged_folder import recover

    recover(directory)
    if unfinished(directory):
        complete_take(directory, (CUT_OFF,))
    if not (directory / "clip.json").is_file():
        raise InputError(f"{directory} is not a clip folder (it holds no clip.json); import a video into it first.")


def need_tracking(directory: Path) -> None:
    """Raise InputError unless ``directory`` is a tracked clip folder."""
    need_clip(directory)
    if not (directory / "tracking.npz").is_file():
        raise InputError(f"The clip in {directory} is not tracked yet (it holds no tracking.npz); track it first.")

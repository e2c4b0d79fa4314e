# SPDX-License-Identifier: Apache-2.0
"""The work of carrying tracked clips and fitted photographs over to another head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendsplat.errors import InputError
from blendsplat.jobs import options as opt
from blendsplat.jobs.json_values import plain
from blendsplat.progress import Progress

if TYPE_CHECKING:  # both bring torch
    from blendsplat.heads.model import HeadModel
    from blendsplat.heads.performance import Performance


def run_convert(options: opt.ConvertOptions, progress: Progress) -> dict[str, Any]:
    """-> {output, head, frames, valid, error_mm, error_95_mm}."""
    from blendsplat.heads.convert import convert_performance
    from blendsplat.heads.load import load_head
    from blendsplat.heads.performance import Performance
    from blendsplat.photographs.convert_fit import convert_fit, is_fit
    from blendsplat.video.staged_folder import recover

    recover(options.tracked)
    before = Performance.load(options.tracked)
    output = options.output
    fit = options.tracked.is_dir() and is_fit(options.tracked)
    if not fit:
        output = output if output.suffix.lower() == ".npz" else output / "tracking.npz"
        file = options.tracked / "tracking.npz" if options.tracked.is_dir() else options.tracked
        if output.exists() and output.resolve() == file.resolve():
            raise InputError(f"{output} is the tracking that is to be converted; name another output.")
    source = _tracked_head(before, options, progress)
    target = load_head(options.head, progress=progress)
    named = str(Path(options.head).expanduser().resolve()) if Path(options.head).expanduser().exists() else options.head
    if fit:
        after = convert_fit(options.tracked, source, target, named, output, options.how, progress)
    else:
        after = convert_performance(before, source, target, named, options.how, progress=progress)
        progress.check()
        after.save(output)
    return {
        "output": str(output), "head": after.head, "frames": after.frame_count, "valid": int(after.valid.sum()),
        "error_mm": plain(after.figures["conversion_error_mm"]),
        "error_95_mm": plain(after.figures["conversion_error_95_mm"]),
    }  # fmt: skip


def _tracked_head(before: Performance, options: opt.ConvertOptions, progress: Progress) -> HeadModel:
    """The head that was tracked, from where it lay or where the user says that it lies now."""
    from blendsplat.heads.load import load_head_of

    if options.tracked_head is not None:
        before = replace(before, head_source=options.tracked_head)
    try:
        return load_head_of(before, landmarks=True, progress=progress)
    except InputError as error:
        if options.tracked_head is not None:
            raise
        raise InputError(
            f"{options.tracked} was tracked with the head {before.head!r} from {before.head_source}, which cannot be "
            f"used from there: {error.sentence} If it lies elsewhere now, name that place (--tracked-head).",
            error.detail,
        ) from error

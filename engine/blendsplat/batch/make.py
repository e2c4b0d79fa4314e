# SPDX-License-Identifier: Apache-2.0
"""One clip of a batch from where it stands to its avatar: import, track, train, whichever is left; in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from blendsplat.batch.clips import Unit, imported_from
from blendsplat.batch.recipe import Recipe
from blendsplat.batch.record import Record, Stage, import_key, next_stage, track_key, train_key
from blendsplat.errors import InputError
from blendsplat.jobs.kinds import KINDS
from blendsplat.jobs.options import validated
from blendsplat.progress import Progress
from blendsplat.video.staged_folder import recover

State = Literal["made", "kept", "failed", "cancelled"]


@dataclass
class Outcome:
    """What became of a clip: a row of the table. seconds: of each stage, in the run that finished it. kept: it was
    finished before. code, exit_code: of a failure, as everywhere (errors.py)."""

    clip: str
    source: str
    avatar: str
    state: State
    seconds: dict[str, float] = field(default_factory=dict)
    psnr: float | None = None
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    code: str = ""
    exit_code: int = 0
    attempts: int = 1
    machine: str = ""
    log: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def outcome_of(unit: Unit, state: State, **more: Any) -> Outcome:
    """The row of a unit, with what its record tells of the stages that are done, up to the first that is not."""
    stages, done = Record(unit.record).stages, dict[str, dict[str, Any]]()
    for stage in _STAGES:
        if not stages.get(stage, {}).get("done", True):
            break
        done |= {stage: stages[stage]} if stage in stages else {}
    row = Outcome(
        unit.name, str(unit.source), str(unit.avatar), state, {name: told["seconds"] for name, told in done.items()},
        done.get("train", {}).get("psnr") if state in ("made", "kept") else None,
        [note for told in done.values() for note in told.get("notes", ())], log=str(unit.log),
    )  # fmt: skip
    for name, value in more.items():
        setattr(row, name, value)
    return row


def make_avatar(unit: Unit, recipe: Recipe, progress: Progress) -> None:
    """Do all stages that are left; the record then tells what they reached. Raises what the jobs raise: stages that
    are finished by then stay so."""
    if not unit.source.exists():
        raise InputError(f"{unit.source} is not there; clips and avatars need the same path on every machine.")
    record, done = Record(unit.record), set[Stage]()
    while stage := next_stage(unit, recipe, record):
        progress.check()
        if stage in done:
            raise InputError(f"{unit.source} changed while it was read; start again when it is complete.")
        _STAGES[stage](unit, recipe, record, progress)
        done.add(stage)


def _import(unit: Unit, recipe: Recipe, record: Record, progress: Progress) -> None:
    recover(unit.folder)
    key, notes, holds_clip = import_key(unit, recipe), [], (unit.folder / "clip.json").is_file()
    if holds_clip and "import" not in record.stages:
        raise InputError(
            f"{unit.folder} holds a clip of {imported_from(unit.folder) or 'something else'}, which this batch has not "
            f"made: move it away, or rename {unit.source.name}."
        )
    if holds_clip and (unit.folder / "corrections.npz").is_file():  # an artist's work
        aside = _put_aside(unit.folder)
        notes.append(f"{unit.source.name} has changed; the clip that was corrected by hand was kept as {aside.name}.")
        holds_clip = False
    values = {"video": str(unit.source), "directory": str(unit.folder), **recipe.imports, "overwrite": holds_clip}
    _stage("import", "import", key, values, record, progress, lambda told: {"frames": told["frames"]}, notes)


def _track(unit: Unit, recipe: Recipe, record: Record, progress: Progress) -> None:
    key = track_key(unit, recipe)
    values = {"directory": str(unit.folder), **recipe.track, "device": recipe.device}
    _stage("track", "track", key, values, record, progress, lambda told: {"valid": told["valid"]})


def _train(unit: Unit, recipe: Recipe, record: Record, progress: Progress) -> None:
    key = train_key(unit, recipe)
    values = {
        "directory": str(unit.folder), "output": str(unit.avatar), **recipe.train, "device": recipe.device,
    }  # fmt: skip
    _stage("train", "train", key, values, record, progress, lambda told: {"psnr": told["figures"].get("psnr")})


_STAGES: dict[Stage, Callable[[Unit, Recipe, Record, Progress], None]] = {
    "import": _import, "track": _track, "train": _train,
}  # fmt: skip


def _stage(
    stage: Stage, kind: str, key: str, values: dict[str, Any], record: Record, progress: Progress,
    tell: Callable[[dict[str, Any]], dict[str, Any]], notes: list[str] | None = None,
) -> None:  # fmt: skip
    job, begun = KINDS[kind], time.monotonic()
    options = validated(job.options, values, f"The command {kind!r}")
    record.begin(stage, key)
    result = job.run(options, progress)
    seconds = round(time.monotonic() - begun, 2)
    record.finish(stage, key, seconds=seconds, notes=[*(notes or ()), *result.get("notes", ())], **tell(result))


def _put_aside(folder: Path) -> Path:
    """Rename a folder to the next NAME.before-N that is free: that path."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.before-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside

# SPDX-License-Identifier: Apache-2.0
"""The command ``batch``: a folder of clips becomes avatars, on this machine's processors or over a cluster's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from blendsplat.commands.avatar import parse_settings
from blendsplat.commands.runner import AsJson, Verbose, described, print_json, run_command
from blendsplat.jobs.options import ImportOptions, TrackOptions, TrainOptions
from blendsplat.progress import Progress

WORKERS = "clips at a time; none: one a graphics card, or one for two processors; with --ray as many as it takes"
RAY = (
    "let Ray spread the clips: a cluster's address, auto, or local (one of its own on this machine); cards are asked "
    "for with --device cuda"
)
STAGES = ("import", "track", "train")
READY = {"made": "made", "kept": "kept as it was"}  # states in which there is an avatar
PART = "only the N-th of M shares of the clips, for farms whose tasks start this command"


def _import(field: str) -> Any:
    return typer.Option(help=described(ImportOptions, field), rich_help_panel="Import and tracking")


def _track(field: str) -> Any:
    return typer.Option(help=described(TrackOptions, field), rich_help_panel="Import and tracking")


def _train(field: str, before: str = "") -> Any:
    return typer.Option(help=before + described(TrainOptions, field))


def _machine(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel="Machine", **more)


def parse_part(text: str | None) -> tuple[int, int]:
    """ "2/5" -> (2, 5); None -> (1, 1). Raises typer.BadParameter."""
    try:
        part, parts = (int(number) for number in (text or "1/1").split("/"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not PART/PARTS, for example 2/5.") from None
    return part, parts


def batch(
    clips: Annotated[
        list[Path],
        typer.Argument(help="folders of videos, picture folders and clip folders (tracked or not), or single ones"),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="the folder for avatars, clips, logs and the table")],
    preset: Annotated[str | None, _train("preset")] = None,
    minutes: Annotated[float | None, _train("minutes", "of each training: ")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change one value of the preset; repeat it for more"),
    ] = None,
    start: Annotated[float | None, _import("start")] = None,
    end: Annotated[float | None, _import("end")] = None,
    size: Annotated[int | None, _import("size")] = None,
    matte: Annotated[str | None, _import("matte")] = None,
    fps: Annotated[float | None, _import("fps")] = None,
    landmarker: Annotated[Path | None, _import("landmarker")] = None,
    head: Annotated[str | None, _track("head")] = None,
    init: Annotated[str | None, _track("init")] = None,
    refine: Annotated[str | None, _track("refine")] = None,
    workers: Annotated[int | None, _machine(WORKERS, min=1)] = None,
    threads: Annotated[int | None, _machine("processors of each clip; none: all, shared by the workers", min=1)] = None,
    ray: Annotated[str | None, _machine(RAY, metavar="ADDRESS")] = None,
    part: Annotated[str | None, _machine(PART, metavar="N/M")] = None,
    device: Annotated[str, _machine("auto, cpu, cuda or cuda:0, cuda:1, ...")] = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Make an avatar of every clip of a folder: import, track, train, several clips at a time.

    The same command goes on where it was stopped (Ctrl-C, a crash, a lost machine): what is finished stays, unless its
    clip or the options have changed. Clips that fail are named in the table at the end, the others go on. The exit code
    is 0 where every avatar is there, else that of the failures where they agree (3: no face), or 1.

    OUTPUT holds NAME.avatar.npz, clips/NAME (imported and tracked), batch/NAME.log and batch/result.json (the table).

    \b
    blendsplat batch clips/ -o avatars/ --preset draft
    blendsplat batch clips/ -o avatars/ --workers 2 --json
    blendsplat batch clips/ -o avatars/ --ray auto --device cuda     # a Ray cluster's cards
    blendsplat batch clips/ -o avatars/ --part 3/10                  # a farm's third task of ten
    """
    share = parse_part(part)
    imports = {"start": start, "end": end, "size": size, "matte": matte, "fps": fps, "landmarker": landmarker}
    track = {"head": head, "init": init, "refine": refine, "landmarker": landmarker}
    train = {"preset": preset, "minutes": minutes, "overrides": parse_settings(settings or []) or None}

    def work(progress: Progress) -> dict[str, Any]:
        from blendsplat.batch.child import Work
        from blendsplat.batch.clips import find_clips, part_of
        from blendsplat.batch.recipe import checked_recipe
        from blendsplat.batch.run import Machines, run_batch

        units, notes = find_clips(clips, output)
        recipe = checked_recipe(imports, track, train, device)
        chosen = part_of(units, *share)
        report = output / "batch" / ("result.json" if share == (1, 1) else f"result-{share[0]}-of-{share[1]}.json")
        return {**run_batch(chosen, Work(recipe, 1), Machines(workers, threads, ray), progress, report), "notes": notes}

    kept = "What is finished is kept; the same command continues."
    result = run_command("making the avatars", work, verbose, as_json, kept)
    if as_json:
        print_json(result)
    else:
        _print(result, output)
    if result["exit_code"]:
        raise typer.Exit(result["exit_code"])


def _print(result: dict[str, Any], output: Path) -> None:
    console = Console()
    for note in result["notes"]:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(table_of(result["clips"]))
    for line in remarks(result["clips"]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    ready, every = result["made"] + result["kept"], len(result["clips"])
    line = f"{ready} of {every} avatars are in {output}, after {result['seconds']:.0f} s."
    if result["cancelled"]:
        line += " It was cancelled; the same command continues."
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Clip, what became of it, seconds of every stage, PSNR and avatar."""
    table = Table("clip", "", *(f"{stage} s" for stage in STAGES), "PSNR", "avatar", box=None)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        seconds = [_number(row["seconds"].get(stage)) for stage in STAGES]
        avatar = Path(row["avatar"]).name if row["state"] in READY else "-"
        table.add_row(
            *map(escape, (row["clip"], READY.get(row["state"], row["state"]), *seconds, _number(row["psnr"]), avatar))
        )
    return table


def remarks(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each thing that went wrong, or that should be known, of clips by name."""
    lines = []
    for row in rows:
        said = [row["problem"]] if row["problem"] else row["notes"]
        if row["attempts"] > 1 and row["state"] in READY:
            said = [*said, "Its worker died and was started again."]
        lines += [f"{row['clip']}: {sentence}" for sentence in said]
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

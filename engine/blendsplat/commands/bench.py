# SPDX-License-Identifier: Apache-2.0
"""``blendsplat bench``: one sub-command per benchmark, and every one without; ``all`` writes docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from blendsplat.commands.avatar import parse_settings
from blendsplat.commands.runner import AsJson, Device, Verbose, print_json, run_command

app = typer.Typer(add_completion=False)
_commands: dict[str, Callable[..., None]] = {}


@app.callback(invoke_without_command=True)
def bench(context: typer.Context, device: Device = "cpu") -> None:
    """Measure: speed and quality of the parts, as tables. Without a sub-command, all of them.

    \b
    blendsplat bench
    blendsplat bench --device cuda
    """
    if context.invoked_subcommand is None:
        _commands["all"](device=device)


@app.command()
def clips(
    videos: Annotated[list[Path], typer.Argument(help="Videos of a person talking.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the clips, overlays and avatars.")],
    preset: Annotated[str, typer.Option(help="How to train.")] = "draft",
    lpips: Annotated[Path | None, typer.Option(help="Weights for LPIPS (SqueezeNet or VGG16), an .npz file.")] = None,
    ways: Annotated[str, typer.Option(help="How to track: of landmarks, dense, kaolrm.")] = "landmarks,dense",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Import every video once, then track (by landmarks, and densely), train and evaluate: frames a second, how the
    overlay sticks, PSNR of frames never trained on.

    \b
    blendsplat bench clips a.mp4 b.mp4 -o out/bench --lpips lpips_squeeze.npz
    """
    from blendsplat.evaluation.clips import benchmark_clips, table

    rows: list[Any] = []

    def work(progress: Any) -> dict[str, Any]:
        rows.extend(benchmark_clips(videos, output, preset, lpips, progress, _listed(ways)))
        return {"clips": [asdict(row) for row in rows]}

    result = run_command("measuring", work, verbose, as_json, f"What is finished lies in {output}.")
    _print(result, as_json, table, rows)


@app.command()
def tracking(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the clips and overlays.")],
    videos: Annotated[list[Path] | None, typer.Argument(help="Videos of a person talking.")] = None,
    people: Annotated[int, typer.Option(min=0, help="Generated people, whose truth is known.")] = 6,
    frames: Annotated[int, typer.Option(min=3, help="Frames of each of them.")] = 150,
    which: Annotated[
        str, typer.Option("--set", help="Which people: tuning, or test, whom nothing is tuned on.")
    ] = "test",
    ways: Annotated[str, typer.Option(help="How to track: of landmarks, dense, kaolrm.")] = "landmarks,dense",
    weights: Annotated[str, typer.Option(help="KaoLRM's weights: auto (shipped), a folder or a known name.")] = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Track generated people and videos by landmarks and by the picture: distance from the truth, jitter, seconds.

    \b
    blendsplat bench tracking -o out/tracking
    blendsplat bench tracking a.mp4 b.mp4 --people 0 --ways landmarks,kaolrm -o out/tracking
    """
    from blendsplat.evaluation.tracking import benchmark_tracking, means, table

    rows: list[Any] = []

    def work(progress: Any) -> dict[str, Any]:
        made = benchmark_tracking(videos or [], people, frames, output, _listed(ways), which, weights, progress)
        rows.extend(made)
        return {"tracking": [asdict(row) for row in rows], "means": [asdict(row) for row in means(rows)]}

    result = run_command("measuring", work, verbose, as_json, f"What is finished lies in {output}.")
    _print(result, as_json, table, rows)


@app.command()
def mattes(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the videos and clips.")],
    people: Annotated[int, typer.Option(min=1, help="Generated people, whose truth is known.")] = 4,
    frames: Annotated[int, typer.Option(min=2, help="Frames of each of them.")] = 40,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Import generated people before a still and a moving camera: how far their mattes are from the truth at the hair.

    \b
    blendsplat bench mattes -o out/mattes
    """
    from blendsplat.evaluation.mattes import benchmark_mattes, means, table

    rows: list[Any] = []

    def work(progress: Any) -> dict[str, Any]:
        rows.extend(benchmark_mattes(people, frames, output, progress=progress))
        return {"mattes": [asdict(row) for row in rows], "means": [asdict(row) for row in means(rows)]}

    result = run_command("measuring", work, verbose, as_json, f"What is finished lies in {output}.")
    _print(result, as_json, table, rows)


@app.command()
def retarget(
    avatars: Annotated[list[Path], typer.Argument(help="Avatars on the head that ships.")],
    take: Annotated[Path, typer.Option("--take", help="A capture: a take of Live Link Face, ARKit's .csv or .json.")],
    every: Annotated[int, typer.Option(min=1, help="Play every so many-th frame of it.")] = 1,
    frames: Annotated[int | None, typer.Option(min=10, help="Of its first frames; left out: all.")] = None,
    size: Annotated[int, typer.Option(min=64, help="Longer side of what is rendered and tracked.")] = 512,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for what was rendered, a video for each avatar.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Play a face capture on avatars, track what was rendered and correlate it with the capture: jaw, smile, brows,
    blinks.

    \b
    blendsplat bench retarget ann.avatar.npz ben.avatar.npz --take take.csv -o out/retarget
    """
    from blendsplat.evaluation.retargeting import benchmark_retargeting, table

    made: list[Any] = []

    def work(progress: Any) -> dict[str, Any]:
        made.extend(benchmark_retargeting(avatars, take, every, frames, progress, output, size))
        return {"retarget": [asdict(row) for row in made]}

    result = run_command("measuring", work, verbose, as_json)
    _print(result, as_json, table, made)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


@app.command()
def unseen(
    folders: Annotated[list[Path], typer.Argument(help="Folders of tracked clips.")],
    presets: Annotated[str, typer.Option(help="Which are compared, with commas between.")] = "draft,quality",
    size: Annotated[int, typer.Option(min=16, help="Longer side of the pictures, for all of them.")] = 256,
    clusters: Annotated[int, typer.Option(min=0, help="Kinds of expression and pose, each held out once.")] = 4,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Train each for so long; left out: as the presets are.")
    ] = None,
    lpips: Annotated[Path | None, typer.Option(help="Weights for LPIPS (SqueezeNet or VGG16), an .npz file.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Hold out a clip's last frames, then each kind of expression and pose: what presets are worth on what they never
    saw, beside their own bases without blendshapes.

    \b
    blendsplat bench unseen talk/ --minutes 1 --lpips lpips_squeeze.npz
    """
    from blendsplat.evaluation.unseen import benchmark_unseen, table

    made: list[Any] = []

    def work(progress: Any) -> dict[str, Any]:
        made.extend(benchmark_unseen(folders, _listed(presets), size, clusters, 0.3, lpips, minutes, progress))
        return {"unseen": [asdict(row) for row in made]}

    result = run_command("measuring", work, verbose, as_json)
    _print(result, as_json, table, made)


@app.command()
def ablations(
    folders: Annotated[list[Path], typer.Argument(help="Folders of tracked clips.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the avatars.")],
    system: Annotated[str, typer.Option(help="Whose parts are switched off.")] = "dipguava",
    preset: Annotated[str, typer.Option(help="How to train; left out: the system's draft.")] = "",
    rows: Annotated[str, typer.Option(help="Which, with commas between; left out: those of the tables.")] = "",
    tables: Annotated[
        str,
        typer.Option(
            help="Which of RGBAvatar's tables, with commas between: design, orthogonality, blendshapes, online, pools, "
            "others; left out: the first two."
        ),
    ] = "",
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Train each row for so long; left out: all on as many images.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change one value of the preset; repeat it for more"),
    ] = None,
    lpips: Annotated[Path | None, typer.Option(help="Weights for LPIPS (SqueezeNet or VGG16), an .npz file.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train an avatar system without each of its parts: what every part is worth on one's own clips.

    \b
    blendsplat bench ablations talk/ -o out/ablations --lpips lpips_squeeze.npz
    blendsplat bench ablations talk/ -o out/ablations --rows "only base,full"
    blendsplat bench ablations talk/ -o out/ablations --system rgbavatar --minutes 2
    """
    from blendsplat.evaluation.ablations import benchmark_ablations, paper_tables

    made: list[Any] = []

    def work(progress: Any) -> dict[str, Any]:
        chosen = _listed(rows) if rows else ()
        named = _listed(tables) if tables else ()
        changes = parse_settings(settings or [])
        made.extend(
            benchmark_ablations(
                folders, output, system, preset, lpips, chosen, changes, progress, tables=named, minutes=minutes
            )
        )
        return {"ablations": [asdict(row) for row in made]}

    result = run_command("measuring", work, verbose, as_json, f"What is finished lies in {output}.")
    _print(result, as_json, lambda figures: paper_tables(figures, system), made)


@app.command()
def live(
    folders: Annotated[list[Path], typer.Argument(help="Folders of tracked clips.")],
    preset: Annotated[str, typer.Option(help="How a live session trains.")] = "live",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change one value of the preset; repeat it for more"),
    ] = None,
    rows: Annotated[str, typer.Option(help="Which, with commas between; left out: all.")] = "",
    lpips: Annotated[Path | None, typer.Option(help="Weights for LPIPS (SqueezeNet or VGG16), an .npz file.")] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Replay tracked clips as a camera would show them: what the local and the global pool are worth, and what is lost
    against an offline training with the same frames and as many images.

    
    blendsplat bench live talk/ --lpips lpips_squeeze.npz
    blendsplat bench live talk/ --set online_images_per_frame=8 --rows "recent,offline"
    """
    from blendsplat.evaluation.replays import benchmark_replays, table
    from blendsplat.jobs.devices import resolve_device

    made: list[Any] = []

    def work(progress: Any) -> dict[str, Any]:
        chosen = _listed(rows) if rows else ()
        changes = parse_settings(settings or [])
        made.extend(benchmark_replays(folders, preset, lpips, chosen, changes, progress, resolve_device(device)))
        return {"live": [asdict(row) for row in made]}

    result = run_command("measuring", work, verbose, as_json)
    _print(result, as_json, table, made)


def _print(result: dict[str, Any], as_json: bool, table: Callable[[list[Any]], Any], rows: list[Any]) -> None:
    """What was measured, as JSON or as the table of its rows, where there are any."""
    if as_json:
        print_json(result)
    elif rows:
        _wide().print(table(rows))


def _wide() -> Console:
    """Numbers that break over lines cannot be compared."""
    return Console(width=max(Console().width, 165))


def _benchmark(name: str, summary: str) -> None:
    """Add the sub-command ``name``: all of them take the same options."""

    def command(
        device: Device = "cpu",
        threads: Annotated[
            str | None, typer.Option(help="Numbers of threads, as in 2,1; left out: all, and one.")
        ] = None,
        seconds: Annotated[float, typer.Option(min=0.0, help="How long each table is measured, roughly.")] = 12.0,
        gaussians: Annotated[int | None, typer.Option(min=1, help="Gaussians of the head scene.")] = None,
        size: Annotated[int | None, typer.Option(min=1, help="Width and height of the images.")] = None,
        batch: Annotated[int | None, typer.Option(min=1, help="Images at once.")] = None,
        uv: Annotated[int | None, typer.Option(min=4, help="UV resolution of the avatar that is trained.")] = None,
        avatar: Annotated[
            Path | None, typer.Option(help="A real avatar; left out: one is trained for seconds.")
        ] = None,
        write: Annotated[Path | None, typer.Option(help="Page whose marked tables are replaced.")] = None,
        file: Annotated[Path | None, typer.Option(help="Where to write the result as JSON.")] = None,
        as_json: AsJson = False,
        verbose: Verbose = False,
    ) -> None:
        sizes = {
            "device": None if device == "cpu" else device, "threads": threads, "gaussians": gaussians, "size": size,
            "batch": batch, "uv": uv, "avatar": avatar and avatar.name,
        }  # fmt: skip
        options = "".join(f" --{key} {value}" for key, value in sizes.items() if value is not None)

        def work(progress: Any) -> dict[str, Any]:
            import torch

            from blendsplat.bench.plan import Plan, parse_threads
            from blendsplat.bench.report import write_page
            from blendsplat.bench.suite import run_benches
            from blendsplat.files import write_json
            from blendsplat.jobs.devices import resolve_device

            where = torch.device(resolve_device(device))
            plan = Plan(where, parse_threads(threads, where), seconds, gaussians, size, batch, uv, avatar, progress)
            report = run_benches(name, plan, options)
            if file:
                write_json(file, report.as_json())
            if write:
                write_page(write, report)
            return {"report": report}

        report = run_command("measuring", work, verbose, as_json)["report"]
        if as_json:
            print_json(report.as_json())
        else:
            _show(report)

    command.__doc__ = f"{summary}\n\n\b\nblendsplat bench {name}\nblendsplat bench {name} --json --file {name}.json"
    _commands[name] = app.command(name)(command)


def _show(report: Any) -> None:
    from blendsplat.bench.report import rich_table

    console = _wide()
    for table in report.tables:
        console.print(rich_table(table))
    console.print(", ".join(f"{key} {value}" for key, value in report.machine.items()), markup=False)
    for warning in report.warnings:
        console.print(warning, style="yellow", markup=False)


for _name, _summary in {
    "render": "The rasterizer: images a second, forward and with all gradients.",
    "sort": "Projection and binning.",
    "blend": "Blendshapes and tangent-space binding.",
    "step": "The whole training step of an RGBAvatar.",
    "batch": "The training step image by image, one image after another, and all at once.",
    "animate": "Playing a performance on an avatar.",
    "surfels": "Surfels, forward and with all gradients, beside 3D Gaussians of the same scene.",
    "mesh": "The mesh rasterizer: faces, and pictures with gradients.",
    "curves": "The rasterizer's cost against Gaussians, image size and batch.",
    "peers": "Other rasterizers on the same scene, where they are installed.",
    "all": "Every benchmark; with --write, the tables of a page (docs/benchmarks.md).",
}.items():
    _benchmark(_name, _summary)

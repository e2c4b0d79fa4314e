# SPDX-License-Identifier: Apache-2.0
"""``blendsplat bench``: one sub-command per benchmark; docs/benchmarks.md quotes their tables."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from blendsplat.commands.running import AsJson, Verbose, print_json, run_command

app = typer.Typer(no_args_is_help=True, help="Measure: speed and quality of the parts, as tables.")


@app.command()
def clips(
    videos: Annotated[list[Path], typer.Argument(help="Videos of a person talking.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the clips, overlays and avatars.")],
    preset: Annotated[str, typer.Option(help="How to train.")] = "draft",
    lpips: Annotated[Path | None, typer.Option(help="Weights for LPIPS (squeeze), an .npz file.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Import, track, train and evaluate every video: frames a second, landmark error, PSNR of frames never trained on.

    \b
    blendsplat bench clips a.mp4 b.mp4 -o out/bench --lpips lpips_squeeze.npz
    """
    from blendsplat.bench.clips import benchmark_clips, table

    rows: list[Any] = []

    def work(progress: Any) -> dict[str, Any]:
        rows.extend(benchmark_clips(videos, output, preset, lpips, progress))
        return {"clips": [asdict(row) for row in rows]}

    result = run_command("measuring", work, verbose, as_json, f"What is finished lies in {output}.")
    if as_json:
        print_json(result)
    else:
        Console().print(table(rows))

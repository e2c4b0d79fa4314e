# SPDX-License-Identifier: Apache-2.0
"""The commands about the program itself: serve, demo, info."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blendsplat.commands.runner import AsJson, Verbose, print_json, run_command


def serve() -> None:
    """Be the engine of Blender: speak its protocol over standard input and output until the input ends.

    Blender starts this by itself. To use another machine, give Blender this as its engine command:

    \b
    ssh gpu-box blendsplat serve
    """
    from blendsplat.serving.server import serve as serve_streams

    serve_streams()


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all that the demo makes.")] = Path(
        "out/demo"
    ),
    addon: Annotated[
        Path | None, typer.Option(help="Source folder of the Blender extension; left out: the Blender part is skipped.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=8, help="Length of the demo's clip.")] = None,
    verbose: Verbose = False,
) -> None:
    """Show the whole path on a clip that Blendsplat renders itself: track, train, Blender, render.

    \b
    blendsplat demo -o out/demo --addon blender_addon
    """

    def work(progress: Any) -> dict[str, Any]:
        from blendsplat.demo.stages import run

        more = {} if frames is None else {"frames": frames}
        run(output, addon, progress=progress, **more)
        return {}

    run_command("running the demo", work, verbose, False, f"What is finished lies in {output}.")


def info(
    check: Annotated[
        bool, typer.Option("--check", help="Also load PyTorch, as the engine does when Blender starts it.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show versions, devices, kernels, presets and where the logs lie.

    \b
    blendsplat info
    blendsplat info --check
    blendsplat info --json
    """

    def work(progress: Any) -> dict[str, Any]:
        from blendsplat.folders import log_folder
        from blendsplat.serving.system import describe_engine, describe_installation

        return (describe_engine if check else describe_installation)(str(log_folder()))

    described = run_command("looking around", work, verbose, as_json)
    if as_json:
        return print_json(described)
    table = Table(show_header=False, box=None)
    for key in ("version", "python", "torch", "log"):
        table.add_row(key, str(described[key]))
    for name, present in described["kernels"].items():
        table.add_row(f"{name} kernels", "yes" if present else "no")
    for device in described["devices"]:
        table.add_row(f"device {device['id']}", device["name"])
    for preset in described["presets"]:
        table.add_row(f"preset {preset['name']}", preset["description"])
    Console().print(table)

# SPDX-License-Identifier: Apache-2.0
"""The command that tells what an avatar's learned keys do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blendsplat.commands.runner import AsJson, Device, Verbose, default_of, described, report, run_command, run_job
from blendsplat.jobs.options import KeysOptions


def keys(
    avatar: Annotated[Path, typer.Argument(help=described(KeysOptions, "avatar"))],
    output: Annotated[Path | None, typer.Option("--output", "-o", help=described(KeysOptions, "output"))] = None,
    size: Annotated[int, typer.Option(help=described(KeysOptions, "size"))] = default_of(KeysOptions, "size"),
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Tell what each of an avatar's learned keys does, the one that does most first, and draw them at -2, 0, +2 sigma.

    \b
    blendsplat keys talk.avatar.npz
    blendsplat keys talk.avatar.npz -o "talk keys/"
    """
    values = {"avatar": avatar, "output": output, "size": size, "device": device}
    result = run_command("looking", lambda progress: run_job("keys", values, progress), verbose, as_json)
    lines = [f"{row['name']:40s} {_ends(row['low'], row['high'])}" for row in result["keys"]]
    report(result, as_json, *lines, *([f"Drawn in {result['sheet']}."] if result["sheet"] else []))


def _ends(low: float | None, high: float | None) -> str:
    return "range unknown" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"

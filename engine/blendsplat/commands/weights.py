# SPDX-License-Identifier: Apache-2.0
"""The command ``weights``: which networks' weights there are, whose they are, where they must lie, whether they fit."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from blendsplat.commands.running import AsJson, Verbose, print_json, run_command


def weights(
    directory: Annotated[
        str | None, typer.Argument(help="a folder or a name of the list, to check", show_default="list all")
    ] = None,
    sha256: Annotated[bool, typer.Option("--sha256", help="Also compute the file's SHA-256.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """List the weights that KaoLRM can use, or check those in a folder key by key.

    One small set is Blendsplat's own and ships with it. The others it neither ships nor fetches: their licences are
    between their owners and you.
    $BLENDSPLAT_WEIGHTS names another folder to keep them in.

    \b
    blendsplat weights
    blendsplat weights kaolrm-mono --sha256
    blendsplat weights ~/Downloads/kaolrm/ --json
    """
    if directory is None:
        _list(as_json)
        return
    result = run_command("checking weights", lambda progress: _checked(directory, sha256), verbose, as_json)
    if as_json:
        print_json(result)
    else:
        _print_check(result)
    if not result["fits"]:
        raise typer.Exit(2)


def _list(as_json: bool) -> None:
    from blendsplat.folders import weights_folder
    from blendsplat.kaolrm.weight_catalogue import CATALOGUE

    rows = [
        {"name": e.name, "purpose": e.purpose, "source": e.source, "licence": e.licence, "folder": str(e.folder),
         "present": e.folder.is_dir()}
        for e in CATALOGUE
    ]  # fmt: skip
    if as_json:
        return print_json({"folder": str(weights_folder()), "weights": rows})
    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"Weights lie in {weights_folder()}, a folder of its name each, with config.json and model.safetensors:")
    for row in rows:
        say(f"  {'here   ' if row['present'] else 'missing'}  {row['name']:24} {row['purpose']}; {row['licence']}")
        say(f"           {'':24} {row['source']}")


def _checked(directory: str, sha256: bool) -> dict[str, Any]:
    from blendsplat.kaolrm.describe_weights import describe_weights

    return describe_weights(directory, sha256)


def _print_check(result: dict[str, Any]) -> None:
    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"{result['folder']}: {result['sentence']}" if result["folder"] else result["sentence"])
    if result["licence"]:
        say(f"  licence: {result['licence']}")
    for what in ("missing", "misshapen", "unexpected"):
        for key in result[what]:
            say(f"  {what}: {key}")
    for reason, count in result["ignored"].items():
        say(f"  ignored: {count} keys, {reason}")
    if result["sha256"]:
        say(f"  sha256: {result['sha256']}")

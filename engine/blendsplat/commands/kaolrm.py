# SPDX-License-Identifier: Apache-2.0
"""The commands of KaoLRM: its weights, generated heads as training data, and training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from blendsplat.commands.avatar import parse_settings
from blendsplat.commands.runner import (
    AsJson,
    Device,
    Verbose,
    default_of,
    described,
    print_json,
    report,
    run_command,
    run_job,
)
from blendsplat.jobs.options import GenerateHeadsOptions, TrainKaolrmOptions
from blendsplat.progress import Progress


def _option(model: type[GenerateHeadsOptions] | type[TrainKaolrmOptions], field: str, *names: str) -> Any:
    return typer.Option(*names, help=described(model, field))


def generate_heads(
    output: Annotated[Path, _option(GenerateHeadsOptions, "directory", "--output", "-o")],
    people: Annotated[int, _option(GenerateHeadsOptions, "people")] = default_of(GenerateHeadsOptions, "people"),
    views: Annotated[int, _option(GenerateHeadsOptions, "views")] = default_of(GenerateHeadsOptions, "views"),
    size: Annotated[int, _option(GenerateHeadsOptions, "size")] = default_of(GenerateHeadsOptions, "size"),
    head: Annotated[str, _option(GenerateHeadsOptions, "head")] = default_of(GenerateHeadsOptions, "head"),
    layout: Annotated[str, _option(GenerateHeadsOptions, "layout")] = default_of(GenerateHeadsOptions, "layout"),
    widest: Annotated[float, _option(GenerateHeadsOptions, "widest")] = default_of(GenerateHeadsOptions, "widest"),
    focal: Annotated[float, _option(GenerateHeadsOptions, "focal")] = default_of(GenerateHeadsOptions, "focal"),
    seed: Annotated[int, _option(GenerateHeadsOptions, "seed")] = default_of(GenerateHeadsOptions, "seed"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Render random people who do not exist, with known parameters, in the layouts that KaoLRM trains on.

    \b
    blendsplat generate-heads -o heads/ --people 1000 --views 8 --size 224
    """
    values = {
        "directory": output, "people": people, "views": views, "size": size, "head": head, "layout": layout,
        "widest": widest, "focal": focal, "seed": seed,
    }  # fmt: skip
    kept = f"What is finished lies in {output}; run it again."
    result = run_command(
        "rendering", lambda progress: run_job("generate_heads", values, progress), verbose, as_json, kept
    )
    report(result, as_json, f"Rendered {result['rendered']} people into {output}.")


def train_kaolrm(
    data: Annotated[Path, typer.Argument(help=described(TrainKaolrmOptions, "data"))],
    output: Annotated[Path, _option(TrainKaolrmOptions, "output", "--output", "-o")],
    preset: Annotated[str, _option(TrainKaolrmOptions, "preset")] = default_of(TrainKaolrmOptions, "preset"),
    start: Annotated[str | None, _option(TrainKaolrmOptions, "start", "--from")] = None,
    stage: Annotated[int | None, _option(TrainKaolrmOptions, "stage")] = None,
    head: Annotated[str, _option(TrainKaolrmOptions, "head")] = default_of(TrainKaolrmOptions, "head"),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change one value of the preset; repeat it for more"),
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train a KaoLRM on pictures of heads; stop it when you like, it continues from there.

    \b
    blendsplat train-kaolrm heads/ -o weights/ --preset small
    blendsplat train-kaolrm heads/ -o weights/ --preset multi-view --from openlrm-mix-base-1.1 --head flame2023.pkl
    accelerate launch -m blendsplat train-kaolrm heads/ -o weights/ --preset multi-view
    """
    values = {
        "data": data, "output": output, "preset": preset, "start": start, "stage": stage, "head": head,
        "overrides": parse_settings(settings or []), "device": device,
    }  # fmt: skip

    def work(progress: Progress) -> dict[str, Any]:
        return run_job("train_kaolrm", values, progress)

    result = run_command("training", work, verbose, as_json, f"The weights so far lie in {output}.")
    if os.environ.get("RANK", "0") != "0":  # of several processes the first one speaks
        return
    if "error_mm" in result:
        summary = f"Held-out faces {_number(result['error_mm'])} mm (mean face {_number(result['mean_face_mm'])})."
    else:
        summary = f"Held-out landmarks {_number(result['landmark_pixels'])} px, pictures {_number(result['psnr'])} dB."
    report(result, as_json, *result.get("left_out", ()), summary)


def _number(value: float | None) -> str:
    """A figure of a score; one that is not finite comes as None."""
    return "?" if value is None else f"{value:.2f}"


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

# SPDX-License-Identifier: Apache-2.0
"""The commands of KaoLRM: its weights, generated heads as training data, and training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from blendsplat.commands.runner import AsJson, Device, Verbose, print_json, report, run_command
from blendsplat.progress import Progress


def generate_heads(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the data set; continued if it exists.")],
    people: Annotated[int, typer.Option(help="How many people.")] = 100,
    views: Annotated[int, typer.Option(help="Views of each (the mono layout has one).")] = 32,
    size: Annotated[int, typer.Option(help="Side of the images in pixels (the mono layout has 512).")] = 512,
    head: Annotated[str, typer.Option(help="builtin, or the path of a FLAME or ICT-FaceKit file.")] = "builtin",
    layout: Annotated[str, typer.Option(help="multi-view or mono.")] = "multi-view",
    widest: Annotated[float, typer.Option(help="How far to the side the cameras go, degrees.")] = 90.0,
    focal: Annotated[float, typer.Option(help="Focal length over image size; above 1: portraits from afar.")] = 0.75,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Render random people who do not exist, with known parameters, in the layouts that KaoLRM trains on.

    \b
    blendsplat generate-heads -o heads/ --people 1000 --views 8 --size 224
    """
    from blendsplat.heads import load_head
    from blendsplat.kaolrm.training.generate import Generation, generate

    def work(progress: Progress) -> dict[str, Any]:
        job = Generation(people, views, size, seed, layout, widest, focal)
        return {"rendered": generate(load_head(head), output, job, progress), "output": str(output)}

    result = run_command("rendering", work, verbose, as_json, f"What is finished lies in {output}; run it again.")
    report(result, as_json, f"Rendered {result['rendered']} people into {output}.")


def train_kaolrm(
    data: Annotated[Path, typer.Argument(help="A data set in KaoLRM's multi-view or monocular layout.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the weights; continued if it exists.")],
    preset: Annotated[
        str, typer.Option(help="small: from generate-heads' parameters; multi-view, mono: as published; or a .toml.")
    ] = "small",
    start: Annotated[
        str | None, typer.Option("--from", help="Weights to start from: a folder or a name of `blendsplat weights`.")
    ] = None,
    stage: Annotated[int | None, typer.Option(min=1, max=2, help="Only this stage of the published training.")] = None,
    head: Annotated[str, typer.Option(help="builtin, or a FLAME or ICT file; left out: the preset's.")] = "",
    setting: Annotated[list[str], typer.Option("--set", help="key=value, instead of the preset's.")] = [],  # noqa: B006
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
    from dataclasses import asdict

    from blendsplat.commands.avatar import parse_settings
    from blendsplat.errors import InputError
    from blendsplat.jobs.devices import resolve_device
    from blendsplat.kaolrm.training.fit_closed_form import solve_truth
    from blendsplat.kaolrm.training.presets import SolvePreset, TruthPreset, load_preset
    from blendsplat.kaolrm.training.train_published import train_stages
    from blendsplat.kaolrm.training.train_supervised import train_truth

    def work(progress: Progress) -> dict[str, Any]:
        chosen, where = load_preset(preset, parse_settings(setting)), resolve_device(device)
        if not isinstance(chosen, TruthPreset | SolvePreset):
            return asdict(train_stages(data, chosen, output, progress, where, head, start, _stage(stage)))
        if start or stage or head:
            raise InputError(f"The preset {preset} knows no --from, --stage and --head; choose multi-view or mono.")
        if isinstance(chosen, SolvePreset):
            return asdict(solve_truth(data, chosen, output, progress))
        return asdict(train_truth(data, chosen, output, progress, where))

    result = run_command("training", work, verbose, as_json, f"The weights so far lie in {output}.")
    if os.environ.get("RANK", "0") != "0":  # of several processes the first one speaks
        return
    if "error_mm" in result:
        summary = f"Held-out faces {result['error_mm']:.2f} mm (mean face {result['mean_face_mm']:.2f})."
    else:
        summary = f"Held-out landmarks {result['landmark_pixels']:.2f} px, pictures {result['psnr']:.2f} dB."
    report(result, as_json, *result.get("left_out", ()), summary)


def _stage(number: int | None) -> Literal[1, 2] | None:
    return 1 if number == 1 else 2 if number == 2 else None


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

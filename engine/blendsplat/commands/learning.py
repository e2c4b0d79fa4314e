# SPDX-License-Identifier: Apache-2.0
"""The commands for those who train the regressors: data without a licence, and training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from blendsplat.commands.running import AsJson, Device, Verbose, report, run_command
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
    from blendsplat.tracking.kaolrm.generate import Generation, generate

    def work(progress: Progress) -> dict[str, Any]:
        job = Generation(people, views, size, seed, layout, widest, focal)
        return {"rendered": generate(load_head(head), output, job, progress), "output": str(output)}

    result = run_command("rendering", work, verbose, as_json, f"What is finished lies in {output}; run it again.")
    report(result, as_json, f"Rendered {result['rendered']} people into {output}.")


def train_kaolrm(
    data: Annotated[Path, typer.Argument(help="A folder that generate-heads has filled.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the weights; continued if it exists.")],
    preset: Annotated[str, typer.Option(help="How to train: small, or the path of a .toml file.")] = "small",
    setting: Annotated[list[str], typer.Option("--set", help="key=value, instead of the preset's.")] = [],  # noqa: B006
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train a KaoLRM on generated people; stop it when you like, it continues from there.

    \b
    blendsplat train-kaolrm heads/ -o weights/ --preset small
    """
    from dataclasses import asdict

    from blendsplat.commands.making import parse_settings
    from blendsplat.serving.system import resolve_device
    from blendsplat.tracking.kaolrm.presets import load_truth_preset
    from blendsplat.tracking.kaolrm.train_truth import train_truth

    def work(progress: Progress) -> dict[str, Any]:
        chosen = load_truth_preset(preset, parse_settings(setting))
        return asdict(train_truth(data, chosen, output, progress, resolve_device(device)))

    result = run_command("training", work, verbose, as_json, f"The weights so far lie in {output}.")
    report(result, as_json, f"Held-out faces {result['error_mm']:.2f} mm (mean face {result['mean_face_mm']:.2f}).")

# SPDX-License-Identifier: Apache-2.0
"""The commands for those who train the regressors: data without a licence, and training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from blendsplat.commands.running import AsJson, Verbose, report, run_command
from blendsplat.progress import Progress


def generate_heads(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the data set; continued if it exists.")],
    people: Annotated[int, typer.Option(help="How many people.")] = 100,
    views: Annotated[int, typer.Option(help="Views of each (the mono layout has one).")] = 32,
    size: Annotated[int, typer.Option(help="Side of the images in pixels (the mono layout has 512).")] = 512,
    head: Annotated[str, typer.Option(help="builtin, or the path of a FLAME or ICT-FaceKit file.")] = "builtin",
    layout: Annotated[str, typer.Option(help="multi-view or mono.")] = "multi-view",
    widest: Annotated[float, typer.Option(help="How far to the side the cameras go, degrees.")] = 90.0,
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
        job = Generation(people, views, size, seed, layout, widest)
        return {"rendered": generate(load_head(head), output, job, progress), "output": str(output)}

    result = run_command("rendering", work, verbose, as_json, f"What is finished lies in {output}; run it again.")
    report(result, as_json, f"Rendered {result['rendered']} people into {output}.")

# SPDX-License-Identifier: Apache-2.0
"""The command line ``blendsplat``: puts the commands together. What a command needs is imported when it is called."""

from __future__ import annotations

import codecs
import io
import sys
from typing import Annotated

import typer

import blendsplat
from blendsplat import memory
from blendsplat.commands import later

app = typer.Typer(
    name="blendsplat", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong input, 3 no face, 4 writing failed, 5 out of memory, 70 an error in "
    "Blendsplat, 130 cancelled.",
)  # fmt: skip

for _place in (
    "avatar.track", "avatar.correct", "avatar.train", "batch.batch", "live.live", "photographs.fit_image",
    "photographs.evaluate_fit", "photographs.evaluate_head", "photographs.evaluate_coverage", "photographs.export_head",
    "avatar.render", "reenact.reenact", "evaluation.evaluate", "evaluation.evaluate_reenactment",
    "avatar.evaluate_tracking", "avatar.export", "keys.keys", "exchange.import_recording", "exchange.export_vhap",
    "exchange.convert_performance", "kaolrm.generate_heads", "kaolrm.train_kaolrm", "kaolrm.weights", "system.info",
    "system.demo", "system.serve", "bench.app",
):  # fmt: skip
    later.add(app, _place)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blendsplat {blendsplat.__version__}")
        raise typer.Exit


@app.callback()
def blendsplat_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """From a video of a person talking to a keyframable Gaussian head avatar.

    \b
    blendsplat track talk.mp4 -o talk/
    blendsplat train talk/ --preset draft -o talk.avatar.npz
    blendsplat render talk.avatar.npz --performance talk/ -o talk_avatar.mp4
    """


def main() -> None:
    """Entry point of the console script."""
    memory.keep_large_arrays()
    if isinstance(sys.stderr, io.TextIOWrapper) and codecs.lookup(sys.stderr.encoding).name == "ascii":
        sys.stderr.reconfigure(encoding="utf-8")  # as terminals are, and sentences name files with all their letters
    app()

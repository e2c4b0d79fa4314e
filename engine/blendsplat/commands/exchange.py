# SPDX-License-Identifier: Apache-2.0
"""The commands that exchange tracked clips with other trackers, and carry them over to other heads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blendsplat.commands.runner import AsJson, Verbose, default_of, described, report, run_command, run_job
from blendsplat.jobs.options import ConvertOptions, RecordingOptions, VhapOptions


def import_recording(
    source: Annotated[Path, typer.Argument(help=described(RecordingOptions, "source"))],
    output: Annotated[Path, typer.Option("--output", "-o", help=described(RecordingOptions, "directory"))],
    head: Annotated[str, typer.Option(help=described(RecordingOptions, "head"))],
    fps: Annotated[float | None, typer.Option(help=described(RecordingOptions, "fps"))] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=described(RecordingOptions, "overwrite"))] = False,
    matte: Annotated[str, typer.Option(help=described(RecordingOptions, "matte"))] = default_of(
        RecordingOptions, "matte"
    ),
    all_cameras: Annotated[
        bool, typer.Option("--all-cameras", help=described(RecordingOptions, "all_cameras"))
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Take over a recording that VHAP or metrical-tracker has tracked, as a clip folder to train on.

    \b
    blendsplat import-recording export/person/ -o person/ --head flame2023.pkl
    blendsplat import-recording export/person/ -o person/ --head flame2023.pkl --all-cameras
    """
    values = {
        "source": source, "directory": output, "head": head, "fps": fps, "overwrite": overwrite,
        "matte": matte, "all_cameras": all_cameras,
    }  # fmt: skip
    result = run_command("reading", lambda progress: run_job("recording", values, progress), verbose, as_json)
    report(result, as_json, *result["notes"], f"Took over {result['frames']} frames into {output}.")


def export_vhap(
    directory: Annotated[Path, typer.Argument(help=described(VhapOptions, "directory"))],
    output: Annotated[Path, typer.Option("--output", "-o", help=described(VhapOptions, "output"))],
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a clip that was tracked with FLAME the way VHAP exports it, for other trainers.

    \b
    blendsplat export-vhap talk/ -o talk_vhap/
    """
    values = {"directory": directory, "output": output}
    result = run_command("exporting", lambda progress: run_job("vhap", values, progress), verbose, as_json)
    report(result, as_json, f"Wrote {result['output']}.")


def convert_performance(
    tracked: Annotated[Path, typer.Argument(help=described(ConvertOptions, "tracked"))],
    head: Annotated[str, typer.Option(help=described(ConvertOptions, "head"))],
    output: Annotated[Path, typer.Option("--output", "-o", "--out", help=described(ConvertOptions, "output"))],
    how: Annotated[str, typer.Option(help=described(ConvertOptions, "how"))] = default_of(ConvertOptions, "how"),
    tracked_head: Annotated[str | None, typer.Option(help=described(ConvertOptions, "tracked_head"))] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Carry a tracked clip or a fitted photograph over to another head, at the same place before the camera.

    \b
    blendsplat convert-performance talk/ --head FaceXModel/ -o talk_ict.npz
    blendsplat convert-performance portrait/ --head flame2023.pkl -o portrait_flame/
    """
    values = {"tracked": tracked, "head": head, "output": output, "how": how, "tracked_head": tracked_head}
    result = run_command("converting", lambda progress: run_job("convert", values, progress), verbose, as_json)
    report(
        result, as_json,
        f"Carried {result['frames']} frames over to the head {result['head']!r}: {result['output']}.",
        f"The two faces lie {result['error_mm']:.2f} mm apart (95 % within {result['error_95_mm']:.2f} mm).",
    )  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""The commands that judge an avatar: on its own clip's frames, and driven by another person's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blendsplat.commands.evaluation_words import lines_of, reenactment_lines
from blendsplat.commands.runner import AsJson, Device, Verbose, default_of, described, report, run_command, run_job
from blendsplat.jobs.options import EvaluateOptions, EvaluateReenactmentOptions

AvatarFile = Annotated[Path, typer.Argument(help=described(EvaluateOptions, "avatar"))]


def evaluate(
    avatar: AvatarFile,
    directory: Annotated[Path, typer.Argument(help=described(EvaluateOptions, "directory"))],
    output: Annotated[Path | None, typer.Option("--output", "-o", help=described(EvaluateOptions, "output"))] = None,
    lpips: Annotated[Path | None, typer.Option(help=described(EvaluateOptions, "lpips"))] = None,
    protocol: Annotated[str, typer.Option(help=described(EvaluateOptions, "protocol"))] = default_of(
        EvaluateOptions, "protocol"
    ),
    pixels: Annotated[str, typer.Option(help=described(EvaluateOptions, "pixels"))] = default_of(
        EvaluateOptions, "pixels"
    ),
    common: Annotated[list[Path] | None, typer.Option(help=described(EvaluateOptions, "common"))] = None,
    show: Annotated[str, typer.Option(help=described(EvaluateOptions, "show"))] = default_of(EvaluateOptions, "show"),
    hold_back: Annotated[float, typer.Option(help=described(EvaluateOptions, "hold_back"))] = 0.0,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score an avatar on the frames of its clip that it was not trained on: PSNR, SSIM and, with its weights, LPIPS.

    Mouth and eyes are scored by themselves as well, steadiness against the video's own changes; the Gaussians' shapes
    and the views from 45 degrees to either side need no picture. docs/measures.md says how each figure is made.

    \b
    blendsplat evaluate talk.avatar.npz talk/
    blendsplat evaluate talk.avatar.npz talk/ --lpips lpips_squeeze.npz -o talk_scores/
    blendsplat evaluate talk.avatar.npz talk/ --protocol rgbavatar --lpips lpips_vgg.npz
    blendsplat evaluate flame.avatar.npz flame/ --common talk/       # talk/ tracked with another head
    """
    values = {
        "avatar": avatar, "directory": directory, "lpips": lpips, "protocol": protocol, "pixels": pixels,
        "common": common, "show": show, "hold_back": hold_back, "device": device, "output": output,
    }  # fmt: skip
    result = run_command("evaluating", lambda progress: run_job("evaluate", values, progress), verbose, as_json)
    report(result, as_json, *result.get("notes", ()), *lines_of(result))


def evaluate_reenactment(
    avatar: AvatarFile,
    driver: Annotated[Path, typer.Argument(help=described(EvaluateReenactmentOptions, "driver"))],
    own: Annotated[Path | None, typer.Option(help=described(EvaluateReenactmentOptions, "own"))] = None,
    arcface: Annotated[Path | None, typer.Option(help=described(EvaluateReenactmentOptions, "arcface"))] = None,
    frames: Annotated[int, typer.Option(help=described(EvaluateReenactmentOptions, "frames"))] = default_of(
        EvaluateReenactmentOptions, "frames"
    ),
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure whether an avatar does what another person did: its render is tracked again, as the driving video was.

    AED and APD are the differences of expression and head pose; CSIM, the likeness to the avatar's own clip, needs an
    ArcFace network. docs/measures.md says how they are made.

    \b
    blendsplat evaluate-reenactment talk.avatar.npz other/
    blendsplat evaluate-reenactment talk.avatar.npz other/ --own talk/ --arcface w600k_r50.onnx
    """
    values = {
        "avatar": avatar, "driver": driver, "own": own, "arcface": arcface, "frames": frames, "device": device,
    }  # fmt: skip
    result = run_command(
        "evaluating", lambda progress: run_job("evaluate_reenactment", values, progress), verbose, as_json
    )
    report(result, as_json, *result["notes"], *reenactment_lines(result))

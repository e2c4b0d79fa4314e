# SPDX-License-Identifier: Apache-2.0
"""The commands that use an avatar: render, evaluate, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blendsplat.commands.running import AsJson, Device, Verbose, described, report, run_command, run_job
from blendsplat.jobs.options import EvaluateOptions, ExportOptions, RenderOptions

AvatarFile = Annotated[Path, typer.Argument(help=described(RenderOptions, "avatar"))]
Performance = Annotated[Path, typer.Option("--performance", "-p", help=described(RenderOptions, "performance"))]


def parse_size(text: str | None) -> tuple[int | None, int | None]:
    """ "640x360" or "512" -> width, height. Raises typer.BadParameter."""
    if text is None:
        return None, None
    try:
        numbers = [int(part) for part in text.lower().split("x")]
        width, height = numbers if len(numbers) == 2 else (numbers[0], numbers[0])
        if len(numbers) > 2:
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT, for example 1920x1080.") from None
    return width, height


def render(
    avatar: AvatarFile,
    performance: Performance,
    output: Annotated[Path, typer.Option("--output", "-o", help=described(RenderOptions, "output"))],
    size: Annotated[str | None, typer.Option(metavar="WxH", help="pixels; none: as the performance's camera")] = None,
    background: Annotated[str | None, typer.Option(help=described(RenderOptions, "background"))] = None,
    first: Annotated[int | None, typer.Option(help=described(RenderOptions, "first"))] = None,
    count: Annotated[int | None, typer.Option(help=described(RenderOptions, "count"))] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Render an avatar driven by a performance: its own clip, or another person's.

    \b
    blendsplat render talk.avatar.npz --performance other/ -o other.mp4
    blendsplat render talk.avatar.npz -p talk/tracking.npz --size 1024x1024 -o frames/     # PNG with alpha
    """
    width, height = parse_size(size)
    values = {
        "avatar": avatar, "performance": performance, "output": output, "width": width, "height": height,
        "background": background, "first": first, "count": count, "device": device,
    }  # fmt: skip
    kept = f"Images already written to {output} are kept; an unfinished mp4 is not."
    result = run_command("rendering", lambda progress: run_job("render", values, progress), verbose, as_json, kept)
    rate = result["frames"] / max(result["seconds"], 1e-9)
    report(result, as_json, f"Rendered {result['frames']} frames to {output} ({rate:.1f} a second).")


def evaluate(
    avatar: AvatarFile,
    directory: Annotated[Path, typer.Argument(help=described(EvaluateOptions, "directory"))],
    lpips: Annotated[Path | None, typer.Option(help=described(EvaluateOptions, "lpips"))] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score an avatar on the frames of its clip that it was not trained on: PSNR, SSIM and, with its weights, LPIPS.

    \b
    blendsplat evaluate talk.avatar.npz talk/
    blendsplat evaluate talk.avatar.npz talk/ --lpips lpips_squeeze.npz --json
    """
    values = {"avatar": avatar, "directory": directory, "lpips": lpips, "device": device}
    result = run_command("evaluating", lambda progress: run_job("evaluate", values, progress), verbose, as_json)
    scores = [
        f"{label} {result[key]:.{digits}f}{unit}"
        for key, label, digits, unit in (("psnr", "PSNR", 2, " dB"), ("ssim", "SSIM", 4, ""), ("lpips", "LPIPS", 4, ""))
        if result.get(key) is not None
    ]
    report(result, as_json, f"{', '.join(scores)} over {result.get('frames', 0)} held-out frames.")


def export(
    avatar: AvatarFile,
    performance: Performance,
    ply: Annotated[Path, typer.Option("--ply", help=described(ExportOptions, "output"))],
    frame: Annotated[int | None, typer.Option(help=described(ExportOptions, "frame"))] = None,
    y_down: Annotated[bool, typer.Option("--y-down", help=described(ExportOptions, "y_down"))] = False,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write one frame as a world-space PLY that ordinary splat viewers open.

    \b
    blendsplat export talk.avatar.npz --performance talk/ --frame 12 --ply talk_12.ply
    """
    values = {
        "avatar": avatar, "performance": performance, "output": ply, "frame": frame, "y_down": y_down, "device": device,
    }  # fmt: skip
    result = run_command("exporting", lambda progress: run_job("export", values, progress), verbose, as_json)
    report(result, as_json, f"Wrote {result['gaussians']} Gaussians to {ply}.")

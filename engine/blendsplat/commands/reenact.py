# SPDX-License-Identifier: Apache-2.0
"""The command that drives an avatar with another person's performance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from blendsplat.commands.avatar import parse_size
from blendsplat.commands.runner import AsJson, Device, Verbose, default_of, described, report, run_command, run_job
from blendsplat.jobs.options import ReenactOptions

_STRENGTH, _HEADS = "Strength, 0 to 2", "Across head models"


def _option(field: str, *names: str, panel: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=described(ReenactOptions, field), rich_help_panel=panel, **more)


def _default(field: str) -> Any:
    return default_of(ReenactOptions, field)


def reenact(
    avatar: Annotated[Path, typer.Argument(help=described(ReenactOptions, "avatar"))],
    performance: Annotated[Path, _option("performance", "--performance", "-p")],
    output: Annotated[Path, _option("output", "--output", "-o")],
    beside: Annotated[bool, _option("beside", "--beside")] = False,
    fps: Annotated[float | None, _option("fps")] = None,
    relative: Annotated[bool, _option("relative", "--relative/--absolute")] = True,
    own: Annotated[Path | None, _option("own")] = None,
    smooth: Annotated[float, _option("smooth", metavar="SECONDS")] = _default("smooth"),
    lively: Annotated[float, _option("lively")] = _default("lively"),
    mouth: Annotated[float, _option("mouth", panel=_STRENGTH)] = _default("mouth"),
    eyes: Annotated[float, _option("eyes", panel=_STRENGTH)] = _default("eyes"),
    brows: Annotated[float, _option("brows", panel=_STRENGTH)] = _default("brows"),
    head: Annotated[float, _option("head", panel=_STRENGTH)] = _default("head"),
    hold_back: Annotated[float, _option("hold_back")] = _default("hold_back"),
    avatar_head: Annotated[str | None, _option("avatar_head", panel=_HEADS)] = None,
    driver_head: Annotated[str | None, _option("driver_head", panel=_HEADS)] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="pixels; none: as the performance's camera")] = None,
    background: Annotated[str | None, _option("background")] = None,
    first: Annotated[int | None, _option("first")] = None,
    count: Annotated[int | None, _option("count")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Drive an avatar with another person's performance: its expressions, the avatar's own face.

    Unlike render, which plays what was tracked, this counts from neutral face to neutral face and can change how.

    \b
    blendsplat reenact talk.avatar.npz --performance other/ --beside -o other.mp4
    blendsplat reenact talk.avatar.npz -p other/ --smooth 0.2 --mouth 1.2 --head 0.5 -o calm.mp4
    blendsplat reenact talk.avatar.npz -p take.csv --fps 60 -o take.mp4      # ARKit's expressions, without times
    blendsplat reenact talk.avatar.npz -p other/ -o for_blender.npz        # a performance to load in Blender
    """
    width, height = parse_size(size)
    values = {
        "avatar": avatar, "performance": performance, "output": output, "beside": beside, "fps": fps,
        "relative": relative, "own": own, "smooth": smooth, "lively": lively, "mouth": mouth, "eyes": eyes,
        "brows": brows, "head": head, "hold_back": hold_back, "avatar_head": avatar_head, "driver_head": driver_head,
        "width": width, "height": height, "background": background, "first": first, "count": count, "device": device,
    }  # fmt: skip
    kept = f"Images already written to {output} are kept; an unfinished mp4 is not."
    result = run_command("reenacting", lambda progress: run_job("reenact", values, progress), verbose, as_json, kept)
    report(result, as_json, *result["notes"], f"Wrote {result['frames']} frames to {output}.")

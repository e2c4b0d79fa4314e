# SPDX-License-Identifier: Apache-2.0
"""The command that learns an avatar from a camera while it runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from blendsplat.commands.avatar import parse_settings
from blendsplat.commands.runner import AsJson, Device, Verbose, default_of, described, report, run_command, run_job
from blendsplat.jobs.options import LiveOptions


def _option(field: str, *names: str) -> Any:
    return typer.Option(*names, help=described(LiveOptions, field))


def live(
    source: Annotated[str, typer.Argument(help=described(LiveOptions, "source"))],
    output: Annotated[Path, _option("output", "--output", "-o")],
    directory: Annotated[Path | None, _option("directory", "--take")] = None,
    preset: Annotated[str, _option("preset")] = default_of(LiveOptions, "preset"),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change one value of the preset; repeat it for more"),
    ] = None,
    head: Annotated[str | None, _option("head")] = None,
    preview: Annotated[Path | None, _option("preview")] = None,
    seconds: Annotated[float | None, _option("seconds")] = None,
    pace: Annotated[bool, _option("paced", "--pace/--no-pace")] = True,
    loop: Annotated[bool, _option("loop", "--loop")] = False,
    mirror: Annotated[bool, _option("mirror", "--mirror")] = False,
    learn: Annotated[bool, _option("learn", "--learn/--track-only")] = True,
    landmarker: Annotated[Path | None, _option("landmarker")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Learn an avatar from a camera, a network stream or a playing video while it runs.

    Ctrl-C ends it: avatar, preview and take are then complete. The take is a tracked clip, to train on from there.

    \b
    blendsplat live 0 -o me.avatar.npz --preview me.mp4       # the first camera
    blendsplat live rtsp://camera.local/stream -o guest.avatar.npz --seconds 120
    blendsplat live talk.mp4 -o talk.avatar.npz
    blendsplat train me/ --preset draft --start me.avatar.npz -o me.avatar.npz      # afterwards, offline
    """
    values = {
        "source": source, "output": output, "directory": directory, "preset": preset,
        "overrides": parse_settings(settings or []), "head": head, "preview": preview, "seconds": seconds,
        "paced": pace, "loop": loop, "mirror": mirror, "landmarker": landmarker,
        "learn": learn, "device": device,
    }  # fmt: skip
    result = run_command("learning", lambda progress: run_job("live", values, progress), verbose, as_json)
    avatar, take = result["avatar"], result["directory"]
    seen = f"{result['frames']} frames ({result['dropped']} dropped) in {result['seconds']:.0f} s."
    learned = f"{avatar} has learned {result['images']} images of {seen}" if avatar else f"The take has {seen}"
    lines = [*result["notes"], learned]
    if take and avatar:
        name = shlex.quote(avatar)
        lines += ["On from there:", f"  blendsplat train {shlex.quote(take)} --preset draft --start {name} -o {name}"]
    report(result, as_json, *lines)

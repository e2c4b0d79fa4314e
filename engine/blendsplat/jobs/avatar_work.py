# SPDX-License-Identifier: Apache-2.0
"""The work that makes an avatar and judges it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blendsplat.jobs import options as opt
from blendsplat.jobs.clip_work import need_tracking
from blendsplat.jobs.devices import resolve_device
from blendsplat.jobs.json_values import plain
from blendsplat.progress import Progress


def run_train(options: opt.TrainOptions, progress: Progress) -> dict[str, Any]:
    """-> {avatar, checkpoint, images, seconds, gaussians, figures, notes}."""
    from blendsplat.systems import load_preset, train_avatar

    need_tracking(options.directory)
    output = avatar_name(options.output)
    minutes = {} if options.minutes is None else {"minutes": options.minutes}
    device = resolve_device(options.device)
    preset = load_preset(options.preset or usual_preset(device), options.overrides | minutes)
    if options.preset is None:
        progress.update("load", 0, 1, f"No preset was named: {preset.name}. {preset.description}")
    named = ending_notes(options.output)
    for note in named:  # before the hours
        progress.update("load", 0, 1, note)
    result = plain(train_avatar(options.directory, preset, output, progress, device, options.start))
    return {**result, "avatar": str(output), "notes": [*named, *result.get("notes", ())]}


def run_evaluate(options: opt.EvaluateOptions, progress: Progress) -> dict[str, Any]:
    """-> what evaluation_of measures, and with an output where its files lie."""
    from blendsplat.evaluation.avatar import evaluation_of
    from blendsplat.evaluation.report import check_output, write_report

    need_tracking(options.directory)
    if options.output is not None:
        check_output(options.output)
    device = resolve_device(options.device)
    found = evaluation_of(
        options.avatar, options.directory, options.lpips, device, progress, common=options.common,
        pixels=options.pixels, show=options.show, hold_back=options.hold_back, protocol=options.protocol,
    )  # fmt: skip
    files = {}
    if options.output is not None:
        found.result["rows"] = plain(found.rows)
        files = write_report(options.output, found, plain(options))
    return plain({**found.result, **files})


def run_evaluate_reenactment(options: opt.EvaluateReenactmentOptions, progress: Progress) -> dict[str, Any]:
    """-> what evaluate_reenactment measures."""
    from blendsplat.evaluation.reenactment import evaluate_reenactment

    need_tracking(options.driver)
    device = resolve_device(options.device)
    return plain(
        evaluate_reenactment(
            options.avatar, options.driver, options.own, options.arcface, options.frames, device, progress
        )
    )


def usual_preset(device: str) -> str:
    """Of who names none. What takes a card some minutes takes processors an hour."""
    return "rgbavatar" if device.startswith("cuda") else "quality"


def avatar_name(output: Path) -> Path:
    """``output`` with the avatar file's ending."""
    if output.name.lower().endswith(".avatar.npz"):
        return output
    stem = output.name[: -len(".npz")] if output.suffix.lower() == ".npz" else output.name
    return output.with_name(stem + ".avatar.npz")


def ending_notes(output: Path) -> list[str]:
    """What is said where the avatar's file does not have the name that was asked for."""
    named = avatar_name(output)
    return [] if named == output else [f"The avatar is {named}, not {output}: an avatar's file ends in .avatar.npz."]

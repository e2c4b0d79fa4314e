# SPDX-License-Identifier: Apache-2.0
"""The commands of an avatar's life: track a video, correct it, train on it, render, export."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from blendsplat.commands.evaluation_words import coverage_lines
from blendsplat.commands.runner import (
    AsJson,
    Device,
    Verbose,
    default_of,
    described,
    options_of,
    report,
    run_command,
    run_job,
)  # fmt: skip
from blendsplat.errors import InputError
from blendsplat.jobs.avatar_work import avatar_name
from blendsplat.jobs.options import (
    CorrectOptions,
    EvaluateTrackingOptions,
    ExportOptions,
    ImportOptions,
    RenderOptions,
    TrackOptions,
    TrainOptions,
)
from blendsplat.progress import Progress

AvatarFile = Annotated[Path, typer.Argument(help=described(RenderOptions, "avatar"))]
Performance = Annotated[Path, typer.Option("--performance", "-p", help=described(RenderOptions, "performance"))]


def _option(model: type[ImportOptions] | type[TrackOptions] | type[TrainOptions], field: str, *names: str) -> Any:
    return typer.Option(*names, help=described(model, field))


def parse_crop(text: str | None) -> tuple[int, int, int] | None:
    """ "x,y,size" -> numbers. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        x, y, size = (int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not x,y,size in pixels, for example 120,40,480.") from None
    return x, y, size


def parse_settings(settings: list[str]) -> dict[str, str]:
    """["key=value", ...] -> dictionary. Raises typer.BadParameter."""
    pairs = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{text!r} is not key=value, for example images=2000.")
        pairs[key.strip()] = value.strip()
    return pairs


def track(
    video: Annotated[Path, typer.Argument(help="the video, a folder of images, or a clip folder to track again")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the clip folder to write")] = None,
    start: Annotated[float | None, _option(ImportOptions, "start")] = None,
    end: Annotated[float | None, _option(ImportOptions, "end")] = None,
    crop: Annotated[
        str | None, typer.Option(help="x,y,size of a square in pixels; none: found around the head")
    ] = None,
    size: Annotated[int | None, _option(ImportOptions, "size")] = None,
    matte: Annotated[str | None, _option(ImportOptions, "matte")] = None,
    fps: Annotated[float | None, _option(ImportOptions, "fps")] = None,
    head: Annotated[str | None, _option(TrackOptions, "head")] = None,
    init: Annotated[str | None, _option(TrackOptions, "init")] = None,
    refine: Annotated[str | None, _option(TrackOptions, "refine")] = None,
    focal: Annotated[float | None, _option(TrackOptions, "focal")] = None,
    lens_shift: Annotated[tuple[float, float] | None, _option(TrackOptions, "lens_shift")] = None,
    zooms: Annotated[bool, _option(TrackOptions, "zooms", "--zooms")] = False,
    weights: Annotated[str | None, _option(TrackOptions, "weights")] = None,
    landmarker: Annotated[Path | None, _option(ImportOptions, "landmarker")] = None,
    overwrite: Annotated[bool, _option(ImportOptions, "overwrite", "--overwrite")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Import a video of a talking person and track the head in it.

    Afterwards look at OUTPUT/overlay.mp4: the mesh must sit on the face, because everything later stands on it.

    \b
    blendsplat track talk.mp4 -o talk/
    blendsplat track talk.mp4 -o talk/ --start 2 --end 12.5 --head flame2023.pkl
    blendsplat track talk/ --head human          # track an imported clip again
    blendsplat track talk/ --init kaolrm         # KaoLRM reads the frames before the fit
    blendsplat track talk/ --focal 50            # the lens is known: 50 mm on a sensor 36 mm wide
    """
    again = output is None
    folder = video if output is None else output
    settings = {"start": start, "end": end, "crop": parse_crop(crop), "size": size, "matte": matte, "fps": fps}

    notes: list[str] = []

    def work(progress: Progress) -> dict[str, Any]:
        from blendsplat.video.staged_folder import recover

        recover(folder)
        tracking = {
            "directory": folder, "head": head, "device": device, "landmarker": landmarker, "init": init,
            "weights": weights, "refine": refine, "focal": focal, "lens_shift": lens_shift, "zooms": zooms or None,
        }  # fmt: skip
        options_of("track", tracking)  # a wrong value is told before the import's minutes
        if not again:
            values = {**settings, "video": video, "directory": folder, "landmarker": landmarker, "overwrite": overwrite}
            from blendsplat.jobs.clip_work import notes_of_import, was_imported

            if not overwrite and was_imported(options_of("import", values)):
                notes.extend(notes_of_import(folder))
                progress.update("import frames", 1, 1, f"{folder} was imported before; goes on with tracking")
            else:
                notes.extend(run_job("import", values, progress).get("notes", ()))
        elif not (folder / "clip.json").is_file() and not _is_unfinished_take(folder):
            raise InputError(
                f"{folder} is not a clip folder; name the one to write with -o, as in: track {video} -o clip/"
            )
        elif any(value is not None for value in settings.values()):
            raise InputError("An imported clip keeps its trim, crop, size and matte; import the video again with -o.")
        return run_job("track", tracking, progress)

    kept = "What is finished is kept: the same command goes on from there."
    result = run_command("tracking", work, verbose, as_json, kept)
    result["notes"] = [*notes, *result.get("notes", ())]
    avatar = shlex.quote(f"{folder.resolve().name}.avatar.npz")
    report(
        result,
        as_json,
        *result["notes"],
        *coverage_lines(result.get("figures") or {}),
        f"Tracked {result['valid']} of {result['frames']} frames. Look at {folder / 'overlay.mp4'}, then:",
        f"  blendsplat train {shlex.quote(str(folder))} --preset draft -o {avatar}",
    )


def _is_unfinished_take(folder: Path) -> bool:
    from blendsplat.live.take import unfinished

    return unfinished(folder)


def correct(
    directory: Annotated[Path, typer.Argument(help=described(CorrectOptions, "directory"))],
    forget: Annotated[
        int | None, typer.Option("--forget", metavar="FRAME", help=described(CorrectOptions, "forget"))
    ] = None,
    overlay: Annotated[bool, typer.Option(help=described(CorrectOptions, "overlay"))] = True,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fit a tracked clip again around the frames that were corrected by hand.

    Blender's "Correct This Frame" writes the corrections (DIRECTORY/corrections.npz); the rest of the clip stays as is.

    \b
    blendsplat correct talk/
    blendsplat correct talk/ --forget 120        # take the correction of frame 120 back
    """
    values = {"directory": directory, "forget": forget, "overlay": overlay}
    kept = "The tracking is as it was."
    result = run_command("correcting", lambda progress: run_job("correct", values, progress), verbose, as_json, kept)
    count = result["corrected"]
    report(result, as_json, *result["notes"], f"{count} corrected frame{'' if count == 1 else 's'} in {directory}.")


def train(
    directory: Annotated[Path, typer.Argument(help=described(TrainOptions, "directory"))],
    output: Annotated[Path, _option(TrainOptions, "output", "--output", "-o")],
    preset: Annotated[str | None, _option(TrainOptions, "preset")] = None,
    minutes: Annotated[float | None, _option(TrainOptions, "minutes")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change one value of the preset; repeat it for more"),
    ] = None,
    start: Annotated[Path | None, _option(TrainOptions, "start", "--start")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train an avatar on a tracked clip.

    Ctrl-C keeps the avatar so far; the same command then continues where it stopped. `blendsplat info` lists the
    presets.

    \b
    blendsplat train talk/ --preset draft -o talk.avatar.npz
    blendsplat train talk/ -o talk.avatar.npz --set images=20000 --set uv_resolution=192
    blendsplat train talk/ --preset dipguava --minutes 45 -o talk.avatar.npz
    blendsplat train talk/ --preset draft --start talk.avatar.npz -o talk.avatar.npz    # on from a live session
    """
    values = {
        "directory": directory, "output": output, "preset": preset, "minutes": minutes,
        "overrides": parse_settings(settings or []), "device": device, "start": start,
    }  # fmt: skip
    kept = "What was trained so far is kept; the same command continues."
    result = run_command("training", lambda progress: run_job("train", values, progress), verbose, as_json, kept)
    figures = "  ".join(f"{name} {value:.4g}" for name, value in result["figures"].items() if value is not None)
    report(result, as_json, *result.get("notes", ()), f"{avatar_name(output)} is trained. {figures}")


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
    show: Annotated[str, typer.Option(help=described(RenderOptions, "show"))] = default_of(RenderOptions, "show"),
    hold_back: Annotated[float, typer.Option(help=described(RenderOptions, "hold_back"))] = 1.0,
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
        "background": background, "show": show, "hold_back": hold_back, "first": first, "count": count,
        "device": device,
    }  # fmt: skip
    kept = f"Images already written to {output} are kept; an unfinished mp4 is not."
    result = run_command("rendering", lambda progress: run_job("render", values, progress), verbose, as_json, kept)
    rate = result["frames"] / max(result["seconds"], 1e-9)
    report(
        result,
        as_json,
        *result.get("notes", ()),
        f"Rendered {result['frames']} frames to {output} ({rate:.1f} a second).",
    )


def _tracked(field: str) -> Any:
    return typer.Option(help=described(EvaluateTrackingOptions, field))


def evaluate_tracking(
    folders: Annotated[list[Path], typer.Argument(help=described(EvaluateTrackingOptions, "folders"))],
    tracking: Annotated[str, _tracked("tracking")] = default_of(EvaluateTrackingOptions, "tracking"),
    truth: Annotated[Path | None, _tracked("truth")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure how a tracking's overlay sticks to the skin, against the picture's own motion (optical flow).

    Pixels a frame at 512 pixels across. On still moments: "stick", all of the difference; "tremble", of the head as a
    whole; "crawl", of its parts. On fast ones: "fast". "Lag" is in frames; "follow" is 1 where motion is not damped.

    \b
    blendsplat evaluate-tracking talk/
    blendsplat evaluate-tracking person/ --truth person/truth.npz
    """
    values = {"folders": folders, "tracking": tracking, "truth": truth}
    result = run_command(
        "evaluating", lambda progress: run_job("evaluate_tracking", values, progress), verbose, as_json
    )
    report(result, as_json, *(_tracking_line(name, row) for name, row in result["rows"].items()))


def _tracking_line(name: str, row: dict[str, float | None]) -> str:
    parts = [
        f"{label} {'-' if row[key] is None else format(row[key], f'.{digits}f') + unit}"
        for key, label, digits, unit in (
            ("stick_px", "stick", 3, " px"), ("tremble_px", "tremble", 3, " px"), ("crawl_px", "crawl", 3, " px"),
            ("fast_px", "fast", 2, " px"), ("lag_frames", "lag", 2, " frames"), ("follow", "follow", 3, ""),
            ("vertex_error_mm", "vertices", 2, " mm"), ("face_error_mm", "face", 2, " mm"),
            ("rotation_error_deg", "rotation", 2, " deg"), ("gaze_error_deg", "gaze", 2, " deg"),
            ("focal_error_percent", "focal", 1, " %"),
        )
        if key in row
    ]  # fmt: skip
    return f"{name}: {'  '.join(parts)}"


def export(
    avatar: AvatarFile,
    performance: Performance,
    ply: Annotated[Path, typer.Option("--ply", help=described(ExportOptions, "output"))],
    frame: Annotated[int | None, typer.Option(help=described(ExportOptions, "frame"))] = None,
    y_down: Annotated[bool, typer.Option("--y-down", help=described(ExportOptions, "y_down"))] = False,
    hold_back: Annotated[float, typer.Option(help=described(ExportOptions, "hold_back"))] = 1.0,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write one frame as a world-space PLY that ordinary splat viewers open.

    \b
    blendsplat export talk.avatar.npz --performance talk/ --frame 12 --ply talk_12.ply
    """
    values = {
        "avatar": avatar, "performance": performance, "output": ply, "frame": frame, "y_down": y_down,
        "hold_back": hold_back, "device": device,
    }  # fmt: skip
    result = run_command("exporting", lambda progress: run_job("export", values, progress), verbose, as_json)
    report(result, as_json, f"Wrote {result['gaussians']} Gaussians to {ply}.")

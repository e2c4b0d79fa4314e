# SPDX-License-Identifier: Apache-2.0
"""The commands that make a head from photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from blendsplat.commands.runner import AsJson, Device, Verbose, described, report, run_command, run_job
from blendsplat.jobs.options import ExportHeadOptions, FitImageOptions


def _option(field: str, *names: str) -> Any:
    return typer.Option(*names, help=described(FitImageOptions, field))


def fit_image(
    images: Annotated[list[Path], typer.Argument(help=described(FitImageOptions, "images"))],
    output: Annotated[Path, _option("directory", "--output", "-o")],
    head: Annotated[str | None, _option("head")] = None,
    weights: Annotated[str | None, _option("weights")] = None,
    same_person: Annotated[bool, _option("same_person", "--same-person")] = False,
    pixels: Annotated[bool, _option("pixels", "--pixels")] = False,
    focal: Annotated[float | None, _option("focal")] = None,
    field_of_view: Annotated[float | None, _option("field_of_view")] = None,
    landmarker: Annotated[Path | None, _option("landmarker")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fit a head to a photograph, or to several, with a camera that matches it.

    Afterwards look at OUTPUT/overlay.png: the mesh must lie on the face.

    \b
    blendsplat fit-image portrait.jpg -o portrait/
    blendsplat fit-image front.jpg left.jpg right.jpg -o anna/ --same-person
    blendsplat fit-image photographs/ -o heads/
    """
    values = {
        "images": images, "directory": output, "head": head, "weights": weights, "same_person": same_person,
        "pixels": pixels, "focal": focal, "field_of_view": field_of_view, "landmarker": landmarker, "device": device,
    }  # fmt: skip
    result = run_command("fitting", lambda progress: run_job("fit_image", values, progress), verbose, as_json)
    lines = []
    for fit in result["fits"]:
        how = "its landmarks alone (no weights)" if fit["method"] == "landmarks" else fit["method"]
        lines.append(f"Fitted {fit['image']} by {how}. Look at {Path(fit['directory']) / 'overlay.png'}")
        lines += [f"  {warning}" for warning in fit["warnings"]]
    lines += [f"Skipped: {failure['sentence']}" for failure in result["failed"]]
    report(result, as_json, *lines)


def evaluate_fit(
    fits: Annotated[list[Path] | None, typer.Argument(help="Folders that fit-image wrote, all of one person.")] = None,
    scan: Annotated[Path | None, typer.Option(help="A scan of the person: .obj, .ply or .glb.")] = None,
    landmarks: Annotated[
        Path | None, typer.Option(help="Its seven landmarks, a line x y z each: eyes' corners, nose, mouth's corners.")
    ] = None,
    unit: Annotated[float | None, typer.Option(min=1e-9, help="Metres a unit of the scan; none: guessed.")] = None,
    render_scan: Annotated[
        Path | None, typer.Option(help="Photograph this scan from many sides and judge the fit itself on it.")
    ] = None,
    texture: Annotated[Path | None, typer.Option(help="Its colour map, where the file has none.")] = None,
    views: Annotated[int, typer.Option(min=2, max=1000, help="How many photographs of it.")] = 32,
    pictures: Annotated[Path | None, typer.Option(help="Folder in which to keep them.")] = None,
    self_test: Annotated[bool, typer.Option("--self-test", help="Judge the fit itself on generated people.")] = False,
    people: Annotated[int, typer.Option(min=1, max=1000, help="How many of them.")] = 3,
    seed: Annotated[int | None, typer.Option(help="Which ones.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure fitted heads: distance from a scan, Chamfer distance, and how much views of one person differ.

    \b
    blendsplat evaluate-fit anna/front anna/left --scan anna.obj --landmarks anna.txt
    blendsplat evaluate-fit --render-scan scan.glb --texture scan.jpg --views 32
    blendsplat evaluate-fit --self-test
    """
    from dataclasses import replace

    from blendsplat.evaluation import fits as rooms
    from blendsplat.progress import Progress

    def work(progress: Progress) -> dict[str, Any]:
        if self_test:
            job = rooms.SelfTest(people=people)
            return rooms.self_test(job if seed is None else replace(job, seed=seed), progress)
        if render_scan is not None:
            job_of_scan = rooms.ScanViews(views=views)
            return rooms.evaluate_scan(render_scan, texture, landmarks, unit, job_of_scan, pictures, progress)
        return rooms.evaluate_fits(list(fits or ()), scan, landmarks, unit, progress)

    result = run_command("evaluating", work, verbose, as_json)
    lines = [
        f"{name}: " + "  ".join(f"{key} {value:.3g}" for key, value in row.items())
        for name, row in [*result["rows"].items(), ("variance over views", result.get("variance", {}))]
        if row
    ]
    report(result, as_json, *lines)


def export_head(
    fit: Annotated[Path, typer.Argument(help=described(ExportHeadOptions, "fit"))],
    output: Annotated[Path, typer.Option("--output", "-o", help=described(ExportHeadOptions, "output"))],
    performance: Annotated[Path | None, typer.Option(help=described(ExportHeadOptions, "performance"))] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a fitted head for other programs: GLB with texture, shape keys and skeleton, or a posed OBJ.

    \b
    blendsplat export-head portrait/ -o head.glb
    """
    values = {"fit": fit, "output": output, "performance": performance}
    result = run_command("exporting", lambda progress: run_job("export_head", values, progress), verbose, as_json)
    report(result, as_json, f"Wrote {output}: {result['vertices']} vertices, {result['shape_keys']} shape keys.")

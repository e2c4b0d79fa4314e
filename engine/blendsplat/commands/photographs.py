# SPDX-License-Identifier: Apache-2.0
"""The commands that make a head from photographs, export it and judge it."""

from __future__ import annotations

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
    report,
    run_command,
    run_job,
)
from blendsplat.jobs.options import (
    EvaluateCoverageOptions,
    EvaluateFitOptions,
    EvaluateHeadOptions,
    ExportHeadOptions,
    FitImageOptions,
)


def _option(field: str, *names: str) -> Any:
    return typer.Option(*names, help=described(FitImageOptions, field))


def _judging(field: str, *names: str) -> Any:
    return typer.Option(*names, help=described(EvaluateFitOptions, field))


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
        lines += [f"  {line}" for line in (*fit["warnings"], *coverage_lines(fit))]
    lines += [f"Skipped: {failure['sentence']}" for failure in result["failed"]]
    report(result, as_json, *lines)


def evaluate_fit(
    fits: Annotated[list[Path] | None, typer.Argument(help=described(EvaluateFitOptions, "fits"))] = None,
    scan: Annotated[Path | None, _judging("scan")] = None,
    landmarks: Annotated[Path | None, _judging("landmarks")] = None,
    unit: Annotated[float | None, _judging("unit")] = None,
    render_scan: Annotated[Path | None, _judging("render_scan")] = None,
    texture: Annotated[Path | None, _judging("texture")] = None,
    views: Annotated[int, _judging("views")] = default_of(EvaluateFitOptions, "views"),
    pictures: Annotated[Path | None, _judging("pictures")] = None,
    head: Annotated[str | None, _judging("head")] = None,
    same_person: Annotated[bool, _judging("same_person", "--same-person")] = False,
    self_test: Annotated[bool, _judging("self_test", "--self-test")] = False,
    people: Annotated[int, _judging("people")] = default_of(EvaluateFitOptions, "people"),
    seed: Annotated[int | None, _judging("seed")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure fitted heads: distance from a scan, Chamfer distance, and how much views of one person differ.

    \b
    blendsplat evaluate-fit anna/front anna/left --scan anna.obj --landmarks anna.txt
    blendsplat evaluate-fit --render-scan scan.glb --texture scan.jpg --views 32
    blendsplat evaluate-fit --self-test
    """
    values = {
        "fits": fits, "scan": scan, "landmarks": landmarks, "unit": unit, "render_scan": render_scan,
        "texture": texture, "views": views, "pictures": pictures, "self_test": self_test, "people": people,
        "seed": seed,
        "head": head, "same_person": same_person,
    }  # fmt: skip
    result = run_command("evaluating", lambda progress: run_job("evaluate_fit", values, progress), verbose, as_json)
    lines = [
        f"{name}: " + "  ".join(f"{key} {value:.3g}" for key, value in row.items() if value is not None)
        for name, row in [*result["rows"].items(), ("variance over views", result.get("variance", {}))]
        if row
    ]
    report(result, as_json, *lines)


def _nearness(field: str, *names: str) -> Any:
    return typer.Option(*names, help=described(EvaluateHeadOptions, field))


def evaluate_head(
    scans: Annotated[list[Path] | None, _nearness("scans", "--scan")] = None,
    head: Annotated[str | None, _nearness("head")] = None,
    landmarks: Annotated[Path | None, _nearness("landmarks")] = None,
    unit: Annotated[float | None, _nearness("unit")] = None,
    people_of: Annotated[str | None, _nearness("people_of")] = None,
    people: Annotated[int, _nearness("people")] = default_of(EvaluateHeadOptions, "people"),
    seed: Annotated[int, _nearness("seed")] = default_of(EvaluateHeadOptions, "seed"),
    coefficients: Annotated[int, _nearness("coefficients")] = default_of(EvaluateHeadOptions, "coefficients"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure how near a head comes to real people: its mean face, and the best shape it has for them.

    Millimetres from 5,000 points of the scan within 95 mm of the nose's tip to the mesh, laid on it by ICP with scale.

    \b
    blendsplat evaluate-head --head flame2023.pkl --scan scan.glb
    blendsplat evaluate-head --people-of ict_facekit_packed.npz --people 10
    """
    values = {
        "head": head, "scans": scans, "landmarks": landmarks, "unit": unit, "people_of": people_of, "people": people,
        "seed": seed, "coefficients": coefficients,
    }  # fmt: skip
    result = run_command("evaluating", lambda progress: run_job("evaluate_head", values, progress), verbose, as_json)
    lines = [f"{'':32}  mean face: median / mean / 95 %    fitted: median / mean / 95 %"]
    for name, row in result["rows"].items():
        parts = [
            " / ".join(f"{row[f'{what}_{figure}_mm']:.2f}" for figure in ("median", "mean", "p95"))
            for what in ("mean_face", "fitted")
        ]
        lines.append(f"{Path(name).name:32}  {parts[0]:>32}  {parts[1]:>32}")
    report(result, as_json, *lines)


def _covering(field: str) -> Any:
    return typer.Option(help=described(EvaluateCoverageOptions, field))


def evaluate_coverage(
    folders: Annotated[list[Path], typer.Argument(help=described(EvaluateCoverageOptions, "folders"))],
    frames: Annotated[int, _covering("frames")] = default_of(EvaluateCoverageOptions, "frames"),
    pictures: Annotated[Path | None, _covering("pictures")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure how much of a person's bare head the mesh leaves uncovered, in tracked clips and fitted photographs.

    Percent of the skin above the chin, hair excluded where its colours tell; "with hair" counts the whole matte there,
    "beyond" is mesh outside of the matte, over the same skin.

    \b
    blendsplat evaluate-coverage talk/ portrait/ --pictures out/
    """
    values = {"folders": folders, "frames": frames, "pictures": pictures}
    result = run_command(
        "evaluating", lambda progress: run_job("evaluate_coverage", values, progress), verbose, as_json
    )
    lines = [
        f"{name}: uncovered {row['uncovered']:.2f} %  with hair {row['uncovered_with_hair']:.2f} %  "
        f"beyond {row['beyond']:.2f} %  frames {row['frames']}"
        for name, row in result["rows"].items()
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

# SPDX-License-Identifier: Apache-2.0
"""The work on photographs: fit heads to them, export and judge the fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from blendsplat.jobs import options as opt
from blendsplat.jobs.devices import resolve_device
from blendsplat.jobs.json_values import plain
from blendsplat.progress import Progress


def run_fit_image(options: opt.FitImageOptions, progress: Progress) -> dict[str, Any]:
    """-> {fits: [{image, directory, method, warnings, landmark_error, uncovered, beyond}], failed: [{image,
    sentence}]}."""
    from blendsplat.photographs.fit_images import ImageFitOptions, fit_images

    chosen = ImageFitOptions(
        head=options.head, weights=options.weights, same_person=options.same_person, pixels=options.pixels,
        focal=options.focal, field_of_view=options.field_of_view, detector=options.landmarker,
        device=resolve_device(options.device),
    )  # fmt: skip
    return plain(fit_images(list(options.images), options.directory, chosen, progress))


def run_export_head(options: opt.ExportHeadOptions, progress: Progress) -> dict[str, Any]:
    """-> {output, vertices, faces, shape_keys, joints}."""
    from blendsplat.heads.load import load_head_of
    from blendsplat.heads.performance import Performance
    from blendsplat.photographs.export_head import export_head
    from blendsplat.video.staged_folder import recover

    folder = options.fit if options.fit.is_dir() else options.fit.parent
    recover(folder)
    tracking = Performance.load(options.performance or options.fit)
    head = load_head_of(tracking, progress=progress)
    texture = folder / "texture.png" if (folder / "texture.png").is_file() else None
    return {"output": str(options.output), **export_head(tracking, head, options.output, texture)}


def run_evaluate_fit(options: opt.EvaluateFitOptions, progress: Progress) -> dict[str, Any]:
    """-> {rows: {name: figures}, variance} of fits, or {rows, fitted, missed} of the fit itself."""
    from blendsplat.evaluation import fits

    if options.self_test:
        people = fits.SelfTest(people=options.people)
        people = people if options.seed is None else replace(people, seed=options.seed)
        return plain(fits.self_test(people, progress, options.head))
    scan = options.landmarks, options.unit
    if options.render_scan is not None:
        views = fits.ScanViews(views=options.views)
        judged = fits.evaluate_scan(
            options.render_scan,
            options.texture,
            *scan,
            views,
            options.pictures,
            progress,
            options.head,
            options.same_person,
        )
        return plain(judged)
    return plain(fits.evaluate_fits(list(options.fits), options.scan, *scan, progress))


def run_evaluate_coverage(options: opt.EvaluateCoverageOptions, progress: Progress) -> dict[str, Any]:
    """-> {rows: {folder: {uncovered, uncovered_with_hair, beyond, frames}}}."""
    from blendsplat.evaluation.coverage import measure_folder

    rows = {}
    for folder in options.folders:
        rows[str(folder)] = measure_folder(folder, options.frames, options.pictures, progress)
    return plain({"rows": rows})


def run_evaluate_head(options: opt.EvaluateHeadOptions, progress: Progress) -> dict[str, Any]:
    """-> {rows: {scan or person: {mean_face_median_mm, ..., fitted_p95_mm}}}."""
    from blendsplat.evaluation.scan_fit import evaluate_head

    rows = evaluate_head(
        options.head, list(options.scans), options.landmarks, options.unit, options.people_of, options.people,
        options.seed, options.coefficients, progress,
    )  # fmt: skip
    return plain({"rows": rows})

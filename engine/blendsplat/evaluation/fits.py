# SPDX-License-Identifier: Apache-2.0
"""Judges fitted photographs: against a scan of the person, among each other over views, and on generated people.

The model's mean face stands beside every figure: a fit that is no nearer to the person than that has seen nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blendsplat.errors import InputError, NoFaceError
from blendsplat.evaluation.scan_metrics import chamfer, figures, neutral_mesh, scan_to_mesh, view_variance
from blendsplat.evaluation.scans import Scan, read_scan
from blendsplat.heads.load import load_head, load_head_of
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, describe_head, same_head
from blendsplat.kaolrm.regressor import make_regressor
from blendsplat.progress import Progress


@dataclass(frozen=True)
class ScanViews:
    """Photographs taken of a scan: how many, from how far to the side (degrees), their size in pixels and focal
    length over it."""

    views: int = 32
    widest: float = 45.0
    size: int = 512
    focal: float = 2.5
    seed: int = 0


@dataclass(frozen=True)
class SelfTest:
    """Generated people that no training has seen (another seed), and views of each."""

    people: int = 3
    views: int = 4
    size: int = 320
    widest: float = 30.0
    focal: float = 4.0
    seed: int = 90_001


def evaluate_fits(
    folders: list[Path], scan: Path | None = None, landmarks: Path | None = None, unit: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fits of one person (folders of fit-image) -> rows {name: figures}, see ``judge``, and view variances.

    Raises InputError without a scan when there is but one fit, and for fits of different heads.
    """
    if not folders:
        raise InputError("Name at least one folder that fit-image has written.")
    if scan is None and len(folders) < 2:
        raise InputError("One fit alone cannot be judged: give a scan with landmarks, or several fits of one person.")
    truth = None if scan is None else read_scan(scan, landmarks, unit)
    fits = [Performance.load(folder) for folder in folders]
    head = load_head_of(fits[0], landmarks=True, progress=progress)
    for folder, fit in zip(folders, fits, strict=True):
        if not same_head(head, fit) or len(fit.shape) != head.shape_count:
            raise InputError(
                f"The fits are of different heads: {folders[0]} of {head.name!r} ({describe_head(head)}), {folder} of "
                f"{fit.head!r} ({describe_head(fit)}). Fit all photographs with one head."
            )
    rows: dict[str, dict[str, float]] = {}
    if truth is not None:
        rows["mean face"] = score_shape(head, np.zeros(head.shape_count), truth)
        for folder, fit in zip(folders, fits, strict=True):
            rows[str(folder)] = score_shape(head, fit.shape, truth)
    return {"rows": rows, "variance": variances(fits) if len(fits) > 1 else {}}


def score_shape(head: HeadModel, shape: np.ndarray, scan: Scan) -> dict[str, float]:
    """median_mm, mean_mm, std_mm of the scan-to-mesh distance, and chamfer_mm."""
    vertices, landmarks = neutral_mesh(head, shape)
    faces = head.faces.numpy()
    distances = scan_to_mesh(scan, vertices, faces, landmarks)
    return {**figures(distances), "chamfer_mm": 1000 * chamfer(scan, vertices, faces, landmarks)}


def variances(fits: list[Performance]) -> dict[str, float]:
    """Variance over views of shape and expression: of the first ten coefficients, and of all."""
    shape, expression = np.stack([fit.shape for fit in fits]), np.concatenate([fit.expression for fit in fits])
    return {
        "shape_first_10": view_variance(shape, 10), "shape": view_variance(shape),
        "expression_first_10": view_variance(expression, 10), "expression": view_variance(expression),
    }  # fmt: skip


def self_test(job: SelfTest | None = None, progress: Progress | None = None, head: str = "human") -> dict[str, Any]:
    """The shipped fit on generated people of ``head`` (see load_head) beside its two baselines.

    -> {rows: {method: means of score_shape's figures and of the variances}, fitted, missed}. Rows: "mean face",
    "landmarks", and the shipped regressor's where it is there.
    """
    job, progress = job or SelfTest(), progress or Progress()
    model = load_head(head, progress=progress)
    scores = _ScoreTable(model)
    for number in range(job.people):
        scan, pictures = _generated(model, job, number)
        scores.person(scan, pictures, job.focal * job.size, progress)
        progress.update("evaluate", number + 1, job.people)
    return scores.as_json()


def evaluate_scan(
    path: Path, texture: Path | None = None, landmarks: Path | None = None, unit: float | None = None,
    job: ScanViews | None = None, pictures_to: Path | None = None, progress: Progress | None = None,
    head: str = "human", same_person: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Photograph a scan from many sides, fit every picture and measure the fits against it; rows as ``self_test``.

    texture: a colour map instead of the file's own; landmarks: left out, they are detected; pictures_to: a folder in
    which the pictures are kept; head: see load_head; same_person: also fit all pictures together, with one shape (rows
    "..., all together"). Raises InputError, FormatError, NoFaceError as scan_views.upright_scan.
    """
    from blendsplat.evaluation.scan_views import draw_scan, portrait_cameras, upright_scan

    job, progress = job or ScanViews(), progress or Progress()
    coloured, scan = upright_scan(path, texture, landmarks, unit)
    cameras = portrait_cameras(scan.landmarks, job.views, job.size, job.focal, job.widest, job.seed)
    pictures = [draw_scan(coloured, camera)[0] for camera in cameras]
    if pictures_to is not None:
        pictures_to.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(pictures_to / f"{number:03d}.png")
    scores = _ScoreTable(load_head(head, progress=progress), same_person)
    scores.person(scan, pictures, job.focal * job.size, progress)
    return scores.as_json()


class _ScoreTable:
    """The table of a test: for each person the mean face, the landmarks' fits and the shipped regressor's."""

    def __init__(self, head: HeadModel, same_person: bool = False) -> None:
        self.head, self.same_person = head, same_person
        self.methods = {"landmarks": "none"} | ({} if make_regressor("auto", head) is None else {"kaolrm": "auto"})
        self.table: dict[str, list[dict[str, float]]] = {"mean face": [], **{name: [] for name in self.methods}}
        self.table |= {f"{name}, all together": [] for name in self.methods}
        self.fitted = self.missed = 0

    def person(self, scan: Scan, pictures: list[np.ndarray], focal: float, progress: Progress) -> None:
        """Fit pictures [H,W,3] uint8 of one person, taken with ``focal`` pixels, by every method."""
        self.table["mean face"].append(score_shape(self.head, np.zeros(self.head.shape_count), scan))
        for name, weights in self.methods.items():
            progress.check()
            fits = _fit_views(self.head, pictures, focal, weights)
            self.fitted, self.missed = self.fitted + len(fits), self.missed + len(pictures) - len(fits)
            spread = variances(fits) if len(fits) > 1 else {}
            self.table[name] += [{**score_shape(self.head, fit.shape, scan), **spread} for fit in fits]
            if self.same_person:
                together = _fit_views(self.head, pictures, focal, weights, same_person=True)
                self.table[f"{name}, all together"] += [score_shape(self.head, fit.shape, scan) for fit in together[:1]]

    def as_json(self) -> dict[str, Any]:
        rows = {name: _mean(rows) for name, rows in self.table.items() if rows}
        return {"rows": rows, "fitted": self.fitted, "missed": self.missed}


def _generated(head: HeadModel, job: SelfTest, number: int) -> tuple[Scan, list[np.ndarray]]:
    """A random person's neutral head as a scan, and pictures [H,W,3] uint8 of him or her on grey."""
    from blendsplat.kaolrm.training.generate import Generation, take_views
    from blendsplat.synthetic.people import random_person

    rng = np.random.default_rng([job.seed, number])
    person = random_person(head, rng)
    made = Generation(1, job.views, job.size, job.seed, widest=job.widest, focal=job.focal)
    rgba = take_views(head, person, rng, made).rgba.numpy()
    pictures = ((rgba[..., :3] + 0.6 * (1 - rgba[..., 3:])).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    vertices, landmarks = neutral_mesh(head, person.params.shape[0].numpy())
    return Scan(vertices, head.faces.numpy(), landmarks), list(pictures)


def _fit_views(
    head: HeadModel, pictures: list[np.ndarray], focal: float, weights: str, same_person: bool = False
) -> list[Performance]:
    """The fits of those pictures in which a face was found; same_person: they share one shape."""
    from blendsplat.photographs.fit_images import ImageFitOptions, fit_images

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [folder / f"{index}.png" for index in range(len(pictures))]
        for file, picture in zip(files, pictures, strict=True):
            Image.fromarray(picture).save(file)
        options = ImageFitOptions(head_model=head, weights=weights, focal=focal, same_person=same_person)
        try:
            result = fit_images(files, folder / "out", options)
        except NoFaceError:
            return []
        return [Performance.load(fit["directory"]) for fit in result["fits"]]


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over the rows that have it."""
    names = {name: None for row in rows for name in row}
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}

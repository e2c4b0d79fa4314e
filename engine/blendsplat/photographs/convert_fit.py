# SPDX-License-Identifier: Apache-2.0
"""A photograph's fit as one of another head: the same face before the same camera, with that head's texture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from blendsplat.errors import FormatError, InputError
from blendsplat.files import read_json
from blendsplat.geometry import project_points
from blendsplat.heads.convert import How, convert_performance
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.photographs.fit_files import FORMAT, ImageFit, check_writable, save_fit
from blendsplat.photographs.photograph import Face, Photograph, read_photograph
from blendsplat.progress import Progress
from blendsplat.splatting import rasterize_mesh
from blendsplat.video.images import read_image


def is_fit(folder: Path) -> bool:
    """Whether ``folder`` is one that fit-image wrote."""
    return (folder / "fit.json").is_file()


def convert_fit(
    folder: Path, source: HeadModel, target: HeadModel, target_source: str, output: Path, how: How = "auto",
    progress: Progress | None = None,
) -> Performance:  # fmt: skip
    """Write the fit in ``folder``, of the head ``source``, as one of ``target`` into the folder ``output``.

    The landmarks of the overlay are the old head's, and what its mesh covers is taken for the person: the detector does
    not run again. Raises as convert_performance, FormatError (files of the fit are missing or damaged), StorageError.
    """
    if output.exists() and output.resolve() == folder.resolve():
        raise InputError(f"{output} holds the fit that is to be converted; name another folder for the result.")
    check_writable(output)
    progress = progress or Progress()
    before = Performance.load(folder)
    described = fit_description(folder / "fit.json")
    photograph, crop = _pictures(folder, before, described)
    after = convert_performance(before, source, target, target_source, how, progress=progress)
    points, matte = _seen(before, source, photograph)
    warnings = [str(warning) for warning in described.get("warnings", [])]
    face = Face(points, np.zeros(len(points)), [])
    fit = ImageFit(photograph, face, after, crop, matte, str(described.get("method", "landmarks")), warnings)
    progress.check()
    progress.update("write fit", 0, 1)
    save_fit(fit, target, output)
    progress.update("write fit", 1, 1)
    return after


def fit_description(path: Path) -> dict[str, Any]:
    """What fit.json says. Raises FormatError."""
    try:
        described = read_json(path)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} is missing or damaged; fit the photograph again.", repr(error)) from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise FormatError(f"{path} is no description of a fit; fit the photograph again.")
    return described


def _pictures(folder: Path, tracking: Performance, described: dict[str, Any]) -> tuple[Photograph, np.ndarray]:
    """The photograph as it was fitted, in the original's pixels, and its crop [S,S,4]."""
    for name in ("photograph.jpg", "crop.png"):
        if not (folder / name).is_file():
            raise FormatError(f"{folder} lacks {name}; fit the photograph again.")
    kept = read_photograph(folder / "photograph.jpg")
    crop = read_image(folder / "crop.png")
    if crop is None:
        raise FormatError(f"{folder / 'crop.png'} is damaged; fit the photograph again.")
    colours, alpha = crop
    whole = np.full(colours.shape[:2], 255, np.uint8) if alpha is None else alpha
    path = Path(str(described.get("image", folder / "photograph.jpg")))
    scale = kept.image.shape[1] / tracking.width
    photograph = replace(kept, path=path, scale=scale, width=tracking.width, height=tracking.height)
    return photograph, np.dstack([colours, whole])


def _seen(tracking: Performance, head: HeadModel, photograph: Photograph) -> tuple[np.ndarray, np.ndarray]:
    """The head's landmarks [478,2] in pixels of the original, and what its mesh covers [H,W] of the kept picture."""
    vertices = torch.as_tensor(head_vertices(tracking, head)[:1])
    eye, K = torch.eye(4)[None], torch.as_tensor(tracking.K, dtype=torch.float32)[None]
    points = project_points(head.landmarks_of(vertices), eye, K)[0].double().numpy()
    height, width = photograph.image.shape[:2]
    scaled = K * torch.tensor([[width / tracking.width], [height / tracking.height], [1.0]])
    faces, _, _ = rasterize_mesh(vertices, head.faces, eye, scaled, width, height)
    covered = np.where(faces[0].numpy() >= 0, 255, 0).astype(np.uint8)
    return points, cv2.morphologyEx(covered, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))

# SPDX-License-Identifier: Apache-2.0
"""From photographs to fitted heads: matte, regress, refine on the landmarks, camera of the whole photograph, files.

The tracker's own solver refines; a photograph is a clip of one frame, and several of one person are a clip whose frames
share the shape. Every result is a Performance, so whatever plays a performance can use it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.errors import BlendsplatError, Cancelled, InputError, NoFaceError, StorageError
from blendsplat.file_names import folded, name_in
from blendsplat.fitting.face_crop import SIZE, cut_square, framing, paste_square, uprighted
from blendsplat.fitting.face_prior import FacePrior, Regressor
from blendsplat.fitting.fit import SHARED_BIAS, FitOptions, fit_clip
from blendsplat.fitting.likely_human import MAY_NOT_BE_HUMAN, may_not_be_human
from blendsplat.fitting.skin_border import find_skin_border, padded
from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.load import load_head, stored_source
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.kaolrm.conventions import PORTRAIT_FACE
from blendsplat.kaolrm.regressor import make_regressor
from blendsplat.landmarks.detector import make_detector
from blendsplat.photographs.fit_files import ImageFit, check_writable, save_fit, scaled_camera
from blendsplat.photographs.photograph import Face, Photograph, find_face, photograph_files, read_photograph
from blendsplat.photographs.photometric_refinement import cut_out, refine_on_pixels
from blendsplat.photographs.shared_cuts import cut_face, together
from blendsplat.progress import Progress
from blendsplat.refinement.pictures import Pictures
from blendsplat.refinement.shared_photographs import refine_photographs
from blendsplat.tracking.coverage import coverage_figures, coverage_notes, measure_picture

SHARED = 1000.0  # focal length in pixels of the camera in which photographs of different cameras are fitted together
# How far the shape may leave what a regressor read, and fit_options.SHARED_BIAS beside it: 0.3 to 0.9 are alike on a
# scan, and the less it is held, the more the skin's border can still widen ears and jaws. Of several photographs of one
# person a bias counts once for each: it does not shrink by being seen again, and sixteen views of a scan that were
# taken as so many witnesses ended farther from it than the mean face.
REGRESSED_SIGMA, REGRESSED_BIAS = 0.9, 6.0
PIXELS_MAY_MOVE = 0.005  # of the eyes' distance: by how much pixels may worsen the mean landmark error
SHARED_MAY_MOVE = 0.02  # the same where several photographs agree; usual is 0.01 (docs/kaolrm.md)
SIDEWAYS = 40.0  # degrees from which the far side of the face is guessed
TOLD = ("landmark_error", "uncovered", "beyond")  # figures in the result
MATTE_SIDE = 2.0  # side of the square that is matted, over the network's


@dataclass
class ImageFitOptions:
    """head: "human" or a path; weights: "auto", "none", a folder or a catalogue's name; focal in pixels of the
    photograph or field_of_view in degrees across its longer side (None: the camera's record, or a usual one)."""

    head: str | Path = "human"
    head_model: HeadModel | None = None
    weights: str | Path = "auto"
    regressor: Regressor | None = None  # instead of weights
    same_person: bool = False
    pixels: bool = False  # refine what the landmarks found on the photograph's shading and matte
    focal: float | None = None
    field_of_view: float | None = None
    detector: Path | str | None = None
    device: str = "cpu"


@dataclass
class _Seen:
    """A photograph whose face was found, before the fit."""

    photograph: Photograph
    face: Face
    focal: float
    crop: np.ndarray
    matte: np.ndarray
    prior: FacePrior | None


def fit_images(
    inputs: list[Path], directory: Path, options: ImageFitOptions | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Fit every picture of ``inputs`` (files, folders) and write it into ``directory``, each into a folder of its own
    when there are several.

    -> {fits: [{image, directory, method, warnings, landmark_error, uncovered, beyond}], failed: [{image, sentence}]}. A
    picture that fails does not stop the others; when none succeeds, the first one's error is raised.
    """
    options, progress = options or ImageFitOptions(), progress or Progress()
    files = photograph_files(inputs)
    head = options.head_model or load_head(options.head, progress=progress)
    regressor = options.regressor or make_regressor(options.weights, head, options.device)
    failed: list[tuple[Path, BlendsplatError]] = []
    seen: list[_Seen] = []
    done: list[dict[str, Any]] = []
    folders = _folders(files, directory)
    check_writable(directory)

    def report(number: int, part: float, message: str) -> None:
        """Progress within a photograph, and the chance to cancel there."""
        progress.check()
        progress.update("fit image", number + part, len(files), message)

    def finish(group: list[_Seen]) -> None:
        last = len(done) + len(failed) if len(group) == 1 else len(files) - 1
        report(last, 0.3, f"{group[0].photograph.path.name}: fitting the head")
        for fit in _fit(group, head, regressor, options, progress):
            fit = _with_doubts(_with_coverage(fit, head))
            folder = folders[fit.photograph.path]
            report(last, 0.6, f"{fit.photograph.path.name}: writing texture and overlay")
            save_fit(fit, head, folder)
            done.append(_described(fit, folder))

    with make_detector(options.detector, max_faces=4, moving=False) as detector:
        for number, path in enumerate(files):
            report(number, 0.0, f"{path.name}: looking for the face")
            try:
                photograph = read_photograph(path)
                face = find_face(photograph, detector)
                found = _seen(photograph, face, regressor, options)
                if options.same_person:
                    seen.append(found)
                else:
                    finish([found])
            except (Cancelled, StorageError):
                raise
            except BlendsplatError as error:
                failed.append((path, error))
    if seen:
        finish(seen)
    progress.update("fit image", len(files), len(files))
    if failed and not done:
        raise failed[0][1]
    return {"fits": done, "failed": [{"image": str(path), "sentence": error.sentence} for path, error in failed]}


def crop_and_matte(
    photograph: Photograph, face: Face, face_share: float = PORTRAIT_FACE
) -> tuple[np.ndarray, np.ndarray]:
    """Straight RGBA [S,S,4] uint8 of a square in which the face has ``face_share`` of the side, and the person's matte
    [H,W] uint8 in the pixels of photograph.image."""
    left, top, side = (value * photograph.scale for value in framing(face.points, face_share))
    wide = (left - side * (MATTE_SIDE - 1) / 2, top - side * (MATTE_SIDE - 1) / 2, side * MATTE_SIDE)
    return _matted(photograph, (left, top, side), wide)


def _seen(photograph: Photograph, face: Face, regressor: Regressor | None, options: ImageFitOptions) -> _Seen:
    """Crop and matte the face, and let the regressor read it."""
    crop, matte = crop_and_matte(photograph, face, regressor.face_share if regressor else PORTRAIT_FACE)
    prior = None
    if regressor is not None:
        alpha = crop[..., 3:].astype(np.float32) / 255
        on_white = crop[..., :3].astype(np.float32) / 255 * alpha + 1 - alpha
        points = None if face.depths is None else [np.column_stack([face.points, face.depths])]
        prior = regressor.many([uprighted(on_white, face.points)], points)[0]
    return _Seen(photograph, face, photograph.camera_focal(options.focal, options.field_of_view), crop, matte, prior)


def _matted(
    photograph: Photograph, square: tuple[float, float, float], wide: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Straight RGBA [S,S,4] uint8 of the square, and the matte [H,W] uint8 of the photograph; the matte is found in the
    wider square, where the person is whole, and is 0 outside of it."""
    colours = cut_square(photograph.image, square)
    if photograph.alpha is not None:
        return np.dstack([colours, cut_square(photograph.alpha, square)]), photograph.alpha
    from blendsplat.video.matte import Segmenter, refine_matte

    around = cut_square(photograph.image, wide, fill=255)
    segmenter = Segmenter()
    try:
        matte = refine_matte(around, segmenter(around))
    finally:
        segmenter.close()
    step = SIZE / wide[2]
    inner = ((square[0] - wide[0]) * step, (square[1] - wide[1]) * step, square[2] * step)
    outside = cut_square(np.full(photograph.image.shape[:2], 255, np.uint8), square)
    crop = np.dstack([colours, np.minimum(cut_square(matte, inner), outside)])
    height, width = photograph.image.shape[:2]
    return crop, paste_square(matte, wide, (height, width))


def _fit(
    group: list[_Seen], head: HeadModel, regressor: Regressor | None, options: ImageFitOptions, progress: Progress
) -> list[ImageFit]:
    """Photographs that share a shape, fitted together in one shared camera and given back in their own."""
    pixels = np.stack([_in_shared_camera(s, s.face.points) for s in group])
    names = ", ".join(s.photograph.path.name for s in group)
    prior = _joined([s.prior for s in group if s.prior is not None])
    wanted = FitOptions(
        focal=SHARED, centre=(SHARED / 2, SHARED / 2), smoothing=0.0, offsets=False, prior=prior, outline=True,
        border=padded([_border(s) for s in group]), shared_bias=SHARED_BIAS * len(group),
    )  # fmt: skip
    if prior is not None:
        wanted = replace(wanted, shape_sigma=REGRESSED_SIGMA, shared_bias=REGRESSED_BIAS * len(group))
    try:
        whole = fit_clip(
            head, pixels, np.ones(len(group), bool), np.arange(len(group), dtype=float), int(SHARED), int(SHARED),
            wanted, stored_source(options.head),
        )  # fmt: skip
    except NoFaceError as error:
        raise NoFaceError(
            f"What was found in {names} does not fit a human head. It must be a photograph of an upright face."
        ) from error
    method = regressor.name if regressor else "landmarks"
    fits = [_own(whole, row, one, head, method) for row, one in enumerate(group)]
    if not options.pixels:
        return fits
    if whole.valid.sum() < 2:  # nothing is shared: the shading of one skin colour tells what it can
        cutouts = [
            cut_out(fit.photograph.image, fit.matte, fit.photograph.scale, fit.face.points, fit.tracking.K)
            for fit in fits
        ]
        moved = refine_on_pixels([fit.tracking for fit in fits], cutouts, head)
        after = [replace(fit, tracking=tracking) for fit, tracking in zip(fits, moved, strict=True)]
        return _believed(after, fits, head, PIXELS_MAY_MOVE)
    shared = refine_photographs(head, whole, pixels, _cut(group), wanted, progress=progress)
    after = [_own(shared, row, one, head, method) for row, one in enumerate(group)]
    return _believed(after, fits, head, SHARED_MAY_MOVE)


def _cut(group: list[_Seen]) -> Pictures:
    """The squares around the faces, in the shared camera."""
    cuts = []
    for seen in group:
        scale, photograph = seen.photograph.scale, seen.photograph
        corner, zoom = _in_shared_camera(seen, np.zeros(2)), scale * seen.focal / SHARED
        cuts.append(cut_face(photograph.image, seen.matte, seen.face.points * scale, zoom, corner))
    return together(cuts)


def _believed(after: list[ImageFit], before: list[ImageFit], head: HeadModel, most: float) -> list[ImageFit]:
    """The fits after their pixels were looked at; as they were ``before``, with a warning, where the landmarks' mean
    error grew by more than ``most``."""
    errors = [_landmark_error(fit.tracking, head, fit.face) for fit in after]
    known = [fit.tracking.figures["landmark_error"] for fit in before]
    if not np.mean(errors) <= np.mean(known) + most:  # what is no number neither
        sentence = "The pixels and the landmarks do not agree: the fit to the landmarks was kept."
        return [replace(fit, warnings=[*fit.warnings, sentence]) for fit in before]
    for fit, error in zip(after, errors, strict=True):
        fit.tracking.figures = {**fit.tracking.figures, "landmark_error": error}
    return [replace(fit, method=f"{fit.method}+pixels") for fit in after]


def _with_coverage(fit: ImageFit, head: HeadModel) -> ImageFit:
    """The fit with what its mesh covers of the head in its figures and, where that is bad, its warnings."""
    photograph, tracking = fit.photograph, fit.tracking
    height, width = photograph.image.shape[:2]
    points, K = fit.face.points * photograph.scale, scaled_camera(tracking, width, height)
    mesh, faces = head_vertices(tracking, head)[0], head.faces.numpy()
    counts, _ = measure_picture(photograph.image, fit.matte, points, mesh, faces, K)
    figures = coverage_figures([counts])
    tracking = replace(tracking, figures=tracking.figures | figures)
    return replace(fit, tracking=tracking, warnings=[*fit.warnings, *coverage_notes(figures, "overlay.png")])


def _with_doubts(fit: ImageFit) -> ImageFit:
    """The fit with a warning where its face may be no human's."""
    figures = fit.tracking.figures
    if not may_not_be_human(fit.face.spread, figures["landmark_error"], figures["yaw_degrees"]):
        return fit
    return replace(fit, warnings=[MAY_NOT_BE_HUMAN.format("overlay.png"), *fit.warnings])


def _in_shared_camera(seen: _Seen, points: np.ndarray) -> np.ndarray:
    """Pixels of the original photograph [...,2] -> pixels of the camera that all photographs of a person share."""
    return (points - _middle(seen.photograph)) / seen.focal * SHARED + SHARED / 2


def _border(seen: _Seen) -> tuple[np.ndarray, np.ndarray]:
    """Where bare skin ends: points and normals [N,2] in the shared camera."""
    scale = seen.photograph.scale
    points, normals = find_skin_border(seen.photograph.image, seen.matte, seen.face.points * scale)
    return _in_shared_camera(seen, points / scale), normals


def _own(whole: Performance, row: int, seen: _Seen, head: HeadModel, method: str) -> ImageFit:
    """Row ``row`` of a group's Performance in its photograph's own camera."""
    photograph = seen.photograph
    K = np.diag([seen.focal, seen.focal, 1.0]).astype(np.float32)
    K[:2, 2] = _middle(photograph)
    tracking = replace(
        whole.select([row]), K=K, width=photograph.width, height=photograph.height, timestamps=np.zeros(1)
    )
    warnings = list(seen.face.warnings)
    if not whole.valid[row]:
        warnings.append("The landmarks and the head do not agree: do not trust this fit.")
    params = tracking.params()
    turned = rotvec_to_matrix(params.root_pose[0]) @ rotvec_to_matrix(params.neck_pose[0])
    yaw = float(np.degrees(np.arctan2(float(turned[0, 2]), float(turned[2, 2]))))
    if abs(yaw) > SIDEWAYS:
        warnings.append(f"The face is turned by {abs(yaw):.0f} degrees: its far side is a guess.")
    tracking.figures = {
        "landmark_error": _landmark_error(tracking, head, seen.face),
        "landmark_spread": float(seen.face.spread.mean()),
        "yaw_degrees": yaw,
        "focal_recorded": float(photograph.focal is not None),
    }
    return ImageFit(photograph, seen.face, tracking, seen.crop, seen.matte, method, warnings)


def _middle(photograph: Photograph) -> np.ndarray:
    return np.array([photograph.width / 2, photograph.height / 2])


def _joined(priors: list[FacePrior]) -> FacePrior | None:
    """One prior of several photographs of a person: the mean shape, everyone's own expression."""
    if not priors:
        return None
    return FacePrior(
        np.mean([prior.shape for prior in priors], 0),
        np.concatenate([prior.expression for prior in priors]),
        np.concatenate([prior.jaw_pose for prior in priors]),
    )


def _landmark_error(tracking: Performance, head: HeadModel, face: Face) -> float:
    """Mean distance of the usable landmarks in the photograph, over the projected distance between the eyes."""
    camera = torch.as_tensor(head_vertices(tracking, head))
    points = head.landmarks_of(camera)[0].numpy() @ tracking.K.T
    usable = head.landmarks.weights.numpy() > 0 if head.landmarks is not None else slice(None)
    flat = points[:, :2] / points[:, 2:]
    eyes = np.linalg.norm(face.points[468:473].mean(0) - face.points[473:478].mean(0))
    return float(np.linalg.norm(flat - face.points, axis=-1)[usable].mean() / max(float(eyes), 1e-6))


def _folders(files: list[Path], directory: Path) -> dict[Path, Path]:
    """A folder for each file: the directory for a single one, else named after the file, never one twice on any
    system."""
    if len(set(files)) < len(files):
        raise InputError("A picture is named twice; name each once.")
    if len(files) == 1:
        return {files[0]: directory}
    folders: dict[Path, Path] = {}
    taken: set[str] = set()
    for path in files:
        named, number = name_in(directory, path.stem), 2
        name = named
        while folded(name) in taken:
            name, number = f"{named}_{number}", number + 1
        taken.add(folded(name))
        folders[path] = directory / name
    return folders


def _described(fit: ImageFit, folder: Path) -> dict[str, Any]:
    return {
        "image": str(fit.photograph.path), "directory": str(folder), "method": fit.method, "warnings": fit.warnings,
        **{name: fit.tracking.figures[name] for name in TOLD if name in fit.tracking.figures},
    }  # fmt: skip

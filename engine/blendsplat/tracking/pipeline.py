# SPDX-License-Identifier: Apache-2.0
"""Tracking of an imported clip's folder, from its landmarks to everything that training and Blender read.

The fit itself is fitting/fit.py's; here is what touches the disk: landmarks in, tracking.npz, camera.json, the maps of
valid pixels and the overlay video out.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from blendsplat.errors import InputError
from blendsplat.files import write_json
from blendsplat.fitting.face_prior import Regressor
from blendsplat.fitting.fit import FitOptions, fit_clip
from blendsplat.fitting.skin_border import Borders, find_skin_border
from blendsplat.heads.load import load_head, stored_source
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.kaolrm.regressor import make_regressor
from blendsplat.landmarks.detector import LANDMARK_COUNT, load_landmarks, make_detector, save_landmarks
from blendsplat.progress import Progress
from blendsplat.refinement.refine import judge_clip, refine_clip
from blendsplat.tracking import neck_cut
from blendsplat.tracking.clip_prior import ClipReading, read_clip
from blendsplat.tracking.corrected import UNCORRECTED, corrected, load_corrections, refine_around
from blendsplat.tracking.coverage import with_coverage
from blendsplat.tracking.doubts import PixelTrust, notes_on_doubts
from blendsplat.tracking.drawn_head import DrawnHead, drawn_frames, learn_clip_hair
from blendsplat.tracking.faded import in_fades
from blendsplat.tracking.human_face import human_face_notes
from blendsplat.tracking.leaning import leaned
from blendsplat.tracking.metrics import jitter
from blendsplat.tracking.one_lens import OneLens
from blendsplat.tracking.overlay import OverlayPainter, paint_without_face
from blendsplat.tracking.profile import in_profile
from blendsplat.video import Clip, write_mp4
from blendsplat.video.clip import ClipInfo
from blendsplat.video.prefetch import prefetch
from blendsplat.video.staged_folder import staged_results

PICTURE_THREADS = min(8, os.cpu_count() or 1)
READ_SHAPE = 0.8  # standard deviation of the shape, once a regressor has read it: small networks see little of it
READ_EXPRESSION: float | None = None  # and of the expression; None: as without
PHONE_VIEW, EDITED_VIEW = 55.0, 27.0  # usual fields of view in degrees: of whole pictures, of square talking-head crops
SENSOR_MM = 36.0  # Blender's camera, along a picture's longer side
SQUARE = 1.15  # sources less elongated than this are taken for crops of edited footage


@dataclass
class TrackOptions:
    """head: "human" or a path; head_model: an already loaded one; detector: a FaceLandmarker bundle for clips whose
    landmarks are not there yet; fit: focal length, smoothing and priors; overlay, valid_maps: whether to write them.
    init: "landmarks", or "kaolrm": a regressor reads the frames, which is the fit's prior, with the ``weights`` of
    make_regressor (or ``regressor`` itself) on ``device``; the fit is small and runs on the CPU. refine: "dense": the
    fit is confirmed by the picture (blendsplat.refinement), "none": landmarks only. lens_mm, lens_shift: the source's
    camera as Blender counts (None: the focal length is found); zooms: a focal length per frame, of which the median is
    the clip's: slow changes of the face's size are then the lens, quick ones the head (fitting/zoom.py)."""

    head: str | Path = "human"
    head_model: HeadModel | None = None
    detector: Path | str | None = None
    init: str = "landmarks"
    refine: str = "dense"
    zooms: bool = False
    lens_mm: float | None = None
    lens_shift: tuple[float, float] = (0.0, 0.0)
    weights: str | Path = "auto"
    regressor: Regressor | None = None
    device: str = "cpu"
    fit: FitOptions = field(default_factory=FitOptions)
    overlay: bool = True
    valid_maps: bool = True


def track_clip(
    directory: Path | str, options: TrackOptions | None = None, progress: Progress | None = None
) -> Performance:
    """Track the clip in ``directory``: write landmarks.npz (if absent), tracking.npz, camera.json, valid/, overlay.mp4.

    What the tracking writes replaces that of a former one all at once, at the end.
    Raises FormatError (no clip there), NoFaceError, InputError (the head), StorageError, Cancelled.
    """
    options, progress = options or TrackOptions(), progress or Progress()
    if options.refine not in ("dense", "none"):
        raise InputError(f"The refinement {options.refine!r} does not exist; choose dense or none.")
    started = time.perf_counter()
    clip = Clip.open(directory)
    corrections = load_corrections(clip.directory)
    head = options.head_model or load_head(options.head)
    regressor = _regressor(options, head)
    points, found = _landmarks(clip, options.detector, progress)
    reading = read_clip(clip, points, found, regressor, progress) if regressor and found.any() else None
    wanted = _with_reading(camera_prior(clip.info, _with_lens(clip, options)), reading)
    assert wanted.centre is not None  # the camera prior's
    view = OneLens.of(clip, points[..., :2], wanted.centre)
    tracking, view = _fitted(clip, head, view, found, wanted, options, progress)
    tracking = _confirmed(clip, head, view, tracking, wanted, options, progress)
    tracking = in_profile(in_fades(tracking, clip.info.faded, found))
    tracking = leaned(head, tracking, np.asarray(clip.info.shots))  # before the corrections, which hold
    if options.zooms:
        tracking = replace(tracking, zoom=view.zoom.astype(np.float32))
    if regressor and reading:
        tracking.init = regressor.name
        tracking.figures |= {"frames_read": float(reading.read), "shape_scatter": reading.shape_scatter}
    tracking.notes = (*tracking.notes, *notes_on_doubts(tracking, clip.info.faded))
    finish = refine_around(view, head, tracking, progress)
    tracking, uncorrected = corrected(clip, head, tracking, points[..., :2], found, corrections, finish)
    tracking.figures["jitter_px"] = jitter(tracking, head)
    tracking = with_coverage(clip, head, tracking, points[..., :2], found)
    tracking.notes = (*tracking.notes, *human_face_notes(clip, tracking, points[..., :2], found, options.detector))
    with staged_results(clip.directory, [UNCORRECTED] if uncorrected is None else []) as stage:
        write_pictures(clip, head, tracking, points[..., :2], options, progress, stage)
        tracking.figures["frames_per_second"] = clip.frame_count / max(time.perf_counter() - started, 1e-6)
        write_json(stage / "camera.json", _camera(clip, tracking, options.zooms))
        if uncorrected is not None:
            uncorrected.save(stage / UNCORRECTED)
        tracking.save(stage / "tracking.npz")
    return tracking


def _fitted(
    clip: Clip, head: HeadModel, view: OneLens, found: np.ndarray, wanted: FitOptions, options: TrackOptions,
    progress: Progress,
) -> tuple[Performance, OneLens]:  # fmt: skip
    """The landmarks' fit, and the lens that it is seen through: with ``options.zooms`` one that changes."""

    def fit(view: OneLens) -> Performance:
        return fit_clip(
            head, view.points, found, clip.timestamps, clip.width, clip.height, wanted, stored_source(options.head),
            progress, np.asarray(clip.info.shots), view.matte if clip.has_mattes else None,
            _borders(view) if clip.has_mattes else None,
        )  # fmt: skip

    tracking = fit(view)
    if options.zooms:  # which the first fit takes for steps towards the camera
        view = view.corrected(head, tracking)
        tracking = fit(view)
    return tracking, view


def _confirmed(
    clip: Clip, head: HeadModel, view: OneLens, tracking: Performance, wanted: FitOptions, options: TrackOptions,
    progress: Progress,
) -> Performance:  # fmt: skip
    """What the pictures make of the landmarks' fit, or only confirm of it."""
    confirm = refine_clip if options.refine == "dense" else judge_clip
    return confirm(
        head, tracking, view.image, view.matte_inside if clip.has_mattes else None, view.points, fit=wanted,
        shots=np.asarray(clip.info.shots), progress=progress,
    )  # fmt: skip


def _camera(clip: Clip, tracking: Performance, zooms: bool) -> dict[str, object]:
    """camera.json."""
    camera: dict[str, object] = {
        "width": clip.width, "height": clip.height, "K": tracking.K.tolist(), "viewmat": tracking.viewmat.tolist(),
    }  # fmt: skip
    return camera | ({"zoom": tracking.zoom.tolist()} if zooms else {})


def write_pictures(
    clip: Clip, head: HeadModel, tracking: Performance, pixels: np.ndarray, options: TrackOptions, progress: Progress,
    stage: Path, frames: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Write valid/ and overlay.mp4 of a tracked clip into ``stage``, as far as ``options`` want them; pixels [F,478,2]:
    landmarks. Without an overlay only the valid maps of ``frames`` (None: all) are made, the others are the clip's."""
    if not (options.overlay or options.valid_maps):
        return
    rows = np.arange(clip.frame_count) if options.overlay or frames is None else frames
    if options.valid_maps and len(rows) < clip.frame_count and (clip.directory / "valid").is_dir():
        shutil.copytree(clip.directory / "valid", stage / "valid")
    with prefetch(_finished_frames(clip, head, tracking, pixels, options, progress, rows, stage)) as pictures:
        if options.overlay:
            write_mp4(stage / "overlay.mp4", pictures, clip.fps, crf=23)
        else:
            for _ in pictures:
                pass


def _regressor(options: TrackOptions, head: HeadModel) -> Regressor | None:
    """What reads the frames. Raises InputError for an unknown ``init``, and where there are no weights."""
    if options.init == "landmarks":
        return None
    if options.init != "kaolrm":
        raise InputError(f"The start {options.init!r} does not exist; choose landmarks or kaolrm.")
    regressor = options.regressor or make_regressor(options.weights, head, options.device)
    if regressor is None:
        raise InputError(
            f"There are no weights of KaoLRM for the head {head.name!r}: name them, or start from the landmarks. "
            "'blendsplat weights' tells which exist."
        )
    return regressor


def _borders(view: OneLens) -> Borders:
    """Where a frame's bare skin ends."""
    points = view.points
    return lambda frame: find_skin_border(view.image(frame), view.matte(frame), points[frame])


def _with_reading(options: FitOptions, reading: ClipReading | None) -> FitOptions:
    """The fit's options with what was read as its prior."""
    if reading is None:
        return options
    return replace(options, prior=reading.prior, shape_sigma=READ_SHAPE, expression_sigma=READ_EXPRESSION)


def _landmarks(clip: Clip, bundle: Path | str | None, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """points [F,478,3], found [F]: the import's, or detected now and written beside the clip."""
    path = clip.directory / "landmarks.npz"
    if path.exists():
        points, found = load_landmarks(path)
        if len(points) != clip.frame_count:
            raise InputError(
                f"{path} has {len(points)} frames and the clip {clip.frame_count}: delete it and track again."
            )
        return points, found
    points, found = np.zeros((clip.frame_count, LANDMARK_COUNT, 3), np.float32), np.zeros(clip.frame_count, bool)
    with make_detector(bundle) as detector:
        for index in range(clip.frame_count):
            progress.check()
            face = detector.detect(clip.image(index), float(clip.timestamps[index]))
            if face is not None:
                points[index], found[index] = face.points, True
            progress.update("landmarks", index + 1, clip.frame_count)
        save_landmarks(path, points, found, detector.name)
    return points, found


def _with_lens(clip: Clip, options: TrackOptions) -> FitOptions:
    """The fit's options with the lens that the artist gave, in pixels of the clip's square images. A Blender camera's
    sensor (36 mm) lies along the picture's longer side, and its shift is in lengths of that side: right and up of where
    the lens looks."""
    x, y, size = clip.info.crop
    width, height = clip.info.source_size
    longest, scale = max(width, height), clip.width / max(size, 1)
    fit = options.fit
    if options.lens_mm is not None:
        fit = replace(fit, focal=options.lens_mm / SENSOR_MM * longest * scale)
    right, up = options.lens_shift
    if right or up:
        fit = replace(fit, centre=(
            (width / 2 - right * longest - x) * scale, (height / 2 + up * longest - y) * scale,
        ))  # fmt: skip
    return fit


def camera_prior(info: ClipInfo, wanted: FitOptions) -> FitOptions:
    """The principal point is the source's middle; its shape tells a phone's whole picture from an edited crop."""
    x, y, size = info.crop
    source_width, source_height = info.source_size
    scale = info.width / max(size, 1)
    centre = ((source_width / 2 - x) * scale, (source_height / 2 - y) * scale)
    long, short = max(source_width, source_height), max(min(source_width, source_height), 1)
    view = PHONE_VIEW if long / short > SQUARE else EDITED_VIEW
    return FitOptions(
        **{
            **vars(wanted),
            "centre": wanted.centre or centre,
            "view_pixels": wanted.view_pixels or long * scale,
            "field_of_view": wanted.field_of_view or view,
        }
    )


def _finished_frames(
    clip: Clip, head: HeadModel, tracking: Performance, pixels: np.ndarray, options: TrackOptions, progress: Progress,
    frames: np.ndarray, stage: Path,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Write the map of valid pixels of each of ``frames`` into ``stage`` and yield its overlay [H,W,3] uint8."""
    written = Clip(stage, clip.info)
    painter = OverlayPainter(head)
    hair = learn_clip_hair(clip, head, tracking) if options.valid_maps else None
    doubts = PixelTrust.of(tracking, head)

    def finish(drawn: DrawnHead) -> np.ndarray:
        index, image, matte = drawn.index, clip.image(drawn.index), clip.matte(drawn.index)
        valid = neck_cut.valid_map(drawn.neck, drawn.face_ids >= 0, matte, image, hair)
        if not tracking.valid[index]:
            valid[:] = 0
        elif doubts is not None:
            valid = doubts.weigh(drawn, valid)
        if options.valid_maps:
            written.write_valid(index, valid)
        if not tracking.valid[index]:
            return paint_without_face(image)
        return painter.paint(image, drawn.camera_vertices, drawn.face_ids, pixels[index], matte, valid)

    meshes = drawn_frames(clip, head, tracking, frames)
    for index, picture in enumerate(_in_threads(finish, meshes)):
        progress.check()
        progress.update("overlay", index + 1, len(frames))
        yield picture


def _in_threads(work: Callable[[DrawnHead], np.ndarray], items: Iterator[DrawnHead]) -> Iterator[np.ndarray]:
    """The results of ``work`` in order, a few items at once: reading, filtering and writing pictures release Python."""
    waiting: deque[Future[np.ndarray]] = deque()
    with ThreadPoolExecutor(PICTURE_THREADS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * PICTURE_THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

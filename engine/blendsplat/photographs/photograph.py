# SPDX-License-Identifier: Apache-2.0
"""A photograph as a fit needs it: upright pixels, focal length, the face's landmarks and how certain they are.

The detector's own score says little. So it runs on several turned and scaled crops: where it sees the face its answers
agree, where it guesses (a hand over the mouth, a drawing) they scatter.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from blendsplat.errors import InputError, NoFaceError
from blendsplat.files import check_file
from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import LandmarkDetector, box_distance, box_size
from blendsplat.video.crop import FaceFinder
from blendsplat.video.decode import Frame
from blendsplat.video.images import IMAGE_SUFFIXES, list_images, natural_key, read_image, upright_size

SMALLEST = 16  # pixels a side
WORKED = 2048  # longer side of the copy that is worked on; the camera stays that of the whole photograph
ENLARGED = 320  # tiny pictures are enlarged to this for the detector
CROP, CROP_SIDE = 512, 1.9  # pixels of the crops that are searched; their side in face heights
CROPS = ((0.0, 1.0), (-9.0, 1.12), (9.0, 0.92), (4.0, 1.25))  # turn in degrees, zoom
# Spread of a feature over the eyes' distance: from UNSURE it is hidden, from UNSTEADY where it is twice the usual
# one. Seen on one portrait: mouth 0.005, under a painted patch of skin 0.012, of cloth 0.045.
UNSURE, UNSTEADY = 0.025, 0.010
FEW_PIXELS = 24.0  # between the eyes
PHONE_VIEW, PORTRAIT_VIEW, SQUARE = 55.0, 27.0, 1.15  # degrees across the longer side: whole pictures, crops
FEATURES = {
    "mouth": (*pts.OUTER_LIPS, *pts.INNER_LIPS),
    "right eye": tuple(pts.RIGHT_LIDS),
    "left eye": tuple(pts.LEFT_LIDS),
}


@dataclass
class Photograph:
    """image [H,W,3] uint8 and alpha [H,W] or None: the upright photograph shrunk by ``scale`` (worked pixels per
    original pixel); width, height and focal (None: not recorded) are of the original."""

    path: Path
    image: np.ndarray
    alpha: np.ndarray | None
    scale: float
    width: int
    height: int
    focal: float | None

    def camera_focal(self, wanted: float | None = None, field_of_view: float | None = None) -> float:
        """Focal length in pixels of the original: the wanted one, the camera's record, or a usual one."""
        if wanted is not None:
            return wanted
        if self.focal is not None and field_of_view is None:
            return self.focal
        longer, shorter = max(self.width, self.height), min(self.width, self.height)
        view = field_of_view or (PHONE_VIEW if longer > SQUARE * shorter else PORTRAIT_VIEW)
        return float(longer / 2 / np.tan(np.radians(view) / 2))


@dataclass
class Face:
    """points [478,2] in pixels of the original; spread [478]: how much the crops disagree, over the distance between
    the eyes; warnings: sentences on what should be doubted; depths [478]: the detector's, in the same pixels, smaller
    is nearer (None: unknown)."""

    points: np.ndarray
    spread: np.ndarray
    warnings: list[str] = field(default_factory=list)
    depths: np.ndarray | None = None


def photograph_files(inputs: list[Path]) -> list[Path]:
    """Files as given, folders as the pictures in them. Raises InputError where there are none."""
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            list_images(path)  # raises where the folder cannot be read or holds no picture
            inside = (p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
            files += sorted(inside, key=lambda p: natural_key(p.name))
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"The picture {path} does not exist; check the path.")
    if not files:
        raise InputError("Name at least one picture, or a folder of pictures.")
    return files


def read_photograph(path: Path) -> Photograph:
    """Raises InputError for what is no picture, is damaged, is too large or has fewer than 16 pixels a side."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a hundred megapixels are a photograph
        width, height = _size(path)
        pair = read_image(path, WORKED)
        focal_35mm = recorded_focal(path)
    if pair is None:
        raise InputError(f"{path.name} is damaged or cut off; save it again, or copy it again from where it came.")
    image, alpha = pair
    if alpha is not None and alpha.min() == 255:
        alpha = None
    scale = min(1.0, WORKED / max(width, height))
    if max(image.shape[:2]) > WORKED:
        least = (max(round(width * scale), 1), max(round(height * scale), 1))
        image = cv2.resize(image, least, interpolation=cv2.INTER_AREA)
        alpha = None if alpha is None else cv2.resize(alpha, image.shape[1::-1], interpolation=cv2.INTER_AREA)
    if alpha is not None:  # what lies under transparency is nobody's choice
        share = alpha[..., None].astype(np.float32) / 255
        image = (image * share + 255 * (1 - share) + 0.5).astype(np.uint8)
    focal = None if focal_35mm is None else focal_35mm * float(np.hypot(width, height) / np.hypot(36, 24))
    return Photograph(path, image, alpha, scale, width, height, focal)


def _size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright picture. Raises InputError with what is wrong with the file."""
    check_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.", repr(error)) from error
    if not start:
        raise InputError(f"{path.name} is empty; copy it again from where it came.")
    try:
        width, height = upright_size(path)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path.name} has too many pixels; make it smaller, 20 megapixels are plenty.") from error
    except Exception as error:  # each of Pillow's readers raises its own on damaged input
        if start[4:8] == b"ftyp":
            raise InputError(
                f"{path.name} is a HEIC or AVIF picture, which cannot be read; export it as JPEG or PNG."
            ) from error
        raise InputError(f"{path.name} cannot be read as a picture; save it again as PNG or JPEG.") from error
    if min(height, width) < SMALLEST:
        raise InputError(f"{path.name} has only {width} x {height} pixels; a face needs a larger picture.")
    return width, height


def recorded_focal(path: Path) -> float | None:
    """The focal length in millimetres of 35 mm film that the camera recorded (EXIF), if it makes sense."""
    try:
        with Image.open(path) as picture:
            recorded = picture.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
        value = float(recorded) if recorded is not None else 0.0
    except Exception:  # EXIF is a file of its own, with damage of its own
        return None
    return value if 8 <= value <= 1200 else None


def find_face(photograph: Photograph, detector: LandmarkDetector) -> Face:
    """The largest face, found in several crops. Raises NoFaceError."""
    grown = max(1.0, ENLARGED / max(photograph.image.shape[:2]))
    image = photograph.image
    if grown > 1:
        image = cv2.resize(image, None, fx=grown, fy=grown, interpolation=cv2.INTER_CUBIC)
    boxes = FaceFinder(detector, None)(Frame(image, None, 0.0))
    if not boxes:
        raise _no_face(photograph)
    box = max(boxes, key=box_size)
    detections = [
        points for turn, zoom in CROPS if (points := _detect_in_crop(image, box, turn, zoom, detector)) is not None
    ]
    if len(detections) < 2:
        raise _no_face(photograph)
    solid = np.median(np.stack(detections), 0)
    stack, points = np.stack(detections)[..., :2], solid[:, :2]
    eyes = max(float(np.linalg.norm(points[list(pts.LEFT_IRIS)].mean(0) - points[list(pts.RIGHT_IRIS)].mean(0))), 1e-6)
    spread = np.linalg.norm(stack - points, axis=-1).mean(0) / eyes
    notes = []
    if len(boxes) > 1:
        notes.append(f"{len(boxes)} faces are in the picture; the largest was taken.")
    pixels = eyes * photograph_scale(photograph, grown)
    if pixels < FEW_PIXELS:
        notes.append(f"The eyes are only {pixels:.0f} pixels apart: the fit is coarse. Use a larger picture.")
    notes += [
        f"The {name} cannot be seen well (is something in front of it?): its shape is a guess."
        for name in hidden_features(spread)
    ]
    original = solid / (grown * photograph.scale)
    return Face(original[:, :2], spread, notes, original[:, 2])


def hidden_features(spread: np.ndarray) -> list[str]:
    """Names of FEATURES that the crops disagree on; spread [478] over the distance between the eyes."""
    by_feature = {name: float(spread[list(rows)].mean()) for name, rows in FEATURES.items()}
    usual = float(np.median(list(by_feature.values())))
    return [name for name, value in by_feature.items() if value > UNSURE or value > max(UNSTEADY, 2 * usual)]


def photograph_scale(photograph: Photograph, grown: float) -> float:
    """Original pixels for each pixel of the enlarged or shrunk copy."""
    return 1 / (grown * photograph.scale)


def _detect_in_crop(
    image: np.ndarray, box: np.ndarray, turn: float, zoom: float, detector: LandmarkDetector
) -> np.ndarray | None:
    """Landmarks [478,3] in ``image`` seen through one turned and zoomed crop around ``box``; None: not this face."""
    centre = (box[:2] + box[2:]) / 2
    scale = zoom * CROP / (CROP_SIDE * box_size(box))
    matrix = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, scale), np.float64)
    matrix[:, 2] = matrix[:, 2] + CROP / 2 - centre
    shown = matrix.copy()
    # OpenCV counts pixels from their centres, we from their corners
    shown[:, 2] = matrix[:, 2] + matrix[:, :2].sum(1) / 2 - 0.5
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    crop = cv2.warpAffine(image, shown, (CROP, CROP), flags=how, borderMode=cv2.BORDER_REPLICATE)
    back = cv2.invertAffineTransform(matrix)
    found = [
        np.column_stack([face.points[:, :2] @ back[:, :2].T + back[:, 2], face.points[:, 2] / scale])
        for face in detector.detect_all(crop, 0.0)
    ]
    boxes = [np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]) for points in found]
    near = [(box_distance(b, box), n) for n, b in enumerate(boxes) if box_distance(b, box) < 0.8]
    return found[min(near)[1]] if near else None


def _no_face(photograph: Photograph) -> NoFaceError:
    return NoFaceError(
        f"No face was found in {photograph.path.name}. It must be a photograph (no drawing) of a person, "
        "both eyes in sight, well lit and not too small; profiles and upside-down faces are not understood."
    )

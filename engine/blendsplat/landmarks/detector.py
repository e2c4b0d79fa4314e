# SPDX-License-Identifier: Apache-2.0
"""478 face landmarks (irises included) per frame, behind one interface with two implementations.

The default runs the models inside mediapipe 0.10.21's wheel; the other runs the user's FaceLandmarker bundle with any
mediapipe. Both follow one face: the larger one at first, then the one nearest to where it was.
"""

from __future__ import annotations

import abc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from blendsplat.errors import FormatError, InputError
from blendsplat.files import check_file, read_npz, write_npz
from blendsplat.landmarks.native_logs import quiet_native_logs

LANDMARK_COUNT = 478
FORMAT = "blendsplat-landmarks"
VERSION = 1
_LOST_AFTER = 1.0  # seconds without the face after which the larger face is taken again


@dataclass
class Landmarks:
    """points [478,3] float32: x, y in pixels (pixel centres at integer + 0.5), z in the same scale, smaller is nearer.

    score: the fraction of the points that lie inside the picture (the models give no better one).
    """

    points: np.ndarray
    score: float = 1.0

    @property
    def box(self) -> np.ndarray:
        """[4] float: left, top, right, bottom of the points."""
        xy = self.points[:, :2]
        return np.concatenate([xy.min(0), xy.max(0)])


def box_size(box: np.ndarray) -> float:
    """The longer side of a box [4]; hardly changes as the head turns."""
    return float(max(box[2] - box[0], box[3] - box[1]))


class LandmarkDetector(abc.ABC):
    """Finds one person's landmarks in consecutive pictures of one clip. Use it as a context manager, or close it."""

    name: str

    def __init__(self) -> None:
        self.faces_seen = 0  # the most faces seen in one picture
        self._last: np.ndarray | None = None  # box of the face that is followed
        self._last_seen = -np.inf
        self._warm = False  # models load, and print, until the first face has been through them

    @abc.abstractmethod
    def _detect_all(self, image: np.ndarray, timestamp_s: float) -> list[Landmarks]:
        """What detect_all promises."""

    def detect_all(self, image: np.ndarray, timestamp_s: float) -> list[Landmarks]:
        """Every face in image [H,W,3] uint8 sRGB, in no order. Time stamps (seconds) must not decrease."""
        if self._warm:
            return self._detect_all(image, timestamp_s)
        with quiet_native_logs():
            faces = self._detect_all(image, timestamp_s)
        self._warm = bool(faces)
        return faces

    @abc.abstractmethod
    def close(self) -> None:
        """Free the models."""

    def detect(self, image: np.ndarray, timestamp_s: float) -> Landmarks | None:
        """The followed face in image [H,W,3] uint8 sRGB, or None. Time stamps (seconds) must not decrease."""
        faces = self.detect_all(image, timestamp_s)
        self.faces_seen = max(self.faces_seen, len(faces))
        if timestamp_s - self._last_seen > _LOST_AFTER:
            self._last = None
        face = choose_face(faces, self._last)
        if face is not None:
            self._last, self._last_seen = face.box, timestamp_s
        return face

    def follow(self, box: np.ndarray, timestamp_s: float) -> None:
        """Follow the face at box [4] (left, top, right, bottom in pixels) from now on."""
        self._last, self._last_seen = np.asarray(box, dtype=float), timestamp_s

    def forget(self) -> None:
        """The next picture is of another shot: take the larger face again."""
        self._last, self._last_seen = None, -np.inf

    def __enter__(self) -> LandmarkDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def choose_face(faces: list[Landmarks], last: np.ndarray | None) -> Landmarks | None:
    """The face nearest to the box ``last`` [4] in place and size; without one, or when none is near, the largest."""
    if not faces:
        return None
    largest = max(faces, key=lambda face: box_size(face.box))
    if last is None:
        return largest
    nearest = min(faces, key=lambda face: box_distance(face.box, last))
    return nearest if box_distance(nearest.box, last) < 1.0 else largest


def box_distance(box: np.ndarray, other: np.ndarray) -> float:
    """How unlike two face boxes [4] are: distance of the centres in face sizes + log ratio of the sizes."""
    size, other_size = max(box_size(box), 1e-6), max(box_size(other), 1e-6)
    centre = (box[:2] + box[2:]) / 2 - (other[:2] + other[2:]) / 2
    return float(np.hypot(*centre) / max(size, other_size) + abs(np.log(size / other_size)))


def _landmarks(normalised: Any, width: int, height: int) -> Landmarks:
    """mediapipe's normalised landmarks (x over width, y over height, z over width) in pixels."""
    points = np.array([(p.x * width, p.y * height, p.z * width) for p in normalised], dtype=np.float32)
    inside = (points[:, 0] >= 0) & (points[:, 0] < width) & (points[:, 1] >= 0) & (points[:, 1] < height)
    return Landmarks(points, float(inside.mean()))


@contextmanager
def _without_plotting() -> Iterator[None]:
    """mediapipe imports matplotlib for one drawing helper, which takes longer than its models: it gets an empty module.

    Whoever imports matplotlib afterwards gets the real one.
    """
    names = ("matplotlib", "matplotlib.pyplot")
    if any(name in sys.modules for name in ("mediapipe", *names)):
        yield
        return
    stand_ins = {name: ModuleType(name) for name in names}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def import_mediapipe() -> Any:
    """Import mediapipe when it is needed: it takes a while and prints."""
    try:
        with quiet_native_logs(), _without_plotting():
            import mediapipe
    except ImportError as error:
        raise InputError(
            "mediapipe is not installed in the engine's Python; install the engine again.", repr(error)
        ) from error
    return mediapipe


class FaceMeshDetector(LandmarkDetector):
    """The face mesh with irises whose models lie inside mediapipe 0.10.21's wheel.

    moving: the pictures are consecutive (faster, steadier); else each is searched afresh. max_faces: more than one
    costs a search in every frame, so ask for it only when there is a second face.
    """

    name = "mediapipe-face-mesh"

    def __init__(self, max_faces: int = 1, moving: bool = True) -> None:
        super().__init__()
        if not has_builtin_models():
            raise InputError(
                "This mediapipe has no face models inside (0.10.21 has, for Python 3.12 and older): choose a "
                "FaceLandmarker bundle (face_landmarker.task) as the detector."
            )
        with quiet_native_logs():
            self._mesh = import_mediapipe().solutions.face_mesh.FaceMesh(
                static_image_mode=not moving, max_num_faces=max_faces, refine_landmarks=True
            )
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))  # waits until the models are loaded, and have printed

    def _detect_all(self, image: np.ndarray, timestamp_s: float) -> list[Landmarks]:
        found = self._mesh.process(np.ascontiguousarray(image)).multi_face_landmarks or []
        return [_landmarks(face.landmark, image.shape[1], image.shape[0]) for face in found]

    def forget(self) -> None:
        super().forget()
        self._warm = False
        with quiet_native_logs():
            self._mesh.reset()
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))

    def close(self) -> None:
        with quiet_native_logs():
            self._mesh.close()


class FaceLandmarkerDetector(LandmarkDetector):
    """MediaPipe's FaceLandmarker with the user's bundle (face_landmarker.task)."""

    name = "mediapipe-face-landmarker"

    def __init__(self, bundle: Path | str, max_faces: int = 1, moving: bool = True) -> None:
        super().__init__()
        self._moving, self._max_faces = moving, max_faces
        check_file(bundle)
        try:
            self._bundle = Path(bundle).read_bytes()  # mediapipe itself fails on non-ASCII paths
        except OSError as error:
            raise InputError(f"The landmark bundle {bundle} cannot be read: {error.strerror}.", repr(error)) from error
        self._mp = import_mediapipe()
        self._start(str(bundle))

    def _start(self, what: str = "The landmark bundle") -> None:
        vision = self._mp.tasks.vision
        options = vision.FaceLandmarkerOptions(
            base_options=self._mp.tasks.BaseOptions(model_asset_buffer=self._bundle),
            running_mode=vision.RunningMode.VIDEO if self._moving else vision.RunningMode.IMAGE,
            num_faces=self._max_faces,
        )
        try:
            with quiet_native_logs():
                self._task = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{what} is not a FaceLandmarker bundle (face_landmarker.task).", str(error)) from error
        self._milliseconds = -1
        self._warm = False

    def _detect_all(self, image: np.ndarray, timestamp_s: float) -> list[Landmarks]:
        picture = self._mp.Image(image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        if self._moving:
            self._milliseconds = max(self._milliseconds + 1, round(timestamp_s * 1000))  # it insists on an increase
            result = self._task.detect_for_video(picture, self._milliseconds)
        else:
            result = self._task.detect(picture)
        return [_landmarks(face, image.shape[1], image.shape[0]) for face in result.face_landmarks]

    def forget(self) -> None:
        super().forget()
        self.close()
        self._start()

    def close(self) -> None:
        with quiet_native_logs():
            self._task.close()


def has_builtin_models() -> bool:
    """Whether the installed mediapipe carries the face mesh's models in its wheel."""
    mediapipe = import_mediapipe()
    folder = Path(mediapipe.__file__).parent / "modules" / "face_landmark"
    return hasattr(mediapipe, "solutions") and (folder / "face_landmark_with_attention.tflite").is_file()


def make_detector(bundle: Path | str | None = None, max_faces: int = 1, moving: bool = True) -> LandmarkDetector:
    """The bundle's detector when a bundle (a path) is given, else the one in mediapipe's wheel. Raises InputError."""
    if bundle:
        return FaceLandmarkerDetector(bundle, max_faces, moving)
    return FaceMeshDetector(max_faces, moving)


def save_landmarks(
    path: Path | str, points: np.ndarray, found: np.ndarray, detector: str, *, compress: bool = True
) -> None:
    """Write points [F,478,3] (rows that were not found hold zeros) and found [F] as landmarks.npz. compress: smaller,
    but an hour's landmarks take half a minute."""
    meta = {"format": FORMAT, "version": VERSION, "detector": detector}
    arrays = {"points": points.astype(np.float32, copy=False), "found": found.astype(bool, copy=False)}
    write_npz(path, meta, arrays, compress=compress)


def load_landmarks(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Read landmarks.npz (of a clip's folder): points [F,478,3] float32, found [F] bool. A face whose points are no
    finite numbers was not found. Raises FormatError."""
    path = Path(path)
    if path.is_dir():
        path = path / "landmarks.npz"
    _, arrays = read_npz(path, FORMAT, VERSION)
    points, found = arrays.get("points"), arrays.get("found")
    if points is None or found is None or found.ndim != 1 or points.shape != (len(found), LANDMARK_COUNT, 3):
        raise FormatError(f"{path} does not hold points [F,478,3] and found [F]; import the clip again.")
    if points.dtype.kind != "f" or found.dtype.kind not in "bui":
        raise FormatError(f"{path} holds points that are no numbers; import the clip again.")
    points = points.astype(np.float32, copy=False)
    told = np.isfinite(points).all((1, 2))
    return np.where(told[:, None, None], points, np.float32(0)), found.astype(bool) & told

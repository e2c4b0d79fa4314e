# SPDX-License-Identifier: Apache-2.0
"""How much of a person's bare head is left uncovered in a tracked clip's folder, or a fitted photograph's.

The measure of tracking/coverage.py over files, with pictures of what was counted.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from blendsplat.errors import InputError, NoFaceError
from blendsplat.heads.load import load_head_of
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, frame_intrinsics, head_vertices
from blendsplat.landmarks.detector import load_landmarks, make_detector
from blendsplat.progress import Progress
from blendsplat.tracking.coverage import measure_picture, summary
from blendsplat.video import Clip
from blendsplat.video.staged_folder import recover

FRAMES = 20


def measure_folder(
    folder: Path, frames: int = FRAMES, pictures_to: Path | None = None, progress: Progress | None = None
) -> dict[str, float]:
    """Coverage of a tracked clip's folder (``frames`` of its frames, evenly spread) or of a fitted photograph's.

    -> {uncovered, uncovered_with_hair, beyond: percent of the bare head, of the person, of the bare head; frames}.
    pictures_to: a folder for pictures in which covered skin is green, bare skin red, mesh beyond the matte blue.
    Raises InputError for a folder that is neither, or without mattes or landmarks, NoFaceError without a usable frame.
    """
    progress = progress or Progress()
    recover(folder)
    if (folder / "clip.json").is_file():
        return _measure_clip(folder, frames, pictures_to, progress)
    if (folder / "fit.json").is_file():
        return _measure_photograph(folder, pictures_to, progress)
    raise InputError(f"{folder} is neither a clip folder (clip.json) nor a fitted photograph's (fit.json).")


def _measure_clip(folder: Path, frames: int, pictures_to: Path | None, progress: Progress) -> dict[str, float]:
    clip, tracking = Clip.open(folder), Performance.load(folder)
    if not clip.has_mattes or not (folder / "landmarks.npz").is_file():
        raise InputError(f"{folder} has no mattes or no landmarks: import the video with a matte and track it.")
    points, found = load_landmarks(folder / "landmarks.npz")
    usable = np.flatnonzero(tracking.valid & found)
    if not len(usable):
        raise NoFaceError(f"{folder} has no tracked frame with a face.")
    chosen = np.unique(usable[np.linspace(0, len(usable) - 1, frames).astype(int)])
    head, Ks = load_head_of(tracking), frame_intrinsics(tracking)
    counts = []
    for row, index in enumerate(chosen):
        progress.check()
        vertices = head_vertices(tracking, head, np.array([index]))[0]
        picture = clip.image(int(index)), clip.matte(int(index)), points[index, :, :2]
        one, painted = measure_picture(*picture, vertices, _faces(head), Ks[index])
        counts.append(one)
        _keep(painted, pictures_to, f"{folder.resolve().name}_{index:06d}.png")
        progress.update("coverage", row + 1, len(chosen))
    return summary(counts)


def _measure_photograph(folder: Path, pictures_to: Path | None, progress: Progress) -> dict[str, float]:
    from blendsplat.photographs.fit_images import crop_and_matte
    from blendsplat.photographs.photograph import find_face, read_photograph

    tracking = Performance.load(folder)
    photograph = read_photograph(folder / "photograph.jpg")
    with make_detector(max_faces=4, moving=False) as detector:
        face = find_face(photograph, detector)
    _, matte = crop_and_matte(photograph, face)
    progress.check()
    head = load_head_of(tracking)
    height, width = photograph.image.shape[:2]
    K = tracking.K * np.array([[width / tracking.width], [height / tracking.height], [1.0]])
    picture = photograph.image, matte, face.points * photograph.scale
    one, painted = measure_picture(*picture, head_vertices(tracking, head)[0], _faces(head), K)
    _keep(painted, pictures_to, f"{folder.resolve().name}.png")
    return summary([one])


def _faces(head: HeadModel) -> np.ndarray:
    faces: np.ndarray = head.faces.numpy()
    return faces


def _keep(picture: np.ndarray, folder: Path | None, name: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), picture[..., ::-1])

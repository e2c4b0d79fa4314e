# SPDX-License-Identifier: Apache-2.0
"""Fine mattes of an imported clip, in a second pass over its coarse masks: a clean plate for each shot, then hair.

Both passes go through files, so a long clip takes no more memory than a short one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from blendsplat.errors import StorageError
from blendsplat.progress import Progress
from blendsplat.video.clean_plate import CleanPlate, learn_plate, plate_frames
from blendsplat.video.clip import frame_path, write_png
from blendsplat.video.color_matting import matte_by_color, surely_behind
from blendsplat.video.matte import refine_matte
from blendsplat.video.one_person import only_person

_IN_FLIGHT = 4


def refine_shots(
    stage: Path, shots: list[int], frames: int, pool: ThreadPoolExecutor, progress: Progress,
    faces: Sequence[np.ndarray | None] | None = None,
) -> list[str]:  # fmt: skip
    """Replace the coarse masks in ``stage``/mattes by fine mattes -> notes for the user.

    shots: the frames at which one begins, 0 first. faces: of each frame the landmarks [L,2+] of the person who is
    meant, None where there is none; others are then taken out. Raises StorageError, Cancelled; the masks are then
    partly replaced.
    """
    moving = 0
    for first, end in zip(shots, [*shots[1:], frames], strict=True):
        plate = learn_shot(stage, first, end, progress, pool)
        moving += 0 if plate.camera_stands_still else end - first
        waiting: deque[Future[None]] = deque()
        for index in range(first, end):
            progress.check()
            waiting.append(pool.submit(_refine, stage, index, plate, faces[index] if faces else None))
            if len(waiting) >= _IN_FLIGHT:
                waiting.popleft().result()
            progress.update("refine mattes", index, frames)
        while waiting:
            waiting.popleft().result()
    progress.update("refine mattes", frames, frames)
    if not moving:
        return []
    return [
        "The camera or the background moves: hair edges are found in each picture alone. A camera on a stand before "
        "something still gives finer ones."
    ]


def learn_shot(stage: Path, first: int, end: int, progress: Progress, pool: ThreadPoolExecutor) -> CleanPlate:
    """The plate of the frames first ... end - 1, whose coarse masks lie in ``stage``/mattes."""

    def look(index: int) -> tuple[np.ndarray, np.ndarray]:
        progress.check()
        image, mask = _pair(stage, index)
        return image, surely_behind(refine_matte(image, mask))

    sample = _read(stage, "mattes", first, cv2.IMREAD_GRAYSCALE)
    seen = list(pool.map(look, plate_frames(first, end, *sample.shape)))
    return learn_plate(np.stack([image for image, _ in seen]), np.stack([behind for _, behind in seen]))


def _refine(stage: Path, index: int, plate: CleanPlate, face: np.ndarray | None) -> None:
    image, mask = _pair(stage, index)
    matte = matte_by_color(image, refine_matte(image, only_person(mask, face)), plate)
    write_png(frame_path(stage, "mattes", index), only_person(matte, face))


def _pair(stage: Path, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture [H,W,3] uint8 and coarse mask [H,W] float32."""
    image = np.ascontiguousarray(_read(stage, "images", index, cv2.IMREAD_COLOR)[..., ::-1])
    return image, _read(stage, "mattes", index, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def _read(stage: Path, folder: str, index: int, flags: int) -> np.ndarray:
    path = frame_path(stage, folder, index)
    try:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    except (OSError, cv2.error) as error:
        raise StorageError(f"{path} disappeared while the clip was imported; import it again.", repr(error)) from error
    if picture is None:
        raise StorageError(f"{path} was damaged while the clip was imported; import it again.")
    return picture

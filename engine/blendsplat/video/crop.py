# SPDX-License-Identifier: Apache-2.0
"""A quick survey of the clip, and from it one fixed square around the head: who is followed, how far the head moves.

One square for the whole clip, because a moving crop would move the camera that tracking solves for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from blendsplat.errors import InputError, NoFaceError
from blendsplat.landmarks.detector import LandmarkDetector, box_distance, box_size, make_detector
from blendsplat.progress import Progress
from blendsplat.video.decode import Frame, Source

Crop = tuple[int, int, int]  # x, y, size in pixels of the upright picture

SAMPLES = 48  # pictures searched for faces
HEAD_SIDE = 2.3  # side of the square in face heights (face mesh box: hair line to chin); holds hair and neck
_REACH = 1.05  # how far the head and its hair reach from the face's centre, in face heights
_LIFT = 0.06  # the head's centre above the face's centre, in face heights: hair is taller than the wanted neck
_LONGEST = 1280  # pixels; larger pictures are shrunk for the search
_WIDE = 1.25  # longer side over shorter from which a picture is searched in squares, too
_SAME_SIZE = 0.5  # log of the ratio of the sizes
_TILED_PICTURES = 12  # how many pictures without a face are searched again in small squares
_ALPHA_USED = 0.01  # share of see-through pixels from which a file's alpha is taken for a matte
_SEEN, _SEEN_SHARE = 3, 0.5  # pictures, and of few pictures the share, in which a second person must be seen


@dataclass
class Survey:
    """What the survey found. boxes [S,4] at times [S]: the followed face in the upright picture's pixels."""

    crop: Crop
    times: np.ndarray
    boxes: np.ndarray
    most_faces: int
    alpha_used: bool
    spacing: float  # seconds between the pictures
    notes: list[str] = field(default_factory=list)

    def box_at(self, time: float) -> np.ndarray | None:
        """The followed face's box [4] at ``time``, interpolated; None when it was out of sight then."""
        near = np.abs(self.times - time).min() if len(self.times) else np.inf
        if near > max(0.75, 1.5 * self.spacing):
            return None
        return np.array([np.interp(time, self.times, self.boxes[:, side]) for side in range(4)])


def survey(
    source: Source, start: float, end: float | None, crop: Crop | None = None, bundle: Path | str | None = None,
    progress: Progress | None = None,
) -> Survey:  # fmt: skip
    """Look at some dozens of pictures between start and end (seconds) and decide the square (or check the user's).

    Raises NoFaceError when no picture shows a face, VideoError and InputError as reading and the crop do.
    """
    progress = progress or Progress()
    length = max((end if end is not None else source.duration or 20.0) - start, 0.04)
    spacing = max(length / SAMPLES, 0.04)
    notes: list[str] = []
    if crop is not None:
        crop = clamp_crop(crop, source.width, source.height, notes)
    with make_detector(bundle, max_faces=4, moving=False) as detector:
        find = FaceFinder(detector, crop)
        samples, alpha_used = [], False
        for frame in source.frames(start, end, every=spacing):
            progress.check()
            samples.append((frame.timestamp, find(frame)))
            alpha_used = alpha_used or _uses_alpha(frame.alpha)
            progress.update("find head", min(len(samples), SAMPLES), SAMPLES)
    samples, people = without_phantoms(samples)
    if not samples or not people:
        where = "in the chosen crop" if crop is not None else f"in {source.path}"
        raise NoFaceError(
            f"No face was found {where}: the face must be seen from the front, well lit, and not too small."
        )
    most = max(len(faces) for _, faces in samples)
    times, boxes = people[0] if most > 1 else _merge_returns(people)
    if most > 1:
        notes.append(f"Up to {most} faces are in the picture; the larger one is followed.")
    if crop is None:
        crop = head_square(boxes, source.width, source.height, notes)
    return Survey(crop, times, boxes, most, alpha_used, spacing, notes)


class FaceFinder:
    """Face boxes [4] in a picture (or in the user's crop of it).

    The detector sees a picture shrunk to a small square, so besides the whole, overlapping squares of it are searched;
    and where none of them shows a face, smaller ones, in the first few such pictures.
    """

    def __init__(self, detector: LandmarkDetector, crop: Crop | None) -> None:
        self._detector, self._crop = detector, crop
        self._face_tiles: list[Crop] = []
        self._tiled_pictures = 0

    def __call__(self, frame: Frame) -> list[np.ndarray]:
        height, width = frame.image.shape[:2]
        x, y, w, h = (0, 0, width, height) if self._crop is None else (*self._crop[:2], self._crop[2], self._crop[2])
        found = self._search(frame, x, y, w, h)
        if max(w, h) > _WIDE * min(w, h):
            for tile in tiles(x, y, w, h, 1.0):
                _add_new(found, self._search(frame, *tile))
        for tile in self._face_tiles if not found else ():
            _add_new(found, self._search(frame, *tile))
        if not found and self._tiled_pictures < _TILED_PICTURES:
            self._tiled_pictures += 1
            for tile in (*tiles(x, y, w, h, 0.6), *tiles(x, y, w, h, 0.4)):
                _add_new(found, self._search(frame, *tile))
                if found:
                    self._face_tiles.append(tile)
                    break
        return found

    def _search(self, frame: Frame, x: int, y: int, width: int, height: int | None = None) -> list[np.ndarray]:
        piece = frame.image[y : y + (height or width), x : x + width]
        scale = min(1.0, _LONGEST / max(piece.shape[:2]))
        if scale < 1:
            piece = cv2.resize(piece, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        faces = self._detector.detect_all(piece, frame.timestamp)
        return [face.box / scale + np.array([x, y, x, y]) for face in faces]


def _add_new(found: list[np.ndarray], boxes: list[np.ndarray]) -> None:
    """Add the boxes that are not of a face already found (another square may show it cut off)."""
    for box in boxes:
        centre, size = (box[:2] + box[2:]) / 2, box_size(box)
        near = [np.hypot(*((b[:2] + b[2:]) / 2 - centre)) < 0.6 * max(size, box_size(b)) for b in found]
        if not any(near):
            found.append(box)


def tiles(x: int, y: int, width: int, height: int, share: float) -> list[Crop]:
    """Squares over a picture that overlap by half, of ``share`` of its shorter side; where heads are comes first."""
    side = max(16, int(min(width, height) * share))
    columns = np.linspace(0, width - side, max(1, int(np.ceil(width / side * 2)) - 1)).astype(int)
    rows = np.linspace(0, height - side, max(1, int(np.ceil(height / side * 2)) - 1)).astype(int)
    squares = [(x + int(column), y + int(row), side) for column in columns for row in rows]
    middle = np.array([x + width / 2 - side / 2, y + height * 0.4 - side / 2])
    return sorted(squares, key=lambda square: float(np.hypot(square[0] - middle[0], square[1] - middle[1])))


def _merge_returns(people: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The first person's boxes, with those of "others" of about the same size: one who left and returned elsewhere."""
    times, boxes = people[0]
    size = np.median([box_size(box) for box in boxes])
    for more_times, more in people[1:]:
        if abs(np.log(np.median([box_size(box) for box in more]) / size)) < _SAME_SIZE:
            times, boxes = np.concatenate([times, more_times]), np.concatenate([boxes, more])
    order = np.argsort(times)
    return times[order], boxes[order]


def link_faces(samples: list[tuple[float, list[np.ndarray]]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Link boxes over time into people: (times [S], boxes [S,4]) each, the one with the most picture area first."""
    people: list[list[tuple[float, np.ndarray]]] = []
    for time, boxes in samples:
        free = list(people)
        for box in sorted(boxes, key=box_size, reverse=True):
            best = min(free, key=lambda person: box_distance(person[-1][1], box), default=None)
            if best is not None and box_distance(best[-1][1], box) < 1.0:
                best.append((time, box))
                free.remove(best)
            else:
                people.append([(time, box)])
    people.sort(key=lambda person: -sum(box_size(box) ** 2 for _, box in person))
    return [(np.array([t for t, _ in person]), np.array([b for _, b in person])) for person in people]


def without_phantoms(
    samples: list[tuple[float, list[np.ndarray]]],
) -> tuple[list[tuple[float, list[np.ndarray]]], list[tuple[np.ndarray, np.ndarray]]]:
    """The samples without the boxes of "others" whom hardly any picture shows, and who the people then are, as
    link_faces tells them. Grain, leaves and patterned shirts make the detector see a face for a moment.

    Somebody seen rarely, but never beside the person who is followed, may be that person elsewhere and is kept.
    """
    people = link_faces(samples)
    needed = min(_SEEN, max(1, round(_SEEN_SHARE * len(samples))))
    alone = {time for time, boxes in samples if len(boxes) == 1}
    phantoms = [
        (time, box)
        for times, boxes in people[1:]
        if len(times) < needed and not alone.issuperset(times)
        for time, box in zip(times, boxes, strict=True)
    ]
    if not phantoms:
        return samples, people
    kept = [(time, [box for box in boxes if not _is_one_of(time, box, phantoms)]) for time, boxes in samples]
    return kept, link_faces(kept)


def _is_one_of(time: float, box: np.ndarray, sightings: list[tuple[float, np.ndarray]]) -> bool:
    return any(time == other and np.array_equal(box, there) for other, there in sightings)


def head_square(boxes: np.ndarray, width: int, height: int, notes: list[str] | None = None) -> Crop:
    """One square that holds the head (hair and neck) at all the face boxes [S,4], inside the picture.

    The square never leaves the picture: invented pixels would be learned. Where the head does not fit, the square
    shrinks to the picture's shorter side and centres on the head. The outermost 3 % of positions are disregarded.
    """
    notes = notes if notes is not None else []
    sizes = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    face = float(np.median(sizes))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    centre[:, 1] -= _LIFT * sizes
    low = np.percentile(centre - _REACH * sizes[:, None], 3, axis=0)
    high = np.percentile(centre + _REACH * sizes[:, None], 97, axis=0)
    side = max(HEAD_SIDE * face, *(high - low))
    middle = (low + high) / 2
    if side > min(width, height):
        if min(width, height) < 1.6 * face:
            notes.append("The head is larger than the picture, so parts of it are cut off.")
        side = min(width, height)
    side = round(side)
    if face < 100:
        notes.append(f"The face is only {face:.0f} pixels tall; fine detail cannot be learned from it.")
    corner = np.clip(np.round(middle - side / 2), 0, [width - side, height - side]).astype(int)
    return int(corner[0]), int(corner[1]), side


def clamp_crop(crop: Crop, width: int, height: int, notes: list[str] | None = None) -> Crop:
    """The user's square moved and shrunk into the picture. Raises InputError when it lies outside or is tiny."""
    x, y, size = (int(value) for value in crop)
    if size < 32 or x >= width or y >= height or x + size <= 0 or y + size <= 0:
        raise InputError(
            f"The crop x={x} y={y} size={size} does not fit a picture of {width}x{height}: give x, y of the upper left "
            "corner and a size of at least 32 pixels."
        )
    side = min(size, width, height)
    clamped = (min(max(x, 0), width - side), min(max(y, 0), height - side), side)
    if clamped != (x, y, size) and notes is not None:
        done = "moved" if side == size else "shrunk" if clamped[:2] == (x, y) else "shrunk and moved"
        notes.append(
            f"The crop x={x} y={y} size={size} sticks out of the picture of {width}x{height}; it was {done} into it: "
            f"x={clamped[0]} y={clamped[1]} size={side}."
        )
    return clamped


def cropper(crop: Crop, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function that cuts the square out of [H,W] or [H,W,C] and resizes it to size x size (area down, cubic up)."""
    x, y, side = crop
    filter_ = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC

    def cut(image: np.ndarray) -> np.ndarray:
        piece = image[y : y + side, x : x + side]
        return np.ascontiguousarray(piece) if side == size else cv2.resize(piece, (size, size), interpolation=filter_)

    return cut


def _uses_alpha(alpha: np.ndarray | None) -> bool:
    """Whether an alpha channel cuts something out (and leaves something)."""
    if alpha is None:
        return False
    clear = float((alpha < 128).mean())
    return _ALPHA_USED < clear < 1 - _ALPHA_USED

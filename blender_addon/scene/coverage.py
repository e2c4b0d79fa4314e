# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tracked clip shows of a head, before anything is trained from it: its sides, and how far its sliders go.

An avatar knows what its clip has shown; the rest it makes up. All of it follows from the performance alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..formats import Performance
from ..space import rotvec_to_matrix
from . import arkit

STEP = 15.0  # degrees: a cell of the grid
YAWS, PITCHES = 9, 7  # cells, the middle one straight ahead; what is farther aside is in the outermost
_ENOUGH = 3  # frames in which something is seen before it counts as seen
_TRUSTED = 0.3  # confidence from which a frame counts
_WIDE = 40.0  # degrees from which nobody misses more
_HARDLY = 0.15  # of a slider: less than this was hardly seen
_LISTED = 6
_HEADLINES = ("jawOpen", "mouthSmile", "mouthPucker", "browInnerUp", "eyeBlink")
_PLAIN = {  # where ARKit's name read as words is no English
    "jawOpen": "jaw open", "mouthSmile": "smile", "mouthPucker": "pucker", "browInnerUp": "brows up",
    "eyeBlink": "blink", "browDown": "frown of the brows", "browOuterUp": "outer brows up", "tongueOut": "tongue out",
    "noseSneer": "sneer", "mouthFrown": "corners of the mouth down", "eyeWide": "eyes wide", "eyeSquint": "squint",
    "cheekPuff": "cheeks puffed", "mouthLowerDown": "lower lip down", "mouthUpperUp": "upper lip up",
    "mouthShrugLower": "chin up", "mouthShrugUpper": "upper lip pressed up",
}  # fmt: skip


@dataclass(frozen=True)
class Coverage:
    """What the frames with a face show.

    grid [PITCHES,YAWS]: frames a direction from which the camera saw the head; row 0 from above, column 0 from the
    person's right. yaw, pitch: lowest and highest angle in degrees; yaw above 0 sees the person's left, pitch above 0
    sees from above. reach: how far each slider was seen, 0 to 1 (ARKit's, both sides of a pair as one), {} for heads
    whose expressions have no such names.
    """

    frames: int
    grid: np.ndarray
    yaw: tuple[float, float]
    pitch: tuple[float, float]
    reach: dict[str, float]
    jaw_degrees: float
    gaze_degrees: float


def of(performance: Performance) -> Coverage:
    """What the performance's clip shows."""
    rows = _trusted(performance)
    yaw, pitch = angles(performance)
    yaw, pitch = yaw[rows], pitch[rows]
    grid = np.zeros((PITCHES, YAWS), int)
    columns = np.clip(np.rint(yaw / STEP).astype(int) + YAWS // 2, 0, YAWS - 1)
    lines = np.clip(PITCHES // 2 - np.rint(pitch / STEP).astype(int), 0, PITCHES - 1)
    np.add.at(grid, (lines, columns), 1)
    eyes = np.degrees(np.linalg.norm(performance.eyes_pose[rows], axis=-1)).min(-1)
    return Coverage(
        len(rows), grid, _extent(yaw), _extent(pitch), _reach(performance, rows),
        _high(np.degrees(performance.jaw_pose[rows, 0])), _high(eyes),
    )  # fmt: skip


def angles(performance: Performance) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch [F] in degrees of the camera as the head sees it: yaw above 0 to the person's left, pitch above 0
    above them."""
    head = rotvec_to_matrix(performance.root_pose) @ rotvec_to_matrix(performance.neck_pose)
    view = np.asarray(performance.viewmat, float)
    eye = -view[:3, :3].T @ view[:3, 3]
    seen = np.einsum("fji,fj->fi", head, eye - performance.translation)
    seen /= np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-9)
    return np.degrees(np.arctan2(seen[:, 0], seen[:, 2])), np.degrees(np.arcsin(np.clip(seen[:, 1], -1, 1)))


def views(coverage: Coverage) -> list[str]:
    """From where the head was seen, and from where it will be guessed: a sentence each."""
    right, left = _outward(-coverage.yaw[0]), _outward(coverage.yaw[1])
    below, above = _outward(-coverage.pitch[0]), _outward(coverage.pitch[1])
    sentences = [
        f"Seen from {right}° on the person's right to {left}° on their left, and from {below}° below to {above}° above."
    ]
    missed = [(side, edge) for side, edge in (("right", right), ("left", left)) if edge < _WIDE]
    if len(missed) == 2 and right == left:
        sentences.append(f"From either side beyond {left}°: never seen.")
    elif missed:
        sides = " and ".join(f"from the person's {side} beyond {edge}°" for side, edge in missed)
        sentences.append(f"{sides[0].upper()}{sides[1:]}: never seen.")
    return sentences


def expressions(coverage: Coverage) -> list[str]:
    """How far sliders were seen, and which will be guesses: a sentence each."""
    reach = coverage.reach
    if not reach:
        return [f"The jaw opens up to {coverage.jaw_degrees:.0f}°, the eyes turn up to {coverage.gaze_degrees:.0f}°."]
    told = [f"{plain(name)} {reach[name]:.0%}" for name in _HEADLINES if reach.get(name, 0.0) >= _HARDLY]
    sentences = [f"Sliders were seen up to: {', '.join(told)}."] if told else []
    sentences.append(f"The eyes turn up to {coverage.gaze_degrees:.0f}°.")
    hardly = [plain(name) for name in sorted(reach, key=lambda name: reach[name]) if reach[name] < _HARDLY]
    if hardly:
        more = f" and {len(hardly) - _LISTED} more" if len(hardly) > _LISTED else ""
        sentences.append(f"Hardly seen, so these sliders will be guesses: {', '.join(hardly[:_LISTED])}{more}.")
    return sentences


def advice(coverage: Coverage) -> str:
    """What to film for what is missing, or ""."""
    wanted = []
    if -coverage.yaw[0] < _WIDE or coverage.yaw[1] < _WIDE:
        wanted.append("turn the head slowly to both sides")
    if sum(value < _HARDLY for value in coverage.reach.values()) > _LISTED:
        wanted.append("pull a few faces")
    return f"For an avatar that does more: {' and '.join(wanted)} while filming." if wanted else ""


def picture(coverage: Coverage) -> np.ndarray:
    """The grid as an image [H,W,3] uint8: never seen is dark, often seen bright; as one stands before the person."""
    cell, line = 24, 2
    share = coverage.grid / max(1, coverage.grid.max())
    image = np.full((PITCHES * cell + line, YAWS * cell + line, 3), 30, np.uint8)
    for row in range(PITCHES):
        for column in range(YAWS):
            seen = coverage.grid[row, column] > 0
            strength = 0.35 + 0.65 * share[row, column] ** 0.5
            colour = np.array([90, 190, 255]) * strength if seen else np.array([58, 58, 58])
            top, left = row * cell + line, column * cell + line
            image[top : top + cell - line, left : left + cell - line] = colour
    middle, centre = PITCHES // 2 * cell + line, YAWS // 2 * cell + line  # straight ahead
    image[middle - line : middle + cell, centre - line : centre] = 235
    image[middle - line : middle + cell, centre + cell - line : centre + cell] = 235
    image[middle - line : middle, centre - line : centre + cell] = 235
    image[middle + cell - line : middle + cell, centre - line : centre + cell] = 235
    return image


def plain(name: str) -> str:
    """A slider's name as words."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return _PLAIN.get(name, words.removeprefix("mouth ").strip() if words != "mouth " else words)


def _trusted(performance: Performance) -> np.ndarray:
    """Rows whose tracking may be believed; at least those with a face."""
    rows = performance.valid_rows
    confidence = performance.arrays.get("confidence")
    if confidence is None:
        return rows
    sure = rows[confidence[rows] >= _TRUSTED]
    return sure if len(sure) else rows


def _extent(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest that enough frames show."""
    return -_high(-values), _high(values)


def _high(values: np.ndarray) -> float:
    """The highest that enough frames reach."""
    return float(np.sort(values)[-min(_ENOUGH, len(values))])


def _reach(performance: Performance, rows: np.ndarray) -> dict[str, float]:
    names = [str(name) for name in performance.meta.get("expression_names") or ()]
    values = performance.expression[rows]
    known = {name: values[:, index] for index, name in enumerate(names) if name in arkit.NAMES}
    if len(names) != values.shape[1] or not known:
        return {}
    known.setdefault("jawOpen", performance.jaw_pose[rows, 0] / arkit.TURNS["jawOpen"][1][0])
    reach: dict[str, float] = {}
    for name, column in known.items():
        both = name.removesuffix("Left").removesuffix("Right") if _paired(name) else name
        reach[both] = min(reach.get(both, 1.0), max(0.0, _high(column)))
    return reach


def _paired(name: str) -> bool:
    """One of two sides, which mean the same slider to an artist; jaw and mouth move to a side as a whole."""
    stem = name.removesuffix("Left").removesuffix("Right")
    return stem not in ("jaw", "mouth") and f"{stem}Left" in arkit.NAMES


def _outward(degrees: float) -> int:
    """Rounded up to five degrees; at least that, as a head is never seen from one side of its middle alone."""
    return max(5, 5 * math.ceil(round(degrees, 3) / 5))

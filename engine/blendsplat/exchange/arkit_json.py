# SPDX-License-Identifier: Apache-2.0
"""ARKit's coefficients as JSON: a list of frames, or one object with names, frames and their rate, whatever these are
called (Audio2Face: facsNames, weightMat, exportFps)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blendsplat.errors import FormatError
from blendsplat.exchange.arkit_table import Cell, Table, capture_of, is_coefficient
from blendsplat.exchange.capture import Capture, CaptureFormat
from blendsplat.files import read_json

SUFFIX = ".json"
_RATES = ("fps", "framerate", "frame_rate", "frameRate", "exportFps")
_NAMES = ("names", "facsNames", "blendShapeNames", "blendshapeNames", "blendshape_names", "blendShapes", "blendshapes")
_FRAMES = ("frames", "weightMat", "weights", "data", "values")
_SHAPES = "a list of frames, or an object with names, frames and fps"


def is_json(path: Path) -> bool:
    """Whether the file is JSON by its name."""
    return path.is_file() and path.suffix.lower() == SUFFIX


def read(path: Path, fps: float | None = None) -> Capture:
    """The capture. Raises FormatError."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} is damaged or no JSON; export it again.", repr(error)) from error
    rate, names, frames = None, None, content
    if isinstance(content, dict):
        rate, frames = _rate(path, content), _first(content, _FRAMES, list)
        names = _first(content, _NAMES, list)
    if not isinstance(frames, list) or (names is not None and not all(isinstance(name, str) for name in names)):
        raise FormatError(f"{path} holds no performance: {_SHAPES} is expected.")
    if not frames:
        raise FormatError(f"{path} holds no frame; record or export it again.")
    places = [f"frame {number}" for number in range(1, len(frames) + 1)]
    if all(isinstance(frame, dict) for frame in frames):
        names, rows = _named([_flat(frame, names) for frame in frames])
    elif names is not None and all(isinstance(frame, list) for frame in frames):
        rows = _listed(path, names, frames)
    else:
        raise FormatError(f"{path}: its frames are neither objects nor lists beside names: {_SHAPES} is expected.")
    return capture_of(Table("JSON of ARKit's expressions", names, rows, places, rate), path, fps)


def _first(content: dict[str, Any], names: tuple[str, ...], kind: type) -> Any:
    return next((content[name] for name in names if isinstance(content.get(name), kind)), None)


def _rate(path: Path, content: dict[str, Any]) -> float | None:
    given = next((content[name] for name in _RATES if content.get(name) is not None), None)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 1e-6 <= given <= 1000:
        raise FormatError(f"{path} says {given!r} frames a second; that must be a number from above 0 to 1000.")
    return float(given)


def _flat(frame: dict[str, Any], names: list[str] | None) -> dict[str, Cell]:
    """A frame without levels: {"time": 0, "blendShapes": {...}, "head": {"yaw": ...}}; of a list of values, by the
    names beside all frames."""
    cells: dict[str, Cell] = {}
    for key, value in frame.items():
        if isinstance(value, dict):
            prefix = key if key.lower() in ("head", "lefteye", "righteye", "headrotation") else ""
            cells |= {prefix + inner: _cell(number) for inner, number in value.items()}
        elif isinstance(value, list) and names is not None and len(value) == len(names):
            cells |= dict(zip(names, map(_cell, value), strict=True))
        elif not isinstance(value, list):
            cells[key] = _cell(value)
    return cells


def _cell(value: Any) -> Cell:
    """Numbers and texts; anything else is said to be no number where it is used."""
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    return str(value)


def _named(frames: list[dict[str, Cell]]) -> tuple[list[str], list[list[Cell]]]:
    """Frames by names as columns and rows; coefficients that a frame with a face leaves out are 0."""
    names = list(dict.fromkeys(name for frame in frames for name in frame))
    rests: list[Cell] = [0.0 if any(map(is_coefficient, frame)) else None for frame in frames]
    return names, [[frame.get(name, rest) for name in names] for frame, rest in zip(frames, rests, strict=True)]


def _listed(path: Path, names: list[str], frames: list[list[Any]]) -> list[list[Cell]]:
    for number, frame in enumerate(frames, 1):
        if frame and len(frame) != len(names):
            raise FormatError(
                f"{path}: frame {number} has {len(frame)} values for {len(names)} names; export it again."
            )
    return [list(map(_cell, frame)) for frame in frames]


FORMAT = CaptureFormat("arkit-json", "ARKit's expressions as JSON (.json)", is_json, read)

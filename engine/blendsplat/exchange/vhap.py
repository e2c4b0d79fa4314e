# SPDX-License-Identifier: Apache-2.0
"""The files of other trackers as they are: VHAP's export, metrical-tracker's checkpoints; read without running code.

What comes out keeps their conventions for the head (FLAME) but has OpenCV cameras and rotation vectors throughout.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.errors import FormatError
from blendsplat.geometry import matrix_to_rotvec
from blendsplat.heads.torch_files import load_torch
from blendsplat.video.images import list_images, natural_key

_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass
class Recording:
    """F frames of one FLAME head, float64. Rotations are rotvecs; root about the root joint, then translation."""

    made_by: str
    images: list[Path]  # F
    masks: list[Path | None]  # F
    shape: np.ndarray  # [S]
    offsets: np.ndarray | None  # [V,3]
    expression: np.ndarray  # [F,E]
    root: np.ndarray  # [F,3]
    neck: np.ndarray  # [F,3]
    jaw: np.ndarray  # [F,3]
    eyes: np.ndarray  # [F,2,3] left, right
    eyelids: np.ndarray  # [F,2]
    translation: np.ndarray  # [F,3]
    K: np.ndarray  # [F,3,3]
    viewmats: np.ndarray  # [F,4,4] world-to-camera, OpenCV axes
    size: tuple[int, int] | None = None  # width, height that K refers to; None: the pictures'


def read_vhap(folder: Path) -> Recording:
    """VHAP's export: transforms.json, flame_param/*.npz. Of several cameras the first is taken. Raises FormatError."""
    index = folder / "transforms.json"
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["frames"]
        camera = min(entry.get("camera_index", 0) for entry in entries)
        entries = [entry for entry in entries if entry.get("camera_index", 0) == camera]
        entries.sort(key=lambda entry: entry.get("timestep_index", 0))
        parameters = [_vhap_parameters(folder / entry["flame_param_path"]) for entry in entries]
        camera_to_world = np.array([entry["transform_matrix"] for entry in entries], dtype=np.float64)
        intrinsics = [[[e["fl_x"], 0, e["cx"]], [0, e["fl_y"], e["cy"]], [0, 0, 1]] for e in entries]
        recording = Recording(
            made_by="VHAP",
            images=[folder / entry["file_path"] for entry in entries],
            masks=[folder / entry["fg_mask_path"] if entry.get("fg_mask_path") else None for entry in entries],
            shape=parameters[0]["shape"].reshape(-1),
            offsets=parameters[0]["static_offset"].reshape(-1, 3) if "static_offset" in parameters[0] else None,
            expression=_rows(parameters, "expr"),
            root=_rows(parameters, "rotation", 3),
            neck=_rows(parameters, "neck_pose", 3),
            jaw=_rows(parameters, "jaw_pose", 3),
            eyes=_rows(parameters, "eyes_pose", 6).reshape(-1, 2, 3),
            eyelids=np.zeros((len(entries), 2)),
            translation=_rows(parameters, "translation", 3),
            K=np.array(intrinsics, dtype=np.float64),
            viewmats=np.linalg.inv(camera_to_world @ _OPENGL),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, np.linalg.LinAlgError) as error:
        raise FormatError(
            f"{index} or a file it names is damaged or not VHAP's export: {error}.", repr(error)
        ) from error
    return _checked(recording, folder)


def read_metrical_tracker(folder: Path) -> Recording:
    """metrical-tracker's folder: checkpoint/*.frame with images/ (or input/), paired in natural order.

    Raises FormatError, and UnsafeFileError for a checkpoint that wants to run code.
    """
    paths = sorted((folder / "checkpoint").glob("*.frame"), key=lambda path: natural_key(path.name))
    pictures = next((folder / name for name in ("images", "input") if (folder / name).is_dir()), None)
    if not paths or pictures is None:
        raise FormatError(f"{folder} lacks checkpoint/*.frame or the folder images/ (or input/) beside it.")
    images = list_images(pictures)
    if len(images) < len(paths):
        raise FormatError(f"{folder} has {len(paths)} checkpoints but only {len(images)} pictures in {pictures.name}/.")
    frames = [load_torch(path) for path in paths]
    try:
        flame = [frame["flame"] for frame in frames]
        eyes = _rows(flame, "eyes", 12).reshape(-1, 2, 6)
        nothing = np.zeros((len(frames), 3))
        recording = Recording(
            made_by="metrical-tracker",
            images=images[: len(paths)],
            masks=[None] * len(paths),
            shape=np.asarray(flame[0]["shape"], dtype=np.float64).reshape(-1),
            offsets=None,
            expression=_rows(flame, "exp"),
            root=nothing,
            neck=nothing.copy(),
            jaw=_from_6d(_rows(flame, "jaw", 6)),
            eyes=_from_6d(eyes),
            eyelids=_rows(flame, "eyelids", 2),
            translation=nothing.copy(),
            K=np.stack([np.asarray(frame["opencv"]["K"], dtype=np.float64).reshape(3, 3) for frame in frames]),
            viewmats=np.stack([_viewmat(frame["opencv"]) for frame in frames]),
            size=_size(frames[0].get("img_size")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{paths[0].parent} does not hold metrical-tracker's checkpoints: {error}.", repr(error)
        ) from error
    return _checked(recording, folder)


def _vhap_parameters(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: np.asarray(archive[name], dtype=np.float64) for name in archive.files}


def _rows(parameters: list[dict[str, Any]], name: str, columns: int | None = None) -> np.ndarray:
    """The parameter of every frame, [F,columns]."""
    rows = np.stack([np.asarray(values[name], dtype=np.float64).reshape(-1) for values in parameters])
    if columns is not None and rows.shape[1] != columns:
        raise ValueError(f"{name} has {rows.shape[1]} values instead of {columns}")
    return rows


def _viewmat(opencv: dict[str, Any]) -> np.ndarray:
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.asarray(opencv["R"], dtype=np.float64).reshape(3, 3)
    viewmat[:3, 3] = np.asarray(opencv["t"], dtype=np.float64).reshape(3)
    return viewmat


def _size(img_size: Any) -> tuple[int, int] | None:
    """metrical-tracker stores height, width."""
    if img_size is None:
        return None
    height, width = np.asarray(img_size).reshape(-1)[:2]
    return int(width), int(height)


def _from_6d(values: np.ndarray) -> np.ndarray:
    """Rotations as their first two rows [...,6], not quite orthonormal -> rotvecs [...,3] (Zhou et al. 2019)."""
    first, second = values[..., :3], values[..., 3:]
    x = first / np.linalg.norm(first, axis=-1, keepdims=True)
    y = second - (x * second).sum(-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    matrix = np.stack([x, y, np.cross(x, y)], -2)
    return matrix_to_rotvec(torch.as_tensor(matrix, dtype=torch.float64)).numpy()


def _checked(recording: Recording, folder: Path) -> Recording:
    values = (recording.shape, recording.expression, recording.root, recording.neck, recording.jaw, recording.eyes)
    cameras = (recording.translation, recording.K, recording.viewmats)
    if not recording.images or not all(np.isfinite(value).all() for value in (*values, *cameras)):
        raise FormatError(f"{folder} holds no frames, or values that are not finite.")
    return recording

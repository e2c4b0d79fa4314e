# SPDX-License-Identifier: Apache-2.0
"""The folder of a fitted photograph: pictures to look at, the texture, the tracking, and fit.json.

Everything is written aside first and moved into place together, fit.json last: a full disk or a stopped program leaves
the earlier results as they were, and of a kill in the middle of the moving, video.staged_folder.recover makes one whole
fit, the earlier or the new one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from blendsplat.errors import StorageError
from blendsplat.files import write_json
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.photographs.face_texture import View, project_texture
from blendsplat.photographs.photograph import Face, Photograph
from blendsplat.splatting import rasterize_mesh
from blendsplat.tracking.overlay import OverlayPainter
from blendsplat.video.staged_folder import staged_results

FORMAT, VERSION = "blendsplat-fit", 1
NAMES = ("overlay.png", "crop.png", "photograph.jpg", "texture.png", "tracking.npz", "fit.json")
OVERLAY_LEAST, OVERLAY_MOST = 640, 1280  # longer side of the overlay


@dataclass
class ImageFit:
    """One fitted photograph. crop: straight RGBA [S,S,4] uint8 as the network sees it (on white); matte [H,W] uint8 of
    the person, in the pixels of photograph.image, 0 far from the face."""

    photograph: Photograph
    face: Face
    tracking: Performance
    crop: np.ndarray
    matte: np.ndarray
    method: str  # the regressor's name, or "landmarks"
    warnings: list[str] = field(default_factory=list)


def check_writable(folder: Path) -> None:
    """Raises StorageError, before any work is done, where ``folder`` cannot be made or written."""
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(f"Nothing can be written to {folder}; choose another folder.")


def save_fit(fit: ImageFit, head: HeadModel, folder: Path) -> None:
    """Write NAMES into ``folder``. Raises StorageError with what was there before left whole."""
    try:
        with staged_results(folder) as stage:
            _write_picture(stage / "overlay.png", paint_overlay(fit, head))
            _write_picture(stage / "crop.png", fit.crop)
            _write_picture(stage / "photograph.jpg", fit.photograph.image)
            _write_picture(stage / "texture.png", make_texture(fit, head))
            fit.tracking.save(stage / "tracking.npz")
            write_json(stage / "fit.json", described_fit(fit))
    except StorageError as error:  # which names the file that was written aside
        raise StorageError(f"The fit cannot be written to {folder}: free some space.", error.detail) from error
    except OSError as error:
        raise StorageError(
            f"The fit cannot be written to {folder}: {error.strerror}. Choose another folder.", repr(error)
        ) from error


def described_fit(fit: ImageFit) -> dict[str, Any]:
    """fit.json: everything that the fit found, as plain numbers."""
    t = fit.tracking
    return {
        "format": FORMAT, "version": VERSION, "image": str(fit.photograph.path), "head": t.head,
        "head_source": t.head_source, "method": fit.method, "warnings": fit.warnings, "width": t.width,
        "height": t.height, "K": t.K.tolist(), "viewmat": t.viewmat.tolist(), "shape": t.shape.tolist(),
        "expression_names": list(t.expression_names), "expression": t.expression[0].tolist(),
        "pose": {
            "root": t.root_pose[0].tolist(), "neck": t.neck_pose[0].tolist(), "jaw": t.jaw_pose[0].tolist(),
            "eyes": t.eyes_pose[0].tolist(), "eyelids": t.eyelids[0].tolist(),
        },
        "scale": 1.0, "translation": t.translation[0].tolist(), "figures": t.figures,
    }  # fmt: skip


def make_texture(fit: ImageFit, head: HeadModel) -> np.ndarray:
    """The photograph on the head's UV layout [S,S,3] uint8, whole."""
    image = fit.photograph.image
    K = scaled_camera(fit.tracking, image.shape[1], image.shape[0])
    return project_texture(View(image, fit.matte, K), head_vertices(fit.tracking, head)[0], head)


def paint_overlay(fit: ImageFit, head: HeadModel) -> np.ndarray:
    """The fitted mesh and the landmarks over the photograph, [H,W,3] uint8."""
    t, image = fit.tracking, fit.photograph.image
    longer = max(image.shape[:2])
    factor = min(max(longer, OVERLAY_LEAST), OVERLAY_MOST) / longer
    if factor != 1:
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)
    height, width = image.shape[:2]
    K = scaled_camera(t, width, height)
    vertices = head_vertices(t, head)
    faces, _, _ = rasterize_mesh(
        torch.as_tensor(vertices), head.faces, torch.eye(4)[None], torch.as_tensor(K)[None], width, height
    )
    empty = np.zeros((height, width), np.uint8)
    points = fit.face.points * [width / t.width, height / t.height]
    return OverlayPainter(head).paint(image, vertices[0], faces[0].numpy(), points, empty, np.full_like(empty, 255))


def scaled_camera(tracking: Performance, width: int, height: int) -> np.ndarray:
    """K [3,3] float32 for a copy of the photograph of width x height pixels."""
    scaled: np.ndarray = tracking.K * np.array([[width / tracking.width], [height / tracking.height], [1.0]])
    return scaled.astype(np.float32)


def _write_picture(path: Path, image: np.ndarray) -> None:
    how: dict[str, Any] = {"compress_level": 3} if path.suffix == ".png" else {"quality": 95}
    Image.fromarray(np.ascontiguousarray(image)).save(path, **how)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures in the panel: what training shows of itself, and files. As icons, so that no image appears in the .blend."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from bpy.utils import previews

_SIZE = 256
_previews = None
_version = 0
_shown = False
_pictures = None


def show(image: np.ndarray) -> None:
    """Show an image [H,W,3] uint8 in the panel."""
    global _previews, _version, _shown
    if bpy.app.background or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        return
    _previews = _previews or previews.new()
    _version += 1
    # An icon is cached on the graphics card once drawn: each image gets an icon of its own, the old ones go.
    for name in list(_previews)[:-1]:
        del _previews[name]
    item = _previews.new(f"training {_version}")
    pixels = _fit(image)
    item.image_size = (pixels.shape[1], pixels.shape[0])
    item.image_pixels_float.foreach_set(pixels.ravel())
    _shown = True


def _fit(image: np.ndarray) -> np.ndarray:
    """Nearest pixels on a square [256,256,4] float32, bottom row first, transparent around."""
    height, width = image.shape[:2]
    longest = max(height, width)
    target = np.zeros((_SIZE, _SIZE, 4), dtype=np.float32)
    rows, columns = max(1, _SIZE * height // longest), max(1, _SIZE * width // longest)
    picked = image[np.arange(rows) * height // rows][:, np.arange(columns) * width // columns]
    top, left = (_SIZE - rows) // 2, (_SIZE - columns) // 2
    target[top : top + rows, left : left + columns, :3] = picked[::-1] / np.float32(255)
    target[top : top + rows, left : left + columns, 3] = 1
    return target


def icon() -> int:
    """The icon's number, 0 when there is nothing to show."""
    return _previews[f"training {_version}"].icon_id if _shown and _previews else 0


def version() -> int:
    """Changes with every image."""
    return _version if _shown else 0


def clear() -> None:
    """Forget the picture of an earlier job."""
    global _shown
    _shown = False


def picture(path: Path) -> int:
    """The icon's number of a picture file, read again when the file changes; 0 when there is none."""
    global _pictures
    if bpy.app.background:
        return 0
    try:
        name = f"{path} {path.stat().st_mtime_ns}"
    except OSError:
        return 0
    _pictures = _pictures or previews.new()
    if name not in _pictures:
        _pictures.load(name, str(path), "IMAGE")
    return _pictures[name].icon_id


def unregister() -> None:
    global _previews, _shown, _pictures
    if _pictures is not None:
        previews.remove(_pictures)
        _pictures = None
    if _previews is not None:
        previews.remove(_previews)
        _previews, _shown = None, False

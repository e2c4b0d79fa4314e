# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures in the panel: what training shows of itself, and files. As icons, so that no image appears in the .blend."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from bpy.utils import previews

_SIZE = 256
_previews = None
_names: dict[int, list[str]] = {}  # of each job's last two pictures: the older one may still be on the screen
_versions: dict[int, int] = {}
_pictures = None


def show(job: int, image: np.ndarray) -> None:
    """Make an image [H,W,3] uint8 the picture of the job with this number."""
    global _previews
    if bpy.app.background or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        return
    _previews = _previews or previews.new()
    _versions[job] = _versions.get(job, 0) + 1
    # An icon is cached on the graphics card once drawn: each image gets an icon of its own, the old ones go.
    names = _names.setdefault(job, [])
    while len(names) > 1:
        del _previews[names.pop(0)]
    names.append(f"job {job}, picture {_versions[job]}")
    item = _previews.new(names[-1])
    pixels = _fit(image)
    item.image_size = (pixels.shape[1], pixels.shape[0])
    item.image_pixels_float.foreach_set(pixels.ravel())


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


def icon(job: int) -> int:
    """The icon's number of a job's picture, 0 when there is nothing to show."""
    names = _names.get(job)
    return _previews[names[-1]].icon_id if names and _previews else 0


def version(job: int) -> int:
    """Changes with every image of a job; 0: there is none."""
    return _versions.get(job, 0)


def clear(job: int) -> None:
    """Forget the picture of an earlier job."""
    for name in _names.pop(job, ()):
        del _previews[name]
    _versions.pop(job, None)


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
    global _previews, _pictures
    for collection in (_pictures, _previews):
        if collection is not None:
            previews.remove(collection)
    _pictures = _previews = None
    _names.clear()
    _versions.clear()

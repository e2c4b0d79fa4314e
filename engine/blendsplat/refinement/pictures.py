# SPDX-License-Identifier: Apache-2.0
"""Pictures as the refinement reads them: small, 8 bits a colour, all in memory, whatever a clip's length.

Beyond IN_MEMORY bytes they lie in a temporary file that the system maps, so a long clip costs disk, not memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from blendsplat.progress import Progress

IN_MEMORY = 500_000_000  # bytes
READERS = 2
ReadPicture = Callable[[int], np.ndarray]  # frame -> uint8 [H,W,3], or matte [H,W]


@dataclass
class Pictures:
    """RGB and matte [F,h,w,4] uint8 of F frames, ``scale`` times the camera's pixels.

    zooms [F] and corners [F,2]: where photographs were cut, each picture has a scale of its own, ``scale`` times its
    zoom, and its left upper corner lies at these pixels of the camera.
    """

    planes: np.ndarray
    scale: float
    zooms: Tensor | None = None
    corners: Tensor | None = None

    def __len__(self) -> int:
        return len(self.planes)

    def at_scale(self, scale: float) -> Pictures:
        """A smaller copy, or these where they are as small."""
        factor = scale / self.scale
        if factor > 0.95:
            return self
        small = [cv2.resize(plane, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for plane in self.planes]
        return replace(self, planes=np.stack(small), scale=self.scale * small[0].shape[1] / self.planes.shape[2])

    def place(self, pixels: Tensor, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """The camera's pixels [B,N,2] in the pictures ``rows`` [B] -> pixels there, and their scales [B or 1,1,1]."""
        if self.zooms is None or self.corners is None:
            return pixels * self.scale, torch.full((1, 1, 1), self.scale)
        scales = self.scale * self.zooms[rows][:, None, None]
        return (pixels - self.corners[rows][:, None]) * scales, scales

    def frames(self, rows: Tensor | slice) -> Tensor:
        """float32 [B,4,h,w] of some frames, 0 to 1."""
        chosen = self.planes[rows if isinstance(rows, slice) else rows.numpy()]
        return torch.from_numpy(np.ascontiguousarray(chosen)).permute(0, 3, 1, 2).float() / 255


@contextmanager
def read_pictures(
    image: ReadPicture, matte: ReadPicture | None, frames: np.ndarray, scale: float, progress: Progress
) -> Iterator[Pictures]:
    """The given frames [F] of a clip, resized by ``scale`` (at most 1). Without mattes everything is the person."""

    def read(frame: int) -> np.ndarray:
        picture = image(int(frame))
        alpha = np.full(picture.shape[:2], 255, np.uint8) if matte is None else matte(int(frame))
        how = cv2.INTER_AREA
        small = picture if scale >= 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how)
        height, width = small.shape[:2]
        return np.dstack([small, cv2.resize(alpha, (width, height), interpolation=how)])

    whole = image(int(frames[0])).shape[1]
    first = read(frames[0])
    shape = (len(frames), *first.shape)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(READERS) as pool:
        planes: np.ndarray
        if np.prod(shape) > IN_MEMORY:
            planes = np.memmap(Path(folder) / "pictures", np.uint8, "w+", shape=shape)
        else:
            planes = np.empty(shape, np.uint8)
        for row, plane in enumerate(pool.map(read, frames)):
            progress.check()
            planes[row] = plane
        yield Pictures(planes, first.shape[1] / whole)
        del planes

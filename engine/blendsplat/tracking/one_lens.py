# SPDX-License-Identifier: Apache-2.0
"""A clip whose lens zooms, as one lens would have taken it: what is fitted to it needs not know of the zoom."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from blendsplat.fitting import zoom as lens
from blendsplat.fitting.initial_poses import clip_cuts
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.video import Clip
from blendsplat.video.lens import without_zoom


@dataclass(frozen=True)
class OneLens:
    """The pictures, mattes and landmarks of ``clip`` at the focal length of its median frame."""

    clip: Clip
    detected: np.ndarray  # [F,478,2] pixels
    centre: np.ndarray  # [2] principal point in pixels
    zoom: np.ndarray  # [F]

    @classmethod
    def of(cls, clip: Clip, points: np.ndarray, centre: tuple[float, float]) -> OneLens:
        """Before any zoom is known. points [F,478,2] pixels."""
        return cls(clip, points, np.array(centre), np.ones(clip.frame_count))

    @property
    def points(self) -> np.ndarray:
        """[F,478,2] pixels."""
        return lens.without_zoom(self.detected, self.zoom, self.centre)

    def image(self, frame: int) -> np.ndarray:
        return without_zoom(self.clip.image(frame), float(self.zoom[frame]), self.centre, continued=True)

    def matte(self, frame: int) -> np.ndarray:
        """Continued beyond the picture's border, where nobody knows that the person ends."""
        return without_zoom(self.clip.matte(frame), float(self.zoom[frame]), self.centre, continued=True)

    def matte_inside(self, frame: int) -> np.ndarray:
        """0 beyond the picture's border, of which no colour is known."""
        return without_zoom(self.clip.matte(frame), float(self.zoom[frame]), self.centre)

    def corrected(self, head: HeadModel, tracking: Performance) -> OneLens:
        """With the zoom that ``tracking``, which was fitted to this, still shows as a slow change of distance."""
        shots = np.cumsum(clip_cuts(self.points, tracking.valid, np.asarray(self.clip.info.shots)))
        sizes = lens.apparent_zoom(head, tracking)
        zoom = self.zoom * lens.slow_part(sizes, tracking.valid, tracking.timestamps, shots)
        return replace(self, zoom=zoom / np.median(zoom[tracking.valid]))

# SPDX-License-Identifier: Apache-2.0
"""The person and the lens, from the first seconds: what every later frame is fitted with, and moves no more.

Shape and focal length stay as they are found here. Gaussians are learned in the frames of the head's triangles, and
features of the frames that the fit gives: another shape or lens in the middle would shift both under what was learned.
A take that is tracked again afterwards has the whole of it to find them from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blendsplat.fitting.fit import fit_clip
from blendsplat.fitting.fit_options import FitOptions
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.live.look import Looked
from blendsplat.tracking.pipeline import camera_prior
from blendsplat.video.clip import ClipInfo

SECONDS = 1.5  # of pictures with a face that are waited for,
FEWEST = 20  # and how many of them at least, as long as more come
MOST = 90  # pictures kept meanwhile
KEYFRAMES = 16  # of them that tell shape and lens: half a clip's, since everything waits for them


class Settling:
    """Collects the first pictures that show the face."""

    def __init__(self) -> None:
        self.frames: list[Looked] = []

    def add(self, looked: Looked) -> None:
        """Keep a picture; one without a face tells nothing yet."""
        if looked.points is not None and np.isfinite(looked.points).all():
            self.frames.append(looked)
            self.frames = self.frames[-MOST:]

    @property
    def ready(self) -> bool:
        """Whether enough has been seen."""
        frames = self.frames
        return len(frames) >= FEWEST and (frames[-1].seconds - frames[0].seconds >= SECONDS or len(frames) >= MOST)


def settle(
    head: HeadModel, head_source: str, frames: Sequence[Looked], info: ClipInfo, options: FitOptions | None = None
) -> Performance:
    """The performance of ``frames``, with the person and the camera. info: the take's size, square and source.

    Raises NoFaceError when none could be fitted.
    """
    points = np.stack([frame.points[:, :2] for frame in frames if frame.points is not None])
    times = np.array([frame.seconds for frame in frames])
    return fit_clip(
        head, points, np.ones(len(frames), bool), times, info.width, info.height,
        camera_prior(info, options or FitOptions(keyframes=KEYFRAMES)), head_source,
        mattes=lambda row: frames[row].matte,
    )  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""Whether an avatar's video is as steady as its clip: the change from frame to frame, beside the video's own.

A score of single frames cannot tell a face that trembles from one that is a little soft; an eye tells at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.avatar import Avatar, TrainingCamera
from blendsplat.geometry import project_points
from blendsplat.heads.model import HeadParams

STEPS = 255.0  # figures are in the 8 bit steps that a picture has
STILL = 1.0  # pixels a frame at SIDE: the median speed of the head's points below which a moment is still
SIDE = 512
POINTS = 300
_FRAMES_AT_ONCE = 32


class Steadiness:
    """Takes in frames in their order and compares the render's changes with the video's."""

    def __init__(self, cuts: Iterable[int] = (), still: dict[int, bool] | None = None) -> None:
        """cuts: frames at which a shot begins. still: frame -> whether the head hardly moves from the one before to
        it."""
        self._cuts, self._still = set(cuts), still or {}
        self._last: list[tuple[int, Tensor, Tensor, Tensor]] = []
        self._energy = {"render": 0.0, "video": 0.0}
        self._moments = 0

    def feed(self, number: int, image: Tensor, target: Tensor, counted: Tensor) -> dict[str, float]:
        """The next frame: image, target [H,W,3], counted [H,W,1] 0 to 1: the person's pixels that are scored.

        -> {"change", "video_change": mean absolute change since the frame before, "change_error": of their difference},
        in 8 bit steps over pixels counted in both frames; {} where the frame before is not the last one, or another
        shot.
        """
        if self._last and (number != self._last[-1][0] + 1 or number in self._cuts):
            self._last = []
        self._last = [*self._last[-2:], (number, image, target, counted)]
        if len(self._last) < 2:
            return {}
        (_, image0, target0, counted0), (_, image1, target1, counted1) = self._last[-2:]
        weights = counted0 * counted1
        total = float(weights.sum()) * image.shape[-1]
        if total == 0:
            return {}
        render, video = image1 - image0, target1 - target0
        if len(self._last) == 3 and all(self._still.get(each, False) for each in (number, number - 1)):
            self._add_moment(weights * self._last[0][3])
        return {
            name: STEPS * float((change.abs() * weights).sum()) / total
            for name, change in (("change", render), ("video_change", video), ("change_error", render - video))
        }

    def figures(self) -> dict[str, float | None]:
        """{"tremble": the render's energy of second differences over the video's, in still moments, None where there
        was none or the video's was 0; "still_moments": how many there were}."""
        known = self._moments > 0 and self._energy["video"] > 0
        tremble = self._energy["render"] / self._energy["video"] if known else None
        return {"tremble": tremble, "still_moments": float(self._moments)}

    def _add_moment(self, weights: Tensor) -> None:
        """The energy that does not change steadily over the last three frames."""
        _, renders, videos, _ = zip(*self._last, strict=True)
        for name, (before, now, after) in (("render", renders), ("video", videos)):
            self._energy[name] += float(((before - 2 * now + after).square() * weights).sum())
        self._moments += 1


@torch.no_grad()
def still_moments(
    avatar: Avatar, params: HeadParams, numbers: list[int], camera: TrainingCamera, points: np.ndarray | None = None
) -> dict[int, bool]:
    """Frame -> whether the head hardly moves from the frame before to it, of the frames ``numbers`` whose parameters
    ``params`` are (one row each) and that follow one another. points: vertices that tell; None: all."""
    count = avatar.head.vertex_count
    chosen = np.arange(count) if points is None or not len(points) else np.asarray(points)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(POINTS, len(chosen))).astype(int)]
    index = torch.as_tensor(chosen, device=params.expression.device)
    parts = []
    for start in range(0, len(numbers), _FRAMES_AT_ONCE):
        rows = torch.arange(start, min(start + _FRAMES_AT_ONCE, len(numbers)), device=index.device)
        places = avatar.vertices(params[rows])[:, index]
        batch = len(places)
        parts.append(project_points(places, camera.viewmat.expand(batch, 4, 4), camera.K.expand(batch, 3, 3)).cpu())
    pixels = torch.cat(parts) * (SIDE / max(camera.width, camera.height))
    speeds = (pixels[1:] - pixels[:-1]).norm(dim=-1).median(dim=1).values
    return {
        number: bool(speed < STILL)
        for before, number, speed in zip(numbers, numbers[1:], speeds.tolist(), strict=False)
        if number == before + 1
    }

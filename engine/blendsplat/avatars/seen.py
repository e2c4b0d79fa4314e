# SPDX-License-Identifier: Apache-2.0
"""What the clip that trained an avatar showed: how far every slider, jaw, neck and eyes went, and from which sides the
camera saw the head. An artist is told of it beside the sliders; docs/formats.md has the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch

from blendsplat.avatars.retarget import head_rotations
from blendsplat.heads.model import HeadParams

STEP = 15.0  # degrees: a cell of the grid of views
PITCHES, YAWS = 7, 9  # cells, the middle one straight ahead; what is farther aside is in the outermost
_PERCENTILES = (0, 1, 99, 100)


@dataclass(frozen=True)
class Seen:
    """Float32 arrays whose first axis is lowest, 1st percentile, 99th percentile, highest of the training frames:
    expression [4,E]; jaw_pose, neck_pose [4,3], eyes_pose [4,2,3] as rotation vectors; eyelids [4,2]. views
    [PITCHES,YAWS]: share of the frames in which the camera saw the head from there; row 0 from above, column 0 from the
    person's right."""

    expression: np.ndarray
    jaw_pose: np.ndarray
    neck_pose: np.ndarray
    eyes_pose: np.ndarray
    eyelids: np.ndarray
    views: np.ndarray

    @classmethod
    def of(cls, params: HeadParams, viewmat: torch.Tensor) -> Seen:
        """Of the training frames, seen by one camera (world-to-camera [4,4])."""

        def spread(values: torch.Tensor) -> np.ndarray:
            rows = values.detach().cpu().double().expand(params.batch, *values.shape[1:]).numpy()
            return np.percentile(rows, _PERCENTILES, axis=0).astype(np.float32)

        return cls(
            spread(params.expression), spread(params.jaw_pose), spread(params.neck_pose), spread(params.eyes_pose),
            spread(params.eyelids), views(params, viewmat),
        )  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        """As the avatar file holds it."""
        return {f"seen.{item.name}": getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_file(cls, arrays: Mapping[str, np.ndarray]) -> Seen | None:
        """Of an avatar file's checked arrays; None where they do not say."""
        names = {item.name: f"seen.{item.name}" for item in fields(cls)}
        if not set(names.values()) <= arrays.keys():
            return None
        return cls(**{name: arrays[stored] for name, stored in names.items()})


def views(params: HeadParams, viewmat: torch.Tensor) -> np.ndarray:
    """The share of B frames [PITCHES,YAWS] float32 in which the head is seen from each direction."""
    yaw, pitch = (part.cpu().numpy() for part in view_angles(params, viewmat))
    columns = np.clip(np.rint(yaw / STEP).astype(int) + YAWS // 2, 0, YAWS - 1)
    lines = np.clip(PITCHES // 2 - np.rint(pitch / STEP).astype(int), 0, PITCHES - 1)
    grid = np.zeros((PITCHES, YAWS), np.float32)
    np.add.at(grid, (lines, columns), 1)
    return grid / np.float32(max(1, len(yaw)))


def view_angles(params: HeadParams, viewmat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Yaw and pitch [B] in degrees of the camera as the head sees it: yaw above 0 to the person's left, pitch above 0
    above them."""
    view = viewmat.detach().double()
    eye = -view[:3, :3].T @ view[:3, 3]
    towards = eye - params.translation.detach().double()
    seen = torch.einsum("bji,bj->bi", head_rotations(params).detach().double().expand(params.batch, 3, 3), towards)
    seen = seen / seen.norm(dim=1, keepdim=True).clamp_min(1e-9)
    yaw = torch.rad2deg(torch.atan2(seen[:, 0], seen[:, 2]))
    return yaw, torch.rad2deg(torch.asin(seen[:, 1].clamp(-1, 1)))

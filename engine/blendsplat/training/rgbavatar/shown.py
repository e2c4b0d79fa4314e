# SPDX-License-Identifier: Apache-2.0
"""How well the training's frames show each Gaussian: what is seen edge on, at the head's outline, is hardly known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.avatars.rgbavatar.surface import Surface
from blendsplat.geometry import face_normals
from blendsplat.splatting import gaussian_pixel_weights
from blendsplat.splatting.scene import Gaussians
from blendsplat.training.frame_store import FrameStore

FRAMES = 24  # looked at, spread over all
FACING = 0.35  # cosine between a triangle's normal and the direction to the camera, below which it is seen edge on
LEAST_WEIGHT = 0.02  # of a Gaussian in a pixel (alpha times transmittance) that counts


@dataclass(frozen=True)
class Shown:
    """Weight of each of N Gaussians in a frame's pixels, on the average over frames: ``at_all``, and where its triangle
    ``facing`` the camera carries it."""

    at_all: Tensor  # [N]
    facing: Tensor  # [N]


@torch.no_grad()
def how_shown(avatar: RGBAvatar, data: FrameStore, pose: Callable[[list[int]], tuple[Gaussians, Surface]]) -> Shown:
    """pose: some of the data's rows -> their Gaussians, and the surface that carries them."""
    camera, count = avatar.camera, avatar.gaussian_count
    eye = -camera.viewmat[:3, :3].T @ camera.viewmat[:3, 3]
    at_all, facing = eye.new_zeros(count), eye.new_zeros(count)
    rows = sorted({round(row) for row in np.linspace(0, len(data) - 1, FRAMES)})
    for row in rows:
        gaussians, surface = pose([row])
        frames = data.batch([row])
        weight, _ = gaussian_pixel_weights(
            gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, camera.viewmat[None],
            camera.K[None], frames.premultiplied, frames.person, LEAST_WEIGHT,
        )  # fmt: skip
        at_all += weight
        facing += weight * (_cosines(surface.vertices[0], avatar.head.faces, eye) > FACING)[avatar.triangle]
    return Shown(at_all / len(rows), facing / len(rows))


def _cosines(vertices: Tensor, faces: Tensor, eye: Tensor) -> Tensor:
    """[F]: between each triangle's normal and the direction to the eye."""
    normals = torch.nn.functional.normalize(face_normals(vertices[None], faces)[0], dim=1)
    towards = torch.nn.functional.normalize(eye - vertices[faces].mean(1), dim=1)
    return (normals * towards).sum(1)

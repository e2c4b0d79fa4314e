# SPDX-License-Identifier: Apache-2.0
"""A learned key as a picture: the avatar's resting face with the key two deviations below its mean, at it and above,
and, because a key of an entangled avatar is hardly seen, where it changes the picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from blendsplat.avatars.rendering import render_gaussians
from blendsplat.avatars.rgbavatar.key_effects import KeyEffect
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.geometry import matrix_to_rotvec
from blendsplat.heads.face_places import PLACES, face_places
from blendsplat.heads.model import HeadParams

_FACE = [PLACES.index(name) for name in ("mouth", "mouth corner", "chin", "cheek", "nose", "eye", "brow", "forehead")]
STEPS = (-2.0, 0.0, 2.0)  # deviations
_BACKGROUND = 0.18
_MARGIN = 1.15  # about the face's own width or height
_TIMES = 6.0  # that a change is shown, in
_GLOW = (1.0, 0.6, 0.1)


@torch.no_grad()
def key_views(avatar: RGBAvatar, effects: list[KeyEffect], size: int) -> Iterator[np.ndarray]:
    """[4,size,size,3] uint8 for each key: by STEPS, then what changes between the outer two."""
    params = resting_params(avatar)
    vertices = avatar.vertices(params)
    view = avatar.camera.viewmat
    K = _closeup(avatar, vertices[0], size)
    mean = vertices.new_tensor([effect.mean for effect in effects])
    grey = torch.full((1, 3), _BACKGROUND, device=vertices.device)
    for effect in effects:
        views = []
        for step in STEPS:
            weights = mean.clone()
            weights[effect.index] += step * effect.deviation
            image = render_gaussians(avatar.gaussians(weights[None], vertices), view, K, size, size, grey)[0][0]
            views.append(image.clamp(0, 1).cpu().numpy())
        change = np.abs(views[-1] - views[0]).max(-1, keepdims=True)
        light = views[1].mean(-1, keepdims=True)
        views.append((0.35 * light + _TIMES * change * np.array(_GLOW, np.float32)).clip(0, 1))
        yield (np.stack(views) * 255 + 0.5).astype(np.uint8)


def resting_params(avatar: RGBAvatar) -> HeadParams:
    """The person's neutral face, held as in the avatar's own clip; of an older file the head model's own."""
    device, head, told = avatar.positions.device, avatar.head, avatar.reference
    face = told.face if told is not None else None

    def one(values: np.ndarray | None, *shape: int) -> torch.Tensor:
        return torch.zeros(1, *shape, device=device) if values is None else torch.as_tensor(
            values, dtype=torch.float32, device=device
        )[None]  # fmt: skip

    rotation = None if told is None else matrix_to_rotvec(told.rotation[None].float())[0].numpy()
    return HeadParams(
        shape=torch.zeros(1, 0, device=device),
        expression=one(face.expression if face else None, head.expression_count),
        root_pose=one(rotation, 3), neck_pose=one(None, 3), jaw_pose=one(face.jaw_pose if face else None, 3),
        eyes_pose=one(face.eyes_pose if face else None, 2, 3), eyelids=one(face.eyelids if face else None, 2),
        translation=one(None if told is None else told.translation.numpy(), 3),
    )  # fmt: skip


def _closeup(avatar: RGBAvatar, vertices: torch.Tensor, size: int) -> torch.Tensor:
    """The training camera's K [3,3] turned into one whose square picture the face fills."""
    view, K = avatar.camera.viewmat, avatar.camera.K
    face = torch.as_tensor(np.flatnonzero(np.isin(face_places(avatar.head), _FACE)), device=vertices.device)
    shown = vertices[face] if len(face) else vertices
    seen = (shown @ view[:3, :3].T + view[:3, 3]) @ K.T
    places = seen[:, :2] / seen[:, 2:].clamp_min(1e-6)
    low, high = places.amin(0), places.amax(0)
    scale = size / (_MARGIN * float((high - low).max().clamp_min(1e-6)))
    close = K.clone()
    close[:2] *= scale
    close[:2, 2] = size / 2 + scale * (K[:2, 2] - (low + high) / 2)
    return close

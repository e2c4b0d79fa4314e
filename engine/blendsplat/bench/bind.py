# SPDX-License-Identifier: Apache-2.0
"""Blend and bind of an avatar's batch in buffers made once: the calls that the benchmarks time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.avatars.rgbavatar.surface import Surface
from blendsplat.splatting.bind import BindParameters, BindPass, Carrier
from blendsplat.splatting.playback import PlaybackPass
from blendsplat.splatting.scene import Gradients


def bind_calls(
    avatar: RGBAvatar, weights: Tensor, surface: Surface
) -> tuple[Callable[[], object], Callable[[], object]]:
    """(forward, backward) of weights [B,K] on the surface of B frames; backward belongs to the last forward."""
    bind = BindPass(len(weights), avatar.gaussian_count, avatar.blendshape_count, weights.device)
    carrier = Carrier(
        surface.vertices, surface.frames, surface.quats, avatar.triangle, avatar.corners, avatar.barycentrics
    )  # fmt: skip
    parameters = BindParameters(*(getattr(avatar, name).detach() for name in BindParameters._fields))
    weights = weights.detach()

    def forward() -> None:
        bind.forward(parameters, weights, carrier)

    forward()
    gradients = Gradients(*(torch.full_like(output, 1e-3) for output in bind.gaussians.tensors()))
    return forward, lambda: bind.backward(gradients)


def halved_copy(avatar: RGBAvatar) -> RGBAvatar:
    """The avatar as its file would have it: blendshapes in half precision."""
    copy = avatar.keep(torch.ones(avatar.gaussian_count, dtype=torch.bool, device=avatar.positions.device))
    copy.halve_bases()
    return copy


def play_calls(
    avatar: RGBAvatar, weights: Tensor, vertices: Tensor
) -> tuple[Callable[[], object], Callable[[], object]]:
    """(pose, bind) of playing weights [B,K] on posed vertices [B,V,3]; bind belongs to the last pose."""
    playback, weights, vertices = PlaybackPass(len(weights), avatar.packed()), weights.detach(), vertices.contiguous()
    playback.pose(vertices)
    return lambda: playback.pose(vertices), lambda: playback.bind(weights)

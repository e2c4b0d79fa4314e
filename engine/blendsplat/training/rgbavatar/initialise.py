# SPDX-License-Identifier: Apache-2.0
"""An untrained avatar on a tracked head: Gaussians on its surface, default values, first colours from pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.avatars.rgbavatar.model import RGBAvatar, features_of_colors
from blendsplat.geometry import face_normals
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.training.frame_store import FrameBatch
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset
from blendsplat.training.spread import part_spread

PixelWeights = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]  # (images, mask, threshold)

PIXEL_WEIGHT = 0.1  # a pixel counts for a Gaussian that shows with at least this weight (alpha times transmittance)
TOTAL_WEIGHT = 0.1  # a Gaussian is initialised once the weights of a batch exceed this
TRUSTED = 0.1  # only frames that count at least this much in the training, a usual one 1


def new_avatar(
    head: HeadModel, camera: TrainingCamera, preset: RGBAvatarPreset, params: HeadParams, name: str
) -> RGBAvatar:
    """The avatar before training (section 3.2). params: the training frames, for the features' origin and spread."""
    avatar = RGBAvatar.on_head(
        head, preset.uv_resolution, camera, blendshapes=preset.blendshapes,
        hidden=(preset.mlp_width, preset.mlp_width) if preset.mapping == "mlp" else (), space=preset.space, name=name,
    )  # fmt: skip
    initialise_mlp(avatar.mlp, torch.Generator().manual_seed(preset.seed))
    with torch.no_grad():
        avatar.log_scales.copy_(initial_scales(avatar, preset).log()[:, None].expand(-1, 3))
        avatar.opacity_logits.fill_(float(np.log(preset.initial_opacity / (1 - preset.initial_opacity))))
        avatar.feature_origin.copy_(params.translation[0])
        if preset.standardise_features:
            features = avatar.features(params)
            avatar.feature_shift.copy_(features.mean(0))
            avatar.feature_scale.copy_(1 / part_spread(features, avatar.layout))
    return avatar


def hear_expressions_only(avatar: RGBAvatar) -> None:
    """Let the mapping see nothing but the expression: its other inputs are zero (section 8.1, "w/o pose input", and the
    multi-view setting). So they have no gradient, and their columns in the saved file are zero."""
    start = 0
    for name, size in avatar.layout:
        if name != "expression":
            avatar.feature_scale[start : start + size] = 0
        start += size


@torch.no_grad()
def initialise_mlp(layers: nn.ModuleList, generator: torch.Generator) -> None:
    """As torch initialises linear layers (uniform within one over the root of the inputs), but from a generator of our
    own: the global one is shared with whatever else the process does."""
    for layer in layers:
        assert isinstance(layer, nn.Linear)
        nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
        bound = 1 / math.sqrt(layer.in_features)
        layer.bias.uniform_(-bound, bound, generator=generator)


def initial_scales(avatar: RGBAvatar, preset: RGBAvatarPreset) -> Tensor:
    """[N] metres: the preset's, or its multiple of the width that a texel has on the head's surface."""
    if not preset.texel_scale:
        return torch.full((avatar.gaussian_count,), preset.initial_scale)
    head = avatar.head
    area = face_normals(head.template[None], head.faces)[0].norm(dim=-1) / 2  # [F] square metres
    corners = head.uvs[head.uv_faces]
    edges = corners[:, 1:] - corners[:, :1]
    uv_area = (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).abs() / 2
    width = (area / uv_area.clamp_min(1e-12)).sqrt() / preset.uv_resolution
    return (width * preset.texel_scale)[avatar.triangle].clamp(1e-4, 2e-2)


@torch.no_grad()
def initialise_colors(avatar: RGBAvatar, initialised: Tensor, frames: FrameBatch, pixel_weights: PixelWeights) -> None:
    """Set, once, the colours of Gaussians that this batch sees well enough to their pixels' weighted mean (eq. 3).

    initialised [N] bool is updated. pixel_weights: of the frames' Gaussians (TrainingStep.pixel_weights).
    Which Gaussians are set is decided on the device: nothing waits for it.
    """
    mask = frames.person & (frames.weights > TRUSTED)[:, None, None]
    straight = frames.premultiplied / frames.alpha.clamp_min(1 / 255)
    weight, weighted = pixel_weights(straight.clamp(0, 1), mask, PIXEL_WEIGHT)
    fresh = (weight > TOTAL_WEIGHT) & ~initialised
    seen = features_of_colors(weighted / weight.clamp_min(TOTAL_WEIGHT)[:, None])
    avatar.colors.copy_(torch.where(fresh[:, None], seen, avatar.colors))
    initialised |= fresh

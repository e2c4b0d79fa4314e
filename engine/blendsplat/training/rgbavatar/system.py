# SPDX-License-Identifier: Apache-2.0
"""RGBAvatar as a system of the house."""

from __future__ import annotations

from blendsplat.avatars.rgbavatar.model import SCHEMA, RGBAvatar
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.system import AvatarSystem

RGBAVATAR = AvatarSystem(
    SCHEMA, lambda meta, arrays, device: RGBAvatar.from_file(meta, arrays).to(device), RGBAvatarPreset, RGBAvatarTrainer
)

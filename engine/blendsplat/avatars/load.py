# SPDX-License-Identifier: Apache-2.0
"""An avatar's file to its avatar, whichever system learned it."""

from __future__ import annotations

from pathlib import Path

import torch

from blendsplat.avatars.avatar import Avatar
from blendsplat.avatars.file import read_avatar
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.errors import FormatError


def load_avatar(path: Path | str, device: torch.device | str = "cpu") -> Avatar:
    """Read an avatar file. Raises FormatError for a damaged or newer file and for a system this version lacks."""
    meta, arrays = read_avatar(path)
    if meta["system"] != "rgbavatar":
        raise FormatError(
            f"{path} holds an avatar of the system {meta['system']!r}, which this Blendsplat lacks: update it."
        )
    return RGBAvatar.from_file(meta, arrays).to(device)

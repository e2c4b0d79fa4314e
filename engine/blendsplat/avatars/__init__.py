# SPDX-License-Identifier: Apache-2.0
"""Avatars: learned Gaussians on a head, their file, their rendering and their export."""

from blendsplat.avatars.avatar import Avatar, Gaussians, TrainingCamera
from blendsplat.avatars.file import describe_avatar, read_avatar, write_avatar
from blendsplat.avatars.load import load_avatar
from blendsplat.avatars.ply import export_ply
from blendsplat.avatars.rgbavatar.model import RGBAvatar

__all__ = [
    "Avatar",
    "Gaussians",
    "RGBAvatar",
    "TrainingCamera",
    "describe_avatar",
    "export_ply",
    "load_avatar",
    "read_avatar",
    "write_avatar",
]

# SPDX-License-Identifier: Apache-2.0
"""The avatar systems that this Blendsplat knows, and what is done with any of them: load, choose a preset, train."""

from blendsplat.systems.presets import list_presets, load_preset, make_preset
from blendsplat.systems.registry import SYSTEMS, describe_avatar, load_avatar, read_avatar, system_of, train_avatar

__all__ = [
    "SYSTEMS",
    "describe_avatar",
    "list_presets",
    "load_avatar",
    "load_preset",
    "make_preset",
    "read_avatar",
    "system_of",
    "train_avatar",
]

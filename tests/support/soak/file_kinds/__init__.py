# SPDX-License-Identifier: Apache-2.0
"""Every kind of file that a user can point at: a sound one, what may have happened to it, and who reads it."""

from __future__ import annotations

from . import avatars, captures, clips, heads, of_addon, pictures
from .kind import ROOT, Kind, Target
from .of_addon import addon

__all__ = ["KINDS", "ROOT", "Kind", "Target", "addon"]

KINDS: dict[str, Kind] = {
    kind.name: kind for topic in (avatars, clips, heads, captures, pictures, of_addon) for kind in topic.KINDS
}

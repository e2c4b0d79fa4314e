# SPDX-License-Identifier: Apache-2.0
"""SYSTEMS: every avatar system by name. A new one is a folder in avatars/ and training/, and one line here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.avatars import file
from blendsplat.avatars.avatar import Avatar
from blendsplat.errors import InputError
from blendsplat.progress import Progress
from blendsplat.training.dipguava.system import DIPGUAVA
from blendsplat.training.loop import TrainResult, run_training
from blendsplat.training.presets import Preset
from blendsplat.training.rgbavatar.system import RGBAVATAR
from blendsplat.training.system import AvatarSystem

SYSTEMS: dict[str, AvatarSystem] = {system.name: system for system in (RGBAVATAR, DIPGUAVA)}


def system_of(name: str) -> AvatarSystem:
    """A system by name. Raises InputError that says which there are."""
    if name not in SYSTEMS:
        raise InputError(f"There is no avatar system {name!r}; known are {', '.join(SYSTEMS)}.")
    return SYSTEMS[name]


def read_avatar(path: Path | str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of an avatar file, checked. Raises FormatError with the reason and the way out."""
    return file.read_avatar(path, {name: system.schema for name, system in SYSTEMS.items()})


def describe_avatar(path: Path | str) -> dict[str, Any]:
    """The header of an avatar file, with the file checked."""
    return read_avatar(path)[0]


def load_avatar(path: Path | str, device: torch.device | str = "cpu") -> Avatar:
    """Read an avatar file. Raises FormatError for a damaged or newer file and for a system this version lacks."""
    meta, arrays = read_avatar(path)
    return SYSTEMS[meta["system"]].load(meta, arrays, device)


def train_avatar(
    directory: Path | str,
    preset: Preset,
    output: Path | str,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    start: Path | None = None,
) -> TrainResult:
    """Train an avatar of the preset's system on a tracked clip: loop.run_training."""
    return run_training(system_of(preset.system).trainer, directory, preset, output, progress, device, start)

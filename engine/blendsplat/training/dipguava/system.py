# SPDX-License-Identifier: Apache-2.0
"""DipGuava as a system of the house."""

from __future__ import annotations

from blendsplat.avatars.dipguava.model import SCHEMA, DipGuava
from blendsplat.training.dipguava.preset import DipGuavaPreset
from blendsplat.training.dipguava.trainer import DipGuavaTrainer
from blendsplat.training.system import AvatarSystem

DIPGUAVA = AvatarSystem(
    SCHEMA, lambda meta, arrays, device: DipGuava.from_file(meta, arrays).to(device), DipGuavaPreset, DipGuavaTrainer
)

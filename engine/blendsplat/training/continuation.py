# SPDX-License-Identifier: Apache-2.0
"""Going on from what another training has left: a live session's avatar, trained on offline with its take.

A checkpoint continues one training exactly and belongs to it. This is looser: other frames, another tracking of them,
another sampler and schedule, but the same Gaussians on the same head model, with the optimiser's memory of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from blendsplat.avatars.file import SUFFIX
from blendsplat.errors import FormatError, InputError
from blendsplat.training.presets import Preset
from blendsplat.training.sampler import Sampler
from blendsplat.training.trainer import Snapshot, Trainer

LATEST = 0.5  # of the preset's images: where a training goes on at the latest, so that its rates still fall


def continuation_path(avatar: Path | str) -> Path:
    """NAME.avatar.npz -> NAME.live.safetensors, which a live session leaves beside it."""
    avatar = Path(avatar)
    stem = avatar.name[: -len(SUFFIX)] if avatar.name.endswith(SUFFIX) else avatar.stem
    return avatar.with_name(f"{stem}.live.safetensors")


def load_continuation(avatar: Path | str) -> Snapshot:
    """What lies beside ``avatar`` to go on from. Raises InputError where nothing does, FormatError for a damaged
    file."""
    path = continuation_path(avatar)
    if not path.is_file():
        raise InputError(
            f"There is no {path.name} beside {avatar}, from which a training could go on: it is written by a live "
            "session. Train from the beginning instead, or name that session's avatar."
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return Snapshot(tensors, json.loads((file.metadata() or {})["plain"]))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise FormatError(f"{path} is damaged; train from the beginning instead.", repr(error)) from error


def go_on_from(trainer: Trainer[Any, Any], snapshot: Snapshot, preset: Preset, source: Path | str) -> None:
    """Put ``trainer``, just made, where ``snapshot`` stands: Gaussians, network, moments, and as far in the preset's
    schedule as there were images. Raises InputError when the preset or the head are of another make."""
    head = trainer.avatar.head
    if snapshot.plain.get("head_model") != head.model_id:
        raise InputError(
            f"{source} lies on another head than {head.name!r}, with which the clip is tracked: track the clip with "
            "the head of that avatar, or train from the beginning."
        )
    fresh: Sampler = trainer.sampler
    try:
        images = min(int(snapshot.plain["images"]), int(LATEST * preset.images))
        plain = {
            "images": images, "frames": 0, "arrived": 0, "sampler": fresh.state(), "callbacks": {},
        }  # fmt: skip
        trainer.restore(Snapshot(snapshot.tensors, plain))
    except (LookupError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"A training with the preset {preset.name!r} cannot go on from {source}: its Gaussians, blendshapes or "
            "network are of other numbers. Choose the preset that fits (draft), or train from the beginning.",
            repr(error),
        ) from error

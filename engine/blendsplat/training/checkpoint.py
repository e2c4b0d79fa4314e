# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: everything a training needs to go on exactly where it stopped, in one safetensors file.

A checkpoint belongs to one clip and one preset; any other training starts fresh and puts the old file aside.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from blendsplat.avatars.file import SUFFIX
from blendsplat.files import atomic_path
from blendsplat.tensor_files import write_tensors
from blendsplat.training.presets import Preset, training_identity
from blendsplat.training.trainer import Snapshot

FORMAT = "blendsplat-checkpoint"
VERSION = "1"


def checkpoint_path(output: Path | str) -> Path:
    """NAME.avatar.npz -> NAME.checkpoint.safetensors in the same folder."""
    output = Path(output)
    stem = output.name[: -len(SUFFIX)] if output.name.endswith(SUFFIX) else output.stem
    return output.with_name(f"{stem}.checkpoint.safetensors")


def training_fingerprint(preset: Preset, clip_fingerprint: str) -> str:
    """What a checkpoint is bound to."""
    text = json.dumps([VERSION, training_identity(preset), clip_fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save_checkpoint(path: Path, snapshot: Snapshot, fingerprint: str) -> None:
    """Write atomically. Raises StorageError, with the previous checkpoint untouched."""
    metadata = {"format": FORMAT, "version": VERSION, "fingerprint": fingerprint, "plain": json.dumps(snapshot.plain)}
    with atomic_path(path) as temporary:
        write_tensors(temporary, snapshot.tensors, metadata)


def load_checkpoint(path: Path, fingerprint: str) -> tuple[Snapshot | None, str]:
    """(snapshot, "") to continue from; or (None, a sentence for the user, empty when there was no checkpoint).

    A checkpoint of another preset or clip, or a damaged one, is renamed, not lost.
    """
    if not path.is_file():
        return None, ""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("fingerprint") == fingerprint:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
                return Snapshot(tensors, json.loads(metadata["plain"])), ""
        label, reason = "other", "belongs to another preset or another tracking of the clip"
    except (SafetensorError, OSError, ValueError, KeyError):
        label, reason = "damaged", "is damaged"
    aside = put_aside(path, label)
    return None, f"The checkpoint {path.name} {reason}; it was kept as {aside.name} and training starts fresh."


def put_aside(path: Path, label: str) -> Path:
    """Rename a checkpoint to NAME.LABEL-1.checkpoint.safetensors, or the next number that is free: that path."""
    stem = path.name.removesuffix(".checkpoint.safetensors")
    number = 1
    while (aside := path.with_name(f"{stem}.{label}-{number}.checkpoint.safetensors")).exists():
        number += 1
    path.replace(aside)
    return aside

# SPDX-License-Identifier: GPL-3.0-or-later
"""Solo, names and pictures of an avatar's learned keys: what an artist looks at to find the one that is wanted."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy

from .. import formats
from . import learned_keys, networks

TABLE, SHEET = "keys.json", "sheet.png"
_SOLO = "blendsplat_solo"


def folder_of(carrier: bpy.types.Object) -> Path | None:
    """Where the pictures of the avatar's keys lie: beside its file."""
    path = networks.file_of(carrier)
    return path.with_name(f"{path.name.removesuffix('.avatar.npz')} keys") if path is not None else None


def picture_of(carrier: bpy.types.Object, index: int) -> Path | None:
    """The strip of a learned key at -2, 0 and +2 deviations; None where it was not drawn since the avatar's file."""
    folder = folder_of(carrier)
    return folder / f"{index + 1:02d}.png" if folder is not None and _current(carrier, folder) else None


def sheet_of(carrier: bpy.types.Object) -> Path | None:
    """The picture of all keys; None where it was not drawn since the avatar's file."""
    folder = folder_of(carrier)
    return folder / SHEET if folder is not None and _current(carrier, folder) else None


def rename(carrier: bpy.types.Object, told: list[dict[str, Any]]) -> int:
    """Call the learned keys by what they do (the engine's job "keys") -> how many. Names of the artist's stay; drivers,
    keyframes and strips follow."""
    keys, renamed = learned_keys.found(carrier), 0
    names = [learned_keys.made_name(carrier.data, index) for index in range(max(keys, default=-1) + 1)]
    for row in told:
        key = keys.get(index := int(row["index"]))
        if key is None:
            continue
        wanted = learned_keys.effect_name(index, str(row["place"]), float(row["share"]))
        if key.name == names[index] and key.name != wanted:
            key.name, renamed = wanted, renamed + 1
            names[index] = key.name
    learned_keys.set_made_names(carrier.data, names)
    return renamed


def soloed(carrier: bpy.types.Object) -> int | None:
    """The learned key that is heard alone; None while none is."""
    told = carrier.data.get(_SOLO)
    return int(told["index"]) if told else None


def solo(carrier: bpy.types.Object, index: int) -> None:
    """Mute all learned keys but one; of the one that is soloed: let the others be as they were before."""
    keys, told = learned_keys.found(carrier), carrier.data.get(_SOLO)
    before = json.loads(told["muted"]) if told else [place for place, key in keys.items() if key.mute]
    if told and int(told["index"]) == index:
        del carrier.data[_SOLO]
        for place, key in keys.items():
            key.mute = place in before
        return
    carrier.data[_SOLO] = {"index": index, "muted": json.dumps(before)}
    for place, key in keys.items():
        key.mute = place != index


def _current(carrier: bpy.types.Object, folder: Path) -> bool:
    path = networks.file_of(carrier)
    made, trained = _changed(folder / SHEET), _changed(path) if path is not None else 0
    return bool(made) and made >= trained


def _changed(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 where there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)
def _read(path: Path, _when: int) -> list[dict[str, Any]]:
    try:
        rows = formats.read_json(path)["keys"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return rows if isinstance(rows, list) else []


def shares(carrier: bpy.types.Object) -> dict[int, float]:
    """What part of all movement each learned key has, by its place in the network's order, as far as it is known."""
    folder = folder_of(carrier)
    rows = _read(folder / TABLE, _changed(folder / TABLE)) if folder is not None else []
    return {int(row["index"]): float(row["share"]) for row in rows if {"index", "share"} <= row.keys()}

# SPDX-License-Identifier: Apache-2.0
"""``avatar.drive``: an avatar's Gaussians for head parameters that the client holds, whichever system learned it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blendsplat.errors import InputError
from blendsplat.jobs.arrays import Arrays
from blendsplat.jobs.devices import resolve_device
from blendsplat.jobs.driven_heads import checked_heads, head_tensors
from blendsplat.jobs.options import AnyPath, Device, HoldBack, Options, View
from blendsplat.serving.protocol import MAX_ATTACHMENT_BYTES

if TYPE_CHECKING:
    from blendsplat.avatars.avatar import Avatar

_BYTES_A_GAUSSIAN = 4 * (3 + 4 + 3 + 1 + 3)
_KEPT_AVATARS = 4


class DriveRequest(Options):
    """Parameters of ``avatar.drive``. bounded: what the avatar was never shown is held back, as in Avatar.drive; shown:
    which of the avatar's views; hold_back: as Avatar.hold."""

    path: AnyPath
    device: Device = "auto"
    bounded: bool = False
    shown: View = "full"
    hold_back: HoldBack = 0.0


class AvatarCache:
    """The avatars that were used last, loaded; a file that has changed is loaded again."""

    def __init__(self, load: Callable[[Path, str], Avatar]) -> None:
        """load(path, device)."""
        self._load = load
        self._kept: dict[tuple[str, str], tuple[tuple[int, int], Avatar]] = {}  # the last one was used last
        self._lock = threading.Lock()

    def get(self, path: Path, device: str) -> Avatar:
        """The avatar in ``path`` as it is now; raises what ``load`` does."""
        try:
            status = path.stat()
        except OSError:
            return self._load(path, device)  # which says what is wrong with it
        state, key = (status.st_mtime_ns, status.st_size), (str(path), device)
        with self._lock:
            kept = self._kept.pop(key, None)
            avatar = kept[1] if kept is not None and kept[0] == state else self._load(path, device)
            self._kept[key] = state, avatar
            while len(self._kept) > _KEPT_AVATARS:
                del self._kept[next(iter(self._kept))]
        return avatar


def _load(path: Path, device: str) -> Avatar:
    from blendsplat.systems import load_avatar

    return load_avatar(path, device=device)


_avatars = AvatarCache(_load)


def drive_avatar(request: DriveRequest, arrays: Arrays) -> Arrays:
    """Head parameters of B frames (as HeadParams, without shape; with ``vertices`` [B,V,3] where the heads are not
    where these put them) -> the avatar's world-space Gaussians: means [B,N,3], quats [B,N,4], scales [B,N,3], opacities
    [B,N], colors [B,N,3], float32.

    Raises InputError for missing, wrongly shaped or non-finite arrays, for a view that the avatar does not have and for
    answers above the protocol's size.
    """
    heads = checked_heads("avatar.drive", arrays)
    frames = len(heads["expression"])
    device = resolve_device(request.device)
    avatar = _avatars.get(request.path, device)
    if frames * avatar.gaussian_count * _BYTES_A_GAUSSIAN > MAX_ATTACHMENT_BYTES:
        raise InputError(
            f"{avatar.gaussian_count} Gaussians in {frames} frames are too many for one answer; ask for fewer frames."
        )
    return _driven(avatar, heads, request, device)


def _driven(avatar: Avatar, heads: Arrays, request: DriveRequest, device: str) -> Arrays:
    import torch

    params, vertices = head_tensors(heads, device)
    avatar.show(request.shown)
    avatar.hold(request.hold_back)
    with torch.inference_mode():
        gaussians = avatar.drive(params, bounded=request.bounded, vertices=vertices)
    frames = len(heads["expression"])
    return {item.name: _rows(getattr(gaussians, item.name).cpu().numpy(), frames) for item in fields(gaussians)}


def _rows(array: np.ndarray, frames: int) -> np.ndarray:
    """[1,N,...] or [B,N,...] -> [B,N,...]: what is the same in all frames may come in one row."""
    return np.broadcast_to(array, (frames, *array.shape[1:]))

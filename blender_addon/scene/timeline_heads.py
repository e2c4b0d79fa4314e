# SPDX-License-Identifier: GPL-3.0-or-later
"""What a head does in frames of the timeline, read while the artist works on.

The frames are evaluated in a scene of their own that no window shows and that is gone when they are read: the artist's
frame does not move, poses that are not keyed yet stay, and nothing but the head and what moves it is evaluated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import bpy
import numpy as np

from . import head_rig, networks
from .head_drivers import key_path
from .weight_network import HeadState

_T = TypeVar("_T")
_NAME = ".Blendsplat reads frames"


def read(carrier: bpy.types.Object, frames: list[int], seconds: float = float("inf")) -> dict[str, np.ndarray]:
    """``networks.head_arrays`` of the first of these frames, as many as ``seconds`` allow, at least one: [B,...].

    Raises NetworksError."""
    head = carrier.blendsplat.head
    rows = walk(head, frames, seconds, lambda depsgraph: networks.head_arrays(carrier, depsgraph), surface=True)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def states(carrier: bpy.types.Object, frames: list[int], seconds: float = float("inf")) -> list[HeadState]:
    """What the network of an avatar's blendshapes takes, of the first of these frames, as ``read``."""
    head = carrier.blendsplat.head
    return walk(head, frames, seconds, lambda depsgraph: head_rig.head_state(head, depsgraph))


def walk(
    head: bpy.types.Object, frames: list[int], seconds: float, take: Callable[[bpy.types.Depsgraph], _T], *,
    surface: bool = False,
) -> list[_T]:  # fmt: skip
    """What ``take`` finds of the head in the first of these frames, as many as ``seconds`` allow, at least one.
    surface: the mesh is evaluated as well, which takes many times as long as sliders and bones alone."""
    end, found = time.monotonic() + seconds, []
    with _scene_of(head, surface) as scene:
        for frame in frames:
            scene.frame_set(frame)
            found.append(take(scene.view_layers[0].depsgraph))
            if time.monotonic() > end:
                break
    return found


@contextmanager
def _scene_of(head: bpy.types.Object | None, surface: bool) -> Iterator[bpy.types.Scene]:
    """A scene that evaluates the head alone, hidden or not: an empty looks at it."""
    scene = bpy.data.scenes.new(_NAME)
    empty = bpy.data.objects.new(_NAME, None)
    try:
        scene.collection.objects.link(empty)
        if surface or head is None:
            empty.constraints.new("SHRINKWRAP").target = head
        else:
            _look_at_sliders(empty, head)
        yield scene
    finally:
        bpy.data.scenes.remove(scene)
        bpy.data.objects.remove(empty)


def _look_at_sliders(empty: bpy.types.Object, head: bpy.types.Object) -> None:
    """Let the empty depend on the head's shape keys and on its bones, and so on all that moves these."""
    driver = empty.driver_add("location", 0).driver
    driver.type = "AVERAGE"
    target = driver.variables.new().targets[0]
    target.id_type, target.id = "KEY", head.data.shape_keys
    target.data_path = key_path(head.data.shape_keys.key_blocks[-1].name)
    rig = head.blendsplat.rig
    if rig is not None and len(rig.pose.bones):
        follows = empty.constraints.new("COPY_LOCATION")
        follows.target, follows.subtarget = rig, rig.pose.bones[0].name

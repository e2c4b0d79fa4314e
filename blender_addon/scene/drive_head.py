# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody before a camera drives an avatar of the scene: each tracked frame becomes what its head does now.

How the driver rests, and where the head is held, is learned from the first frames; from there on expressions are
counted from rest to rest, and the head moves about where the avatar's own clip held it, as in performances.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np

from ..formats import Performance
from . import avatar_rig, head_rig, keyframes, learned_keys, preview_performance, reenact, retarget
from .neutral_face import NUMBERS, Neutral
from .weight_network import HeadState

FEWEST = 20  # frames of a face at rest, by which the driver is known
ARRAYS = ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")

Frame = dict[str, np.ndarray]  # by ARRAYS, [1,...]


@dataclass
class Driver:
    """Who is before the camera. frames: the first ones, until there are enough."""

    frames: list[Frame] = field(default_factory=list)
    rest: Neutral | None = None
    place: retarget.Reference | None = None

    def hear(self, frame: Frame) -> None:
        """Learn how the driver rests, while that is not known."""
        if self.rest is not None:
            return
        self.frames.append(frame)
        if len(self.frames) >= FEWEST:
            together = performance_of(self.frames)
            self.rest = {name: np.median(together.arrays[name], axis=0) for name in NUMBERS}
            self.place, self.frames = retarget.Reference.of(together), []

    def forget(self) -> None:
        """The driver rests otherwise now: learn it again."""
        self.frames, self.rest, self.place = [], None, None


def performance_of(frames: list[Frame]) -> Performance:
    """Frames as a performance without times."""
    arrays = {name: np.concatenate([frame[name] for frame in frames]) for name in ARRAYS}
    told = {"timestamps": np.arange(len(frames), dtype=float), "valid": np.ones(len(frames), bool)}
    return Performance(Path("live"), {}, arrays | told)


def is_whole(arrays: dict[str, np.ndarray], head: bpy.types.Object) -> bool:
    """Whether a frame's arrays belong together and to a head."""
    count = len(head_rig.expression_names(head))
    shapes = {"expression": (1, count), "eyes_pose": (1, 2, 3), "eyelids": (1, 2)}
    return all(
        name in arrays and arrays[name].shape == shapes.get(name, (1, 3)) and np.isfinite(arrays[name]).all()
        for name in ARRAYS
    )


def drive(carrier: bpy.types.Object, driver: Driver, frame: Frame, acting: reenact.Acting) -> bool:
    """Let the avatar do what the driver does; False while it is not known how the driver rests. The avatar's own keys
    are held until preview_performance.stop."""
    driver.hear(frame)
    if driver.rest is None or driver.place is None:
        return False
    if not preview_performance.running(carrier):
        preview_performance.hold(carrier, copies=False)
    played, face, reference = performance_of([frame]), avatar_rig.face_of(carrier), avatar_rig.reference_of(carrier)
    if face is not None:
        played = reenact.reenacted(played, face, acting, own=False, driver=driver.rest)[0]
    if reference is not None:
        played = retarget.rebased(played, reference, own=driver.place)
    _show(carrier, played)
    return True


def _show(carrier: bpy.types.Object, played: Performance) -> None:
    head, network = carrier.blendsplat.head, avatar_rig.network_of(carrier)
    played.meta.setdefault("expression_names", head_rig.expression_names(head))
    rows, frames = np.zeros(1, int), np.zeros(1)
    expressions, pose = head_rig.performance_curves(head, played, rows, frames)
    for owner, curves in ((head.data.shape_keys, expressions), (head.blendsplat.rig, pose)):
        for curve in curves if owner is not None else ():
            keyframes.set_number(owner, curve, float(curve.values[0]))
    if network is not None:
        hold = float(carrier.blendsplat.hold_back)
        weights = network.weights(HeadState.of(played), inside=True, hold=hold)[0]
        reach = learned_keys.LIMIT * np.array([learned_keys.scale_of(carrier.data, k) for k in range(len(weights))])
        learned_keys.take(carrier, np.clip(weights, -reach, reach))

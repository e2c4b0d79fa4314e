# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the engine for the Gaussians of avatars that networks draw, for one frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy
import numpy as np

from ..client import session
from ..client.link import EngineError, LinkError
from ..scene import avatar_nodes, avatar_rig, networks
from ..space import TO_BLENDER
from .gather import Gaussians, transformed

# (method, parameters, arrays) -> the arrays of the engine's answer. Raises LinkError, EngineError.
Ask = Callable[[str, dict[str, Any], dict[str, np.ndarray]], dict[str, np.ndarray]]


class Networks:
    """The networks' Gaussians in an evaluated scene. Each avatar's view is asked for once, however often it is seen."""

    def __init__(self, depsgraph: bpy.types.Depsgraph, ask: Ask) -> None:
        self._depsgraph, self._ask = depsgraph, ask
        self._known: dict[tuple[str, str], Gaussians] = {}

    def __call__(self, carrier: bpy.types.Object, shown: str) -> Gaussians:
        """In the space of the carrier (an original object). Raises NetworksError, LinkError."""
        key = (carrier.name_full, shown)
        if key not in self._known:
            self._known[key] = self._asked(carrier, shown)
        return self._known[key]

    def _asked(self, carrier: bpy.types.Object, shown: str) -> Gaussians:
        sentence = "" if session.remote() else networks.missing_file(carrier)
        if sentence:
            raise networks.NetworksError(sentence)
        arrays = networks.head_arrays(carrier, self._depsgraph)
        params = {
            "path": session.engine_path(networks.file_of(carrier) or ""), "device": session.device(),
            "bounded": carrier.blendsplat.foreign, "shown": shown.lower(),
            "hold_back": float(carrier.evaluated_get(self._depsgraph).blendsplat.hold_back),
        }  # fmt: skip
        try:
            answer = self._ask("avatar.drive", params, arrays)
        except EngineError as error:
            raise networks.NetworksError(f"{error.sentence} For {carrier.name!r}: {networks.way_out()}") from error
        return transformed(_checked(answer), self._from_engine(carrier))

    def _from_engine(self, carrier: bpy.types.Object) -> np.ndarray:
        """From the head's own space in the engine's axes to the carrier's space [4,4], as the carrier's nodes do."""
        turned = np.eye(4)
        turned[:3, :3] = TO_BLENDER
        modifier = avatar_rig.nodes_of(carrier)
        if modifier is None or not avatar_nodes.follows_heads_place(modifier.node_group):
            return turned
        head = carrier.blendsplat.head.evaluated_get(self._depsgraph)
        place = carrier.evaluated_get(self._depsgraph).matrix_world.inverted_safe() @ head.matrix_world
        return np.array(place) @ turned


def _checked(answer: dict[str, np.ndarray]) -> Gaussians:
    """One frame of what avatar.drive gave. Raises LinkError."""
    names = Gaussians.__dataclass_fields__
    if any(name not in answer or len(answer[name]) != 1 for name in names):
        raise LinkError("The engine's answer lacks Gaussians; install the engine again.")
    return Gaussians(*(answer[name][0] for name in names))

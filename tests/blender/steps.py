# SPDX-License-Identifier: Apache-2.0
"""The steps of the work in one call, for tests that begin after them."""

from __future__ import annotations

import bpy
import numpy as np


def work(scene) -> None:
    assert bpy.ops.blendsplat.import_video() == {"FINISHED"}
    assert bpy.ops.blendsplat.track() == {"FINISHED"}
    assert bpy.ops.blendsplat.train() == {"FINISHED"}


def the_avatar(scene):
    return next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")


def positions(carrier) -> np.ndarray:
    """The evaluated Gaussians' places, flat."""
    mesh = carrier.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values)
    return values

# SPDX-License-Identifier: GPL-3.0-or-later
"""How the panel's expressions are put onto a face."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, FloatProperty


class BlendsplatPosing(bpy.types.PropertyGroup):
    """A scene's choices for the faces that are put on in it."""

    blend: FloatProperty(
        name="Blend", default=1.0, min=0.0, soft_max=1.0, max=2.0, subtype="FACTOR",
        description="How far an expression goes from what the face does now: 0 nothing happens, 1 all the way, beyond "
        "1 exaggerated",
    )  # fmt: skip
    key: BoolProperty(
        name="Key It",
        description="Also set keyframes of all that an expression changes, in the present frame. With Auto Keying on "
        "that is done anyway",
    )


register, unregister = bpy.utils.register_classes_factory((BlendsplatPosing,))

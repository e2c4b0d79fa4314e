# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab "Avatar", its panels in the order of the work. Panels only read; operators and jobs do."""

from __future__ import annotations

import bpy

from . import check_tracking, engine, layout, photograph, steps, track, train, video

CLASSES = (
    *engine.CLASSES, layout.BLENDSPLAT_PT_work, *photograph.CLASSES, *video.CLASSES, *track.CLASSES,
    *check_tracking.CLASSES, *train.CLASSES, *steps.CLASSES,
)  # fmt: skip
register, unregister = bpy.utils.register_classes_factory(CLASSES)

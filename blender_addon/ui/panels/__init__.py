# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab "Avatar", its panels in the order of the work. Panels only read; operators and jobs do."""

from __future__ import annotations

import bpy

from . import check_tracking, engine, face, keys, learned_keys, live, photograph, steps, track, train, video, work

CLASSES = (
    *work.CLASSES, *engine.CLASSES, *photograph.CLASSES, *live.CLASSES, *video.CLASSES, *track.CLASSES,
    *check_tracking.CLASSES, *train.CLASSES, *steps.CLASSES, *face.CLASSES, *learned_keys.CLASSES, *keys.CLASSES,
)  # fmt: skip
register, unregister = bpy.utils.register_classes_factory(CLASSES)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab "Avatar", its panels in the order of the work. Panels only read; operators and jobs do."""

from __future__ import annotations

import bpy

from . import check_tracking, engine, photograph, splat_geometry, steps

CLASSES = (*engine.CLASSES, *photograph.CLASSES, *steps.CLASSES, *splat_geometry.CLASSES, *check_tracking.CLASSES)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

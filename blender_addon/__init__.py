# SPDX-License-Identifier: GPL-3.0-or-later
"""Blendsplat: from a video of a person talking to a keyframed, rendered avatar. Registration and nothing else."""

from __future__ import annotations

from .client import jobs, preview, pump, session, test_picture, weights_check
from .render import beyond_words, viewport, write_lock
from .render import engine as render_engine
from .scene import face_link, follow_head, saved_paths, surroundings
from .ui import (
    acting,
    face_properties,
    face_shelf,
    live_properties,
    operators,
    panels,
    pass_properties,
    photographs,
    posing_properties,
    preferences_page,
    properties,
    status_bar,
    training_presets,
    translations,
)

_MODULES = (
    translations, preferences_page, photographs, acting, face_properties, live_properties, posing_properties,
    properties, pass_properties, operators, training_presets, panels, face_shelf, status_bar, render_engine, viewport,
    beyond_words, write_lock, face_link, follow_head, saved_paths, surroundings,
)  # fmt: skip


def register() -> None:
    for module in _MODULES:
        module.register()


def unregister() -> None:
    for module in reversed(_MODULES):
        module.unregister()
    pump.unregister()
    jobs.unregister()
    weights_check.unregister()
    test_picture.unregister()
    session.unregister()
    preview.unregister()

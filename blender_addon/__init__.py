# SPDX-License-Identifier: GPL-3.0-or-later
"""Blendsplat: from a video of a person talking to a keyframed, rendered avatar. Registration and nothing else."""

from __future__ import annotations

from . import (
    jobs,
    live,
    operators,
    panels,
    photographs,
    preferences,
    preview,
    properties,
    render_engine,
    session,
    weights,
)

_MODULES = (preferences, photographs, properties, operators, panels, render_engine, live)


def register() -> None:
    for module in _MODULES:
        module.register()


def unregister() -> None:
    for module in reversed(_MODULES):
        module.unregister()
    jobs.unregister()
    weights.unregister()
    session.stop()
    preview.unregister()

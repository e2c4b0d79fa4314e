# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators, one file per step of the work."""

from __future__ import annotations

from . import (
    avatar,
    bake,
    bake_live,
    check_tracking,
    details,
    drive_live,
    editors,
    engine,
    export,
    expressions,
    face,
    face_clipboard,
    fit_image,
    fitted_head,
    head_keys,
    import_video,
    installation,
    large_picture,
    layers,
    learned_keys,
    live,
    measure_avatar,
    pack,
    performances,
    pick,
    relink,
    results,
    several,
    splat_geometry,
    surroundings,
    track,
    train,
)

_MODULES = (
    editors, engine, installation, details, results, fit_image, fitted_head, import_video, live, drive_live, track,
    check_tracking, train, large_picture, measure_avatar, avatar, performances, bake, bake_live, splat_geometry,
    surroundings, export, pick, relink, several, pack, learned_keys, face, face_clipboard, head_keys, layers,
    expressions,
)  # fmt: skip


def register() -> None:
    for module in _MODULES:
        module.register()


def unregister() -> None:
    for module in reversed(_MODULES):
        module.unregister()

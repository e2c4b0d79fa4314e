# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's panel and the preferences' page both show: what installing brings, how far it is, a picture."""

from __future__ import annotations

import shutil
import time
from functools import lru_cache

import bpy

from ... import preferences
from ...client import preview, test_picture, torch_builds
from ..operators import installation
from .layout import paragraph, progress


def plan() -> str:
    """What pressing Install brings, and how much room there is: said before."""
    wanted = installation.sources()
    build = torch_builds.planned(wanted.torch, wanted.index, wanted.torch_index)
    free = _free(str(preferences.user_directory()), int(time.monotonic() // 10))
    room = f" {free / torch_builds.GIGABYTE:.0f} GB are free there." if free else ""
    return f"{torch_builds.in_words(build)}{room}"


@lru_cache(maxsize=1)
def _free(folder: str, _now: int) -> int:
    """Free bytes; looked at every ten seconds at most, as panels are drawn more often than that."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def draw_installation(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """The running installation with its bar and the way to stop it, or why the last one failed."""
    now = installation.installation()
    if now is None:
        return
    if now.state == "failed":
        paragraph(context, column, now.error, "ERROR")
        column.operator("blendsplat.engine_log", text="What Was Said", icon="TEXT")
    elif now.state == "running":
        come = f" ({now.come / 1e6:,.0f} MB)" if now.come >= 1e6 else ""
        progress(column, now.fraction, "Cancelling..." if now.cancelling else now.step + come)
        column.label(text=(now.lines or [""])[-1][:60])
        column.operator("blendsplat.engine_install_cancel", icon="X")


def draw_online_access(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """The way on, where Blender may not use the network."""
    if installation.may_use_network():
        return
    if bpy.app.online_access_override:
        sentence = "Installing needs the network, and this Blender was started with --offline-mode: start it without."
        paragraph(context, column, sentence, "INTERNET_OFFLINE")
        return
    paragraph(context, column, "Installing needs the network, which Blender may not use yet.", "INTERNET_OFFLINE")
    column.operator("extensions.userpref_allow_online", text="Allow Online Access", icon="CHECKMARK")
    column.operator("blendsplat.open_preferences", text="Open Preferences > System", icon="PREFERENCES").page = "SYSTEM"


def draw_test_picture(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """The last test picture and what it says."""
    shown = test_picture.lines()
    if test_picture.report() is not None and preview.icon(test_picture.PREVIEW):
        column.template_icon(icon_value=preview.icon(test_picture.PREVIEW), scale=5.0)
    for sentence, icon in shown:
        paragraph(context, column, sentence, icon)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 0: the engine is installed, checked, ended, and its log shown."""

from __future__ import annotations

import contextlib
from pathlib import Path

import bpy

from ... import preferences
from ...client import install, pump, session, weights_check
from ...client.link import LinkError
from . import common

_installation: install.Installation | None = None
_followed = False  # it ran at the last look


def installation() -> install.Installation | None:
    """The running or last installation of this Blender session."""
    return _installation


def wheels_directory() -> Path:
    """Where build_addon.py puts the engine's wheels inside the extension."""
    return Path(__file__).resolve().parents[2] / "engine"


class Install(common.Grey, bpy.types.Operator):
    """Download and install the engine into the add-on's own folder (about 1 GB; once). Can be cancelled and repeated"""

    bl_idname = "blendsplat.engine_install"
    bl_label = "Install Engine"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if _installation is not None and _installation.state == "running":
            return "The engine is being installed."
        if not bpy.app.online_access:
            return "Blender may not use the network: allow Online Access in Preferences > System."
        if not install.bundled_wheels(wheels_directory()):
            return "This add-on was built without an engine inside; point at an existing engine instead."
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        global _installation, _followed
        session.stop()  # files of a running engine cannot be replaced
        prefs = preferences.get()
        _installation = install.Installation(
            preferences.environment_directory(), wheels_directory(), prefs.package_index.strip()
        )
        if bpy.app.background:
            _installation.run()
            if _installation.state != "done":
                self.report({"ERROR"}, _installation.error)
                return {"CANCELLED"}
        else:
            _installation.start()
            _followed = True
            pump.wake()
        return {"FINISHED"}


class CancelInstall(common.Grey, bpy.types.Operator):
    """Stop the installation; the next attempt goes on from what is there"""

    bl_idname = "blendsplat.engine_install_cancel"
    bl_label = "Cancel Installation"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        running = _installation is not None and _installation.state == "running"
        return "" if running else "Nothing is being installed."

    def execute(self, _context: bpy.types.Context) -> set[str]:
        if _installation is not None:
            _installation.cancel()
        return {"FINISHED"}


class Check(common.Grey, bpy.types.Operator):
    """Start the engine and ask what it can do"""

    bl_idname = "blendsplat.engine_check"
    bl_label = "Check Engine"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if session.link.state != "starting" else "The engine is starting."

    def execute(self, _context: bpy.types.Context) -> set[str]:
        try:
            session.start(patient=False)
            if bpy.app.background:
                session.link.wait_ready()
        except LinkError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class Stop(common.Grey, bpy.types.Operator):
    """End the engine. A running training keeps its checkpoint"""

    bl_idname = "blendsplat.engine_stop"
    bl_label = "End Engine"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if session.link.state in ("starting", "ready") else "The engine does not run."

    def execute(self, _context: bpy.types.Context) -> set[str]:
        session.stop()
        pump.turn()
        return {"FINISHED"}


class ShowLog(common.Grey, bpy.types.Operator):
    """Open the engine's log in Blender's text editor"""

    bl_idname = "blendsplat.engine_log"
    bl_label = "Show Log"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if session.log_path().exists() else "There is no log yet."

    def execute(self, context: bpy.types.Context) -> set[str]:
        name = "Blendsplat engine log"
        text = bpy.data.texts.get(name) or bpy.data.texts.new(name)
        content = session.log_path().read_text(encoding="utf-8", errors="replace")
        # The engine may keep a fuller log of its own.
        own = Path(str(session.link.hello.get("log") or ""))
        if own.is_file() and own != session.log_path():
            content += f"\n--- {own}\n" + own.read_text(encoding="utf-8", errors="replace")
        text.from_string(content[-200_000:])
        if _installation is not None:
            text.write("\n--- installation\n" + "\n".join(_installation.lines[-500:]))
        self.report({"INFO"}, f"See {name!r} in a text editor.")
        for area in context.window.screen.areas if context.window else ():
            if area.type == "TEXT_EDITOR":
                area.spaces.active.text = text
        return {"FINISHED"}


class CheckWeights(common.Grey, bpy.types.Operator):
    """Look at the face network's weights: what they are, whether they are whole and usable, under which licence"""

    bl_idname = "blendsplat.check_weights"
    bl_label = "Check Weights"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if weights_check.waiting():
            return "The weights are being checked."
        return common.no_weights() or common.no_command()

    def execute(self, _context: bpy.types.Context) -> set[str]:
        weights_check.check(session.weights())
        if bpy.app.background:
            for sentence, _icon in weights_check.lines(session.weights()):
                self.report({"INFO"}, sentence)
        return {"FINISHED"}


def _watch(_end: float) -> float | None:
    """Follow the installation; start the engine when it is done."""
    global _followed
    running = _installation is not None and _installation.state == "running"
    if _followed and not running and _installation is not None and _installation.state == "done":
        preferences.get().engine_kind = "INSTALLED"
        with contextlib.suppress(LinkError):  # the panel shows the link's sentence
            session.start(patient=False)
    _followed = running
    return pump.SOON if running else None


def _shown() -> object:
    """What panels show of the installation."""
    if _installation is None:
        return None
    return _installation.state, _installation.step, _installation.fraction, _installation.lines[-1:]


CLASSES = (Install, CancelInstall, Check, Stop, ShowLog, CheckWeights)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    pump.add_step(_watch)
    pump.shows(_shown)


def unregister() -> None:
    if _installation is not None:
        _installation.cancel()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)

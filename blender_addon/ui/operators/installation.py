# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 0, the engine of its own: installed, updated, removed, into the add-on's own folder."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import bpy

from ... import preferences
from ...client import install, pump, session, torch_builds
from ...client.link import LinkError
from ...client.workshop import Busy, Sources
from . import common

_installation: install.Installation | None = None
_removal: Removal | None = None
_followed = False  # it ran at the last look


class Removal:
    """The engine is deleted in a thread: gigabytes of small files take their time."""

    def __init__(self, directory: Path) -> None:
        self.running, self.sentence, self.failed = True, "", False
        self._directory = directory

    def start(self) -> Removal:
        threading.Thread(target=self.run, name="blendsplat-remove", daemon=True).start()
        return self

    def run(self) -> None:
        try:
            freed = install.remove(self._directory)
            self.sentence = f"The engine is removed: {freed / torch_builds.GIGABYTE:.1f} GB are free again. {STAYS}"
        except (Busy, OSError) as error:
            self.failed, self.sentence = (
                True,
                f"The engine could not be removed whole: {error} Close other Blenders, try again.",
            )
        self.running = False


STAYS = "Your clips, avatars and .blend files stay where they are, these preferences and the engine's logs, too."


def installation() -> install.Installation | None:
    """The running or last installation of this Blender session."""
    return _installation


def removal() -> Removal | None:
    """The running or last removal of this Blender session."""
    return _removal


def wheels_directory() -> Path:
    """Where build_addon.py puts the engine's wheels inside the extension."""
    return Path(__file__).resolve().parents[2] / "engine"


def sources() -> Sources:
    """Where the preferences let an installation get things from."""
    prefs = preferences.get()
    return Sources(
        prefs.package_index.strip(), prefs.torch_index.strip(), bpy.path.abspath(prefs.certificate.strip()),
        prefs.python_mirror.strip(), prefs.torch,
    )  # fmt: skip


def may_use_network() -> bool:
    return bool(bpy.app.online_access)


def installing() -> bool:
    return _installation is not None and _installation.state == "running"


def removing() -> bool:
    return _removal is not None and _removal.running


def update() -> tuple[str, str] | None:
    """(installed, bundled) version of the engine, where pressing the button changes something."""
    return install.update_for(preferences.installed_engine(), wheels_directory())


class Install(common.Grey, bpy.types.Operator):
    """Download and install the engine into the add-on's own folder, once: about 2 GB for the processor, about 6 GB for a graphics card. Can be cancelled and repeated"""  # noqa: E501 a tooltip is one line

    bl_idname = "blendsplat.engine_install"
    bl_label = "Install Engine"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if installing():
            return "The engine is being installed."
        if removing():
            return "The engine is being removed: wait for that."
        if not install.bundled_wheels(wheels_directory()):
            return "This add-on was built without an engine for this system; point at an existing engine instead."
        if not may_use_network():
            return "Blender may not use the network: allow Online Access in Preferences > System."
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        global _installation, _removal, _followed
        session.stop()  # files of a running engine cannot be replaced
        _removal = None
        _installation = install.Installation(preferences.environment_directory(), wheels_directory(), sources())
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
    """Stop the installation and delete what it was downloading. What is installed already stays for the next attempt"""

    bl_idname = "blendsplat.engine_install_cancel"
    bl_label = "Cancel Installation"

    @classmethod
    def reason(cls, _context: bpy.types.Context) -> str:
        if not installing():
            return "Nothing is being installed."
        return "It is being cancelled." if _installation is not None and _installation.cancelling else ""

    def execute(self, _context: bpy.types.Context) -> set[str]:
        if _installation is not None:
            _installation.cancel()
        return {"FINISHED"}


class Remove(common.Grey, bpy.types.Operator):
    """Delete the installed engine and everything that its installation downloaded. Clips, avatars and scenes stay"""

    bl_idname = "blendsplat.engine_remove"
    bl_label = "Remove the Engine"

    @classmethod
    def reason(cls, _context: bpy.types.Context) -> str:
        if installing():
            return "The engine is being installed: cancel that first."
        if removing():
            return "The engine is being removed."
        folder = preferences.environment_directory()
        if not folder.exists() and not folder.with_name(folder.name + "-install").exists():
            return "No engine is installed here."
        return ""

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(
            self, event, title="Remove the Engine?", message=STAYS, confirm_text="Remove"
        )

    def execute(self, _context: bpy.types.Context) -> set[str]:
        global _removal, _installation
        session.stop()
        _installation = None
        _removal = Removal(preferences.environment_directory())
        if bpy.app.background:
            _removal.run()
            self.report({"ERROR"} if _removal.failed else {"INFO"}, _removal.sentence)
            return {"CANCELLED"} if _removal.failed else {"FINISHED"}
        _removal.start()
        pump.wake()
        return {"FINISHED"}


def _watch(_end: float) -> float | None:
    """Follow the installation; start the engine when it is done."""
    global _followed
    running = installing()
    if _followed and not running and _installation is not None and _installation.state == "done":
        preferences.get().engine_kind = "INSTALLED"
        with contextlib.suppress(LinkError):  # the panel shows the link's sentence
            session.start(patient=False)
    _followed = running
    return pump.SOON if running or removing() else None


def _shown() -> object:
    """What panels show of installation and removal."""
    now = _installation
    return (
        (now.state, now.step, round(now.fraction, 3), now.lines[-1:], now.cancelling) if now is not None else None,
        (_removal.running, _removal.sentence) if _removal is not None else None,
    )


CLASSES = (Install, CancelInstall, Remove)


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

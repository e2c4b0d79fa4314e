# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 0, whatever engine it is: checked, ended, its log shown, a picture of it; the way to the preferences."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import EnumProperty, IntProperty

from ... import preferences
from ...client import pump, session, test_picture, weights_check
from ...client.link import LinkError
from ...client.workshop import Workshop
from . import common, installation

_LOG = "Blendsplat engine log"
_MOST_LETTERS = 200_000  # of each log


class Check(common.Grey, bpy.types.Operator):
    """Start the engine and ask what it can do"""

    bl_idname = "blendsplat.engine_check"
    bl_label = "Check Engine"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if installation.installing():
            return "The engine is being installed."
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
    def reason(cls, _context: bpy.types.Context) -> str:
        return "" if session.link.state in ("starting", "ready") else "No engine runs."

    def execute(self, _context: bpy.types.Context) -> set[str]:
        session.stop()
        pump.turn()
        return {"FINISHED"}


class DrawTestPicture(common.Grey, bpy.types.Operator):
    """Let the engine draw a small picture, and compare it with what it should be: shows that device, drawing and connection work"""  # noqa: E501 a tooltip is one line

    bl_idname = "blendsplat.test_picture"
    bl_label = "Draw a Test Picture"
    wait: common.WAIT

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if installation.installing():
            return "The engine is being installed."
        return common.cannot_ask(context.scene, test_picture.TOPIC)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        failures: list[str] = []
        test_picture.draw(_keep_picture, failures.append, wait=self.wait or None)
        if failures:
            self.report({"ERROR"}, failures[0])
            return {"CANCELLED"}
        if (report := test_picture.report()) is not None:
            self.report({"INFO"}, " ".join(report.lines))
        return {"FINISHED"}


def _keep_picture(report: test_picture.Report) -> None:
    """Put it into an image of the .blend (which is not saved with it), and into an image editor that is open."""
    size = test_picture.SIZE
    image = bpy.data.images.get(test_picture.NAME)
    if image is None or tuple(image.size) != (size, size):
        image = bpy.data.images.new(test_picture.NAME, size, size, alpha=True)
    image.pixels.foreach_set(report.image[::-1].ravel())  # Blender's first row is the lowest
    image.update()
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "IMAGE_EDITOR" and area.spaces.active.image in (None, image):
                area.spaces.active.image = image


class ShowLog(common.Grey, bpy.types.Operator):
    """Show what the engine and its last installation said, in Blender's text editor"""

    bl_idname = "blendsplat.engine_log"
    bl_label = "Show Log"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if any(path.exists() for _title, path in _logs()) else "There is no log yet."

    def execute(self, context: bpy.types.Context) -> set[str]:
        text = bpy.data.texts.get(_LOG) or bpy.data.texts.new(_LOG)
        parts = []
        for title, path in _logs():
            if path.is_file():
                said = path.read_text(encoding="utf-8", errors="replace")[-_MOST_LETTERS:]
                parts.append(f"--- {title}: {path}\n{said}")
        text.from_string("\n".join(parts))
        self.report({"INFO"}, f"See {_LOG!r} in a text editor.")
        if context.window is not None:
            _show_text(context, text)
        return {"FINISHED"}


def _show_text(context: bpy.types.Context, text: bpy.types.Text) -> None:
    """In the text editors that are open, else in a window of its own, from its last line upwards."""
    windows = context.window_manager.windows
    editors = [area for window in windows for area in window.screen.areas if area.type == "TEXT_EDITOR"]
    if not editors and not bpy.app.background:
        bpy.ops.wm.window_new()
        editors = [windows[-1].screen.areas[0]]
        editors[0].type = "TEXT_EDITOR"
    text.cursor_set(max(0, len(text.lines) - 1))
    for area in editors:
        area.spaces.active.text = text
        area.spaces.active.show_word_wrap = True
        area.spaces.active.top = max(0, len(text.lines) - 30)


def _logs() -> list[tuple[str, Path]]:
    """(title, file) of what there is to read, the engine's first."""
    found = [("The engine", path)] if (path := session.log_path()) is not None else []
    own = Path(str(session.link.hello.get("log") or ""))  # the engine may keep a fuller log of its own
    if own.name and not session.elsewhere():
        found.append(("The engine's own log", own))
    return [*found, ("The last installation", Workshop(preferences.environment_directory()).log)]


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


class OpenPreferences(bpy.types.Operator):
    """Open the preferences at the place where this is set"""

    bl_idname = "blendsplat.open_preferences"
    bl_label = "Open Preferences"
    page: EnumProperty(
        items=[
            ("ADDON", "Blendsplat", "This add-on's preferences"),
            ("SYSTEM", "System", "Where Blender is allowed to use the network"),
        ],
        options={"SKIP_SAVE"},
        description="Which page",
    )

    def execute(self, _context: bpy.types.Context) -> set[str]:
        if self.page == "SYSTEM":
            return bpy.ops.screen.userpref_show(section="SYSTEM")
        return bpy.ops.preferences.addon_show(module=preferences.PACKAGE)


class AddFolder(common.Grey, bpy.types.Operator):
    """Name another folder that this machine and the engine's share"""

    bl_idname = "blendsplat.add_folder"
    bl_label = "Add Shared Folder"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return _no_preferences()

    def execute(self, _context: bpy.types.Context) -> set[str]:
        preferences.get().folders.add()
        return {"FINISHED"}


class RemoveFolder(common.Grey, bpy.types.Operator):
    """Forget these two names; nothing is deleted"""

    bl_idname = "blendsplat.remove_folder"
    bl_label = "Remove Shared Folder"
    index: IntProperty(options={"SKIP_SAVE"}, description="Which of the folders, from 0")

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return _no_preferences()

    def execute(self, _context: bpy.types.Context) -> set[str]:
        preferences.get().folders.remove(self.index)
        return {"FINISHED"}


def _no_preferences() -> str:
    """A script that only imports the extension has no preferences to change."""
    if hasattr(preferences.get(), "folders"):
        return ""
    return "Enable the extension in the preferences first: that is where the folders are kept."


CLASSES = (Check, Stop, DrawTestPicture, ShowLog, CheckWeights, OpenPreferences, AddFolder, RemoveFolder)
register, unregister = bpy.utils.register_classes_factory(CLASSES)

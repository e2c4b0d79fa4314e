# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports that go through frames of the timeline: in short turns of Blender's own, in background all at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.props import IntProperty

from ...exports import ExportError
from . import common, frame_range

_SECONDS = 0.1  # of work between two turns of Blender's own
_running = ""  # the name of the export that goes through the frames


class FrameByFrame(common.Grey):
    """Mix-in: ``work`` goes through frames, one a turn, so that Blender goes on; Esc gives up. The frame that the
    artist was in comes back. In background, and with ``wait``, it returns when all is done."""

    frame_start: IntProperty(name="Start", options={"SKIP_SAVE"}, description="First frame of the timeline to export")
    frame_end: IntProperty(name="End", options={"SKIP_SAVE"}, description="Last frame of the timeline to export")
    wait: common.WAIT

    @classmethod
    def hindrance(cls, context: bpy.types.Context) -> str:
        """Why there is nothing to be exported, or ""."""
        raise NotImplementedError

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if _running:
            return f"{_running} goes through the frames: wait for it, or press Esc."
        if common.is_rendering():
            return "A render goes through the frames: wait for it."
        return cls.hindrance(context)

    def work(self, context: bpy.types.Context, frames: range) -> Iterator[float]:
        """Do it; yields how far it is, 0 to 1, after every frame. Raises ExportError, OSError."""
        raise NotImplementedError

    def told(self) -> str:
        """What came of it, in a sentence."""
        raise NotImplementedError

    @property
    def target(self) -> Path:
        """The file that the artist chose. Raises ExportError."""
        return target_of(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        global _running
        frame_range.take(self, context.scene)
        if sentence := frame_range.problem(self):
            return self._failed(sentence)
        self._scene, self._before = (
            context.scene.session_uid,
            (context.scene.frame_current, context.scene.frame_subframe),
        )
        self._work = self.work(context, range(self.frame_start, self.frame_end + 1))
        if self.wait or bpy.app.background:
            try:
                for _ in self._work:
                    pass
                return self._done()
            except (ExportError, OSError) as error:
                return self._failed(_sentence(error))
            finally:
                self._back(context)
        _running = self.bl_label
        self._timer = context.window_manager.event_timer_add(0.01, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type == "ESC" or context.scene.session_uid != self._scene:
            return self._stop(context, {"CANCELLED"})
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        try:
            end = time.monotonic() + _SECONDS
            while (fraction := next(self._work)) < 1 and time.monotonic() < end:
                pass
            context.workspace.status_text_set(f"{self.bl_label}: {fraction:.0%}, Esc gives up")
        except StopIteration:
            return self._stop(context, self._done())
        except (ExportError, OSError) as error:
            return self._stop(context, self._failed(_sentence(error)))
        except ReferenceError:  # what Python held of the file is another since an undo
            return self._stop(context, self._failed(f"{self.bl_label} was ended by an undo: export again."))
        except Exception:
            self._stop(context, {"CANCELLED"})
            raise
        return {"RUNNING_MODAL"}

    def _done(self) -> set[str]:
        self.report({"INFO"}, self.told())
        return {"FINISHED"}

    def _failed(self, sentence: str) -> set[str]:
        self.report({"ERROR"}, sentence)
        return {"CANCELLED"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends it: another file is opened, the window is closed."""
        global _running
        _running = ""
        self._work.close()

    def _stop(self, context: bpy.types.Context, result: set[str]) -> set[str]:
        self.cancel(context)
        context.window_manager.event_timer_remove(self._timer)
        context.workspace.status_text_set(None)
        self._back(context)
        return result

    def _back(self, context: bpy.types.Context) -> None:
        """To the frame that the artist was in, where his scene is still there."""
        if context.scene.session_uid == self._scene:
            context.scene.frame_set(self._before[0], subframe=self._before[1])


def target_of(operator: bpy.types.Operator) -> Path:
    """The file that was chosen for an export. Raises ExportError where there is none."""
    path = Path(bpy.path.abspath(operator.filepath))
    if not operator.filepath or not path.name or path.is_dir():
        raise ExportError("Choose a file to write: a folder and a name (for scripts: filepath).")
    return path


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'The file'} could not be written: {error.strerror or error}."
    return str(error)

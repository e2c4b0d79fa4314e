# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes back a lock that some Blenders forget: after a render, all of Python's changes to data may stay forbidden.

While Blender calls a class of Python (a panel's draw, a render engine's render) it forbids or allows changes to data,
and afterwards restores what held before the call. Blender 4.3 and 5.0 keep that in one place for all threads (4.5 and
5.2 no longer do). A panel that is being drawn when a render's thread begins, and is ready before it ends, leaves the
render a "forbidden" to restore; from then on every timer and handler fails with "Writing to ID classes in this context
is not allowed", until Blender is started again.

The way out is the same weakness. While Blender calls a property's update it allows changes; a poll that begins
meanwhile, in another thread, restores "allowed" when it ends, and it ends last.
"""

from __future__ import annotations

import threading

import bpy
from bpy.props import IntProperty

from ..client import pump
from ..scene import handlers

_SECONDS = 1.0  # that one of the two waits for the other at most; they need no time at all
_begun, _left = threading.Event(), threading.Event()
_helpers: list[threading.Thread] = []
_due = False


class WriteLock(bpy.types.Operator):
    """Nothing to press: its poll takes a forgotten lock back"""

    bl_idname = "wm.blendsplat_write_lock"
    bl_label = "Blendsplat Write Lock"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if threading.current_thread() is not threading.main_thread():
            _begun.set()
            _left.wait(_SECONDS)
        else:
            cls.poll_message_set("This has nothing to do: it serves while others ask whether it has.")
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        return {"CANCELLED"}


def take_back() -> None:
    """Allow changes again. On the main thread, while nothing is rendered: for a render that runs the lock is right."""
    _begun.clear()
    _left.clear()
    helper = threading.Thread(target=lambda: bpy.ops.wm.blendsplat_write_lock.poll(), daemon=True)
    _helpers.append(helper)
    bpy.context.window_manager.blendsplat_write_lock += 1  # may be written to at any time; its update starts the helper
    _left.set()
    helper.join(_SECONDS)


def _update(_manager: bpy.types.WindowManager, _context: bpy.types.Context) -> None:
    if _helpers:
        _helpers.pop().start()
        _begun.wait(_SECONDS)


def _rendered(*_: object) -> None:
    """In the render's own thread: the lock is taken back by the next turn, which a render's engine is a reason for."""
    global _due
    _due = True


def _step(_end: float) -> float | None:
    global _due
    if not _due:
        return None
    if bpy.app.is_job_running("RENDER"):
        return pump.SOON
    _due = False
    take_back()
    return None


_HANDLERS: handlers.Handlers = (("render_complete", _rendered), ("render_cancel", _rendered))


def register() -> None:
    bpy.utils.register_class(WriteLock)
    bpy.types.WindowManager.blendsplat_write_lock = IntProperty(
        name="Write Lock",
        options={"HIDDEN", "SKIP_SAVE"},
        update=_update,
        description="How often changes by Python were allowed again after a render",
    )
    handlers.add(_HANDLERS)
    pump.add_step(_step)


def unregister() -> None:
    handlers.remove(_HANDLERS)
    del bpy.types.WindowManager.blendsplat_write_lock
    bpy.utils.unregister_class(WriteLock)

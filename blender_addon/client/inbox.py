# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine said by itself, waiting for Blender's main thread.

Blender may be busy for minutes (a render, a dialogue) while a job shows itself several times a second: of each job's
pictures, and of the Gaussians and heads of a live session, only the newest waits. All else waits in order and none is
left out.
"""

from __future__ import annotations

import queue
from typing import Any

from . import wire


class Inbox(queue.Queue[wire.Message]):
    """A queue in which what shows the present takes the place of what showed it before."""

    def _put(self, item: wire.Message) -> None:
        shown = _shows(item.body)
        if shown is not None:
            older = next((place for place, one in enumerate(self.queue) if _shows(one.body) == shown), None)
            if older is not None:
                del self.queue[older]
        super()._put(item)


def _shows(body: dict[str, Any]) -> tuple[str, str] | None:
    """What of which job a message shows the present state of; None where each message counts."""
    params = body.get("params")
    params = params if isinstance(params, dict) else {}
    info = params.get("info")
    method = str(body.get("method"))
    told = info if isinstance(info, dict) else {}
    what = next((name for name in ("splats", "head") if name in told), "") if method == "job.frame" else ""
    if method == "job.preview" or what:
        return method + what, str(params.get("job"))
    return None

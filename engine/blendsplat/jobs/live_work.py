# SPDX-License-Identifier: Apache-2.0
"""Live sessions as a job: from the options to what a session left."""

from __future__ import annotations

from typing import Any

from blendsplat.jobs import options as opt
from blendsplat.jobs.avatar_work import avatar_name, ending_notes
from blendsplat.jobs.devices import resolve_device
from blendsplat.jobs.json_values import plain
from blendsplat.progress import Progress


def run_live_session(options: opt.LiveOptions, progress: Progress) -> dict[str, Any]:
    """-> {avatar, directory, preview, frames, dropped, images, seconds, gaussians, figures, notes}.

    A frame {"stop": true} ends it, {"pause": true} or {"pause": false} holds the capture or lets it go on.
    """
    from blendsplat.live.cameras import open_source
    from blendsplat.live.session import LiveSettings, run_live
    from blendsplat.systems import load_preset

    settings = LiveSettings(
        output=avatar_name(options.output), preset=load_preset(options.preset, options.overrides),
        directory=options.directory, head=options.head, preview=options.preview, seconds=options.seconds,
        mirror=options.mirror, landmarker=options.landmarker, device=resolve_device(options.device),
        learn=options.learn, drive=options.drive,
    )  # fmt: skip
    result = run_live(lambda: open_source(options.source, options.paced, options.loop), settings, progress)
    told: dict[str, Any] = plain(result)
    return {**told, "notes": [*(ending_notes(options.output) if told["avatar"] else ()), *told["notes"]]}

# SPDX-License-Identifier: Apache-2.0
"""The real engine before a generated person: it writes his video and is told his landmarks and mattes, so it needs no
models. Run by the engine's Python.

    python serve_generated.py VIDEO
"""

from __future__ import annotations

import sys
from pathlib import Path

import live_source
from blendsplat.live.session import Parts
from blendsplat.serving.server import serve
from video_files import encode_video

if __name__ == "__main__":
    images, video = live_source.plain().images, Path(sys.argv[1])
    if not video.exists():
        encode_video(video, [images[live_source.footage_row(number)] for number in range(live_source.COUNT)])
    Parts.usual = classmethod(lambda *_: live_source.parts())
    serve()

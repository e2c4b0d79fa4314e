# SPDX-License-Identifier: Apache-2.0
"""Video in and out: decoding, the square around the head, mattes, the clip folder, mp4 files."""

from blendsplat.video.clip import Clip
from blendsplat.video.clip_import import ClipOptions, import_clip
from blendsplat.video.encode import write_mp4, write_png_sequence

__all__ = ["Clip", "ClipOptions", "import_clip", "write_mp4", "write_png_sequence"]

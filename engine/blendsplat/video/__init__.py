# SPDX-License-Identifier: Apache-2.0
"""Video in and out: decoding, the square around the head, mattes, the clip folder, mp4 files."""

from blendsplat.video.clip import Clip
from blendsplat.video.encode import write_mp4, write_png_sequence
from blendsplat.video.importing import ClipOptions, import_clip

__all__ = ["Clip", "ClipOptions", "import_clip", "write_mp4", "write_png_sequence"]

# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the tiny clip, which avatars and training share."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "training"))

from tiny_fixtures import tiny_clip_folder, tiny_head_by_name  # noqa: F401

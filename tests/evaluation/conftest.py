# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the tiny clip."""

from __future__ import annotations

from tiny_fixtures import tiny_clip_folder, tiny_head_by_name  # noqa: F401

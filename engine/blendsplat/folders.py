# SPDX-License-Identifier: Apache-2.0
"""The user's own folders for Blendsplat: where each system keeps what a program caches, logs and is given."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """What can be made again ($BLENDSPLAT_CACHE, or the system's place for caches)."""
    if chosen := os.environ.get("BLENDSPLAT_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return _windows() / "blendsplat"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "blendsplat"
    return _xdg("XDG_CACHE_HOME", ".cache") / "blendsplat"


def log_folder() -> Path:
    """Logs ($BLENDSPLAT_LOG_DIR, or the system's place for them)."""
    if chosen := os.environ.get("BLENDSPLAT_LOG_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        return _windows() / "Blendsplat" / "Logs"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Logs" / "Blendsplat"
    return _xdg("XDG_STATE_HOME", ".local/state") / "blendsplat" / "logs"


def weights_folder() -> Path:
    """Weights of networks, which the user fetches ($BLENDSPLAT_WEIGHTS, or the system's place for a program's data)."""
    if chosen := os.environ.get("BLENDSPLAT_WEIGHTS"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return _windows() / "Blendsplat" / "Weights"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Blendsplat" / "Weights"
    return _xdg("XDG_DATA_HOME", ".local/share") / "blendsplat" / "weights"


def _windows() -> Path:
    return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")


def _xdg(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default)

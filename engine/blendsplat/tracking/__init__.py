# SPDX-License-Identifier: Apache-2.0
"""From a clip's folder to a tracked head: landmarks, the fit over the whole clip, the overlay, metrics."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blendsplat.fitting.fit import FitOptions
    from blendsplat.tracking.metrics import evaluate_tracking
    from blendsplat.tracking.pipeline import TrackOptions, track_clip

__all__ = ["FitOptions", "TrackOptions", "evaluate_tracking", "track_clip"]

_HOMES = {"FitOptions": "fit", "TrackOptions": "pipeline", "track_clip": "pipeline", "evaluate_tracking": "metrics"}


def __getattr__(name: str) -> Any:
    """Import the fit when it is asked for: the video room needs only this package's landmarks."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

# SPDX-License-Identifier: Apache-2.0
"""How long work reports itself: stage, count, figures, preview images; and how it learns that it was cancelled.

The command line draws a bar from it, the server sends notifications, tests pass the silent default.
"""

from __future__ import annotations

import numpy as np

from blendsplat.errors import Cancelled


class Progress:
    """Silent default; subclasses override ``update`` and ``preview`` and may set ``cancelled`` from another thread."""

    def __init__(self) -> None:
        self.cancelled = False

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        """Report that ``done`` of ``total`` units of ``stage`` are finished. figures: e.g. loss=0.02, psnr=29.1."""

    def preview(self, image: np.ndarray) -> None:
        """Offer a preview image [H,W,3] uint8 sRGB."""

    def check(self) -> None:
        """Raise Cancelled if the user cancelled. Call it between frames and between training steps."""
        if self.cancelled:
            raise Cancelled()

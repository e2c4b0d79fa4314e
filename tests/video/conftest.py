# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the video tests: a picture with a face, and a progress that records and cancels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from blendsplat.progress import Progress


@pytest.fixture(scope="session")
def portrait(test_data) -> np.ndarray:
    """A picture with one face, [512,512,3] uint8: the face is about 140 pixels tall, at about (225, 120)."""
    return np.array(Image.open(test_data("images/astronaut.png")).convert("RGB"))


class Recorder(Progress):
    """Keeps what was reported; cancels itself after ``cancel_after`` frames."""

    def __init__(self, cancel_after: int | None = None) -> None:
        super().__init__()
        self.cancel_after, self.messages, self.stages = cancel_after, [], []

    def update(self, stage, done, total, message="", **figures) -> None:
        self.stages.append((stage, done, total))
        self.messages.append(message)
        if self.cancel_after is not None and stage == "import frames" and done >= self.cancel_after:
            self.cancelled = True


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder

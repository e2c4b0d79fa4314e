# SPDX-License-Identifier: Apache-2.0
"""What a person who waits for fits sees and can do: a bar that never runs backwards, and cancelling in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from blendsplat.errors import Cancelled
from blendsplat.heads.load import load_head
from blendsplat.photographs.fit_images import ImageFitOptions, fit_images
from blendsplat.progress import Progress


class Watched(Progress):
    """Keeps (done, message) of every update; cancels itself at a word."""

    def __init__(self, cancel_at: str = "nothing") -> None:
        super().__init__()
        self.seen: list[tuple[float, str]] = []
        self.cancel_at = cancel_at

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        if stage == "fit image":
            self.seen.append((done / total, message))
            self.cancelled = self.cancel_at in message


@pytest.mark.parametrize("same_person", [False, True])
def test_the_bar_runs_forward_to_its_end(same_person: bool, test_data: Callable[[str], Path], tmp_path: Path) -> None:
    picture = test_data("images/astronaut.png")
    other = tmp_path / "again.png"
    other.write_bytes(picture.read_bytes())
    progress = Watched()
    options = ImageFitOptions(head_model=load_head("human"), weights="none", same_person=same_person)
    fit_images([picture, other], tmp_path / "out", options, progress)
    shares = [share for share, _ in progress.seen]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert {"again.png: looking for the face"} < {message for _, message in progress.seen}


def test_cancelled_within_a_photograph_nothing_is_written(test_data: Callable[[str], Path], tmp_path: Path) -> None:
    options = ImageFitOptions(head_model=load_head("human"), weights="none")
    with pytest.raises(Cancelled):
        fit_images([test_data("images/astronaut.png")], tmp_path / "out", options, Watched("fitting"))
    assert not (tmp_path / "out").exists()

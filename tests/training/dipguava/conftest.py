# SPDX-License-Identifier: Apache-2.0
"""The tiny clip, tracked, and a distillation that is over at once."""

from __future__ import annotations

import pytest

from blendsplat.training.tracked_clip import TrackedClip
from tiny_clip import tiny_head, write_tiny_clip


@pytest.fixture
def few_steps_of_distilling(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the blendshapes' MLP learns is test_distil.py's matter, and no one else's."""
    monkeypatch.setattr("blendsplat.training.dipguava.distil.MLP_STEPS", 20)


@pytest.fixture(scope="module")
def tracked_clip(tmp_path_factory: pytest.TempPathFactory) -> TrackedClip:
    directory = tmp_path_factory.mktemp("clip")
    write_tiny_clip(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blendsplat.heads.load.load_head", lambda source, **_: tiny_head())
        return TrackedClip.open(directory)

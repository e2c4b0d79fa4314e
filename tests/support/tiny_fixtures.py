# SPDX-License-Identifier: Apache-2.0
"""The tiny clip for the tests of avatars and training, and the head that it was tracked with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_clip import tiny_head, write_tiny_clip


@pytest.fixture(scope="session", name="tiny_clip")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracked clip folder of 16 frames, 32x32. Read only."""
    directory = tmp_path_factory.mktemp("tiny clip ü")
    write_tiny_clip(directory)
    return directory


@pytest.fixture(autouse=True)
def tiny_head_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """load_head("tiny") gives the tiny head."""
    monkeypatch.setattr("blendsplat.heads.load.load_head", lambda source, **_: tiny_head())

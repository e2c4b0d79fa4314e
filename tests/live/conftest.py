# SPDX-License-Identifier: Apache-2.0
"""One whole session of a generated person, which many tests look at."""

from __future__ import annotations

import pytest

from live_source import AWAY, COUNT, ODD, FakeCamera, Listener, Session, TrueLook, live, parts, preset


@pytest.fixture(scope="session", name="session")
def whole_session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """90 pictures that wait for the training; ten show no face, one has broken landmarks. Read only."""
    folder, listener = tmp_path_factory.mktemp("live ü"), Listener()
    result = live(
        folder, FakeCamera(COUNT), listener, parts(TrueLook(AWAY, ODD)), preset(online_images_per_frame=4),
        preview=folder / "a.mp4",
    )  # fmt: skip
    return Session(folder, listener, result)

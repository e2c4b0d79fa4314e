# SPDX-License-Identifier: Apache-2.0
"""The head that recordings are made of."""

from __future__ import annotations

import pytest

from blendsplat.heads.model import HeadModel
from flame_recordings import make_head


@pytest.fixture
def head() -> HeadModel:
    return make_head(30)

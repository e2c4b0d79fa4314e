# SPDX-License-Identifier: Apache-2.0
"""A loaded process and a small world for the slices of the campaign that kill and fill."""

from __future__ import annotations

import pytest

from soak.forked import Forked
from soak.steps import World, make_world


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    with Forked(tmp_path_factory.mktemp("forked")) as running:
        yield running


@pytest.fixture(scope="session")
def world(forked, tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), forked, only=("train", "export"))

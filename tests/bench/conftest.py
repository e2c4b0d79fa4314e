# SPDX-License-Identifier: Apache-2.0
"""Lets the benchmarks' tests use the tiny head and avatar of the training tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "training"))

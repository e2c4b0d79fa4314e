# SPDX-License-Identifier: Apache-2.0
"""What a kind of file is, and what several kinds share.

A reader gives a valid result, which is then looked at, or raises an expected error. Heavy modules load when needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..mutate import Mutator, any_of, damaged, length_prefixed_json, odd_json, odd_table

ROOT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Target:
    """One file in a kind's folder: what may happen to it, and read(folder), which reads it as the product does."""

    name: str
    mutate: Mutator
    read: Callable[[Path], Any]
    whole: bool = True  # False: what make writes is a small stand-in, which is refused as such


@dataclass(frozen=True)
class Kind:
    """make(folder): writes the sound files."""

    name: str
    make: Callable[[Path], None]
    targets: tuple[Target, ...]


def finite(*arrays: Any) -> None:
    for array in arrays:
        assert np.isfinite(np.asarray(array, dtype=np.float64)).all(), "values that are not finite"


safetensors = any_of(damaged, length_prefixed_json)
odd_capture = any_of(odd_json, odd_json, damaged)
odd_csv = any_of(odd_table, odd_table, damaged)

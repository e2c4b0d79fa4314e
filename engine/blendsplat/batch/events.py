# SPDX-License-Identifier: Apache-2.0
"""What is heard of a batch's clips while they are made, whoever makes them."""

from __future__ import annotations

from dataclasses import dataclass

from blendsplat.batch.clips import Unit
from blendsplat.batch.make import Outcome


@dataclass(frozen=True)
class Heard:
    """A clip is in ``stage``, of which ``share`` (0 to 1) is done; or, with an outcome, it has come to its end."""

    unit: Unit
    stage: str = ""
    share: float = 0.0
    outcome: Outcome | None = None

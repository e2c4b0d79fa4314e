# SPDX-License-Identifier: Apache-2.0
"""Results of work as what JSON can carry."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel


def plain(value: Any) -> Any:
    """Dataclasses, numpy and torch scalars, paths and odd floats as what JSON can carry."""
    if hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)

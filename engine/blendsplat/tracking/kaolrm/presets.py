# SPDX-License-Identifier: Apache-2.0
"""How a KaoLRM is trained, as data: presets/kaolrm/*.toml, with unknown keys refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blendsplat.errors import InputError
from blendsplat.tracking.kaolrm.config import Config

_PACKAGE = Path(__file__).resolve().parents[2]
_FOLDERS = (_PACKAGE / "presets" / "kaolrm", _PACKAGE.parent.parent / "presets" / "kaolrm")


class TruthPreset(BaseModel):
    """Training on generated heads whose parameters are known. Everything is counted in images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(200_000, ge=1)
    batch: int = Field(32, ge=1)
    rate: float = Field(5e-4, gt=0)
    warm_up: int = Field(6400, ge=0, description="images until the rate has risen")
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0, description="longest gradient")
    held_out: int = Field(100, ge=1, description="people at the end of the data that only judge")
    world: float = Field(1.0, ge=0)
    displacement: float = Field(1.0, ge=0)
    coefficient: float = Field(0.01, ge=0)
    seed: int = 0
    checkpoint_seconds: float = Field(120.0, gt=0)
    model: Config = Config()


def load_truth_preset(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> TruthPreset:
    """A shipped preset by name, or a .toml file. Raises InputError naming an unknown preset, key or value."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = next((folder / f"{name_or_path}.toml" for folder in _FOLDERS if folder.is_dir()), path)
    if not path.is_file():
        raise InputError(f"There is no preset {str(name_or_path)!r} of KaoLRM; give a name or a .toml file.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return TruthPreset.model_validate(values | (overrides or {}))
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"The preset {path.name} cannot be used: {str(error).splitlines()[0]}.", str(error)) from error

# SPDX-License-Identifier: Apache-2.0
"""Presets: one TOML file per way to train, validated by its system's model, with unknown keys refused by name.

The files lie in ``presets/`` of the source tree and, once installed, inside the package.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blendsplat.errors import InputError
from blendsplat.systems.registry import system_of
from blendsplat.training.presets import Preset, preset_values, shipped_presets

DEFAULT_SYSTEM = "rgbavatar"  # of presets that name none


def list_presets() -> list[Preset]:
    """Every preset that ships with Blendsplat, in alphabetical order of the names."""
    return [load_preset(path.stem) for path in shipped_presets()]


def load_preset(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Preset:
    """A shipped preset by name, or a .toml file by path; ``overrides`` replace single values (strings are converted).

    "avatar.unet_width" is the value ``unet_width`` of the table ``avatar``. Raises InputError that names an unknown
    preset, key or value, and what is allowed instead.
    """
    path = _find(name_or_path)
    values = preset_values(path)
    return make_preset(_changed(values, overrides or {}), str(path))


def _changed(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """``values`` with the overrides; "table.key" changes one value of a table."""
    changed = dict(values)
    for name, value in overrides.items():
        table, _, key = name.partition(".")
        inner = changed.get(table, {})
        if key and isinstance(inner, dict):
            changed[table] = {**inner, key: value}
        else:
            changed[name] = value
    return changed


def make_preset(values: dict[str, Any], source: str = "the preset") -> Preset:
    """Validate plain values into the preset of their system (``system``; without it RGBAvatar's). Raises InputError."""
    try:
        model = system_of(str(values.get("system", DEFAULT_SYSTEM))).preset
    except InputError as error:
        raise InputError(f"{source}: {error.sentence}") from error
    unknown = [key for key in values if key not in model.model_fields]
    if unknown:
        allowed = "Allowed keys: " + ", ".join(model.model_fields)
        raise InputError(_unknown_key(unknown[0], source, model), detail=allowed)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if not key:  # values that do not go together
            raise InputError(f"{source}: {first['msg'].removeprefix('Value error, ')}.", str(error)) from error
        raise InputError(f"{source}: {key} = {first['input']!r} cannot be used: {first['msg']}.", str(error)) from error


def _unknown_key(key: str, source: str, model: type[Preset]) -> str:
    close = difflib.get_close_matches(key, model.model_fields, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{source}: the preset key {key!r} does not exist; {hint}Allowed keys: {', '.join(model.model_fields)}."


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if text.endswith(".toml") or "/" in text or "\\" in text:
        path = Path(text)
        if not path.is_file():
            raise InputError(f"The preset file {path} does not exist.")
        return path
    known = {path.stem: path for path in shipped_presets()}
    if text not in known:
        raise InputError(
            f"There is no preset {text!r}; choose one of: {', '.join(known)}, or give a path to a .toml file."
        )
    return known[text]

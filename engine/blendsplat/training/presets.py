# SPDX-License-Identifier: Apache-2.0
"""Presets: one TOML file per way to train, validated, with unknown keys refused by name.

The files lie in ``presets/`` of the source tree and, once installed, inside the package.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blendsplat.errors import InputError

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "presets", _PACKAGE.parent.parent / "presets")


class Preset(BaseModel):
    """How an avatar is trained. Everything that is counted is counted in images, not steps (RGBAvatar, section 7.3)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "custom"
    title: str = "Custom"
    description: str = ""
    system: Literal["rgbavatar"] = "rgbavatar"

    # the avatar
    uv_resolution: int = Field(256, ge=4, le=1024)
    blendshapes: int = Field(20, ge=1, le=200)
    mlp_width: int = Field(128, ge=1, le=1024)
    standardise_features: bool = Field(False, description="bring the MLP's inputs to mean 0 and a common spread first")
    initial_scale: float = Field(8e-4, gt=0, lt=0.1, description="metres")
    texel_scale: float = Field(0.0, ge=0, le=10, description="start at so many widths of its texel; 0: initial_scale")
    initial_opacity: float = Field(0.5, gt=0, lt=1)

    # the data
    image_size: int = Field(512, ge=16, le=4096, description="longer side of the training images, pixels")
    holdout: float = Field(0.3, ge=0, description="last part kept for scoring: a share below 1, else frames")

    # the run
    images: int = Field(50_000, ge=1)
    batch: int = Field(10, ge=1, le=64)
    seed: int = 0
    sampler: Literal["offline", "online"] = "offline"
    online_local_pool: int = Field(150, ge=1)
    online_global_pool: int = Field(1000, ge=1)
    online_global_share: float = Field(0.7, ge=0, le=1, description="share of a batch taken from the global pool")
    online_images_per_frame: float = Field(25.0, gt=0, description="training images between two arriving frames")
    blendshapes_after: int = Field(3000, ge=0)
    color_init_images: int = Field(0, ge=0, description="colours may be initialised up to this image; 0: all the time")
    drop_uninitialised: bool = True

    # learning rates (Adam)
    position_rate: float = Field(8e-4, ge=0)
    position_rate_end: float = Field(8e-6, ge=0)
    decay_images: int = Field(30_000, ge=0, description="rates have fallen to their end after so many; 0: at the last")
    rate_end_factor: float = Field(1.0, gt=0, le=1, description="all other rates end at this part of themselves")
    opacity_rate: float = Field(0.25, ge=0)
    scale_rate: float = Field(0.025, ge=0)
    rotation_rate: float = Field(0.005, ge=0)
    color_rate: float = Field(0.0125, ge=0)
    mlp_rate: float = Field(1e-3, ge=0)
    basis_position_factor: float = Field(0.05, ge=0)
    basis_rotation_factor: float = Field(0.5, ge=0)
    basis_color_factor: float = Field(0.5, ge=0)

    # the loss
    l1_weight: float = Field(1.0, ge=0)
    ssim_weight: float = Field(0.0, ge=0)
    lpips_weight: float = Field(0.0, ge=0)
    lpips_after: int = Field(20_000, ge=0)
    lpips_weights: str = Field("", description="path to the perceptual metric's weights (.npz); needed by lpips_weight")

    # real clips
    fit_exposure: bool = Field(False, description="one gain and bias per training frame, for clips with auto-exposure")
    exposure_rate: float = Field(1e-3, ge=0)

    # reports
    checkpoint_seconds: float = Field(60.0, gt=0)
    preview_seconds: float = Field(4.0, gt=0)


# what does not change the result of the images trained so far
_NOT_TRAINING = {"name", "title", "description", "checkpoint_seconds", "preview_seconds"}


def training_identity(preset: Preset) -> dict[str, Any]:
    """The values that a checkpoint must share with the preset that continues it. ``images`` is one of them only where
    the schedules end with it; otherwise a finished training can be continued for longer."""
    return preset.model_dump(exclude=_NOT_TRAINING | ({"images"} if preset.decay_images else set()))


def list_presets() -> list[Preset]:
    """Every preset that ships with Blendsplat, in alphabetical order of the names."""
    return [load_preset(path.stem) for path in sorted(_folder().glob("*.toml"))]


def load_preset(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Preset:
    """A shipped preset by name, or a .toml file by path; ``overrides`` replace single values (strings are converted).

    Raises InputError that names an unknown preset, key or value, and what is allowed instead.
    """
    path = _find(name_or_path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The preset {path} cannot be read: {error}") from error
    values.setdefault("name", path.stem)
    return make_preset(values | dict(overrides or {}), str(path))


def make_preset(values: dict[str, Any], source: str = "the preset") -> Preset:
    """Validate plain values into a Preset. Raises InputError."""
    unknown = [key for key in values if key not in Preset.model_fields]
    if unknown:
        raise InputError(_unknown_key(unknown[0], source), detail="Allowed keys: " + ", ".join(Preset.model_fields))
    try:
        return Preset(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{source}: {key} = {first['input']!r} cannot be used: {first['msg']}.", str(error)) from error


def _unknown_key(key: str, source: str) -> str:
    close = difflib.get_close_matches(key, Preset.model_fields, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{source}: the preset key {key!r} does not exist; {hint}Allowed keys: {', '.join(Preset.model_fields)}."


def _folder() -> Path:
    for folder in _FOLDERS:
        if folder.is_dir():
            return folder
    raise InputError("The presets that ship with Blendsplat are missing; install it again.")


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if text.endswith(".toml") or "/" in text or "\\" in text:
        path = Path(text)
        if not path.is_file():
            raise InputError(f"The preset file {path} does not exist.")
        return path
    path = _folder() / f"{text}.toml"
    if not path.is_file():
        names = ", ".join(sorted(item.stem for item in _folder().glob("*.toml")))
        raise InputError(f"There is no preset {text!r}; choose one of: {names}, or give a path to a .toml file.")
    return path

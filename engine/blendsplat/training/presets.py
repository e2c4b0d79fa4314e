# SPDX-License-Identifier: Apache-2.0
"""What a preset of any system holds, and how a training's values become part of its checkpoint's identity."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from blendsplat.errors import InputError
from blendsplat.files import read_toml

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "presets", _PACKAGE.parent.parent / "presets")  # installed; in the source tree


def shipped_presets() -> list[Path]:
    """The files of the presets that ship with Blendsplat, in alphabetical order of the names."""
    for folder in _FOLDERS:
        if folder.is_dir():
            return sorted(folder.glob("*.toml"))
    raise InputError("The presets that ship with Blendsplat are missing; install it again.")


def preset_values(path: Path) -> dict[str, Any]:
    """What a preset's file says, not validated; its name is the file's unless it says another. Raises InputError."""
    try:
        values = read_toml(path)
    except (OSError, ValueError) as error:
        raise InputError(f"The preset {path} cannot be read: {error}.") from error
    return {"name": path.stem} | values


class Preset(BaseModel):
    """What every way to train says; a system's own preset adds what its avatar and its rates need.

    Everything that is counted is counted in images, not steps (RGBAvatar, section 7.3).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    counted: ClassVar[tuple[str, ...]] = ("images", "decay_images", "lpips_after", "online_images_per_frame")
    """Values that are counted in images: a longer training has proportionally larger ones. 0 stays 0."""

    later: ClassVar[tuple[str, ...]] = ("online_ramp",)
    """Values that earlier versions lacked; their defaults do what these did, so checkpoints of theirs continue."""

    name: str = "custom"
    title: str = "Custom"
    description: str = ""
    system: str

    # the data
    image_size: int = Field(512, ge=16, le=4096, description="longer side of the training images, pixels")
    holdout: float = Field(0.3, ge=0, description="last part kept for scoring: a share below 1, else frames")

    # the run
    images: int = Field(50_000, ge=1)
    minutes: float = Field(
        0.0, ge=0, le=100_000, allow_inf_nan=False,
        description="what is counted in images is scaled so that training ends after about so long; 0: as it is",
    )  # fmt: skip
    batch: int = Field(10, ge=1, le=64)
    seed: int = 0
    sampler: Literal["offline", "online"] = "offline"
    online_local_pool: int = Field(150, ge=1)
    online_global_pool: int = Field(1000, ge=0)
    online_global_share: float = Field(0.7, ge=0, le=1, description="share of a batch taken from the global pool")
    online_ramp: int = Field(599, ge=1, description="frames, from a full local pool on, in which that share is reached")
    online_images_per_frame: float = Field(25.0, gt=0, description="training images between two arriving frames")
    decay_images: int = Field(30_000, ge=0, description="rates have fallen to their end after so many; 0: at the last")

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

    def scaled(self, factor: float) -> Self:
        """The same training, ``factor`` times as long: stages and schedules keep their shares of it."""
        # rounded so that what lies before the last image stays before it, and what takes place still does
        values = {name: getattr(self, name) for name in self.counted}
        longer = {
            name: value * factor if isinstance(value, float) else max(math.floor(value * factor), min(value, 1))
            for name, value in values.items()
        }  # fmt: skip
        return self.model_validate(self.model_dump() | longer | {"images": max(math.ceil(self.images * factor), 2)})

    @property
    def streams(self) -> bool:
        """Whether a live session can follow it; systems that can say so."""
        return False

    def borders(self) -> list[int]:
        """Images after which a step costs something else than before; in any order, and some may never be reached."""
        return [self.lpips_after] if self.lpips_weight else []


# what does not change the result of the images trained so far
_NOT_TRAINING = {"name", "title", "description", "checkpoint_seconds", "preview_seconds"}


def training_identity(preset: Preset) -> dict[str, Any]:
    """The values that a checkpoint must share with the preset that continues it. ``images`` is one of them only where
    the schedules end with it; otherwise a finished training can be continued for longer."""
    fields = type(preset).model_fields
    unused = {name for name in preset.later if getattr(preset, name) == fields[name].default}
    if preset.minutes:
        return preset.model_dump(exclude=_NOT_TRAINING | unused)
    unused |= {"minutes", "images"} if preset.decay_images else {"minutes"}
    return preset.model_dump(exclude=_NOT_TRAINING | unused)

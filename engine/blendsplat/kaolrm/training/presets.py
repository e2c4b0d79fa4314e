# SPDX-License-Identifier: Apache-2.0
"""How a KaoLRM is trained, as data: presets/kaolrm/*.toml, with unknown keys refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blendsplat.errors import InputError
from blendsplat.files import read_toml
from blendsplat.kaolrm.config import Config

_PACKAGE = Path(__file__).resolve().parents[2]
_FOLDERS = (_PACKAGE / "presets" / "kaolrm", _PACKAGE.parent.parent / "presets" / "kaolrm")


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SupervisedPreset(_Values):
    """Training on generated heads whose parameters are known. Everything is counted in images."""

    method: Literal["truth"] = "truth"
    images: int = Field(200_000, ge=1)
    batch: int = Field(32, ge=1)
    rate: float = Field(5e-4, gt=0)
    warm_up: int = Field(6400, ge=0, description="images until the rate has risen")
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0, description="longest gradient")
    held_out: int = Field(100, ge=1, description="people at the end of the data that only judge")
    widest: float = Field(90.0, gt=0, le=90, description="degrees to the side, past which cameras are left out")
    world: float = Field(1.0, ge=0)
    displacement: float = Field(1.0, ge=0)
    coefficient: float = Field(0.01, ge=0)
    seed: int = 0
    checkpoint_seconds: float = Field(120.0, gt=0)
    model: Config = Config()


class ClosedFormPreset(_Values):
    """A KaoLRM solved for by least squares on generated heads whose parameters are known (fit_closed_form.py)."""

    method: Literal["solve"]
    held_out: int = Field(80, ge=1, description="people at the end of the data that only judge")
    widest: float = Field(55.0, gt=0, le=90, description="degrees to the side, past which cameras are left out")
    faults: int = Field(4, ge=1, description="one picture in so many gets the faults of photographs")
    strength: float = Field(0.1, gt=0, description="of the penalty, over the mean variance of what is read")
    points: float = Field(
        0.0, ge=0, description="weight of the detector's landmarks in a reader of shape; 0: no reader"
    )
    points_strength: float = Field(0.1, gt=0, description="of the penalty of that reader")
    seed: int = 0
    model: Config


class LossWeights(_Values):
    """What each term of the published loss counts (losses.py says what they are); 0 leaves a term out."""

    landmarks: float = Field(0.0, ge=0)
    shape: float = Field(0.0, ge=0)
    expression: float = Field(0.0, ge=0)
    alpha: float = Field(0.0, ge=0)
    pixel: float = Field(0.0, ge=0)
    lpips: float = Field(0.0, ge=0)
    ssim: float = Field(0.0, ge=0)
    depth: float = Field(0.0, ge=0)
    normal: float = Field(0.0, ge=0)

    @property
    def pictures(self) -> bool:
        """Whether the head has to be drawn."""
        return any((self.alpha, self.pixel, self.lpips, self.ssim, self.depth, self.normal))


class PublishedPreset(_Values):
    """The published training in two stages on pictures (KaoLRM, sections 3.4 and 4.2; the released configuration).

    The defaults are the multi-view values.
    """

    method: Literal["published"]
    epochs: int = Field(300, ge=1, description="times that every person is seen")
    stage_1_epochs: int = Field(5, ge=0, description="of them, those of stage I")
    batch: int = Field(16, ge=1, description="people a step and device")
    side_views: int = Field(3, ge=0, description="views compared besides the source's own")
    render_size: int = Field(192, ge=16, description="side of the rendered and compared pictures, pixels")
    points: int = Field(8000, ge=16, description="Gaussians on the surface")
    face_share: float = Field(0.7, ge=0, le=1, description="of the pixel term that counts in the face only")
    rate: float = Field(4e-4, gt=0)
    warm_up_steps: int = Field(3000, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0, description="longest gradient")
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    freeze_transformer: bool = Field(False, description="as the paper says and the released code does not")
    lpips_weights: str = Field("", description="file of the perceptual metric (.npz); without it that term is left out")
    held_out: int = Field(8, ge=1, description="people at the end of the data that only judge")
    seed: int = 0
    checkpoint_seconds: float = Field(600.0, gt=0)
    stage_1: LossWeights
    stage_2: LossWeights
    model: Config = Config()


Preset = SupervisedPreset | ClosedFormPreset | PublishedPreset
_METHODS: dict[str, type[SupervisedPreset] | type[ClosedFormPreset] | type[PublishedPreset]] = {
    "solve": ClosedFormPreset, "truth": SupervisedPreset, "published": PublishedPreset,
}  # fmt: skip


def load_preset(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Preset:
    """A shipped preset by name, or a .toml file. overrides: instead of its values; "stage_2.lpips" is one in a table.

    Raises InputError naming an unknown preset, key or value.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = next((folder / f"{name_or_path}.toml" for folder in _FOLDERS if folder.is_dir()), path)
    if not path.is_file():
        raise InputError(f"There is no preset {str(name_or_path)!r} of KaoLRM; give a name or a .toml file.")
    try:
        values = read_toml(path)
        for key, value in (overrides or {}).items():
            _set(values, key, value)
        method = str(values.get("method", "truth"))
        if method not in _METHODS:
            raise ValueError(f"method {method!r} is none of {', '.join(_METHODS)}")
        return _METHODS[method].model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"The preset {path.name} cannot be used: {where}: {first['msg']}.", str(error)) from error
    except (OSError, ValueError) as error:
        raise InputError(f"The preset {path.name} cannot be used: {str(error).splitlines()[0]}.", str(error)) from error


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    """values["a"]["b"] = value for the key "a.b"."""
    *tables, last = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ValueError(f"{key} reaches into {table}, which is no table")
    values[last] = value

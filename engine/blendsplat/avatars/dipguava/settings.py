# SPDX-License-Identifier: Apache-2.0
"""What a DipGuava is made of: sizes, and the switches of the paper's Table 2. Part of the avatar file's header."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blendsplat.avatars.dipguava.networks import COARSEST
from blendsplat.errors import FormatError


class DipGuavaSettings(BaseModel):
    """The defaults are the paper's, and where it is silent, the choices of docs/dipguava.md. The bounds keep what a
    file can ask for within reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uv_size: int = Field(128, ge=COARSEST, le=512, multiple_of=COARSEST, description="texels of every map, each way")
    unet_width: int = Field(64, ge=4, le=128, description="channels at full size")
    mlp_width: int = Field(256, ge=8, le=512)
    mlp_layers: int = Field(6, ge=2, le=12)
    frequencies: int = Field(8, ge=0, le=12, description="of the places that the MLPs see")
    base: Literal["normals", "optimised", "none"] = Field(
        "normals", description="drawn from normals; one learned map for all frames (OptBase); none (only R)"
    )
    texture_size: int = Field(
        0, ge=0, le=1024, description="a learned map of so many texels beneath the base's; 0: none, as in the paper"
    )
    residual_maps: int = Field(
        0, ge=0, le=100, description="so many learned maps, mixed by the condition, beneath the residual's networks; "
        "0: none, as in the paper",
    )  # fmt: skip
    backbone: Literal["unet", "mlp"] = Field("unet", description="of base and residual appearance")
    texture_levels: int = Field(
        1, ge=1, le=6, description="maps whose sum it is, each a quarter as fine: they colour what no frame shows"
    )
    condition_place: bool = Field(
        False, description="the residual knows where the head is as well: light and the tracking's errors go with it"
    )
    residual_appearance: bool = Field(True, description="whether stage 2 learns it (w/o R)")
    residual_geometry: bool = Field(True, description="whether stage 2 learns it (w/o dG); neither: only B")
    fusion: bool = Field(True, description="the residual is looked up where the Gaussian went (w/o DAF without)")
    uv_beyond: Literal["extrapolate", "clamp", "walk"] = Field(
        "extrapolate",
        description="where maps are looked up of a Gaussian outside of its triangle: affinely on, at its border, or in "
        "the triangle that it comes to lie in",
    )
    moving_uv: bool = Field(True, description="maps are looked up where the Gaussian is (FixedUV without)")

    @model_validator(mode="after")
    def _drawn(self) -> DipGuavaSettings:
        if self.base == "none" and not self.residual_appearance:
            raise ValueError("base is 'none', so nothing draws the colours: residual_appearance has to")
        if self.base == "none" and self.texture_size:
            raise ValueError("base is 'none', but texture_size asks for a learned map, which is a base: make it 0")
        return self

    @property
    def residual(self) -> bool:
        """Whether there is anything for stage 2 to learn."""
        return self.residual_appearance or self.residual_geometry

    @classmethod
    def from_header(cls, values: Any) -> DipGuavaSettings:
        """Of an avatar file's header. Raises FormatError for what this version does not know."""
        try:
            return cls.model_validate(values, strict=True)
        except ValidationError as error:
            raise FormatError(
                "The avatar's file describes networks that this Blendsplat lacks: update it, or train again.",
                str(error),
            ) from error

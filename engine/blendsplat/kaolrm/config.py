# SPDX-License-Identifier: Apache-2.0
"""The sizes of a KaoLRM, as its config.json says them; the defaults of what that file leaves out are the release's.

OpenLRM's config.json is the same file with two keys more, so one reader serves both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blendsplat.errors import FormatError, InputError
from blendsplat.files import read_json
from blendsplat.heads.families import FAMILIES
from blendsplat.kaolrm.conventions import BOX_FACE, PORTRAIT_FACE

if TYPE_CHECKING:
    from blendsplat.heads.model import HeadModel

Resize = Literal["bicubic", "area"]  # see preprocess.prepare_picture
Count = Annotated[int, Field(ge=1, le=65536)]

# width, layers, heads of the DINOv2 encoders with registers; giant has another kind of MLP and is not used by any LRM
ENCODERS = {"dinov2_vits14_reg": (384, 12, 6), "dinov2_vitb14_reg": (768, 12, 12), "dinov2_vitl14_reg": (1024, 24, 16)}
IGNORED_KEYS = ("rendering_samples_per_ray",)  # of OpenLRM: its ray marcher is not part of this


class Config(BaseModel):
    """Sizes; the first block is the released file's. Every size is free, so that a small model is one too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    camera_embed_dim: Count = 1024
    transformer_dim: Count = 768
    transformer_layers: Count = 12
    transformer_heads: Count = 12
    triplane_low_res: Count = 32
    triplane_high_res: Count = 64
    triplane_dim: Count = 48
    encoder_type: Literal["dinov2"] = "dinov2"
    encoder_model_name: str = Field(default="dinov2_vitb14_reg", description="a name of ENCODERS, or custom")
    encoder_feat_dim: Count = 768
    encoder_freeze: bool = False

    encoder_layers: Count = Field(default=12, description="with encoder_model_name custom")
    encoder_heads: Count = Field(default=12, description="with encoder_model_name custom")
    encoder_registers: int = Field(default=4, ge=0, le=64)
    encoder_patch: Count = Field(default=14, description="pixels of a patch")
    encoder_stem: bool = Field(default=False, description="patches read by convolutions: for small encoders")
    encoder_grid: Count = Field(default=37, description="patches a side that the position embedding was trained for")
    image_size: Count = Field(default=224, description="pixels a side that the model was trained for")

    resize: Resize = Field(default="bicubic", description="how pictures come to image_size; bicubic: as published")

    head: str = Field(default="flame", description="the family of heads (or the head) that the coefficients belong to")
    head_model: str = Field(default="", description="HeadModel.model_id of the very head; empty: any of the family")
    shape_count: Count = 100
    expression_count: Count = 50
    flame_widths: tuple[Count, Count, Count] = Field(default=(2048, 1024, 512), description="of the FLAME decoder")
    flame_gate_reduction: Count = Field(default=8, description="how much narrower the channel gate's middle is")
    token_gate: bool = Field(default=False, description="a gate per token: the paper's, not the release's")
    gaussian_width: Count = Field(default=64, description="hidden width of the Gaussian decoder")
    face_share: float = Field(default=0.0, ge=0, le=1, description="0: usual for the focal; see framing_share")
    focal: float = Field(default=0.75, gt=0, description="of the cameras it renders to, over the image's size")

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.encoder_model_name != "custom":
            if self.encoder_model_name not in ENCODERS:
                raise ValueError(f"encoder_model_name is none of {', '.join(ENCODERS)}, custom")
            width, layers, heads = ENCODERS[self.encoder_model_name]
            if self.encoder_feat_dim != width:
                raise ValueError(f"encoder_feat_dim of {self.encoder_model_name} is {width}")
            # the name decides; assigned past `frozen` because this is still the construction
            object.__setattr__(self, "encoder_layers", layers)
            object.__setattr__(self, "encoder_heads", heads)
        for width, heads, what in (
            (self.encoder_feat_dim, self.encoder_heads, "encoder"),
            (self.transformer_dim, self.transformer_heads, "transformer"),
        ):
            if width % heads:
                raise ValueError(f"the {what}'s width {width} does not divide into {heads} heads")
        if self.triplane_high_res != 2 * self.triplane_low_res:
            raise ValueError("triplane_high_res is not twice triplane_low_res")
        if self.encoder_stem and self.encoder_patch % 2:
            raise ValueError("the patch of an encoder_stem must be even")
        if self.image_size % self.encoder_patch:
            raise ValueError(f"image_size {self.image_size} is not a multiple of the patch, {self.encoder_patch}")
        return self

    @property
    def framing_share(self) -> float:
        """The height of the face's 68 landmarks over the picture's, in the pictures that the model reads."""
        return self.face_share or (PORTRAIT_FACE if self.focal > 1 else BOX_FACE)

    @property
    def tokens(self) -> int:
        """Triplane tokens: three planes of triplane_low_res squared."""
        return 3 * self.triplane_low_res**2

    @property
    def parameter_count(self) -> int:
        """Numbers that the FLAME decoder gives: shape, expression, global rotation, jaw, scale, translation."""
        return sum(self.coefficient_sizes)

    @property
    def coefficient_sizes(self) -> tuple[int, int, int, int, int]:
        """Of shape, expression, pose (global and jaw rotation vectors), scale, translation, in the decoder's order."""
        return self.shape_count, self.expression_count, 6, 1, 3

    @property
    def scale_column(self) -> int:
        """Where the scale lies among the FLAME decoder's numbers."""
        return sum(self.coefficient_sizes[:3])

    def fits_head(self, head: HeadModel) -> bool:
        """Whether the coefficients can move ``head``: of the same model or else family, with as many or more."""
        if self.head_model:
            same = self.head_model == head.model_id
        elif self.head in FAMILIES:
            same = self.head == head.family
        else:
            same = head.name.startswith(self.head)  # a head of no family, by its file's name
        return same and self.shape_count <= head.shape_count and self.expression_count <= head.expression_count

    def check_head(self, head: HeadModel, whose: str) -> None:
        """Raise InputError naming both heads unless fits_head. ``whose`` begins the sentence: "The weights x"."""
        if not self.fits_head(head):
            model = f", model {self.head_model[:8]}" if self.head_model else ""
            counts = f"{self.shape_count} shape and {self.expression_count} expression parameters{model}"
            theirs = f"{head.shape_count} and {head.expression_count}, model {head.model_id[:8]}"
            raise InputError(
                f"{whose} are for the head {self.head!r} ({counts}), not for {head.name!r} "
                f"({head.family or 'unknown family'}, {theirs}); choose that head, or other weights."
            )

    def as_json(self) -> dict[str, object]:
        """What config.json holds: the released keys always, the others where they differ from their defaults."""
        values = self.model_dump(mode="json")
        defaults = Config().model_dump(mode="json")
        released = list(values)[:11]
        return {key: value for key, value in values.items() if key in released or value != defaults[key]}


def read_config(path: Path) -> Config:
    """config.json -> Config. Raises FormatError naming the file and the first key that cannot be used."""
    try:
        values = read_json(path)
    except FileNotFoundError as error:
        raise FormatError(f"{path} is missing; it comes with the weights, put it beside them.") from error
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read as JSON; fetch it again.", repr(error)) from error
    if not isinstance(values, dict):
        raise FormatError(f"{path} is no configuration of a model; fetch it again.")
    try:
        return Config.model_validate({key: value for key, value in values.items() if key not in IGNORED_KEYS})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise FormatError(f"{path} describes a model that cannot be built: {where or 'sizes'}: {reason}.") from error

# SPDX-License-Identifier: Apache-2.0
"""RGBAvatar's preset: the avatar's size and its learning rates (section 7.3)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from blendsplat.training.presets import Preset


class RGBAvatarPreset(Preset):
    """How an RGBAvatar is trained; the defaults are the paper's."""

    counted: ClassVar[tuple[str, ...]] = (
        *Preset.counted, "blendshapes_after", "color_init_images", "orthogonality_images", "fill_images",
    )  # fmt: skip

    later: ClassVar[tuple[str, ...]] = (
        *Preset.later, "mapping", "pose_input", "space", "color_initialisation", "orthogonality",
        "orthogonality_weight", "orthogonality_images", "adam_eps", "fill_images", "skin_distance", "hair_distance",
        "skin_scale", "hair_scale",
    )  # fmt: skip

    system: Literal["rgbavatar"] = "rgbavatar"

    # the avatar
    uv_resolution: int = Field(256, ge=4, le=1024)
    blendshapes: int = Field(20, ge=0, le=200, description="0: the base alone")
    mlp_width: int = Field(128, ge=1, le=1024)
    mapping: Literal["mlp", "linear"] = Field("mlp", description="from head parameters to the blendshapes' weights")
    pose_input: bool = Field(True, description="its inputs are more than the expression: pose, jaw, eyes, lids, place")
    space: Literal["tangent", "world"] = Field(
        "tangent", description="Gaussians ride on the mesh's triangles, or are moved by the head's joints alone"
    )
    standardise_features: bool = Field(False, description="bring the MLP's inputs to mean 0 and a common spread first")
    initial_scale: float = Field(8e-4, gt=0, lt=0.1, description="metres")
    texel_scale: float = Field(0.0, ge=0, le=10, description="start at so many widths of its texel; 0: initial_scale")
    initial_opacity: float = Field(0.5, gt=0, lt=1)
    skin_distance: float = Field(
        0.0, ge=0, description="metres a Gaussian of face or mouth may be off its triangle; 0: any"
    )
    hair_distance: float = Field(0.0, ge=0, description="and one of scalp, ears and neck")
    skin_scale: float = Field(0.0, ge=0, description="metres that an axis of one of face or mouth may have; 0: any")
    hair_scale: float = Field(0.0, ge=0, description="and of one of scalp, ears and neck")

    # the run
    blendshapes_after: int = Field(3000, ge=0)
    color_initialisation: bool = Field(True, description="first colours are taken from the pictures")
    color_init_images: int = Field(0, ge=0, description="colours may be initialised up to this image; 0: all the time")
    drop_uninitialised: bool = True
    fill_images: int = Field(
        0, ge=0, description="after so many, what no frame shows well is filled from around it; 0: never"
    )
    orthogonality: Literal["none", "loss", "qr", "schmidt"] = Field("none", description="of the blendshapes' bases")
    orthogonality_weight: float = Field(1e-3, ge=0, description="of the loss, the square of the measure")
    orthogonality_images: int = Field(10_000, ge=1, description="images between two decompositions (qr, schmidt)")

    # learning rates (Adam)
    adam_eps: float = Field(1e-15, gt=0, lt=1, description="larger: what hardly any frame shows stays where it is")
    position_rate: float = Field(8e-4, ge=0)
    position_rate_end: float = Field(8e-6, ge=0)
    rate_end_factor: float = Field(1.0, gt=0, le=1, description="all other rates end at this part of themselves")
    opacity_rate: float = Field(0.25, ge=0)
    scale_rate: float = Field(0.025, ge=0)
    rotation_rate: float = Field(0.005, ge=0)
    color_rate: float = Field(0.0125, ge=0)
    mlp_rate: float = Field(1e-3, ge=0)
    basis_position_factor: float = Field(0.05, ge=0)
    basis_rotation_factor: float = Field(0.5, ge=0)
    basis_color_factor: float = Field(0.5, ge=0)

    @property
    def streams(self) -> bool:
        """Whether a training without an end can follow it, as a live session is: what has arrived is sampled, and no
        rate waits for the last image."""
        return self.sampler == "online" and self.decay_images > 0

    def borders(self) -> list[int]:
        return [*super().borders(), self.blendshapes_after, self.color_init_images, self.fill_images]

    @model_validator(mode="after")
    def _limits_need_a_surface(self) -> Self:
        """Raises ValueError where what belongs to the surface is asked of Gaussians that do not lie on it."""
        for name in ("skin_distance", "hair_distance", "fill_images"):
            if self.space == "world" and getattr(self, name):
                raise ValueError(f'{name} needs space = "tangent": in world space Gaussians lie on no surface')
        return self

# SPDX-License-Identifier: Apache-2.0
"""DipGuava's preset: its networks, its two stages and its densification (paper, section 5), and Table 2's switches."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from blendsplat.avatars.dipguava.settings import DipGuavaSettings
from blendsplat.training.presets import Preset


class DipGuavaPreset(Preset):
    """How a DipGuava is trained; the defaults are the paper's. Stage 1 ends after ``stage_images``, stage 2 with
    ``images``."""

    counted: ClassVar[tuple[str, ...]] = (
        *Preset.counted, "stage_images", "low_resolution_images", "densify_every", "densify_after",
    )  # fmt: skip

    system: Literal["dipguava"] = "dipguava"

    avatar: DipGuavaSettings = Field(DipGuavaSettings.model_validate({}), description="networks and switches")

    # the run
    images: int = Field(120_000, ge=1)
    batch: int = Field(1, ge=1, le=64)
    decay_images: int = Field(0, ge=0, le=0, description="always 0: rates are over at the end of their stage")
    stage_images: int = Field(60_000, ge=0, description="images of stage 1; without a residual it lasts to the end")
    joint: float = Field(0.0, ge=0, le=1, description="stage 2 goes on with the base at this part of its rate (Joint)")
    low_resolution: float = Field(
        1.0, gt=0, le=1, description="stage 1 on pictures of this part of the size (LowRes: 0.5)"
    )
    low_resolution_images: int = Field(0, ge=0, description="only so many of stage 1's images; 0: all of them")
    mixed_precision: bool = Field(False, description="the U-Nets in bfloat16")

    # learning rates (Adam): the paper's one rate, each for its own
    rate: float = Field(1e-4, ge=0, description="of the base network")
    texture_rate: float = Field(1e-2, ge=0, description="of the learned map beneath the base, where there is one")
    maps_rate: float = Field(1e-2, ge=0, description="of the learned maps beneath the residual, where there are any")
    residual_rate: float = Field(1e-5, ge=0, description="of the residual networks")
    position_rate: float = Field(1e-4, ge=0)
    scale_rate: float = Field(1e-4, ge=0)
    rotation_rate: float = Field(1e-4, ge=0)
    rate_end_factor: float = Field(1.0, gt=0, le=1, description="a stage's rates end at this part of themselves")
    adam_eps: float = Field(
        1e-8, gt=0, description="in Adam's denominator: values whose gradients are smaller, of what hardly any frame "
        "shows, stay where they are",
    )  # fmt: skip
    standardise_condition: bool = Field(True, description="bring the condition to mean 0 and a common spread first")

    initial_scale: float = Field(1.0, gt=0, le=4, description="of a Gaussian, in its triangle's size")

    # densification (Kerbl et al. 2023, section 5.2)
    densify_every: int = Field(500, ge=0, description="images; 0: never")
    densify_after: int = Field(500, ge=0)
    densify_until: float = Field(0.5, ge=0, le=1, description="part of stage 1")
    densify_gradient: float = Field(2e-4, gt=0, description="of the place in the picture, in half its width and height")
    densify_scale: float = Field(0.01, gt=0, description="of the extent: what is larger is split, not cloned")
    extent: float = Field(0.2, gt=0, description="metres: two head radii; cameras of a monocular clip give none")
    prune_opacity: float = Field(0.05, ge=0, lt=1)
    most_gaussians: int = Field(120_000, ge=1)

    # the loss (eq. 10 to 14)
    l1_weight: float = Field(0.8, ge=0)
    ssim_weight: float = Field(0.2, ge=0)
    lpips_weight: float = Field(0.1, ge=0)
    lpips_after: int = Field(0, ge=0)
    position_weight: float = Field(0.01, ge=0)
    scale_weight: float = Field(1.0, ge=0)
    position_limit: float = Field(2.0, ge=0, description="of the triangle's size")
    scale_limit: float = Field(0.6, ge=0, description="of the triangle's size")

    # blendshapes for Blender
    blendshapes: int = Field(40, ge=1, le=200, description="at most; as many as distil_error needs")
    distil_error: float = Field(0.1, ge=0, lt=1, description="part of the movement that blendshapes may leave out")

    @model_validator(mode="after")
    def _stages(self) -> DipGuavaPreset:
        if self.two_stages and self.stage_images >= self.images:
            raise ValueError(f"stage_images is {self.stage_images}, but stage 2 needs some of the {self.images} images")
        return self

    @property
    def two_stages(self) -> bool:
        """Whether a frozen base is followed by a residual."""
        return self.avatar.residual and self.avatar.base != "none"

    @property
    def first_images(self) -> int:
        """Images of stage 1."""
        return self.stage_images if self.two_stages else self.images

    @property
    def densify_end(self) -> int:
        """Images after which Gaussians neither come nor go; without a second stage as soon as with one."""
        return round(self.densify_until * min(self.stage_images, self.images)) if self.densify_every else 0

    @property
    def low_resolution_end(self) -> int:
        """Images that are trained on smaller pictures."""
        return min(self.low_resolution_images or self.first_images, self.first_images) if self.low_resolution < 1 else 0

    def borders(self) -> list[int]:
        return [*super().borders(), self.low_resolution_end, self.densify_end, self.first_images]

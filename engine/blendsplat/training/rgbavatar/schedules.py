# SPDX-License-Identifier: Apache-2.0
"""Learning rates as functions of the images seen (not of steps, so that the batch size can change)."""

from __future__ import annotations

import math
from collections.abc import Callable

from blendsplat.training.rgbavatar.preset import RGBAvatarPreset


def log_linear(start: float, end: float, part: float) -> float:
    """From ``start`` at part 0 to ``end`` at part 1, linear in the logarithm, constant outside."""
    if start <= 0 or end <= 0:
        return start if part < 1 else end
    part = min(max(part, 0.0), 1.0)
    return math.exp(math.log(start) * (1 - part) + math.log(end) * part)


def learning_rates(preset: RGBAvatarPreset, images: int) -> dict[str, float]:
    """Rate of every parameter group after ``images`` images (RGBAvatar, section 7.3)."""
    part = images / (preset.decay_images or preset.images)
    position = log_linear(preset.position_rate, preset.position_rate_end, part)
    factor = log_linear(1.0, preset.rate_end_factor, part)
    return {
        "positions": position,
        "delta_positions": position * preset.basis_position_factor,
        "log_scales": preset.scale_rate * factor,
        "quats": preset.rotation_rate * factor,
        "delta_quats": preset.rotation_rate * preset.basis_rotation_factor * factor,
        "opacity_logits": preset.opacity_rate * factor,
        "colors": preset.color_rate * factor,
        "delta_colors": preset.color_rate * preset.basis_color_factor * factor,
        "mlp": preset.mlp_rate * factor,
        "exposure": preset.exposure_rate * factor,
    }


def rate_of(preset: RGBAvatarPreset, group: str) -> Callable[[int], float]:
    """The rate of one parameter group as a function of the images."""
    return lambda images: learning_rates(preset, images)[group]

# SPDX-License-Identifier: Apache-2.0
"""A KaoLRM of a few thousand parameters that has every part of the real one."""

from __future__ import annotations

from typing import Any

import torch

from blendsplat.kaolrm import Config, KaoLRM

TINY: dict[str, Any] = {
    "camera_embed_dim": 12,
    "transformer_dim": 16,
    "transformer_layers": 2,
    "transformer_heads": 2,
    "triplane_low_res": 3,
    "triplane_high_res": 6,
    "triplane_dim": 4,
    "encoder_model_name": "custom",
    "encoder_feat_dim": 16,
    "encoder_layers": 2,
    "encoder_heads": 2,
    "encoder_registers": 2,
    "encoder_grid": 3,
    "image_size": 56,
    "shape_count": 5,
    "expression_count": 4,
    "flame_widths": (24, 16, 12),
    "flame_gate_reduction": 2,
    "gaussian_width": 8,
}


def tiny(seed: int = 0, **sizes: Any) -> KaoLRM:
    """A tiny model whose every parameter is random, norms and biases too, so that none can be left out unnoticed."""
    torch.manual_seed(seed)
    model = KaoLRM(Config.model_validate({**TINY, **sizes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model

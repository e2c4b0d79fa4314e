# SPDX-License-Identifier: Apache-2.0
"""A preset that trains a tiny KaoLRM."""

from __future__ import annotations

from pathlib import Path

import pytest

_PRESET = """
method = "truth"
images = 4
batch = 2
held_out = 1
warm_up = 0

[model]
head = "human"
shape_count = 81
expression_count = 43
camera_embed_dim = 8
transformer_dim = 16
transformer_layers = 1
transformer_heads = 2
triplane_low_res = 2
triplane_high_res = 4
triplane_dim = 4
encoder_model_name = "custom"
encoder_feat_dim = 16
encoder_layers = 1
encoder_heads = 2
encoder_patch = 28
encoder_grid = 2
image_size = 56
flame_widths = [16, 16, 8]
focal = 4.0
"""


@pytest.fixture
def tiny_kaolrm_preset(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(_PRESET, encoding="utf-8")
    return path

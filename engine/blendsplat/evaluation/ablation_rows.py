# SPDX-License-Identifier: Apache-2.0
"""Which parts the papers' ablations switch off, as changes of a preset, and the figures that the papers print for them.

A row is (preset values, values of the avatar's own table). RGBAvatar's rows depend on the preset that they change: what
the paper counts in its own 5,000 steps has the same share of a shorter training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsplat.training.presets import Preset

Values = dict[str, Any]
Rows = dict[str, tuple[Values, Values]]

_ONLY_BASE: Values = {"residual_appearance": False, "residual_geometry": False}
_ONLY_RESIDUAL: Values = {"base": "none", "texture_size": 0, "residual_geometry": False}
DIPGUAVA: Rows = {  # its Table 2, in the paper's order, and choices of ours
    "joint": ({"joint": 0.1}, {}),
    "low-res": ({"low_resolution": 0.5, "low_resolution_images": 0}, {}),
    "optimised base": ({}, {"base": "optimised", "texture_size": 0}),
    "fixed UV": ({}, {"moving_uv": False}),
    "MLP": ({}, {"backbone": "mlp"}),
    "only base": ({}, _ONLY_BASE),
    "only residual": ({}, _ONLY_RESIDUAL),
    "w/o geometry": ({}, {"residual_geometry": False}),
    "w/o residual": ({}, {"residual_appearance": False}),
    "w/o fusion": ({}, {"fusion": False}),
    "w/o maps": ({}, {"residual_maps": 0}),
    "clamped UV": ({}, {"uv_beyond": "clamp"}),
    "full": ({}, {}),
}


@dataclass(frozen=True)
class PaperFigures:
    """What a paper prints for a row: means over its own clips at 512 pixels, LPIPS with VGG. None: nothing readable."""

    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    orthogonality: float | None = None


@dataclass(frozen=True)
class PaperTable:
    """One table or figure of a paper: its rows' names, and what it prints for them. usual: part of the benchmark where
    nothing is chosen."""

    title: str
    rows: dict[str, PaperFigures]
    usual: bool = False


# RGBAvatar's Table 5 prints LPIPS of its last three rows ten times too large (0.796, 0.772, 0.737 beside .0825, .0920).
RGBAVATAR_TABLES: dict[str, PaperTable] = {
    "design": PaperTable(
        "Table 5, design",
        {
            "w/o tangent space": PaperFigures(31.01, 0.9513, 0.0825),
            "w/o blendshapes": PaperFigures(29.12, 0.9402, 0.0920),
            "w/o pose input": PaperFigures(30.79, 0.9533, 0.0796),
            "linear": PaperFigures(31.38, 0.9556, 0.0772),
            "full": PaperFigures(31.19, 0.9565, 0.0737),
            "full (other seed)": PaperFigures(),
        },
        usual=True,
    ),
    "orthogonality": PaperTable(
        "Table 6, orthogonality of the bases",
        {
            "orthogonal loss": PaperFigures(30.91, 0.9499, 0.0890),
            "QR decomposition": PaperFigures(30.26, 0.9462, 0.0912),
            "Schmidt": PaperFigures(30.75, 0.9492, 0.0892),
            "full": PaperFigures(31.16, 0.9551, 0.0725, 3.173),
        },
        usual=True,
    ),
    "blendshapes": PaperTable(
        "Figure 3, number of blendshapes (full: the preset's, 20)",
        {name: PaperFigures() for name in ("K = 5", "K = 10", "full", "K = 40", "K = 80")},
    ),
    "online": PaperTable(
        "Table 3, pools of a stream",
        {
            "w/o global": PaperFigures(30.26, 0.9492, 0.0801),
            "w/o local": PaperFigures(30.46, 0.9508, 0.0788),
            "online": PaperFigures(30.86, 0.9537, 0.0765),
        },
    ),
    "pools": PaperTable(  # the paper's sizes are lost; its seven rows lie between 30.80 and 31.06 dB
        "Table 7, sizes of the pools",
        {
            name: PaperFigures()
            for name in ("local 50", "local 300", "global 200", "global 500", "global 2000", "online")
        },
    ),
    "others": PaperTable(
        "further parts",
        {
            "w/o colour initialisation": PaperFigures(),
            "with LPIPS": PaperFigures(31.03, 0.9547, 0.0569),
            "full": PaperFigures(31.19, 0.9565, 0.0737),
        },
    ),
}


def rgbavatar_rows(full: Preset, lpips: Path | None) -> Rows:
    """Every row of RGBAVATAR_TABLES by name. lpips: weights of the metric; without them there is no row that trains
    with it."""
    every = max(full.images // 5, 1)  # 1,000 of the paper's 5,000 steps
    online = {"sampler": "online"}
    rows: dict[str, Values] = {
        "w/o tangent space": {"space": "world"},
        "w/o blendshapes": {"blendshapes": 0},
        "w/o pose input": {"pose_input": False},
        "linear": {"mapping": "linear"},
        "orthogonal loss": {"orthogonality": "loss"},
        "QR decomposition": {"orthogonality": "qr", "orthogonality_images": every},
        "Schmidt": {"orthogonality": "schmidt", "orthogonality_images": every},
        **{f"K = {count}": {"blendshapes": count} for count in (5, 10, 40, 80)},
        "w/o global": online | {"online_global_share": 0.0},
        "w/o local": online | {"online_global_share": 1.0, "online_local_pool": 1, "online_ramp": 1},
        **{f"local {size}": online | {"online_local_pool": size} for size in (50, 300)},
        **{f"global {size}": online | {"online_global_pool": size} for size in (200, 500, 2000)},
        "online": online,
        "w/o colour initialisation": {"color_initialisation": False},
        "full (other seed)": {"seed": full.seed + 1},
        "full": {},
    }
    if lpips is not None:
        late = full.images * 2 // 5  # 20,000 of the paper's 50,000 images
        rows["with LPIPS"] = {"lpips_weight": 0.05, "lpips_after": late, "lpips_weights": str(lpips)}
    return {name: (values, {}) for name, values in rows.items()}


@dataclass(frozen=True)
class Ablations:
    """A system's rows, of the preset that they change; its draft; the tables that they belong to, where a paper has
    several."""

    rows: Callable[[Preset, Path | None], Rows]
    draft: str
    tables: dict[str, PaperTable]


SYSTEMS = {
    "dipguava": Ablations(lambda full, lpips: DIPGUAVA, "dipguava-draft", {}),
    "rgbavatar": Ablations(rgbavatar_rows, "draft", RGBAVATAR_TABLES),
}

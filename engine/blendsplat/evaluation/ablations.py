# SPDX-License-Identifier: Apache-2.0
"""A system's parts, switched off one at a time: DipGuava's Table 2 on the user's own clips.

Every row is a preset with some values changed, trained on the same clips and scored on the same held-out frames.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from blendsplat.errors import InputError
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.progress import Progress
from blendsplat.systems import load_preset, make_preset, train_avatar
from blendsplat.training.presets import Preset

Values = dict[str, Any]
_ONLY_BASE: Values = {"residual_appearance": False, "residual_geometry": False}
_ONLY_RESIDUAL: Values = {"base": "none", "texture_size": 0, "residual_geometry": False}
# The paper's rows, in its order, and choices of ours: name -> (preset values, values of the avatar's own table).
DIPGUAVA: dict[str, tuple[Values, Values]] = {
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
SYSTEMS = {"dipguava": (DIPGUAVA, "dipguava-draft")}


@dataclass
class AblationFigures:
    """One row on one clip; seconds are wall-clock."""

    clip: str
    row: str
    psnr: float
    ssim: float
    lpips: float | None
    lpips_network: str  # whose number that is: "squeeze" or "vgg"; "" without one
    gaussians: int
    seconds: float


def benchmark_ablations(
    folders: list[Path], output: Path, system: str = "dipguava", preset: str = "", lpips: Path | None = None,
    rows: tuple[str, ...] = (), changes: Values | None = None, progress: Progress | None = None,
) -> list[AblationFigures]:  # fmt: skip
    """Train and score the rows (all of them, or those named) on tracked clips; avatars stay in ``output``.

    changes: preset values for all rows. Raises InputError for a system without a table and a row that it lacks."""
    if system not in SYSTEMS:
        raise InputError(f"There is no table of ablations for {system!r}; known are {', '.join(SYSTEMS)}.")
    known, usual = SYSTEMS[system]
    if unknown := [row for row in rows if row not in known]:
        raise InputError(f"There is no ablation {unknown[0]!r}; choose of {', '.join(known)}.")
    presets = row_presets(load_preset(preset or usual, changes), known)
    figures = []
    for folder in folders:
        for row, made in presets.items():
            if rows and row not in rows:
                continue
            path = output / f"{folder.name}.{row.replace('/', '').replace(' ', '-')}.avatar.npz"
            result = train_avatar(folder, made, path, progress)
            scores = evaluate_avatar(path, folder, lpips, progress=progress)
            figures.append(AblationFigures(
                folder.name, row, scores["psnr"], scores["ssim"], scores.get("lpips"), scores.get("lpips_network", ""),
                result.gaussians, result.seconds,
            ))  # fmt: skip
    return figures


def row_presets(full: Preset, known: dict[str, tuple[Values, Values]]) -> dict[str, Preset]:
    """The rows' presets, by name; without those that change nothing in this one."""
    base = full.model_dump()
    made = {
        row: make_preset(base | values | {"avatar": base["avatar"] | avatar}, f"the ablation {row!r}")
        for row, (values, avatar) in known.items()
    }
    return {row: preset for row, preset in made.items() if preset != full or row == "full"}


def table(figures: list[AblationFigures]) -> Table:
    """One row each."""
    result = Table(*asdict(figures[0]), title="ablations")
    for row in figures:
        psnr, ssim = f"{row.psnr:.2f}", f"{row.ssim:.4f}"
        perceptual = "" if row.lpips is None else f"{row.lpips:.4f}"
        count, seconds = str(row.gaussians), f"{row.seconds:.0f}"
        result.add_row(row.clip, row.row, psnr, ssim, perceptual, row.lpips_network, count, seconds)
    return result

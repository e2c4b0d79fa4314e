# SPDX-License-Identifier: Apache-2.0
"""A system's parts, switched off one at a time: the papers' tables of ablations on the user's own clips.

Every row is a preset with some values changed, trained on the same clips and scored on the same held-out frames.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table

from blendsplat.errors import InputError
from blendsplat.evaluation.ablation_rows import SYSTEMS, Ablations, PaperTable, Rows, Values
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.progress import Progress
from blendsplat.systems import describe_avatar, load_preset, make_preset, train_avatar
from blendsplat.training.presets import Preset


@dataclass
class AblationFigures:
    """One row on one clip; seconds are wall-clock. orthogonality: of the bases, where the system measures it."""

    clip: str
    row: str
    psnr: float
    ssim: float
    lpips: float | None
    lpips_network: str  # whose number that is: "squeeze" or "vgg"; "" without one
    gaussians: int
    images: int
    seconds: float
    orthogonality: float | None = None


def benchmark_ablations(
    folders: list[Path], output: Path, system: str = "dipguava", preset: str = "", lpips: Path | None = None,
    rows: Sequence[str] = (), changes: Values | None = None, progress: Progress | None = None,
    tables: Sequence[str] = (), minutes: float | None = None,
) -> list[AblationFigures]:  # fmt: skip
    """Train and score rows on tracked clips; avatars stay in ``output``.

    rows: which; tables: those of these of the paper's tables; neither: the paper's usual ones, or all of a system that
    has one table. changes: preset values for all rows. minutes: train each row so long, instead of on as many images.
    Raises InputError for a system without ablations, a table or a row that it lacks, and a row that needs weights."""
    if system not in SYSTEMS:
        raise InputError(f"There is no table of ablations for {system!r}; known are {', '.join(SYSTEMS)}.")
    known = SYSTEMS[system]
    timed = {} if minutes is None else {"minutes": minutes}
    full = load_preset(preset or known.draft, (changes or {}) | timed)
    made = known.rows(full, lpips)
    chosen = _chosen(known, made, rows, tables)
    presets = {row: one for row, one in row_presets(full, made).items() if row in chosen}
    figures = []
    for folder in folders:
        for row, one in presets.items():
            path = output / f"{folder.name}.{_in_a_name(row)}.avatar.npz"
            result = train_avatar(folder, one, path, progress)
            scores = evaluate_avatar(path, folder, lpips, progress=progress)
            figures.append(AblationFigures(
                folder.name, row, scores["psnr"], scores["ssim"], scores.get("lpips"), scores.get("lpips_network", ""),
                result.gaussians, result.images, result.seconds,
                describe_avatar(path)["training"].get("orthogonality"),
            ))  # fmt: skip
    return figures


def _chosen(known: Ablations, made: Rows, rows: Sequence[str], tables: Sequence[str]) -> set[str]:
    """Names of the rows that are asked for. Raises InputError."""
    if unknown := [name for name in tables if name not in known.tables]:
        there = f"choose of {', '.join(known.tables)}" if known.tables else "this system has one table: leave it out"
        raise InputError(f"There is no table {unknown[0]!r} of ablations; {there}.")
    of_papers = {row for table in known.tables.values() for row in table.rows}
    if unknown := [row for row in rows if row not in made]:
        if unknown[0] in of_papers:
            raise InputError(f"The ablation {unknown[0]!r} needs the metric's weights; give them with --lpips.")
        raise InputError(f"There is no ablation {unknown[0]!r}; choose of {', '.join(made)}.")
    if rows or tables:
        return set(rows) | {row for name in tables for row in known.tables[name].rows}
    usual = {row for table in known.tables.values() if table.usual for row in table.rows}
    return usual or set(made)


def row_presets(full: Preset, known: Rows) -> dict[str, Preset]:
    """The rows' presets, by name; without those that change nothing in this one."""
    base = full.model_dump()

    def changed(values: Values, avatar: Values) -> Values:
        own = {"avatar": base["avatar"] | avatar} if "avatar" in base else {}
        return base | values | own

    made = {row: make_preset(changed(*change), f"the ablation {row!r}") for row, change in known.items()}
    return {row: preset for row, preset in made.items() if preset != full or row == "full"}


def paper_tables(figures: list[AblationFigures], system: str) -> Group:
    """The paper's tables that any of the figures belong to, each beside what the paper prints; one table of all where
    the system's paper has one."""
    made = [
        table([row for row in figures if row.row in paper.rows], paper)
        for paper in SYSTEMS[system].tables.values()
        if any(row.row in paper.rows for row in figures if row.row != "full" or paper.usual)
    ]
    return Group(*(made or [table(figures)]))


def table(figures: list[AblationFigures], paper: PaperTable | None = None) -> Table:
    """One row each; paper: whose figures stand beside."""
    measured = any(row.orthogonality is not None for row in figures)
    names = [name for name in asdict(figures[0]) if name != "orthogonality" or measured]
    beside = [f"paper {name}" for name in ("psnr", "ssim", "lpips", "orthogonality")] if paper else []
    result = Table(*names, *beside, title=paper.title if paper else "ablations")
    for row in figures:
        cells = [
            row.clip, row.row, f"{row.psnr:.2f}", f"{row.ssim:.4f}", _number(row.lpips, 4), row.lpips_network,
            str(row.gaussians), str(row.images), f"{row.seconds:.0f}", _number(row.orthogonality, 3),
        ]  # fmt: skip
        if paper:
            printed = paper.rows[row.row]
            cells = cells[: len(names)] + [
                _number(printed.psnr, 2), _number(printed.ssim, 4), _number(printed.lpips, 4),
                _number(printed.orthogonality, 3),
            ]  # fmt: skip
        result.add_row(*cells[: len(names) + len(beside)])
    return result


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _in_a_name(row: str) -> str:
    """For a file's name: "w/o fusion" -> "wo-fusion"."""
    return re.sub("-+", "-", re.sub(r"[^0-9A-Za-z-]", "", row.replace(" ", "-")))

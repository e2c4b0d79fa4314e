# SPDX-License-Identifier: Apache-2.0
"""Whether the shots of a clip show one person: each shot's own shape from its landmarks, compared by direction.

Landmarks say little of how much a face differs from the mean, but in which way they say alike from shot to shot.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from blendsplat.fitting.shared_unknowns import ClipPrior, fit_clip_unknowns
from blendsplat.fitting.solver import Problem

FRAMES = 6  # of a shot that are looked at
SHOTS = 8  # the longest ones
FEWEST = 5  # frames: from fewer, an expression is taken for a shape
# Cosine between shapes. Seen on eight people: shots of one person 0.47 to 0.96, of two -0.38 to 0.57, most below 0.3.
UNLIKE = 0.35


def runs_of_others(problem: Problem, unknowns: torch.Tensor, runs: np.ndarray, shape_precision: float) -> list[int]:
    """Numbers of the runs whose person seems to be another than the longest run's.

    problem: with shape directions and the clip's focal length; unknowns [B,P]: fitted; runs [B] (-1: not to be used);
    shape_precision: of every direction about the mean face.
    """
    numbers, counts = np.unique(runs[runs >= 0], return_counts=True)
    longest = numbers[np.argsort(-counts, kind="stable")][:SHOTS]
    longest = [number for number in longest if (runs == number).sum() >= FEWEST]
    if len(longest) < 2:
        return []
    shapes = [_shape(problem, unknowns, np.flatnonzero(runs == number), shape_precision) for number in longest]
    return sorted(int(n) for n, shape in zip(longest[1:], shapes[1:], strict=True) if alike(shape, shapes[0]) < UNLIKE)


def note_on_others(starts: list[int]) -> str:
    """The note on shots that begin at frames ``starts``."""
    return (
        f"What begins at frame {', '.join(map(str, starts))} seems to show somebody else, and one head was fitted to "
        "all: import each person's part of the video by itself (start, end)."
    )


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine between two shapes [S]; 1 for the mean face, which is unlike nobody."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length > 1e-6 else 1.0


def _shape(problem: Problem, unknowns: torch.Tensor, frames: np.ndarray, precision: float) -> np.ndarray:
    """[S]: the shape that only ``frames`` ask for."""
    spread = torch.as_tensor(frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]).unique()
    directions = problem.model.shape_directions.shape[-1]
    prior = ClipPrior(torch.eye(directions) * precision, torch.zeros(directions), float(problem.focal.log()), 0.0)
    everything = torch.ones(unknowns.shape[1], dtype=torch.bool)
    start = torch.zeros(directions)
    own = replace(problem.frames(spread), terms=())
    return fit_clip_unknowns(own, unknowns[spread], start, everything, prior, 8).shape.numpy()

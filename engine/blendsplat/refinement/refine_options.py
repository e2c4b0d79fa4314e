# SPDX-License-Identifier: Apache-2.0
"""How the refinement goes about it, and what its terms weigh: chosen on generated people (docs/tracking.md)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """One size of the pictures, in pixels between the eyes, and how often everything is done at it."""

    eyes_apart: float
    rounds: int  # appearance learned, then every frame fitted
    person: int  # rounds in which shape and focal length are fitted as well


LEVELS = (Level(14.0, 4, 4), Level(28.0, 2, 2), Level(45.0, 1, 0))


@dataclass(frozen=True)
class RefineOptions:
    """votes: what one sample of the picture counts in a frame, and person_votes where shape and focal length are
    fitted: neighbours err alike. The landmarks' weights are parts of what they have in the landmark fit."""

    levels: tuple[Level, ...] = LEVELS
    samples: int = 2400
    votes: float = 0.6
    person_votes: float = 0.04
    lids: float = 1.0
    lips: float = 0.5
    skin: float = 0.15  # all other landmarks but the face's outline, which is none of the skin
    iterations: int = 2  # of each frame alone, before all are fitted together
    person_iterations: int = 4
    focal_sigma: float = 0.3  # of log(focal) around the landmarks', which hardly see it; 0: it is known
    smoothing: float = 0.2  # of the landmarks' fit, whose errors jump from frame to frame as the picture's do not

# SPDX-License-Identifier: Apache-2.0
"""The refinement around frames that an artist corrected: what the clip looks like is learned as ever, from the
uncorrected fit, and only the frames that move are fitted to it, held as the artist said."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.fit_options import FitOptions
from blendsplat.fitting.frame_problem import one_thread
from blendsplat.fitting.refit import Refit
from blendsplat.fitting.temporal import fit_together
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.refinement.clip_state import start_state, weighed_landmarks
from blendsplat.refinement.pictures import ReadPicture, read_pictures
from blendsplat.refinement.refine import learn_look, picture_term
from blendsplat.refinement.refine_options import RefineOptions

LEARNED = 48  # spread frames from which the appearance is learned, beside those that move
ROUNDS = 2


@dataclass
class RefineAround:
    """A refit's finish (fitting/refit.py) for a clip whose fit was dense. pixels [F,478,2]: the detected landmarks."""

    head: HeadModel
    performance: Performance  # uncorrected
    image: ReadPicture
    matte: ReadPicture | None
    pixels: np.ndarray
    progress: Progress

    def __call__(self, work: Refit, unknowns: Tensor) -> Tensor:
        """The unknowns [B,P] of the frames ``work.rows``, still held, where the pictures confirm them."""
        shown = np.flatnonzero(self.performance.valid)
        spread = shown[np.linspace(0, len(shown) - 1, min(LEARNED, len(shown))).round().astype(int)]
        rows = np.union1d(spread, work.rows)
        options, pixels = RefineOptions(), self.pixels[rows].astype(np.float32)
        pixels[np.isin(rows, work.rows[~work.seen])] = np.nan
        part = replace(self.performance.select(rows), valid=np.ones(len(rows), bool))
        state = start_state(self.head, part, pixels, options, FitOptions(), None)
        if len(state.seen.rows) < len(rows):  # a lost frame far from all others: no picture to hold on to
            return unknowns
        state = replace(state, unknowns=state.unknowns.clone())
        place = torch.as_tensor(np.searchsorted(rows, work.rows))
        frames = torch.as_tensor(np.isin(rows, shown))
        scale = min(options.levels[-1].eyes_apart / float(np.median(state.seen.eye_distance)), 1.0)
        with one_thread(), read_pictures(self.image, self.matte, rows, scale, self.progress) as pictures:
            appearance = learn_look(replace(state, told=state.told & frames.numpy()), pictures).appearance
            for _ in range(ROUNDS):
                self.progress.check()
                state.unknowns[place] = unknowns
                look = replace(learn_look(state, pictures), appearance=appearance)
                term = picture_term(state, look, options.votes)
                problem = weighed_landmarks(state, options, irises=False, shape=False).frames(place)
                problem = replace(
                    problem, held=work.problem.held, hold=work.problem.hold,
                    weights=problem.weights * torch.as_tensor(work.seen)[:, None],
                    terms=(replace(term, model=state.own(term.model)).frames(place),),
                )  # fmt: skip
                everything = torch.ones(unknowns.shape[1], dtype=torch.bool)
                unknowns = fit_together(problem, unknowns, work.free, everything, work.smooth, 1)
        return unknowns

# SPDX-License-Identifier: Apache-2.0
"""KaoLRM as a Regressor of the fit: a face's shape, expression and jaw from one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from blendsplat.fitting.face_prior import FacePrior, Regressor
from blendsplat.heads.model import HeadModel
from blendsplat.kaolrm.config import read_config
from blendsplat.kaolrm.points_reader import load_reader
from blendsplat.kaolrm.weight_catalogue import DEFAULT, find_shipped, find_weights

QUICK, SLOW_STEP = 512, 0.1  # triplane tokens of a quick network; expressions between 10 a second are nearly linear


class KaoRegressor:
    """A KaoLRM from a folder of weights, with the reader of landmarks beside them if there is one.

    Raises InputError when it was trained for another head.
    """

    def __init__(self, weights: str | Path, head: HeadModel, device: str = "cpu") -> None:
        from blendsplat.kaolrm.weights import load_model  # slow, and only this class needs it

        self._model = load_model(weights, device)
        config = self._model.config
        config.check_head(head, f"The weights {Path(weights).name}")
        self._points = load_reader(find_weights(weights), 3 * (2 * config.triplane_low_res) ** 2, config.shape_count)
        self.name = f"kaolrm:{Path(weights).name}"
        self.face_share = config.framing_share
        self.step = 0.0 if config.tokens <= QUICK else SLOW_STEP

    def many(self, pictures: list[np.ndarray], points: list[np.ndarray] | None = None) -> list[FacePrior]:
        from blendsplat.kaolrm.preprocess import prepare_picture

        config = self._model.config
        images = torch.stack([prepare_picture(picture, config.image_size, config.resize) for picture in pictures])
        coefficients, means = self._model.read(images)
        seen = {name: value.cpu().numpy() for name, value in coefficients.items()}
        if points is not None and self._points is not None:
            seen["shape"] = self._points.read(np.stack(points), means.cpu().numpy())
        return [
            FacePrior(seen["shape"][row], seen["expression"][row : row + 1], seen["pose"][row : row + 1, 3:])
            for row in range(len(pictures))
        ]


def make_regressor(weights: str | Path, head: HeadModel, device: str = "cpu") -> Regressor | None:
    """weights: a folder, a name of the catalogue, "none", or "auto": the shipped default where it fits the head."""
    if str(weights) == "none":
        return None
    if str(weights) == "auto":
        shipped = find_shipped()
        if not shipped.is_dir() or not read_config(shipped / "config.json").fits_head(head):
            return None
        weights = DEFAULT
    return KaoRegressor(weights, head, device)

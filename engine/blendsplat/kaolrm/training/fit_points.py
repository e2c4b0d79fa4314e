# SPDX-License-Identifier: Apache-2.0
"""Solves for the reader of landmarks (points_reader.py): the detector looks at the generated pictures, whose heads are
known, and shape is regressed on what it found together with what the network sees."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from blendsplat.heads.model import HeadModel
from blendsplat.kaolrm.points_reader import NUMBERS, PointsReader, laid_on
from blendsplat.kaolrm.training.closed_form import ridge
from blendsplat.kaolrm.training.generated_dataset import GeneratedViews, SourceView
from blendsplat.landmarks.detector import make_detector
from blendsplat.progress import Progress

LOOKED_AT = 384  # pixels of the pictures that the detector sees


def detect_points(data: GeneratedViews, views: list[SourceView], progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """The detector's points [N,478,3] on the views as rendered, and which were found [N]."""
    points, found = np.zeros((len(views), NUMBERS // 3, 3), np.float32), np.zeros(len(views), bool)
    with make_detector(moving=False) as detector:
        for row, view in enumerate(views):
            progress.check()
            picture = cv2.resize(data.shown(view), (LOOKED_AT, LOOKED_AT), interpolation=cv2.INTER_CUBIC)
            face = detector.detect(picture, 2.0 * row)
            if face is not None:
                points[row], found[row] = face.points, True
            progress.update("landmarks", row + 1, len(views))
    return points, found


def fit_points(
    head: HeadModel, points: np.ndarray, means: np.ndarray, shapes: np.ndarray, weight: float, strength: float
) -> PointsReader:
    """points [N,478,3], the network's numbers [N,M] and true shapes [N,S] -> the reader.

    weight: how much a point's mean variance counts beside a number's; strength: of the ridge, see ``ridge``.
    """
    rest = head.landmarks_of(head.template[None])[0].double().numpy()
    laid = laid_on(rest, points).reshape(len(points), -1)
    grown = float(np.sqrt(weight * means.var(0).mean() / laid.var(0).mean()))
    seen = torch.from_numpy(np.concatenate([laid * grown, means], 1).astype(np.float32))
    solved, bias = ridge(seen, torch.from_numpy(shapes.astype(np.float32)), strength)
    matrix = solved.numpy().copy()
    matrix[:NUMBERS] *= grown
    return PointsReader(rest.astype(np.float32), matrix, bias.numpy())

# SPDX-License-Identifier: Apache-2.0
"""What the fit of a frame needs, whether it comes with its clip or alone from a camera: observations, the start from a
rough pose, bounds and priors, landmark weights at a pose, and how well a result explains what was detected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.initial_poses import eye_openings, iris_confidence, visibility, weak_perspective_poses
from blendsplat.fitting.landmark_model import (
    EXPRESSION,
    EYELIDS,
    EYES,
    JAW,
    NECK,
    TRANSLATION,
    LandmarkModel,
    landmark_positions,
)
from blendsplat.fitting.solver import NOISE, Problem, fit_frames, landmark_pairs, prior_precision
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.model import LEFT_EYE_JOINT, RIGHT_EYE_JOINT, HeadModel
from blendsplat.landmarks import points as pts

LOST = 0.25  # a frame whose landmarks miss by this part of the eye distance shows no face that was understood
_IRISES = [*pts.RIGHT_IRIS, *pts.LEFT_IRIS]


@dataclass
class Observations:
    """Landmarks of the frames that show a face (rows), and what they say before any fit."""

    pixels: np.ndarray  # [B,478,2]
    eye_distance: np.ndarray  # [B] pixels
    rotations: np.ndarray  # [B,3,3] rough head rotations
    scales: np.ndarray  # [B] pixels per metre
    centres: np.ndarray  # [B,2]
    openings: np.ndarray  # [B,2]
    rows: np.ndarray  # [B] their numbers in the clip

    def frames(self, chosen: np.ndarray) -> Observations:
        """Only some of the frames."""
        return Observations(*(getattr(self, field.name)[chosen] for field in fields(self)))


@contextmanager
def one_thread() -> Iterator[None]:
    """The fit's operations are small: threads would only wait for each other, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def observe(model: LandmarkModel, pixels: np.ndarray, rows: np.ndarray) -> Observations:
    """Landmarks [B,478,2] float64 of the frames ``rows`` [B]."""
    rotations, scales, centres = weak_perspective_poses(model.points.double().numpy(), pixels)
    eye_distance = scales * float((model.joints[LEFT_EYE_JOINT] - model.joints[RIGHT_EYE_JOINT]).norm())
    return Observations(pixels, eye_distance, rotations, scales, centres, eye_openings(pixels, eye_distance), rows)


def start_from_rough_pose(
    model: LandmarkModel, seen: Observations, root: Tensor, focal: float, centre: np.ndarray, mean: Tensor
) -> Tensor:
    """Unknowns [B,P]: what is expected, ``mean`` [B,P], in the heads' rough poses before the camera."""
    neck = torch.as_tensor(seen.rotations, dtype=torch.float32)
    neck = rotvec_to_matrix(root).T @ neck
    unknowns = mean.clone()
    unknowns[:, NECK] = matrix_to_rotvec(neck)
    posed = landmark_positions(model, unknowns, root)[:, list(pts.RIGID)].mean(1).numpy()
    depth = focal / seen.scales
    target = np.column_stack([(seen.centres - centre) * [1, -1] * (depth / focal)[:, None], -depth])
    unknowns[:, TRANSLATION] = torch.as_tensor(target - posed, dtype=torch.float32)
    return unknowns


def frame_problem(
    head: HeadModel, model: LandmarkModel, seen: Observations, root: Tensor, focal: float, centre: np.ndarray,
    mean: Tensor, expression_sigma: float | None,
) -> Problem:  # fmt: skip
    """The problem of the seen frames, all landmarks weighing one. mean [B,P] of the prior, before the bounds;
    expression_sigma None: 1 for heads of components, 0.35 for blendshapes."""
    low, high = head.expression_range
    bounded = low == 0
    sigma = torch.full((head.expression_count,), expression_sigma or (0.35 if bounded else 1.0))
    lower, upper = torch.full((model.parameter_count,), -np.inf), torch.full((model.parameter_count,), np.inf)
    lower[EXPRESSION], upper[EXPRESSION] = low, high
    lower[EYELIDS], upper[EYELIDS] = -0.1, 1.0
    lower[JAW], upper[JAW] = torch.tensor([-0.02, -0.15, -0.15]), torch.tensor([0.7, 0.15, 0.15])
    lower[EYES], upper[EYES] = -0.8, 0.8
    return Problem(
        model=model,
        root=root,
        focal=torch.tensor(focal, dtype=torch.float32),
        centre=torch.as_tensor(centre, dtype=torch.float32),
        pixels=torch.as_tensor(seen.pixels, dtype=torch.float32),
        sigma=torch.as_tensor(NOISE * seen.eye_distance, dtype=torch.float32).clamp_min(0.05),
        weights=torch.ones(len(mean), pts.COUNT),
        precision=prior_precision(model, sigma),
        mean=mean.clamp(lower, upper),
        lower=lower,
        upper=upper,
        pairs=landmark_pairs(),
    )


def reweighted(problem: Problem, seen: Observations, unknowns: Tensor) -> Problem:
    """Landmark weights at the present poses: confidence, the embedding's, visibility, closed eyes' irises."""
    model = problem.model
    turned = (rotvec_to_matrix(problem.root) @ rotvec_to_matrix(unknowns[:, NECK])).numpy()
    to_camera = -torch.nn.functional.normalize(unknowns[:, TRANSLATION], dim=-1).numpy()
    shown = visibility(model.normals.numpy(), turned, to_camera)
    shown[:, _IRISES] = np.maximum(shown[:, _IRISES], 0.3)
    weight = shown * iris_confidence(seen.openings) * pts.landmark_confidence() * model.usable.numpy()
    return replace(problem, weights=torch.as_tensor(weight, dtype=torch.float32))


def fit_poses(problem: Problem, unknowns: Tensor, iterations: int) -> Tensor:
    """Move only heads, whose faces count as neutral: ``unknowns`` [B,P] with new neck poses and translations."""
    few = EXPRESSION.start
    active = torch.zeros(few, dtype=torch.bool)
    active[NECK] = active[TRANSLATION] = True
    unknowns = unknowns.clone()
    unknowns[:, :few], _ = fit_frames(problem.pose_only(), unknowns[:, :few], active, iterations)
    return unknowns


def landmark_errors(problem: Problem, unknowns: Tensor, eye_distance: np.ndarray) -> np.ndarray:
    """[B]: mean distance of visible, usable landmarks from the detected ones, over the distance between the eyes."""
    world = landmark_positions(problem.model, unknowns, problem.root)
    flat = (
        torch.stack([world[..., 0], -world[..., 1]], -1) / (-world[..., 2:]).clamp_min(0.02) * problem.focal
        + problem.centre
    )
    distance = (flat - problem.pixels).norm(dim=-1)
    visible = (problem.weights > 0.05 * torch.as_tensor(pts.landmark_confidence())) & (problem.model.usable > 0)
    mean = (distance * visible).sum(1) / visible.sum(1).clamp_min(1)
    return mean.numpy() / np.maximum(eye_distance, 1e-6)


def eyes_pose(unknowns: np.ndarray) -> np.ndarray:
    """Unknowns [B,P] -> rotation vectors of the eyes [B,2,3], which do not roll."""
    eyes = np.zeros((len(unknowns), 2, 3), np.float32)
    eyes[:, :, :2] = unknowns[:, EYES].reshape(-1, 2, 2)
    return eyes

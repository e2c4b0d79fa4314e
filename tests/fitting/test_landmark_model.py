# SPDX-License-Identifier: Apache-2.0
"""The landmark model must be the head itself, and its analytic Jacobian the derivative that finite differences see."""

from __future__ import annotations

import pytest
import torch

from blendsplat.fitting.landmark_model import landmark_positions, pack, project_with_jacobian, restrict_to_landmarks
from blendsplat.heads.model import HeadParams
from synthetic_head import make_head


def _random_params(head, batch: int) -> HeadParams:
    generator = torch.Generator().manual_seed(3)

    def normal(*size: int, scale: float) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64) * scale

    eyes = normal(batch, 2, 3, scale=0.2)
    eyes[..., 2] = 0
    return HeadParams(
        normal(1, head.shape_count, scale=1), normal(batch, head.expression_count, scale=0.7), normal(1, 3, scale=0.3),
        normal(batch, 3, scale=0.4), normal(batch, 3, scale=0.2), eyes, normal(batch, 2, scale=0.5),
        normal(batch, 3, scale=0.02) - torch.tensor([0, 0, 0.9], dtype=torch.float64),
    )  # fmt: skip


def test_positions_are_the_heads_own():
    head = make_head().to("cpu", torch.float64)
    params = _random_params(head, 4)
    model = restrict_to_landmarks(head).shaped(params.shape[0])
    want = head.landmarks_of(head(params))
    torch.testing.assert_close(landmark_positions(model, pack(params), params.root_pose[0]), want, atol=1e-9, rtol=0)


@pytest.mark.parametrize("still", [False, True], ids=["moving", "at rest"])
def test_jacobian_against_finite_differences(still: bool):
    head = make_head().to("cpu", torch.float64)
    params = _random_params(head, 2)
    unknowns, root = pack(params), params.root_pose[0]
    if still:
        unknowns[:, :3] = unknowns[:, 6:] = 0
    base = restrict_to_landmarks(head)
    focal, centre = torch.tensor(900.0, dtype=torch.float64), torch.tensor([250.0, 260.0], dtype=torch.float64)

    def pixels(values: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
        model = base.shaped(clip[:-1])
        return project_with_jacobian(model, values, root, clip[-1].exp(), centre)[0]

    clip = torch.cat([params.shape[0], focal.log()[None]])
    _, by_frame, by_clip = project_with_jacobian(base.shaped(params.shape[0]), unknowns, root, focal, centre, True)
    step = 1e-6
    for k in range(unknowns.shape[1]):
        delta = torch.zeros_like(unknowns)
        delta[:, k] = step
        numeric = (pixels(unknowns + delta, clip) - pixels(unknowns - delta, clip)) / (2 * step)
        torch.testing.assert_close(by_frame[..., k], numeric, atol=2e-4, rtol=1e-5)
    for k in range(len(clip)):
        delta = torch.zeros_like(clip)
        delta[k] = step
        numeric = (pixels(unknowns, clip + delta) - pixels(unknowns, clip - delta)) / (2 * step)
        torch.testing.assert_close(by_clip[..., k], numeric, atol=2e-4, rtol=1e-5)

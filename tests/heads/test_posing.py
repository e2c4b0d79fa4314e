# SPDX-License-Identifier: Apache-2.0
"""The kernel that poses a person's head against HeadModel in float64."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from blendsplat.heads.model import HeadParams
from blendsplat.heads.posing import Posing
from tiny_clip import tiny_head


def person(seed=0):
    """A tiny head with something in every array."""
    g = torch.Generator().manual_seed(seed)
    head = tiny_head()
    head = head.personalise(head.template.new_zeros(head.shape_count))

    def noise(like, scale=0.01):
        return scale * torch.randn(like.shape, generator=g)

    skin = torch.rand(head.skin_weights.shape, generator=g)
    skin = skin / skin.sum(1, keepdim=True)
    return replace(
        head, expression_directions=noise(head.expression_directions), pose_directions=noise(head.pose_directions),
        eyelid_directions=noise(head.eyelid_directions), joints=noise(head.joints, 0.1),
        joint_expression_directions=noise(head.joint_expression_directions), skin_weights=skin,
    )  # fmt: skip


def random_params(head, batch, seed=1):
    g = torch.Generator().manual_seed(seed)
    neutral = head.neutral(batch)
    return HeadParams(
        **{f.name: 0.7 * torch.randn(getattr(neutral, f.name).shape, generator=g) for f in fields(HeadParams)}
    )


@pytest.mark.parametrize("batch", [1, 3, 8, 11])
def test_equals_the_head_model(batch) -> None:
    head = person()
    params = random_params(head, batch)
    want = head.to("cpu", torch.float64)(params.to(torch.float64))
    got = Posing(head)(params)
    assert got.shape == want.shape
    assert (got.double() - want).abs().max() < 3e-6


def test_one_row_holds_for_all_and_directions_that_move_nothing_are_left_out() -> None:
    head = person()
    still = replace(head, eyelid_directions=torch.zeros_like(head.eyelid_directions))
    params = replace(random_params(still, 5), neck_pose=torch.full((1, 3), 0.2), translation=torch.full((1, 3), 0.3))
    torch.testing.assert_close(Posing(still)(params), still(params), atol=3e-6, rtol=0)


def test_a_head_without_its_shape_built_in_is_refused() -> None:
    head = tiny_head()
    head = replace(head, shape_directions=torch.zeros(2, head.vertex_count, 3))
    assert not Posing.suits(head)
    with pytest.raises(ValueError, match="shape built in"):
        Posing(head)

# SPDX-License-Identifier: Apache-2.0
"""The renderer of portraits on the head that ships: what is where, from which side, and in which encoding."""

from __future__ import annotations

import math

import pytest
import torch

from blendsplat.geometry import project_points
from blendsplat.heads.human import human_head
from blendsplat.heads.human.appearance import Look, head_texture
from blendsplat.heads.render import Light, render_head

SIZE = 160


@pytest.fixture(scope="module")
def head():
    return human_head()


@pytest.fixture(scope="module")
def texture():
    return torch.from_numpy(head_texture(Look(), 256).copy())


def camera(yaw: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    c, s = math.cos(yaw), math.sin(yaw)
    viewmat = torch.eye(4)
    viewmat[:3, :3] = torch.tensor([[c, 0, s], [0, -1, 0], [s, 0, -c]])
    viewmat[2, 3] = 0.75
    K = torch.tensor([[1.8 * SIZE, 0, SIZE / 2], [0, 1.8 * SIZE, SIZE / 2], [0, 0, 1]])
    return viewmat[None], K[None]


def test_portrait_is_upright_opaque_and_premultiplied(head, texture):
    viewmats, Ks = camera()
    image = render_head(head, head.template[None], texture, viewmats, Ks, SIZE, SIZE)[0]
    assert image.shape == (SIZE, SIZE, 4)
    assert image.dtype == torch.float32
    assert (image[..., :3] <= image[..., 3:] + 1e-6).all()
    assert image[0, 0].abs().max() == 0
    points = project_points(head.template[None], viewmats, Ks)[0]

    def colour(rows) -> torch.Tensor:
        x, y = points[rows].mean(0).floor().long().tolist()
        return image[y, x]

    top = points[head.regions["scalp"], 1].min().long().item() + 6
    assert image[top, SIZE // 2, 3] == 1
    assert image[top, SIZE // 2, :3].max() < 0.35, "hair on top"
    eye = colour(head.regions["left_eyeball"])
    assert points[head.regions["left_eyeball"], 0].mean() > SIZE / 2, "the person's left is on the image's right"
    assert eye[3] == 1


def test_closed_mouth_hides_the_teeth_and_blinking_hides_the_eye(head, texture):
    viewmats, Ks = camera()
    params = head.neutral(2)
    params.expression[1, head.expression_names.index("eyeBlinkLeft")] = 1
    images = render_head(head, head(params), texture, viewmats.expand(2, -1, -1), Ks.expand(2, -1, -1), SIZE, SIZE)
    points = project_points(head.template[None], viewmats, Ks)[0]
    x, y = points[head.regions["left_eyeball"]].mean(0).long().tolist()
    changed = (images[0] - images[1]).abs().amax(-1)
    assert changed[y - 3 : y + 4, x - 5 : x + 6].mean() > 0.05
    assert changed[:, : SIZE // 2 - 8].max() < 0.03, "the right half stays"


def test_light_comes_from_where_it_is_said(head, texture):
    viewmats, Ks = camera()
    grey = torch.full_like(texture, 0.6)
    left = Light(direction=(1.0, 0.2, 0.4), fill=(0.0, 0.0, 0.0))
    image = render_head(head, head.template[None], grey, viewmats, Ks, SIZE, SIZE, light=left)[0, ..., :3].mean(-1)
    middle = image[SIZE // 2 - 20 : SIZE // 2 + 10]
    assert middle[:, SIZE // 2 + 4 :].mean() > 1.2 * middle[:, : SIZE // 2 - 4].mean()


def test_supersampling_only_smooths(head, texture):
    viewmats, Ks = camera(0.4)
    coarse, fine = (
        render_head(head, head.template[None], texture, viewmats, Ks, SIZE, SIZE, supersample=s)[0] for s in (1, 3)
    )
    assert (coarse - fine).abs().mean() < 0.02
    assert ((fine[..., 3] > 0) & (fine[..., 3] < 1)).any()

# SPDX-License-Identifier: Apache-2.0
"""Real avatar scenes against the oracle: the head that ships with Blendsplat, as an avatar of random blendshapes, posed
in several frames and seen from the front, from the side and from inside the nose.

Ten thousand small Gaussians on a surface: long lists, thin plates, many nearly equal depths, every one of them moved.
"""

from __future__ import annotations

import pytest
import torch

from blendsplat.avatars.avatar import TrainingCamera
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadParams

from .kernels import Kernels
from .oracle import expect, judge, some_pixels
from .scenes import SceneData

BOUND = 32.0  # units of error, see test_soak.py
FRAMES, UV, SIZE = 3, 128, 192


@pytest.fixture(scope="module")
def gaussians() -> list[torch.Tensor]:
    """[means, quats, scales, opacities, colors] of three frames."""
    g = torch.Generator().manual_seed(7)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    head = load_head("human")
    head = head.personalise(0.5 * noise(head.shape_count))
    camera = TrainingCamera(torch.eye(3), torch.eye(4), SIZE, SIZE)
    avatar = RGBAvatar.on_head(head, UV, camera, blendshapes=6)
    count = avatar.gaussian_count
    assert count > 5000
    with torch.no_grad():  # as far from its start as training takes an avatar
        avatar.positions += 1e-3 * noise(count, 3)
        avatar.log_scales += 0.7 + 0.8 * noise(count, 3)
        avatar.quats += 0.7 * noise(count, 4)
        avatar.opacity_logits += 2.5 * noise(count)
        avatar.colors += noise(count, 3)
        avatar.delta_positions += 1e-3 * noise(6, count, 3)
        avatar.delta_quats += 0.2 * noise(6, count, 4)
        avatar.delta_colors += 0.3 * noise(6, count, 3)
        params: HeadParams = head.neutral(FRAMES)
        params.expression += 0.5 * noise(*params.expression.shape)
        params.jaw_pose[:, 0] += torch.tensor([0.0, 0.15, 0.3])
        driven = avatar.gaussians(noise(FRAMES, 6), avatar.vertices(params))
    return [t.contiguous() for t in (driven.means, driven.quats, driven.scales, driven.opacities, driven.colors)]


def seen(gaussians: list[torch.Tensor], distance: float, turn: float, focal: float) -> SceneData:
    """The frames from ``distance`` metres, the camera turned about the head by ``turn`` radians and more each frame."""
    middle = gaussians[0].mean((0, 1))
    viewmats = torch.eye(4).repeat(FRAMES, 1, 1)
    for frame in range(FRAMES):
        rotation = torch.diag(torch.tensor([1.0, -1, -1])) @ rotvec_to_matrix(
            torch.tensor([0.1, turn + 0.2 * frame, 0])
        )
        viewmats[frame, :3, :3] = rotation
        viewmats[frame, :3, 3] = torch.tensor([0.0, 0, distance]) - rotation @ middle
    K = torch.tensor([[focal * SIZE, 0, 0.52 * SIZE], [0, focal * SIZE, 0.47 * SIZE], [0, 0, 1]])
    backgrounds = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.2, 0.7, 0.1]])
    return SceneData(gaussians, viewmats, K.repeat(FRAMES, 1, 1), SIZE, SIZE, backgrounds)


@pytest.mark.parametrize(
    ("distance", "turn", "focal"), [(1.0, 0.0, 2.6), (0.6, 1.2, 1.5), (0.06, 0.3, 0.8)], ids=["front", "side", "inside"]
)
def test_against_the_oracle(
    gaussians: list[torch.Tensor], distance: float, turn: float, focal: float, kernels: Kernels
) -> None:
    if kernels.name == "emulated":
        pytest.skip("too slow for every run, one emulated thread after the other")
    scene = seen(gaussians, distance, turn, focal)
    expected = expect(scene, 3, some_pixels(scene, 60, 3))
    assert sum(float(o[1].mean()) for o in expected.outputs) > 0.3
    verdict = judge(expected, scene, kernels.gradients, BOUND)
    assert max(verdict.worst.values()) <= BOUND and not verdict.unexplained, verdict
    checked = sum(len(v.pixels) for v in expected.views) - verdict.doubtful
    assert checked > 100, "too many pixels are in doubt"

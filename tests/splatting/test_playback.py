# SPDX-License-Identifier: Apache-2.0
"""Playing against plain torch in float64: bases in both precisions, every batch size, tails of packs, odd numbers."""

from __future__ import annotations

import pytest
import torch

from blendsplat.heads.tangent_frames import tangent_frames_reference, uv_edges
from blendsplat.splatting.bind import BindParameters, Carrier, blend_and_bind_reference
from blendsplat.splatting.playback import PlaybackPass, packed

WIDTHS = (3, 4, 3)
SIZES = ((1, 1, 1), (2, 15, 20), (3, 16, 2), (4, 33, 5), (8, 47, 3), (9, 130, 20), (17, 31, 4))


def problem(images, gaussians, shapes, seed=0):
    """(parameters, triangle, barycentrics, faces, uv_edges), weights, vertices"""
    g = torch.Generator().manual_seed(seed)
    faces = torch.stack([torch.randperm(30, generator=g)[:3] for _ in range(17)])
    uvs = torch.rand(30, 2, generator=g)
    base = [torch.randn(gaussians, width, generator=g) for width in WIDTHS]
    deltas = [torch.randn(shapes, gaussians, width, generator=g) for width in WIDTHS]
    log_scales, logits = torch.randn(gaussians, 3, generator=g), torch.randn(gaussians, generator=g)
    parameters = BindParameters(base[0], log_scales, base[1], logits, base[2], *deltas)
    triangle = torch.randint(0, 17, (gaussians,), generator=g)
    avatar = parameters, triangle, torch.rand(gaussians, 3, generator=g), faces, uv_edges(uvs, faces)
    return avatar, torch.randn(images, shapes, generator=g), torch.randn(images, 30, 3, generator=g)


def halved(avatar):
    return avatar[0]._replace(**{f"delta_{n}": getattr(avatar[0], f"delta_{n}").half() for n in NAMES}), *avatar[1:]


NAMES = ("positions", "quats", "colors")


def oracle(avatar, weights, vertices):
    parameters, triangle, barycentrics, faces, edges = avatar
    exact = BindParameters(*(t.double() for t in parameters))
    vertices = vertices.double()
    surface = vertices, *tangent_frames_reference(vertices, faces, edges.double())
    carrier = Carrier(*surface, triangle, faces[triangle], barycentrics.double())
    bound = blend_and_bind_reference(
        exact.base, exact.deltas, None if weights is None else weights.double(), carrier
    )  # fmt: skip
    return bound[0], bound[1], exact.log_scales.exp()[None], exact.opacity_logits.sigmoid()[None], bound[2]


def play(avatar, weights, vertices):
    played = PlaybackPass(len(vertices), packed(*avatar))
    for part in (played.gaussians.means, played.gaussians.quats, played.gaussians.colors):
        part.fill_(torch.nan)
    played.forward(vertices, weights)
    return played.gaussians.tensors()


def assert_same(got, want, tolerance=2e-5):
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        if a.numel():
            assert (a.double() - b).abs().max() <= tolerance * b.abs().max().clamp_min(1)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_the_oracle_of_the_same_numbers(size, half) -> None:
    """Half-precision bases are rounded where they are stored, and nowhere else."""
    avatar, weights, vertices = problem(*size)
    avatar = halved(avatar) if half else avatar
    assert_same(play(avatar, weights, vertices), oracle(avatar, weights, vertices))


@pytest.mark.usefixtures("instruction_set")
def test_every_half_number_is_widened_exactly() -> None:
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    avatar, _, vertices = problem(1, len(bits), 1)
    zero = avatar[0]._replace(colors=torch.zeros(len(bits), 3), delta_colors=bits[:, None].expand(-1, 3)[None])
    zero = zero._replace(delta_positions=torch.zeros(1, len(bits), 3), delta_quats=torch.zeros(1, len(bits), 4))
    zero = BindParameters(*zero[:5], *(part.half() for part in zero[5:]))
    colors = play((zero, *avatar[1:]), torch.ones(1, 1), vertices)[4][0, :, 0]
    want = (0.28209479177387814 * bits.double() + 0.5).clamp_min(0)
    sound = bits.isfinite() | (bits == torch.inf)
    torch.testing.assert_close(colors[sound].double(), want[sound], rtol=2e-7, atol=6e-8)
    assert (colors[~sound & (bits == -torch.inf)] == 0).all()


@pytest.mark.usefixtures("instruction_set")
def test_the_base_alone_and_nothing_at_all() -> None:
    avatar, _, vertices = problem(3, 40, 4)
    assert_same(play(avatar, None, vertices), oracle(avatar, None, vertices))
    assert_same(play(halved(avatar), None, vertices), oracle(halved(avatar), None, vertices))
    avatar, weights, vertices = problem(2, 40, 0)
    assert_same(play(avatar, weights, vertices), oracle(avatar, None, vertices))
    for size in ((2, 0, 3), (0, 20, 3)):
        means = play(*problem(*size))[0]
        assert means.shape == (*size[:2], 3)


@pytest.mark.usefixtures("instruction_set")
def test_thread_count_changes_nothing(set_threads) -> None:
    arguments = problem(6, 2000, 7)
    found = []
    for count in (1, 2, 7):
        set_threads(count)
        found.append(play(*arguments))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_a_frame_does_not_depend_on_its_batch() -> None:
    avatar, weights, vertices = problem(11, 50, 3)
    together = play(avatar, weights, vertices)
    for row in (0, 6, 10):
        alone = play(avatar, weights[[row]], vertices[[row]])
        assert all(torch.equal(alone[part][0], together[part][row]) for part in (0, 1, 4))


def test_what_is_packed_is_a_copy() -> None:
    avatar, weights, vertices = problem(1, 20, 2)
    packs = packed(*avatar)
    avatar[0].positions.zero_(), avatar[0].delta_positions.zero_()
    first, second = PlaybackPass(1, packs), PlaybackPass(1, packed(*avatar))
    first.forward(vertices, weights), second.forward(vertices, weights)
    assert not torch.equal(first.gaussians.means, second.gaussians.means)


def test_wrong_arguments_are_named() -> None:
    avatar, weights, vertices = problem(2, 20, 3)
    parameters, triangle, barycentrics, faces, edges = avatar
    with pytest.raises(ValueError, match="triangle: expected numbers from 0 to 16"):
        packed(parameters, triangle + 3, barycentrics, faces, edges)
    with pytest.raises(ValueError, match="faces: expected"):
        packed(parameters, triangle, barycentrics, faces - 30, edges)
    played = PlaybackPass(2, packed(*avatar))
    with pytest.raises(ValueError, match="weights"):
        played.forward(vertices, weights[:1])
    with pytest.raises(ValueError, match="vertices: expected 30 at least, got 20"):
        played.forward(vertices[:, :20].contiguous(), weights)
    with pytest.raises(ValueError, match="vertices"):
        played.forward(vertices.double(), weights)
    with pytest.raises(ValueError, match="uv_edges"):
        PlaybackPass(2, packed(parameters, triangle, barycentrics, faces, edges[:3]))

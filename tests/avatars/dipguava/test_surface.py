# SPDX-License-Identifier: Apache-2.0
"""Triangle frames, charts, texels and sampling against plain numpy: where every Gaussian lies, in space and in UV."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blendsplat.avatars.dipguava.surface import (
    Texels,
    normal_maps,
    sample,
    triangle_frames,
)
from blendsplat.errors import InputError
from blendsplat.geometry import quat_to_matrix, rotvec_to_matrix
from tiny_dipguava import own_head


@pytest.fixture
def posed() -> tuple[torch.Tensor, torch.Tensor]:
    """Three frames of a shaken head in float64, and its faces."""
    head, noise = own_head(), torch.Generator().manual_seed(1)
    vertices = head.template.double() + 0.01 * torch.randn(3, head.vertex_count, 3, generator=noise).double()
    return vertices, head.faces


def test_frames_are_those_of_plain_numpy(posed) -> None:
    vertices, faces = posed
    frames = triangle_frames(vertices, faces)
    for b in range(3):
        for f in range(len(faces)):
            p, q, r = vertices[b, faces[f]].numpy()
            x, n = (q - p) / np.linalg.norm(q - p), np.cross(q - p, r - p)
            n /= np.linalg.norm(n)
            np.testing.assert_allclose(frames.rotations[b, f], np.stack([x, n, np.cross(x, n)], 1), atol=1e-12)
            edges = [np.linalg.norm(q - p), np.linalg.norm(r - q), np.linalg.norm(p - r)]
            np.testing.assert_allclose(frames.sizes[b, f], np.mean(edges), atol=1e-14)
            np.testing.assert_allclose(frames.centroids[b, f], (p + q + r) / 3, atol=1e-14)
    both = frames[[2, 0]]
    assert torch.equal(both.sizes, frames.sizes[[2, 0]]) and torch.equal(both.rotations, frames.rotations[[2, 0]])


def test_rotations_are_right_handed_and_equal_their_quaternions(posed) -> None:
    frames = triangle_frames(*posed)
    torch.testing.assert_close(
        frames.rotations.mT @ frames.rotations, torch.eye(3).double().expand_as(frames.rotations)
    )
    torch.testing.assert_close(torch.linalg.det(frames.rotations), torch.ones_like(frames.sizes))
    torch.testing.assert_close(quat_to_matrix(frames.quats), frames.rotations)


def test_a_rigid_motion_and_a_scaling_carry_the_frames_along(posed) -> None:
    vertices, faces = posed
    turn, shift = rotvec_to_matrix(torch.tensor([0.7, -1.9, 0.4]).double()), torch.tensor([0.3, -2.0, 5.0]).double()
    before, after = triangle_frames(vertices, faces), triangle_frames(2.5 * vertices @ turn.T + shift, faces)
    torch.testing.assert_close(after.rotations, turn @ before.rotations)
    torch.testing.assert_close(after.centroids, 2.5 * before.centroids @ turn.T + shift)
    torch.testing.assert_close(after.sizes, 2.5 * before.sizes)


@pytest.mark.parametrize(
    "corners",
    [
        [[0, 0, 0], [1, 0, 0], [2, 0, 0]],
        [[0, 0, 0], [1, 2, 3], [0, 0, 0]],
        [[1, 1, 1], [1, 1, 1], [2, 1, 4]],
        [[1, 2, 1], [1, 2, 1], [1, 2, 1]],
        [[0, 0, 0], [0.1, 0.7, 0.3], [0.3, 2.1, 0.9]],
    ],
    ids=["a line", "the last is the first", "no first edge", "a point", "a line but for rounding"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_triangle_without_area_has_some_rotation(corners, dtype) -> None:
    frames = triangle_frames(0.01 * torch.tensor([corners], dtype=dtype), torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(frames.rotations[0, 0].T @ frames.rotations[0, 0], torch.eye(3, dtype=dtype))
    torch.testing.assert_close(quat_to_matrix(frames.quats), frames.rotations, atol=1e-5, rtol=0)
    assert frames.sizes.isfinite().all() and frames.centroids.isfinite().all()


@pytest.mark.parametrize("size", [16, 32])
def test_texels_hold_what_lies_under_their_centres(size: int) -> None:
    head = own_head()
    texels = Texels.of(head, size)
    row, column = texels.places // size, texels.places % size
    centres = torch.stack([(column + 0.5) / size, (row + 0.5) / size], -1)
    shown = (head.uvs[head.uv_faces[texels.triangle]] * texels.barycentrics[..., None]).sum(1)
    torch.testing.assert_close(shown, centres, atol=1e-6, rtol=0)
    inside = ((torch.arange(size) + 0.5) / size - 0.5).abs() < 0.45
    assert len(texels.places) == int(inside.sum()) ** 2, "the tiny head's one island is a square"


def test_maps_are_drawn_and_grown_texel_by_texel() -> None:
    texels = Texels.of(own_head(), 16)
    values = torch.randn(2, len(texels.places), 3, generator=torch.Generator().manual_seed(0))
    image, grown = texels.image(values), texels.grown(values)
    number = {int(place): t for t, place in enumerate(texels.places)}
    yx = np.stack(np.divmod(texels.places.numpy(), 16), 1)
    for place in range(256):
        row, column = divmod(place, 16)
        if place in number:
            assert torch.equal(image[:, :, row, column], values[:, number[place]])
            assert torch.equal(grown[:, :, row, column], values[:, number[place]])
            continue
        assert not image[:, :, row, column].any()
        away = np.hypot(*(yx - [row, column]).T)
        nearest = np.flatnonzero(away == away.min())
        assert any(torch.equal(grown[:, :, row, column], values[:, t]) for t in nearest)


def test_texels_move_with_all_they_hold() -> None:
    texels = Texels.of(own_head(), 16)
    moved = texels.to("meta")
    assert moved.size == 16 and moved.places.is_meta and moved.filled.is_meta and moved.barycentrics.is_meta


@pytest.mark.parametrize("broken", ["no area in uv", "no uv at all", "fewer uv faces"])
def test_a_head_without_uvs_is_refused_with_the_reason(broken: str) -> None:
    head = own_head()
    heads = {
        "no area in uv": replace(head, uvs=torch.zeros_like(head.uvs)),
        "no uv at all": replace(head, uvs=torch.zeros(0, 2), uv_faces=torch.zeros(0, 3, dtype=torch.long)),
        "fewer uv faces": replace(head, uv_faces=head.uv_faces[:-1]),
    }
    with pytest.raises(InputError, match=r"'tiny' .*texture coordinates.*track"):
        Texels.of(heads[broken], 16)


def test_normal_maps_are_those_of_plain_numpy(posed) -> None:
    vertices, faces = posed
    texels, turn = Texels.of(own_head(), 16), rotvec_to_matrix(torch.tensor([0.3, 2.0, -0.8]).double())
    viewmat = torch.eye(4).double()
    viewmat[:3, :3], viewmat[:3, 3] = turn, torch.tensor([5.0, 6, 7])
    maps = normal_maps(vertices, faces, viewmat, texels)
    assert maps.shape == (3, 3, 16, 16)
    drawn = np.zeros((3, 3, 16, 16))
    for b in range(3):
        v, normals = vertices[b].numpy(), np.zeros((vertices.shape[1], 3))
        for i, j, k in faces.numpy():
            for corner in (i, j, k):
                normals[corner] += np.cross(v[j] - v[i], v[k] - v[i])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        for t, place in enumerate(texels.places.tolist()):
            n = texels.barycentrics[t].double().numpy() @ normals[faces[texels.triangle[t]].numpy()]
            drawn[b, :, place // 16, place % 16] = turn.numpy() @ (n / np.linalg.norm(n))
    np.testing.assert_allclose(maps.numpy(), drawn, atol=1e-7)


def test_normals_turn_with_the_head_against_the_camera(posed) -> None:
    """A head that turns before a still camera looks like a camera that turns the other way."""
    vertices, faces = posed
    texels, turn = Texels.of(own_head(), 16), rotvec_to_matrix(torch.tensor([0.0, 0.6, 0.1]).double())
    still, turned = torch.eye(4).double(), torch.eye(4).double()
    turned[:3, :3] = turn
    torch.testing.assert_close(
        normal_maps(vertices @ turn.T, faces, still, texels), normal_maps(vertices, faces, turned, texels)
    )


def bilinear(image: np.ndarray, u: float, v: float) -> np.ndarray:
    """One sample of [C,S,S] by hand; texel centres at ((column + 0.5) / S, (row + 0.5) / S), the border goes on."""
    size = image.shape[-1]
    x, y = np.clip([u * size - 0.5, v * size - 0.5], 0, size - 1)
    left, top = min(int(x), size - 2), min(int(y), size - 2)
    a, b = x - left, y - top
    upper = (1 - a) * image[:, top, left] + a * image[:, top, left + 1]
    lower = (1 - a) * image[:, top + 1, left] + a * image[:, top + 1, left + 1]
    return (1 - b) * upper + b * lower


def test_sampling_is_bilinear_by_hand() -> None:
    rng = np.random.default_rng(0)
    maps, uv = rng.normal(size=(2, 4, 16, 16)), rng.uniform(0, 1, (2, 200, 2))
    uv[:, 0], uv[:, 1], uv[:, 2] = (0, 0), (1, 1), (1, 0)
    found = sample(torch.from_numpy(maps), torch.from_numpy(uv)).numpy()
    for b in range(2):
        for n in range(200):
            np.testing.assert_allclose(found[b, n], bilinear(maps[b], *uv[b, n]), atol=1e-12)


def test_at_a_texels_centre_is_the_texel_itself() -> None:
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    row, column = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    uv = torch.stack([(column.flatten() + 0.5) / 16, (row.flatten() + 0.5) / 16], -1)[None]
    torch.testing.assert_close(sample(image, uv), image.flatten(2).mT)


def test_one_row_of_maps_or_of_places_holds_for_all_frames() -> None:
    rng = torch.Generator().manual_seed(0)
    maps, uv = torch.randn(3, 4, 16, 16, generator=rng), torch.rand(3, 9, 2, generator=rng)
    torch.testing.assert_close(sample(maps[:1], uv)[2], sample(maps[:1], uv[2:])[0])
    torch.testing.assert_close(sample(maps, uv[:1])[2], sample(maps[2:], uv[:1])[0])
    assert sample(maps, uv).shape == (3, 9, 4)


def test_gradients_of_sampling_reach_map_and_places() -> None:
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 4, generator=rng).double().requires_grad_()
    # a quarter to three quarters of the way between centres: a finite step must not cross a kink
    whole, part = torch.randint(0, 3, (2, 6, 2), generator=rng), 0.25 + 0.5 * torch.rand(2, 6, 2, generator=rng)
    uv = ((whole + part + 0.5) / 4).double().requires_grad_()
    assert torch.autograd.gradcheck(sample, (maps, uv))

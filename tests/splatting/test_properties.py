# SPDX-License-Identifier: Apache-2.0
"""What must not change the picture, or change it in a known way: laws of the rasterizer, on drawn scenes.

Where float32 arithmetic itself obeys a law (powers of two, order of the input, batches), results must agree bit for
bit. Elsewhere the moved scene is judged like any other against the oracle of the scene before it was moved.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from blendsplat.geometry import quat_to_matrix

from .kernels import Kernels
from .oracle import expect, judge
from .scenes import SceneData, random_scene

BOUND = 32.0  # units of error, see test_soak.py

# Each example is drawn for each of the kernels; the fixture holds nothing that an example could change.
drawn = settings(
    max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seeds = st.integers(0, 10**6)
counts = st.integers(1, 80)
images = st.integers(1, 3)


def weights_for(scene: SceneData, seed: int = 5) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    shape = (scene.viewmats.shape[0], scene.height, scene.width)
    return [torch.randn(*shape, channels, generator=g) for channels in (3, 1, 1)]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def close(a: list[Tensor], b: list[Tensor], tolerance: float = 1e-5) -> bool:
    """Sums taken in another order: gradients of the same scene on a GPU, or cut among threads another way."""
    return all((x - y).abs().max() <= tolerance * y.abs().max().clamp_min(1) for x, y in zip(a, b, strict=True))


def same_gradients(kernels: Kernels, a: list[Tensor], b: list[Tensor]) -> bool:
    """Bit for bit on the CPU, where the order of sums is fixed; atomic additions of a GPU only agree closely."""
    return equal(a, b) if kernels.device == "cpu" and kernels.name != "emulated" else close(a, b)


def with_gaussians(scene: SceneData, gaussians: list[Tensor]) -> SceneData:
    return dataclasses.replace(scene, gaussians=gaussians)


@drawn
@given(seed=seeds, count=counts)
def test_order_of_the_input(kernels: Kernels, seed: int, count: int) -> None:
    """Depths must differ in float32: equal ones keep the order of the input, whatever that is."""
    scene = random_scene(images=1, gaussians=count, seed=seed)
    z = (scene.gaussians[0][0].double() @ scene.viewmats[0, 2, :3].double()).sort().values
    assume(bool((z.diff() > 1e-6).all()))
    permutation = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    weights = weights_for(scene)
    outputs, grads = kernels.gradients(scene, weights)
    shuffled = with_gaussians(scene, [t[:, permutation] for t in scene.gaussians])
    mixed_outputs, mixed_grads = kernels.gradients(shuffled, weights)
    assert equal(mixed_outputs, outputs)
    assert same_gradients(kernels, mixed_grads, [*(t[:, permutation] for t in grads[:5]), grads[5]])


@drawn
@given(seed=seeds, count=counts, number=images)
def test_a_batch_is_a_loop(kernels: Kernels, seed: int, count: int, number: int) -> None:
    scene = random_scene(images=number, gaussians=count, seed=seed)
    weights = weights_for(scene)
    outputs, grads = kernels.gradients(scene, weights)
    singles = [kernels.gradients(scene.image(b), [w[b : b + 1] for w in weights]) for b in range(number)]
    assert equal(outputs, [torch.cat(parts) for parts in zip(*(s[0] for s in singles), strict=True)])
    assert close(grads, [torch.cat(parts) for parts in zip(*(s[1] for s in singles), strict=True)])


@drawn
@given(seed=seeds, count=counts, copies=st.integers(2, 5))
def test_copies_of_an_image(kernels: Kernels, seed: int, count: int, copies: int) -> None:
    scene = random_scene(images=1, gaussians=count, seed=seed)
    many = SceneData(
        [t.expand(copies, *t.shape[1:]) for t in scene.gaussians], scene.viewmats.expand(copies, 4, 4),
        scene.Ks.expand(copies, 3, 3), scene.width, scene.height, scene.backgrounds.expand(copies, 3),
    )  # fmt: skip
    outputs, grads = kernels.gradients(many, [w.expand(copies, *w.shape[1:]) for w in weights_for(scene)])
    for t in outputs:
        assert equal([t[b] for b in range(1, copies)], [t[0]] * (copies - 1))
    for t in grads:
        assert same_gradients(kernels, [t[b] for b in range(1, copies)], [t[0]] * (copies - 1))


@drawn
@given(seed=seeds, count=counts, power=st.integers(-12, 12))
def test_size_of_the_world(kernels: Kernels, seed: int, count: int, power: int) -> None:
    """Metres or millimetres: a power of two scales depth and its own gradients exactly and leaves the image alone."""
    scene = random_scene(images=2, gaussians=count, seed=seed)
    factor = 2.0**power
    means, quats, scales, opacities, colors = scene.gaussians
    viewmats = scene.viewmats.clone()
    viewmats[:, :3, 3] *= factor
    other = dataclasses.replace(
        scene, gaussians=[means * factor, quats, scales * factor, opacities, colors], viewmats=viewmats
    )
    weights = weights_for(scene)
    outputs, grads = kernels.gradients(scene, weights, near_plane=0.25)
    weights[2] = weights[2] / factor
    got, got_grads = kernels.gradients(other, weights, near_plane=0.25 * factor)
    assert equal(got, [outputs[0], outputs[1], outputs[2] * factor])
    back = [got_grads[0] * factor, got_grads[1], got_grads[2] * factor, *got_grads[3:]]
    assert same_gradients(kernels, back, grads)


@drawn
@given(seed=seeds, power=st.integers(-45, 45), negative=st.booleans())
def test_length_of_a_quaternion(kernels: Kernels, seed: int, power: int, negative: bool) -> None:
    """A power of two, and the sign, change nothing but the gradient's own length. Down to 1e-15 and up to 1e15."""
    scene = random_scene(images=1, gaussians=30, seed=seed)
    quats = torch.nn.functional.normalize(scene.gaussians[1], dim=-1)
    scene.gaussians[1] = quats
    factor = 2.0**power * (-1 if negative else 1)
    other = with_gaussians(scene, [scene.gaussians[0], quats * factor, *scene.gaussians[2:]])
    weights = weights_for(scene)
    (outputs, grads), (got, got_grads) = (kernels.gradients(s, weights) for s in (scene, other))
    assert equal(got, outputs)
    assert same_gradients(kernels, [got_grads[1] * factor, *got_grads[2:]], grads[1:])


@drawn
@given(seed=seeds, count=counts, extra=st.integers(1, 40))
def test_what_is_not_drawn_is_absent(kernels: Kernels, seed: int, count: int, extra: int) -> None:
    """Transparent, behind, off screen, not a number: as if they were not in the list."""
    scene = random_scene(images=1, gaussians=count, seed=seed)
    nothing = random_scene(images=1, gaussians=extra, seed=seed + 1).gaussians
    back = -scene.viewmats[0, :3, :3].T @ scene.viewmats[0, :3, 3] - scene.viewmats[0, 2, :3]  # behind the camera
    for i in range(extra):
        if i % 5 == 0:
            nothing[3][0, i] = 0
        elif i % 5 == 1:
            nothing[3][0, i] = 0.99 / 255
        elif i % 5 == 2:
            nothing[0][0, i] = back
        elif i % 5 == 3:
            nothing[1 + i % 2][0, i, 0] = float("nan")
        else:
            nothing[0][0, i] = 100 * scene.viewmats[0, 0, :3]
    mixed = torch.randperm(count + extra, generator=torch.Generator().manual_seed(seed))
    merged = [torch.cat([a, b], 1)[:, mixed] for a, b in zip(scene.gaussians, nothing, strict=True)]
    weights = weights_for(scene)
    outputs, grads = kernels.gradients(scene, weights)
    got, got_grads = kernels.gradients(with_gaussians(scene, merged), weights)
    assert equal(got, outputs)
    inverse = mixed.argsort()
    assert same_gradients(kernels, [*(t[:, inverse[:count]] for t in got_grads[:5]), got_grads[5]], grads)
    assert not any(t[:, inverse[count:]].any() for t in got_grads[:5])


@drawn
@given(seed=seeds, count=counts)
def test_sums_of_light(kernels: Kernels, seed: int, count: int) -> None:
    """The image is linear in colours and background; weights and the transmittance share out exactly one."""
    scene = random_scene(images=2, gaussians=count, seed=seed)
    image, alpha, depth = kernels.render(scene)
    black = kernels.render(dataclasses.replace(scene, backgrounds=torch.zeros(2, 3)))
    assert (image - black[0] - (1 - alpha) * scene.backgrounds[:, None, None]).abs().max() < 4e-7
    grey = dataclasses.replace(scene, backgrounds=torch.full((2, 3), 0.7))
    grey.gaussians = [*scene.gaussians[:4], torch.full_like(scene.gaussians[4], 0.7)]
    assert (kernels.render(grey)[0] - 0.7).abs().max() < 2e-6
    z = torch.einsum("bij,bnj->bni", scene.viewmats[:, :3, :3], scene.gaussians[0]) + scene.viewmats[:, None, :3, 3]
    as_color = dataclasses.replace(scene, backgrounds=torch.zeros(2, 3))
    as_color.gaussians = [*scene.gaussians[:4], z[..., 2:].expand(-1, -1, 3)]
    assert (kernels.render(as_color)[0][..., :1] - depth).abs().max() < 1e-5
    assert equal([alpha, depth], black[1:]) and equal([alpha, depth], kernels.render(grey)[1:])


@drawn
@given(seed=seeds, count=counts)
def test_gradients_are_linear_in_the_loss(kernels: Kernels, seed: int, count: int) -> None:
    scene = random_scene(images=1, gaussians=count, seed=seed)
    one, two = weights_for(scene, 1), weights_for(scene, 2)
    both = [a + b for a, b in zip(one, two, strict=True)]
    separately = zip(kernels.gradients(scene, one)[1], kernels.gradients(scene, two)[1], strict=True)
    assert close(kernels.gradients(scene, both)[1], [a + b for a, b in separately])


@drawn
@given(seed=seeds, count=counts)
def test_moving_scene_and_camera_together(kernels: Kernels, seed: int, count: int) -> None:
    """A rigid motion of everything: the same image, and gradients that turned along."""
    scene = random_scene(images=2, gaussians=count, seed=seed)
    g = torch.Generator().manual_seed(seed)
    turn = torch.nn.functional.normalize(torch.randn(4, generator=g, dtype=torch.float64), dim=0)
    rotation, shift = quat_to_matrix(turn), torch.randn(3, generator=g, dtype=torch.float64)

    def moved(scene: SceneData) -> SceneData:
        means, quats, *others = scene.gaussians
        viewmats = scene.viewmats.double()
        viewmats[:, :3, :3] = viewmats[:, :3, :3] @ rotation.T
        viewmats[:, :3, 3] -= torch.einsum("bij,j->bi", viewmats[:, :3, :3], shift)
        turned = [(means.double() @ rotation.T + shift).float(), (quats.double() @ left_product(turn).T).float()]
        return dataclasses.replace(scene, gaussians=[*turned, *others], viewmats=viewmats.float())

    def rendered(scene: SceneData, weights: list[Tensor], near_plane: float) -> tuple[list[Tensor], list[Tensor]]:
        outputs, grads = kernels.gradients(moved(scene), weights, near_plane)
        back = [(grads[0].double() @ rotation).float(), (grads[1].double() @ left_product(turn)).float()]
        return outputs, [*back, *grads[2:]]

    verdict = judge(expect(scene, seed), scene, rendered, BOUND)
    assert max(verdict.worst.values()) <= BOUND and not verdict.unexplained, verdict


def left_product(q: Tensor) -> Tensor:
    """[4,4]: q times p as a matrix on p, wxyz."""
    w, x, y, z = q.tolist()
    return torch.tensor([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]], dtype=torch.float64)


def central_scene(seed: int) -> SceneData:
    """48x48 pixels; every centre within the margin of every window that leaves out at most 15 pixels on a side: the
    Jacobian's bound belongs to the image, and beyond it a crop may look different, as it does in other rasterizers."""
    scene = random_scene(images=1, gaussians=40, width=48, height=48, seed=seed, size=0.5)
    scene.viewmats[:] = torch.eye(4)
    scene.Ks[0] = torch.tensor([[60.0, 0, 24], [0, 60, 24], [0, 0, 1]])
    pixel = 17 + 14 * torch.rand(40, 2, generator=torch.Generator().manual_seed(seed))
    z = 1.5 + scene.gaussians[0][0, :, 2:].abs()
    scene.gaussians[0][0] = torch.cat([(pixel - 24) / 60 * z, z], 1)
    return scene


def windowed(kernels: Kernels, left: int, top: int, width: int, height: int):
    """A renderer that sees the image through a window of another size and place, its principal point moved along."""

    def rendered(scene: SceneData, weights: list[Tensor], near_plane: float) -> tuple[list[Tensor], list[Tensor]]:
        Ks = scene.Ks.clone()
        Ks[:, :2, 2] -= torch.tensor([left, top])
        rows = slice(max(top, 0), min(top + height, scene.height))
        columns = slice(max(left, 0), min(left + width, scene.width))
        there = (
            slice(None),
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        cropped = [w.new_zeros(1, height, width, w.shape[-1]) for w in weights]
        for part, whole in zip(cropped, weights, strict=True):
            part[there] = whole[:, rows, columns]
        view = dataclasses.replace(scene, Ks=Ks, width=width, height=height)
        outputs, grads = kernels.gradients(view, cropped, near_plane)
        whole_outputs = [out.new_zeros(1, scene.height, scene.width, out.shape[-1]) for out in outputs]
        for whole, part in zip(whole_outputs, outputs, strict=True):
            whole[:, rows, columns] = part[there]
        return whole_outputs, grads

    return rendered


@pytest.mark.parametrize("offset", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
def test_every_offset_of_the_tiles(kernels: Kernels, offset: int) -> None:
    """Crops that start at each of 15 offsets put each pixel at each place of a tile of 4, 8 or 16: if what a pixel
    shows, or adds to a gradient, depended on the grid of tiles, or on their size, one of them would differ."""
    left, top = offset, offset * 7 % 16
    scene = central_scene(offset)
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[top:, left:] = True
    expected = expect(scene, offset, torch.nonzero(inside.flatten())[:, 0])
    verdict = judge(expected, scene, windowed(kernels, left, top, 48 - left, 48 - top), BOUND)
    assert max(verdict.worst.values()) <= BOUND and not verdict.unexplained, verdict


def test_whole_tiles_further(kernels: Kernels) -> None:
    """The image in the middle of one that is 16 and 32 pixels larger to the left and above, and 5 to the right."""
    scene = central_scene(3)
    verdict = judge(expect(scene), scene, windowed(kernels, -16, -32, 48 + 16 + 5, 48 + 32), BOUND)
    assert max(verdict.worst.values()) <= BOUND and not verdict.unexplained, verdict

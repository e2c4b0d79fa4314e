# SPDX-License-Identifier: Apache-2.0
"""KaoLRM at tiny sizes: folded = unfolded, gradients everywhere, batches, other image sizes, gates, surface points."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.heads.human import human_head
from blendsplat.kaolrm import Config
from blendsplat.kaolrm.encoder import attend
from blendsplat.kaolrm.model import head_params, head_vertices
from blendsplat.kaolrm.ops import Mlp, Norm, RowOps, make_ops, onednn_available
from blendsplat.kaolrm.training.surface_samples import front_points, sample_surface, surface_points
from blendsplat.kaolrm.triplane import plane_means, upsample
from tiny_kaolrm import TINY, tiny

VARIANTS: list[dict[str, Any]] = [{}, {"token_gate": True}, {"transformer_dim": 24, "transformer_heads": 3}]


def pictures(count: int = 2, size: int = 56, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sizes", VARIANTS)
def test_folded_is_unfolded(sizes: dict[str, Any]) -> None:
    model = tiny(**sizes)
    images = pictures()
    with torch.no_grad():
        want, _ = model(images)
        torch.testing.assert_close(model.folded().tokens(images), model.tokens(images), atol=2e-5, rtol=1e-4)
    for name, value in model.regress(images).items():
        torch.testing.assert_close(value, want[name], atol=2e-5, rtol=1e-4)


def test_folding_follows_the_weights() -> None:
    """A step of training, another file, or a single changed number: the next regress uses it."""
    model = tiny()
    images = pictures(1)
    before = model.regress(images)
    folded = model.folded()
    assert model.folded() is folded
    with torch.no_grad():
        model.transformer.layers[0].norm1.mlp[1].bias[3] += 1.0  # type: ignore[index, union-attr, operator]
    assert not torch.equal(model.regress(images)["shape"], before["shape"])
    model.load_state_dict(tiny(seed=5).state_dict())
    torch.testing.assert_close(model.regress(images), tiny(seed=5).regress(images))


@pytest.mark.parametrize("sizes", VARIANTS)
def test_every_parameter_gets_a_gradient(sizes: dict[str, Any]) -> None:
    model = tiny(**sizes)
    coefficients, planes = model(pictures())
    gaussians = model.gaussians(planes, torch.rand(2, 7, 3) - 0.5)
    loss = sum((value**2).sum() for value in (*coefficients.values(), *vars(gaussians).values()))
    # unit quaternions and sums of squares alone would hide the quaternion's gradient
    (loss + gaussians.quats[..., 0].sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_gradients_are_right() -> None:
    """The derivative along a random direction of all parameters, in double precision."""
    model = tiny(token_gate=True).double()
    images, points = pictures(1).double(), (torch.rand(1, 5, 3) - 0.5).double()

    def loss() -> Tensor:
        coefficients, planes = model(images)
        values = (*coefficients.values(), *vars(model.gaussians(planes, points)).values())
        return torch.stack([value.sin().sum() for value in values]).sum()

    loss().backward()
    parameters = list(model.parameters())
    directions = [torch.randn_like(parameter) for parameter in parameters]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(parameters, directions, strict=True) if p.grad is not None)
    values = []
    with torch.no_grad():
        for step in (1e-6, -2e-6):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=step)
            values.append(float(loss()))
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_a_batch_is_its_images() -> None:
    model = tiny()
    images = pictures(3)
    whole = model.regress(images)
    for index in range(3):
        for name, value in model.regress(images[index : index + 1]).items():
            torch.testing.assert_close(value[0], whole[name][index], atol=1e-5, rtol=1e-4)


def test_other_image_sizes() -> None:
    model = tiny()
    with torch.no_grad():
        assert model.tokens(pictures(1, 42)).shape == (1, 27, 16)  # the embedding's own grid
        assert model.encoder(torch.rand(1, 3, 28, 70)).shape == (1, 1 + 2 * 5, 16)
        own = model.encoder.model.positions(3, 3)
    assert own is model.encoder.model.pos_embed


def test_tokens_gates_differ_from_no_gates() -> None:
    model = tiny(token_gate=True)
    tokens = torch.randn(1, 27, 16)
    with torch.no_grad():
        gated = model.raw_coefficients(tokens)
        last = model.flame_decoder.token_gate[2]
        last.weight.zero_()  # type: ignore[union-attr, operator]
        last.bias.fill_(50.0)  # type: ignore[union-attr, operator]
        opened = model.raw_coefficients(tokens)
        plain = model.flame_decoder(plane_means(model.upsampler, tokens, 3))
    torch.testing.assert_close(opened, plain)
    assert (gated - plain).abs().max() > 1e-3


def test_means_without_planes() -> None:
    model = tiny()
    tokens = torch.randn(2, 27, 16)
    with torch.no_grad():
        want = upsample(model.upsampler, tokens, 3).mean(2).flatten(1)
        torch.testing.assert_close(plane_means(model.upsampler, tokens, 3), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize(("queries", "keys", "heads", "width"), [(5, 3, 2, 8), (300, 257, 3, 32), (1, 1, 1, 64)])
def test_products_on_rows(dtype: torch.dtype, onednn: bool, queries: int, keys: int, heads: int, width: int) -> None:
    """Against torch's own in double precision; strided inputs, as chunks of a projection are."""
    if onednn and not onednn_available(dtype):
        pytest.skip("torch has no oneDNN for this precision here")
    torch.manual_seed(0)
    made = make_ops(torch.device("cpu"), torch.bfloat16, width)
    ops = RowOps(onednn, dtype, made.panels if onednn and isinstance(made, RowOps) else None)
    channels = heads * width
    wide, pair = torch.randn(2, queries, 3 * channels), torch.randn(2, keys, 2 * channels)
    q, (k, v) = ops.split(ops.enter(wide), 3)[1], ops.split(ops.enter(pair), 2)
    close = {"atol": 3e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.05}

    def kind(*size: int) -> Tensor:
        return torch.randn(*size).to(dtype)

    with torch.inference_mode():
        have = ops.attend(q, k, v, heads)
        torch.testing.assert_close(have.double(), attend(q.double(), k.double(), v.double(), heads), **close)
        weight, bias, scale, add = kind(7, channels), kind(14)[::2], kind(7), kind(2, queries, 7)
        line = q.double() @ weight.double().T
        torch.testing.assert_close(ops.linear(q, weight, bias).double(), line + bias.double(), **close)
        torch.testing.assert_close(ops.linear(q, weight, add=add).double(), line + add.double(), **close)
        want = (line + bias.double()) * scale.double() + add.double()
        torch.testing.assert_close(ops.linear(q, weight, bias, scale=scale, add=add).double(), want, **close)
        norm = Norm(kind(channels), kind(channels))
        mlp = Mlp(kind(9, channels) / channels, kind(9), kind(channels, 9) / 3, kind(channels))
        normed = torch.nn.functional.layer_norm(q.double(), (channels,), norm.weight.double(), norm.bias.double(), 1e-6)
        curved = torch.nn.functional.gelu(normed @ mlp.wide.double().T + mlp.wide_bias.double())
        want = q.double() + curved @ mlp.narrow.double().T + mlp.narrow_bias.double()
        torch.testing.assert_close(ops.mlp(q, norm, mlp).double(), want, **close)


@pytest.mark.parametrize(
    "images",
    [torch.rand(3, 56, 56), torch.rand(1, 4, 56, 56), torch.rand(1, 3, 55, 56), torch.rand(0, 3, 56, 56),
     torch.zeros(1, 3, 56, 56, dtype=torch.uint8), torch.rand(1, 3, 0, 0)],
)  # fmt: skip
def test_wrong_images(images: Tensor) -> None:
    with pytest.raises(InputError, match="KaoLRM reads images"):
        tiny().regress(images)


def test_sizes_that_cannot_be() -> None:
    for sizes, words in (
        ({"transformer_heads": 3}, "does not divide into 3 heads"),
        ({"triplane_high_res": 7}, "not twice"),
        ({"encoder_model_name": "dinov2_vitg14_reg"}, "encoder_model_name is none of"),
        ({"encoder_model_name": "dinov2_vits14_reg"}, "is 384"),
        ({"image_size": 57}, "not a multiple"),
        ({"colour": 1}, "colour"),
    ):
        with pytest.raises(ValueError, match=words):
            Config.model_validate({**TINY, **sizes})


def test_the_mesh_of_another_head() -> None:
    head = human_head()
    model = tiny()
    coefficients = model.regress(pictures())
    near = head_vertices(coefficients, head, 0.75)
    params = head_params(coefficients, head)
    assert params.shape.shape == (2, head.shape_count) and not params.shape[:, 5:].any()
    torch.testing.assert_close(params.jaw_pose, coefficients["pose"][:, 3:])
    want = head(params) * coefficients["scale"][:, :, None] + coefficients["translation"][:, None]
    torch.testing.assert_close(near, want)
    far = head_vertices(coefficients, head, 4.0)
    shift = (near - far).flatten(0, 1).mean(0)
    assert abs(shift[0]) < 1e-6 and abs(shift[2] - coefficients["translation"][:, 2].mean()) < 1e-5
    with pytest.raises(InputError, match="trained for another head"):
        head_vertices({**coefficients, "shape": torch.zeros(2, 10_000)}, head, 0.75)


def test_surface_points_are_uniform_seeded_and_move_with_the_mesh() -> None:
    # a unit square of two triangles, and a triangle a quarter of its size elsewhere
    vertices = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 0, 1], [5.5, 0, 1], [5, 1, 1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]])
    mesh = torch.stack([vertices, vertices * torch.tensor([1.0, 1.0, -1.0])]).requires_grad_()
    chosen, weights = sample_surface(mesh, faces, 20_000, seed=4)
    again = sample_surface(mesh, faces, 20_000, seed=4)
    assert torch.equal(chosen, again[0]) and torch.equal(weights, again[1])
    assert not torch.equal(chosen, sample_surface(mesh, faces, 20_000, seed=5)[0])
    points = surface_points(mesh, faces, chosen, weights)
    square = points[0][chosen[0] < 2].detach()
    assert len(square) / 20_000 == pytest.approx(0.8, abs=0.02)
    counts = torch.histogramdd(square[:, :2], bins=[4, 4], range=[0, 1, 0, 1]).hist / len(square)
    assert (counts - 1 / 16).abs().max() < 0.01
    assert (weights >= 0).all() and (weights.sum(-1) - 1).abs().max() < 1e-6
    front = front_points(points)
    assert front.shape == (2, int(20_000 / 1.8))
    assert (points[0, front[0], 2] > 0.5).sum() == (chosen[0] == 2).sum()
    points.sum().backward()
    assert mesh.grad is not None and mesh.grad[0].sum() == pytest.approx(60_000, rel=1e-4)
    with pytest.raises(ValueError, match="no area"):
        sample_surface(torch.zeros(1, 7, 3), faces)
    with pytest.raises(ValueError, match="not finite"):
        sample_surface(mesh.detach() * float("nan"), faces)

# SPDX-License-Identifier: Apache-2.0
"""Wrong arguments are refused before a kernel could see them; odd but right ones give the numbers of plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blendsplat.splatting import gaussian_pixel_weights, rasterize_gaussians
from blendsplat.splatting import gaussians as rasterizer_module

from .kernels import Kernels
from .scenes import NAMES, SceneData, random_scene

TENSORS = (*NAMES[:5], "viewmats", "Ks", "backgrounds")


class Tripwire:
    """In the place of a backend: any use of it fails the test."""

    def __getattr__(self, name: str) -> None:
        pytest.fail(f"{name} was called with arguments that should have been refused")


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rasterizer_module, "backend_for", lambda device: Tripwire())


def arguments(images: int = 2) -> dict:
    scene = random_scene(images=images, gaussians=5)
    given = dict(zip(NAMES[:5], scene.gaussians, strict=True))
    return given | {
        "viewmats": scene.viewmats, "Ks": scene.Ks, "width": 8, "height": 6, "backgrounds": scene.backgrounds
    }  # fmt: skip


WRONG = {
    "double": lambda t: t.double(),
    "half": lambda t: t.half(),
    "whole numbers": lambda t: t.int(),
    "complex": lambda t: t.to(torch.complex64),
    "sparse": lambda t: t.to_sparse(),
    "one image": lambda t: t[:1],
    "no axis of images": lambda t: t[0],
    "an axis more": lambda t: t[None],
    "one number fewer": lambda t: t[..., :-1],
    "no numbers": lambda t: t[..., :0],
    "a scalar": lambda t: t.sum(),
    "another device": lambda t: t.to("meta"),
    "numpy": lambda t: t.numpy(),
    "list": lambda t: t.tolist(),
    "nothing": lambda t: None,
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("change", WRONG)
def test_wrong_tensors(no_kernels: None, name: str, change: str) -> None:
    if name == "backgrounds" and change == "nothing":
        return  # black
    given = arguments()
    given[name] = WRONG[change](given[name])
    # The means say how many images and which device there are, so another tensor may be the first that does not fit.
    with pytest.raises(ValueError, match=f"^{name}: expected" if name != "means" else "expected"):
        rasterize_gaussians(**given)
    if name in ("means", "quats", "scales", "opacities", "viewmats", "Ks"):
        names = ("means", "quats", "scales", "opacities", "viewmats", "Ks")
        with pytest.raises(ValueError, match="expected"):
            gaussian_pixel_weights(*(given[n] for n in names), torch.zeros(2, 6, 8, 3))


@pytest.mark.parametrize("name", ["width", "height"])
@pytest.mark.parametrize("value", [0, -3, 8.0, None, "8", True, 2**31, float("nan")])
def test_wrong_sizes(no_kernels: None, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        rasterize_gaussians(**arguments() | {name: value})


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "near"])
def test_wrong_near_planes(no_kernels: None, value: object) -> None:
    with pytest.raises(ValueError, match=r"^near_plane: expected"):
        rasterize_gaussians(**arguments(), near_plane=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("name", "place"), [("viewmats", (1, 3, 3)), ("viewmats", (0, 1, 3)), ("Ks", (1, 0, 2))])
def test_cameras_that_are_not_finite(no_kernels: None, name: str, place: tuple, value: float) -> None:
    given = arguments()
    given[name] = given[name].clone()
    given[name][place] = value
    with pytest.raises(ValueError, match=f"^{name}: expected finite"):
        rasterize_gaussians(**given)


@pytest.mark.parametrize("name", ["viewmats", "Ks"])
def test_cameras_that_want_a_gradient(no_kernels: None, name: str) -> None:
    given = arguments()
    given[name] = given[name].clone().requires_grad_()
    with pytest.raises(ValueError, match=f"^{name}: no gradient"):
        rasterize_gaussians(**given)


def test_the_tripwire_is_seen(no_kernels: None) -> None:
    with pytest.raises(pytest.fail.Exception, match="was called"):
        rasterize_gaussians(**arguments())


def odd_layouts(t: Tensor) -> list[Tensor]:
    """The same numbers elsewhere in memory: turned axes, every second of many, behind an offset, backwards in steps."""
    wide = t.new_zeros(*t.shape[:-1], 2 * t.shape[-1] + 1)
    wide[..., 1::2] = t
    behind = torch.cat([t.new_zeros(3), t.flatten()])[3:].view(t.shape)
    return [t.transpose(0, -1).contiguous().transpose(0, -1), wide[..., 1::2], behind, t.flip(1).flip(1)]


def test_memory_layouts(kernels: Kernels) -> None:
    scene = random_scene(images=2, gaussians=30, seed=130)
    weights = [torch.rand(2, scene.height, scene.width, c) for c in (3, 1, 1)]
    outputs, grads = kernels.gradients(scene, weights)
    everything = [*scene.gaussians, scene.viewmats, scene.Ks, scene.backgrounds]
    for layouts in zip(*(odd_layouts(t) for t in everything), strict=True):
        *gaussians, viewmats, Ks, backgrounds = layouts
        other = SceneData(list(gaussians), viewmats, Ks, scene.width, scene.height, backgrounds)
        got, got_grads = kernels.gradients(other, [odd_layouts(w)[1] for w in weights])
        assert all(torch.equal(a, b) for a, b in zip(got, outputs, strict=True))
        assert all((a - b).abs().max() <= 1e-5 * b.abs().max() for a, b in zip(got_grads, grads, strict=True))


def test_one_set_for_all_images(kernels: Kernels) -> None:
    """Expanded tensors, stride zero, get the sum of the images' gradients."""
    scene = random_scene(images=1, gaussians=30, seed=131)
    leaves = [t.clone().to(kernels.device).requires_grad_() for t in scene.gaussians]
    cameras = [t.expand(3, *t.shape[1:]).to(kernels.device) for t in (scene.viewmats, scene.Ks)]
    expanded = [t.expand(3, *t.shape[1:]) for t in leaves]
    rasterize_gaussians(*expanded, *cameras, scene.width, scene.height)[0].sum().backward()
    weights = [torch.full((1, scene.height, scene.width, c), float(c == 3)) for c in (3, 1, 1)]
    scene.backgrounds[:] = 0
    _, grads = kernels.gradients(scene, weights)
    for leaf, grad in zip(leaves, grads, strict=False):
        assert (leaf.grad.cpu() - 3 * grad).abs().max() <= 1e-5 * grad.abs().max().clamp_min(1)


@pytest.mark.parametrize(("images", "gaussians"), [(0, 5), (2, 0), (0, 0)])
def test_nothing_to_draw(kernels: Kernels, images: int, gaussians: int) -> None:
    scene = random_scene(images=images, gaussians=gaussians)
    weights = [torch.ones(images, scene.height, scene.width, c) for c in (3, 1, 1)]
    outputs, grads = kernels.gradients(scene, weights)
    assert torch.equal(outputs[0], scene.backgrounds[:, None, None].expand_as(outputs[0]))
    assert not outputs[1].any() and not outputs[2].any()
    assert [g.shape for g in grads] == [t.shape for t in (*scene.gaussians, scene.backgrounds)]
    assert (grads[5] == scene.width * scene.height).all()


@pytest.mark.parametrize("which", ["means", "viewmats", "Ks"])
def test_inputs_changed_between_forward_and_backward(kernels: Kernels, which: str) -> None:
    """The backward pass reads its inputs again: torch must refuse when they are not what they were."""
    scene = random_scene(images=1, gaussians=10).cast(kernels.device)
    leaves = [t.clone().requires_grad_() for t in scene.gaussians]
    given = dict(zip(("means", "quats", "scales", "opacities", "colors"), (t * 1 for t in leaves), strict=True))
    given |= {"viewmats": scene.viewmats.clone(), "Ks": scene.Ks.clone()}
    image = rasterize_gaussians(**given, width=8, height=6)[0]
    with torch.no_grad():
        given[which].mul_(1.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        image.sum().backward()


def test_no_second_derivative(kernels: Kernels) -> None:
    """Asked for the derivative of a gradient, torch says that there is none, rather than giving zero."""
    scene = random_scene(images=1, gaussians=10).cast(kernels.device)
    leaf = scene.gaussians[4].clone().requires_grad_()
    image = rasterize_gaussians(*scene.gaussians[:4], leaf, scene.viewmats, scene.Ks, 8, 6)[0]
    (grad,) = torch.autograd.grad(image.square().sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        grad.sum().backward()

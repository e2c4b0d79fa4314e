# SPDX-License-Identifier: Apache-2.0
"""RasterPass: the same numbers as the autograd function, shared scales and opacities, and no allocation once warm."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting import rasterize_gaussians
from blendsplat.splatting.backend import make_pass
from blendsplat.splatting.scene import Gradients

from .scenes import random_scene


def pass_for(scene):
    images, gaussians = scene.gaussians[0].shape[:2]
    return make_pass(images, gaussians, scene.width, scene.height, "cpu")


def forward(raster, scene, gaussians=None, background=True):
    raster.forward(scene.of(gaussians, background))


def plane_gradients(scene, seed=0):
    g = torch.Generator().manual_seed(seed)
    shape = (scene.viewmats.shape[0], scene.height, scene.width)
    return [torch.randn(*shape, channels, generator=g) for channels in (3, 1, 1)]


def autograd(scene, grads, gaussians=None):
    leaves = [t.detach().clone().requires_grad_() for t in gaussians or scene.gaussians]
    images = scene.viewmats.shape[0]
    expanded = [t.expand(images, *t.shape[1:]) for t in leaves]
    outputs = rasterize_gaussians(*expanded, scene.viewmats, scene.Ks, scene.width, scene.height, scene.backgrounds)
    torch.autograd.backward(outputs, grads)
    return [out.detach() for out in outputs], [leaf.grad for leaf in leaves]


def test_equals_the_autograd_function(raster_set):
    scene = random_scene(images=3, gaussians=75, width=37, height=22, seed=60)
    grads = plane_gradients(scene)
    raster = pass_for(scene)
    forward(raster, scene)
    raster.backward(*grads)
    outputs, expected = autograd(scene, grads)
    for got, want in zip((raster.image, raster.alpha, raster.depth), outputs, strict=True):
        assert torch.equal(got, want)
    assert isinstance(raster.grads, Gradients)
    for got, want in zip(raster.grads, expected, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("size", [(37, 22), (64, 64), (3, 1)], ids=str)
def test_pictures_are_the_planes_as_files_hold_them(raster_set, size, background):
    scene = random_scene(images=3, gaussians=40, width=size[0], height=size[1], seed=62)
    raster, shown = pass_for(scene), scene.of(None, background)
    raster.forward(shown)
    image, alpha, depth = (plane.clone() for plane in (raster.image, raster.alpha, raster.depth))
    faintest = float(alpha.max()) / 3
    rgba, metres = raster.pictures(shown, faintest)
    assert torch.equal(rgba[..., :3], image)
    assert torch.equal(rgba[..., 3:], torch.ones_like(alpha) if background else alpha)
    want = torch.where(alpha > faintest, depth / alpha, 0.0)[..., 0]
    torch.testing.assert_close(metres, want, rtol=1e-6, atol=0)
    before = rgba.clone()
    raster.pictures(scene.of([t * 0 if i == 4 else t for i, t in enumerate(scene.gaussians)], background), faintest)
    assert torch.equal(rgba, before)  # of its own memory
    with pytest.raises(ValueError, match="no forward pass"):
        raster.backward(torch.ones_like(raster.image))


@pytest.mark.parametrize("shared", [(2,), (3,), (2, 3)])
@pytest.mark.parametrize("gaussians", [1, 75])
def test_shared_scales_and_opacities_are_expanded_and_summed(raster_set, shared, gaussians):
    scene = random_scene(images=4, gaussians=gaussians, width=37, height=22, seed=61)
    given = [t[:1].contiguous() if i in shared else t for i, t in enumerate(scene.gaussians)]
    grads = plane_gradients(scene)
    raster = pass_for(scene)
    forward(raster, scene, given)
    raster.backward(*grads)
    outputs, expected = autograd(scene, grads, given)
    assert torch.equal(raster.image, outputs[0])
    for got, want, like in zip(raster.grads, expected, given, strict=True):
        assert got.shape == like.shape
        assert (got - want).abs().max() <= 2e-6 * want.abs().max().clamp_min(1)


def test_new_scenes_reuse_the_buffers():
    """More, fewer, larger Gaussians on the screen: same buffers, right numbers each time."""
    raster, addresses = None, None
    for seed, size in ((1, 0.3), (2, 0.02), (3, 0.3), (4, 0.25)):
        scene = random_scene(images=2, gaussians=80, width=40, height=24, seed=seed, size=size)
        grads = plane_gradients(scene, seed)
        raster = raster or pass_for(scene)
        forward(raster, scene)
        raster.backward(grads[0], None, grads[2])
        outputs, expected = autograd(scene, [grads[0], torch.zeros_like(grads[1]), grads[2]])
        assert torch.equal(raster.image, outputs[0]) and torch.equal(raster.depth, outputs[2])
        for got, want in zip(raster.grads, expected, strict=True):
            assert torch.equal(got, want)
        now = [t.data_ptr() for t in (raster.image, raster.alpha, raster.depth, *raster.grads)]
        addresses = addresses or now
        assert addresses == now


def test_passes_do_not_disturb_each_other():
    """Two passes and the autograd function share scratch; what their backward needs is each one's own."""
    scenes = [random_scene(images=2, gaussians=60, seed=seed) for seed in (70, 71)]
    grads = plane_gradients(scenes[0])
    rasters = [pass_for(scene) for scene in scenes]
    for raster, scene in zip(rasters, scenes, strict=True):
        forward(raster, scene)
    expected = [autograd(scene, grads)[1] for scene in scenes]
    for raster, wanted in zip(rasters, expected, strict=True):
        raster.backward(*grads)
        for got, want in zip(raster.grads, wanted, strict=True):
            assert torch.equal(got, want)


def test_without_background_and_gradient():
    scene = random_scene(images=1, gaussians=10)
    raster = pass_for(scene)
    forward(raster, scene, background=False)
    expected = rasterize_gaussians(*scene.gaussians, scene.viewmats, scene.Ks, scene.width, scene.height)
    assert torch.equal(raster.image, expected[0])
    raster.backward(None)
    assert not any(grad.any() for grad in raster.grads)
    assert not raster.overflowed()


@pytest.mark.parametrize(("images", "gaussians"), [(0, 5), (2, 0), (1, 1)])
def test_empty_and_tiny(images, gaussians):
    scene = random_scene(images=max(images, 1), gaussians=gaussians, width=9, height=7)
    scene.gaussians = [t[:images] for t in scene.gaussians]
    scene.viewmats, scene.Ks, scene.backgrounds = (t[:images] for t in (scene.viewmats, scene.Ks, scene.backgrounds))
    raster = make_pass(images, gaussians, 9, 7, "cpu")
    forward(raster, scene)
    raster.backward(torch.ones(images, 7, 9, 3))
    assert raster.image.shape == (images, 7, 9, 3) and raster.grads.means.shape == (images, gaussians, 3)
    if not gaussians:
        assert torch.equal(raster.image, scene.backgrounds[:, None, None].expand_as(raster.image))


def test_allocates_nothing_once_warm():
    scene = random_scene(images=3, gaussians=500, width=96, height=64, seed=62, size=0.05)
    given = [t[:1].contiguous() if i in (2, 3) else t for i, t in enumerate(scene.gaussians)]
    grads = plane_gradients(scene)
    raster = pass_for(scene)

    def step():
        forward(raster, scene, given)
        raster.backward(*grads)

    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    assert sum(event.cpu_memory_usage for event in profile.events() if event.cpu_memory_usage > 0) == 0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        torch.empty(10)  # the profiler does see allocations
    assert sum(event.cpu_memory_usage for event in profile.events() if event.cpu_memory_usage > 0) > 0


@pytest.mark.parametrize(
    ("which", "change"),
    [
        ("means", lambda t: t[:1]), ("quats", lambda t: t[..., :3]), ("scales", lambda t: t[:2]),
        ("opacities", lambda t: t.double()), ("colors", lambda t: t[:1]), ("means", lambda t: t[:, :-1]),
    ],
)  # fmt: skip
def test_wrong_tensor_is_named(which, change):
    scene = random_scene(images=3, gaussians=5)
    raster = pass_for(scene)
    at = Gradients._fields.index(which)
    given = [change(t) if i == at else t for i, t in enumerate(scene.gaussians)]
    with pytest.raises(ValueError, match=f"{which}: expected"):
        forward(raster, scene, given)


def test_the_autograd_function_does_not_share():
    scene = random_scene(images=2, gaussians=5)
    scene.gaussians[2] = scene.gaussians[2][:1]
    with pytest.raises(ValueError, match="scales: expected"):
        rasterize_gaussians(*scene.gaussians, scene.viewmats, scene.Ks, scene.width, scene.height)


def test_backward_wants_a_forward_that_succeeded():
    scene = random_scene(images=1, gaussians=5)
    raster = pass_for(scene)
    with pytest.raises(ValueError, match="forward"):
        raster.backward(raster.image)
    forward(raster, scene)
    with pytest.raises(ValueError, match="grad_image: expected"):
        raster.backward(raster.image[..., :2])
    with pytest.raises(ValueError, match="grad_depth: expected"):
        raster.backward(None, None, raster.image)
    with pytest.raises(ValueError, match="colors"):
        forward(raster, scene, [*scene.gaussians[:4], scene.gaussians[4].double()])
    with pytest.raises(ValueError, match="forward"):
        raster.backward(torch.ones_like(raster.image))


@pytest.mark.parametrize("near_plane", [0.0, -1.0, float("inf"), "near"])
def test_a_near_plane_that_is_none_is_refused(near_plane):
    scene = random_scene(images=1, gaussians=5)
    with pytest.raises(ValueError, match="near_plane: expected"):
        pass_for(scene).forward(scene.of(near_plane=near_plane))


def test_the_near_plane_is_the_cameras():
    scene = random_scene(images=2, gaussians=40)
    raster = pass_for(scene)
    raster.forward(scene.of(near_plane=2.0))
    expected = rasterize_gaussians(
        *scene.gaussians, scene.viewmats, scene.Ks, scene.width, scene.height, scene.backgrounds, near_plane=2.0
    )
    assert torch.equal(raster.image, expected[0])
    forward(raster, scene)
    assert not torch.equal(raster.image, expected[0])


def test_images_of_another_size_than_the_passes_are_refused():
    scene = random_scene(images=1, gaussians=5, width=8, height=6)
    raster = make_pass(1, 5, 8, 7, "cpu")
    with pytest.raises(ValueError, match=r"cameras: expected images of 8x7 pixels.*got 8x6"):
        forward(raster, scene)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (2.0, 5)])
def test_pass_of_no_size_is_refused(size):
    with pytest.raises(ValueError, match=r"width|height"):
        make_pass(1, 1, *size, "cpu")
    with pytest.raises(ValueError, match="device"):
        make_pass(1, 1, 4, 4, "meta")

# SPDX-License-Identifier: Apache-2.0
"""Wrong arguments of the rasterizers: a ValueError that names the argument and what was expected."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting import gaussian_pixel_weights, rasterize_gaussians, rasterize_mesh

from .scenes import random_scene


def arguments(**changes):
    scene = random_scene(images=2, gaussians=5)
    names = ("means", "quats", "scales", "opacities", "colors")
    given = dict(zip(names, scene.gaussians, strict=True))
    given |= {"viewmats": scene.viewmats, "Ks": scene.Ks, "width": 8, "height": 8, "backgrounds": scene.backgrounds}
    for name, change in changes.items():
        given[name] = change(given[name])
    return given


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds"])
@pytest.mark.parametrize(
    "change",
    [lambda t: t.double(), lambda t: t[:1], lambda t: t[..., :-1], lambda t: t.numpy(), lambda t: t.to("meta")],
)
def test_wrong_tensor_is_named(name, change):
    with pytest.raises(ValueError, match=name if name != "means" else ".") as error:
        rasterize_gaussians(**arguments(**{name: change}))
    assert "expected" in str(error.value)


@pytest.mark.parametrize("name", ["width", "height"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, 10**6, "8"])
def test_wrong_size_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        rasterize_gaussians(**arguments(**{name: lambda _: value}))


@pytest.mark.parametrize("name", ["viewmats", "Ks"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_cameras_must_be_finite(name, value):
    def spoil(t):
        t[1, 0, 0] = value
        return t

    with pytest.raises(ValueError, match=f"{name}: expected finite"):
        rasterize_gaussians(**arguments(**{name: spoil}))


def test_intrinsics_must_make_sense():
    with pytest.raises(ValueError, match="Ks: expected positive focal"):
        rasterize_gaussians(**arguments(Ks=lambda t: -t))
    skewed = torch.tensor([[0.0, 1, 0], [0, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="Ks: expected no skew"):
        rasterize_gaussians(**arguments(Ks=lambda t: t + skewed))


@pytest.mark.parametrize("name", ["viewmats", "Ks"])
def test_cameras_that_want_a_gradient_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: no gradient"):
        rasterize_gaussians(**arguments(**{name: lambda t: t.requires_grad_()}))


@pytest.mark.parametrize("near_plane", [0.0, -1.0, float("nan"), float("inf")])
def test_near_plane_must_be_a_distance(near_plane):
    with pytest.raises(ValueError, match="near_plane"):
        rasterize_gaussians(**arguments(), near_plane=near_plane)


def test_pixel_weights_name_their_arguments():
    given = arguments()
    common = [given[name] for name in ("means", "quats", "scales", "opacities", "viewmats", "Ks")]
    with pytest.raises(ValueError, match="images"):
        gaussian_pixel_weights(*common, torch.zeros(8, 8, 3))
    with pytest.raises(ValueError, match="mask"):
        gaussian_pixel_weights(*common, torch.zeros(2, 8, 8, 3), torch.ones(2, 8, 8))


def test_mesh_names_its_arguments():
    given = arguments()
    cameras = (given["viewmats"], given["Ks"], 8, 8)
    vertices, faces = torch.zeros(2, 4, 3), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="faces: expected indices"):
        rasterize_mesh(vertices, faces + 5, *cameras)
    with pytest.raises(ValueError, match="faces: expected an int32"):
        rasterize_mesh(vertices, faces.float(), *cameras)
    with pytest.raises(ValueError, match="vertices"):
        rasterize_mesh(vertices[0], faces, *cameras)
    with pytest.raises(ValueError, match="vertices"):
        rasterize_mesh(vertices.double(), faces, *cameras)

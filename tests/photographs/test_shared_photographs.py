# SPDX-License-Identifier: Apache-2.0
"""Several photographs of one person, refined together on their pixels: generated people whose shape is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from blendsplat.fitting.fit import FitOptions, fit_clip
from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.kaolrm.training.generate import Generation, take_views
from blendsplat.photographs.fit_images import ImageFitOptions, fit_images
from blendsplat.photographs.shared_cuts import cut_face, together
from blendsplat.refinement.photometric_term import look_up
from blendsplat.refinement.pictures import Pictures
from blendsplat.refinement.shared_photographs import refine_photographs
from blendsplat.synthetic.people import Person, random_light, random_person
from blendsplat.tracking.metrics import rigid_alignment
from synthetic_head import landmarks_of, make_truth

SIZE, FOCAL, WIDEST = 360, 4.0, 30.0
OPTIONS = FitOptions(focal=1000.0, smoothing=0.0, offsets=False)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


def photographed(
    head: HeadModel, seed: int, folder: Path, lights: int = 1, views: int = 3
) -> tuple[Person, list[Path]]:
    """A person and pictures, each taken at another size; lights: how many differ."""
    rng = np.random.default_rng([5, seed])
    person = random_person(head, rng)
    shone = [person.light, *(random_light(np.random.default_rng([6, seed, n])) for n in range(1, lights))]
    files = []
    for view in range(views):
        size = SIZE + 60 * view
        job = Generation(1, 1, size, widest=WIDEST, focal=FOCAL)
        rgba = take_views(head, replace(person, light=shone[view % lights]), rng, job).rgba[0].numpy()
        picture = ((rgba[..., :3] + 0.6 * (1 - rgba[..., 3:])).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        files.append(folder / f"{seed}_{view}.png")
        Image.fromarray(picture).save(files[-1])
    return person, files


def fitted(head: HeadModel, files: list[Path], folder: Path, pixels: bool) -> list[Performance]:
    """All of the files together; every file is seen from the same angle of view."""
    view = float(np.degrees(2 * np.arctan(0.5 / FOCAL)))
    options = ImageFitOptions(head_model=head, weights="none", same_person=True, pixels=pixels, field_of_view=view)
    fits = fit_images(files, folder, options)["fits"]
    assert len(fits) == len(files)
    told = ["pixels" in fit["method"] or any("pixels" in warning for warning in fit["warnings"]) for fit in fits]
    assert told == [pixels] * len(files)
    return [Performance.load(fit["directory"]) for fit in fits]


def shape_error(head: HeadModel, shape: np.ndarray, person: Person) -> float:
    """Mean distance of the neutral faces in millimetres, aligned with scale."""
    face = head.regions["face"]
    have, want = (
        head.personalise(torch.as_tensor(values), torch.zeros_like(head.template)).template[face].numpy()[None]
        for values in (shape, person.params.shape[0])
    )
    return 1000 * float(np.linalg.norm(rigid_alignment(have, want, True) - want, axis=-1).mean())


def errors(head: HeadModel, seed: int, folder: Path, lights: int) -> tuple[float, float]:
    """From the landmarks, and from the pixels too."""
    person, files = photographed(head, seed, folder, lights)
    before, after = (fitted(head, files, folder / str(pixels), pixels) for pixels in (False, True))
    assert all(np.array_equal(one.shape, after[0].shape) for one in after)
    return shape_error(head, before[0].shape, person), shape_error(head, after[0].shape, person)


@pytest.mark.slow
@pytest.mark.parametrize(("lights", "share"), [(1, 0.92), (3, 0.96)])
def test_the_pixels_of_three_photographs_bring_the_shape_nearer(
    head: HeadModel, tmp_path: Path, lights: int, share: float
) -> None:
    found = np.array([errors(head, seed, tmp_path, lights) for seed in range(3)])
    assert (found[:, 1] < 1.03 * found[:, 0]).all(), found
    assert found[:, 1].mean() < share * found[:, 0].mean(), found


@pytest.fixture(scope="module")
def clip(head: HeadModel) -> tuple[Performance, np.ndarray]:
    """Three frames fitted to exact landmarks [3,478,2]."""
    truth = make_truth(head, 3, size=SIZE, fov=20)
    pixels = landmarks_of(head, truth)
    fit = fit_clip(head, pixels, np.ones(3, bool), np.arange(3.0), SIZE, SIZE, OPTIONS)
    return fit, pixels


def blank(count: int, colour: int, matte: int) -> Pictures:
    planes = np.full((count, 64, 64, 4), colour, np.uint8)
    planes[..., 3] = matte
    return Pictures(planes, 1.0, torch.full((count,), 64 / SIZE), torch.zeros(count, 2))


@pytest.mark.parametrize(("colour", "matte"), [(0, 255), (255, 255), (120, 0)])
def test_photographs_that_show_nothing_leave_the_fit(
    head: HeadModel, clip: tuple[Performance, np.ndarray], colour: int, matte: int
) -> None:
    found = refine_photographs(head, *clip, blank(3, colour, matte), OPTIONS)
    for name in ("shape", "expression", "neck_pose", "translation", "eyes_pose"):
        assert np.isfinite(getattr(found, name)).all()
    moved = head_vertices(found, head)[:, head.regions["face"]] - head_vertices(clip[0], head)[:, head.regions["face"]]
    assert 1000 * np.linalg.norm(moved[..., :2], axis=-1).mean() < 1.5  # millimetres; in depth one camera sees little


def test_what_is_not_valid_stays_and_one_photograph_is_none(
    head: HeadModel, clip: tuple[Performance, np.ndarray]
) -> None:
    fit, pixels = clip
    pictures = blank(3, 90, 255)
    alone = replace(fit, valid=np.array([True, False, False]))
    assert refine_photographs(head, alone, pixels, pictures, OPTIONS) is alone
    before = fit.expression.copy()
    found = refine_photographs(head, replace(fit, valid=np.array([True, False, True])), pixels, pictures, OPTIONS)
    assert np.array_equal(found.expression[1], before[1]) and not np.array_equal(found.expression[0], before[0])
    assert np.array_equal(fit.expression, before)


def test_a_face_is_cut_to_its_place_before_the_shared_camera() -> None:
    """A picture whose colours say where in the photograph they are."""
    y, x = np.mgrid[:400, :500]
    image = np.dstack([x / 2, y / 2, 0 * x]).astype(np.uint8)
    rng = np.random.default_rng(0)
    points = np.array([250.0, 180.0]) + rng.uniform(-60, 60, (478, 2))
    zooms, corners = (0.7, 1.9), (np.array([-30.0, 12.0]), np.array([400.0, 90.0]))
    cuts = [
        cut_face(image, np.full((400, 500), 255, np.uint8), points, zoom, corner)
        for zoom, corner in zip(zooms, corners, strict=True)
    ]
    pictures = together(cuts)
    asked = torch.stack(
        [torch.as_tensor(points[:20] / zoom + corner) for zoom, corner in zip(zooms, corners, strict=True)]
    )
    for shown in (pictures, pictures.at_scale(0.5)):
        colours, slopes, inside = look_up(shown, torch.arange(2), asked.float())
        assert inside.all()
        assert np.allclose(colours[..., :2] * 510, points[None, :20] - 0.5, atol=3.0)
        for row, zoom in enumerate(zooms):  # of 8 bits each, so only their mean is smooth
            mean = slopes[row, :, :2].mean(0) * 510
            assert np.allclose(mean, zoom * np.eye(2), atol=0.15 * zoom)


def test_the_colours_slopes_are_their_finite_differences() -> None:
    rng = np.random.default_rng(1)
    smooth = cv2.GaussianBlur(rng.uniform(0, 255, (64, 64, 4)).astype(np.float32), (0, 0), 5)
    planes = np.stack([smooth * 4 - 380, smooth.transpose(1, 0, 2) * 4 - 380]).clip(0, 255).astype(np.uint8)
    pictures = Pictures(planes, 0.5, torch.tensor([3.0, 0.8]), torch.tensor([[5.0, -4.0], [0.0, 9.0]]))
    place = torch.as_tensor(rng.uniform(20, 44, (2, 50, 2)), dtype=torch.float32)
    scales = pictures.scale * pictures.zooms[:, None, None]
    pixels = place / scales + pictures.corners[:, None]
    _, slopes, _ = look_up(pictures, torch.arange(2), pixels)
    for axis in range(2):
        step = torch.zeros(2)
        step[axis] = 1.0
        after, before = (look_up(pictures, torch.arange(2), pixels + way * step / scales)[0] for way in (1, -1))
        assert torch.allclose((after - before) / 2 * scales, slopes[..., axis], atol=0.02 * float(scales.max()))


@pytest.mark.slow
def test_one_photograph_and_a_bad_file_beside_good_ones(head: HeadModel, tmp_path: Path) -> None:
    _, files = photographed(head, 1, tmp_path, views=2)
    assert len(fitted(head, files[:1], tmp_path / "one", pixels=True)) == 1
    bad = tmp_path / "bad.png"
    Image.new("RGB", (200, 200)).save(bad)
    options = ImageFitOptions(head_model=head, weights="none", same_person=True, pixels=True)
    result = fit_images([files[0], bad, files[1]], tmp_path / "o", options)
    assert len(result["fits"]) == 2 and "bad.png" in result["failed"][0]["sentence"]

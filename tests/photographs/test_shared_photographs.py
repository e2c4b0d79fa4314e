# SPDX-License-Identifier: Apache-2.0
"""Several photographs of one person, refined together on their pixels: generated people whose shape is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.kaolrm.training.generate import Generation, take_views
from blendsplat.photographs.fit_images import ImageFitOptions, fit_images
from blendsplat.photographs.shared_cuts import cut_face, together
from blendsplat.refinement.photometric_term import look_up
from blendsplat.refinement.pictures import Pictures
from blendsplat.synthetic.people import Person, random_light, random_person
from blendsplat.tracking.metrics import rigid_alignment

SIZE, FOCAL, WIDEST = 360, 4.0, 30.0


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


def photographed(head: HeadModel, seed: int, folder: Path, lights: int = 1, views: int = 3) -> tuple[Person, list[Path]]:
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
    options = ImageFitOptions(
        head_model=head, weights="none", same_person=True, pixels=pixels, field_of_view=view
    )  # fmt: skip
    fits = fit_images(files, folder, options)["fits"]
    assert len(fits) == len(files)
    assert all(("pixels" in fit["method"]) == pixels for fit in fits)
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
@pytest.mark.parametrize("lights", [1, 3])
def test_the_pixels_of_three_photographs_bring_the_shape_nearer(head: HeadModel, tmp_path: Path, lights: int) -> None:
    found = np.array([errors(head, seed, tmp_path, lights) for seed in range(3)])
    print(found)
    assert (found[:, 1] < 1.05 * found[:, 0]).all()
    assert found[:, 1].mean() < 0.9 * found[:, 0].mean()

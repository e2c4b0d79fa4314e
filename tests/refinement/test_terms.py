# SPDX-License-Identifier: Apache-2.0
"""The refinement's two terms: rows that are the derivative of their cost, whatever the picture and the person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blendsplat.fitting.landmark_model import landmark_positions
from blendsplat.heads.load import load_head
from blendsplat.refinement.iris_term import IrisTerm, front_of_eyes, iris_model
from blendsplat.refinement.photometric_term import PhotometricTerm, look_up, two_rows
from blendsplat.refinement.pictures import Pictures
from blendsplat.refinement.surface_samples import SurfaceSamples, spread_samples

SIDE, FOCAL = 160, torch.tensor(240.0)
CENTRE, ROOT = torch.tensor([80.0, 76.0]), torch.zeros(3)


FINER = 4  # pixels of the pictures for one of the clip's


class SmoothPictures(Pictures):
    """Not of 8 bits: the slope between pixels is the slope at them."""

    def frames(self, rows: torch.Tensor | slice) -> torch.Tensor:
        return torch.as_tensor(self.planes, dtype=torch.float32)[rows].permute(0, 3, 1, 2)


def smooth_pictures(frames: int) -> Pictures:
    y, x = np.mgrid[: FINER * SIDE, : FINER * SIDE] / (FINER * SIDE)
    planes = np.ones((frames, FINER * SIDE, FINER * SIDE, 4))
    for frame in range(frames):
        for colour in range(3):
            planes[frame, ..., colour] = 0.5 + 0.4 * np.sin(14 * x + colour + frame) * np.cos(12 * y - colour)
    return SmoothPictures(planes, float(FINER))


def some_unknowns(frames: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    unknowns = 0.05 * torch.randn(frames, count, generator=generator)
    unknowns[:, 13:] = unknowns[:, 13:].abs()
    unknowns[:, 3:6] = torch.tensor([0.0, 0.02, -0.6]) + 0.1 * unknowns[:, 3:6]
    return unknowns


def gradient(rows: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the derivative of the cost, as the rows say: by frames [B,P] and by the clip [S+1]."""
    _, values, by_frame, by_clip = rows
    return (by_frame.mT @ values[..., None])[..., 0], (by_clip.mT @ values[..., None])[..., 0].sum(0)


@pytest.fixture(scope="module")
def samples() -> SurfaceSamples:
    return spread_samples(load_head("human"), 300)


@pytest.fixture(scope="module")
def term(samples: SurfaceSamples) -> PhotometricTerm:
    frames, generator = 3, torch.Generator().manual_seed(5)
    model = samples.model(load_head("human"), 4)
    wanted = 0.2 + 0.6 * torch.rand(frames, len(samples), 3, generator=generator)
    noise = 0.05 + 0.1 * torch.rand(len(samples), generator=generator)
    votes = torch.rand(frames, len(samples), generator=generator)
    return PhotometricTerm(model, smooth_pictures(frames), wanted, noise, votes, torch.arange(frames))


@pytest.mark.parametrize("kind", ["picture", "iris"])
def test_rows_are_the_costs_derivative(kind: str, term: PhotometricTerm) -> None:
    head, frames = load_head("human"), 3
    if kind == "iris":
        model = iris_model(head, 4)
        assert model is not None
        unknowns = some_unknowns(frames, model.parameter_count)
        centres = 80 + 3 * torch.randn(frames, 2, 2, generator=torch.Generator().manual_seed(1))
        tested: IrisTerm | PhotometricTerm = IrisTerm(model, centres, torch.tensor([[1.0, 0.5]]).expand(frames, 2))
    else:
        tested, unknowns = term, some_unknowns(frames, term.model.parameter_count)
    eyes, clip = torch.full((frames,), 40.0), torch.tensor([0.3, -0.2, 0.1, 0.4])

    def rows(unknowns: torch.Tensor, clip: torch.Tensor, focal: torch.Tensor) -> tuple:
        return tested.rows(unknowns, ROOT, focal, CENTRE, eyes, clip)

    by_frame, by_clip = gradient(rows(unknowns, clip, FOCAL))
    step = 2e-3
    for column in (0, 1, 2, 3, 4, 5, 6, 9, 13, 20, 30):
        moved = torch.zeros_like(unknowns)
        moved[:, column] = step * (0.1 if column in (3, 4, 5) else 1)
        there, back = (rows(unknowns + sign * moved, clip, FOCAL)[0] for sign in (1, -1))
        wanted = (there - back) / (4 * moved[:, column])
        close(by_frame[:, column], wanted, by_frame[:, column].abs().max() + 1)
    for column in range(4):
        moved = torch.zeros_like(clip)
        moved[column] = 5 * step
        there, back = (rows(unknowns, clip + sign * moved, FOCAL)[0].sum() for sign in (1, -1))
        close(by_clip[column], (there - back) / (4 * moved[column]), by_clip[:-1].abs().max() + 1)
    there, back = (rows(unknowns, clip, FOCAL * (1 + sign * step))[0].sum() for sign in (1, -1))
    close(by_clip[-1], (there - back) / (4 * step), by_clip[-1].abs() + 1)


def close(have: torch.Tensor, want: torch.Tensor, size: torch.Tensor) -> None:
    assert (have - want).abs().max() < 0.03 * size, (have, want)


def test_two_rows_stand_for_three_colours() -> None:
    generator = torch.Generator().manual_seed(0)
    away = torch.randn(2, 50, 3, generator=generator)
    slopes = torch.randn(2, 50, 3, 2, generator=generator)
    weight = torch.rand(2, 50, generator=generator)
    factor, values = two_rows(away, slopes, weight)
    matrix = torch.einsum("bn,bncx,bncy->bnxy", weight, slopes, slopes)
    force = torch.einsum("bn,bncx,bnc->bnx", weight, slopes, away)
    torch.testing.assert_close(factor @ factor.mT, matrix, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close((factor @ values[..., None])[..., 0], force, atol=1e-4, rtol=1e-4)


def test_flat_and_unseen_samples_pull_nowhere(term: PhotometricTerm) -> None:
    flat = Pictures(np.full((3, SIDE, SIDE, 4), 200, np.uint8), 1.0)
    unknowns = some_unknowns(3, term.model.parameter_count)
    around = (unknowns, ROOT, FOCAL, CENTRE, torch.full((3,), 40.0), torch.zeros(4))
    for one in (replace(term, pictures=flat), replace(term, votes=torch.zeros_like(term.votes))):
        by_frame, by_clip = gradient(one.rows(*around))
        assert by_frame.abs().max() < 1e-4 and by_clip.abs().max() < 1e-3
        assert torch.isfinite(by_frame).all()


def test_what_lies_beyond_the_picture_or_the_matte_counts_as_missed(term: PhotometricTerm) -> None:
    hidden = smooth_pictures(3)
    hidden.planes[..., 3] = 0
    unknowns = some_unknowns(3, term.model.parameter_count)
    cost = replace(term, pictures=hidden).rows(
        unknowns, ROOT, FOCAL, CENTRE, torch.full((3,), 40.0), None
    )[0]  # fmt: skip
    torch.testing.assert_close(cost, 2.5**2 * term.votes.sum(1))


def test_frames_of_a_term_are_their_own(term: PhotometricTerm) -> None:
    unknowns, eyes = some_unknowns(3, term.model.parameter_count), torch.full((3,), 40.0)
    whole = term.rows(unknowns, ROOT, FOCAL, CENTRE, eyes, None)
    part = term.frames(torch.tensor([2])).rows(unknowns[2:], ROOT, FOCAL, CENTRE, eyes[2:], None)
    for have, want in zip(part[:3], whole[:3], strict=True):
        torch.testing.assert_close(have[0], want[2])


def test_look_up_reads_pixel_centres() -> None:
    planes = np.random.default_rng(1).integers(0, 255, (1, 20, 30, 4)).astype(np.uint8)
    planes[..., 3] = 255
    found, _, inside = look_up(Pictures(planes, 0.5), torch.tensor([0]), torch.tensor([[[2 * 7.5, 2 * 4.5]]]))
    np.testing.assert_allclose(found[0, 0].numpy(), planes[0, 4, 7, :3] / 255, atol=1e-5)
    assert inside.all()


def test_the_eyes_look_along_their_axes() -> None:
    head = load_head("human")
    front = front_of_eyes(head)
    assert front is not None
    corners, mix = front
    place = (head.template[corners] * mix[..., None]).sum(1) - head.joints[[3, 4]]
    assert place[:, :2].abs().max() < 1e-5 and (place[:, 2] > 0.008).all()
    assert front_of_eyes(replace(head, regions={})) is None


def test_irises_turn_the_eyes() -> None:
    """A gradient step from eyes that look ahead goes where the irises are."""
    model = iris_model(load_head("human"), 0)
    assert model is not None
    unknowns = torch.zeros(1, model.parameter_count)
    unknowns[:, 5] = -0.6
    world = landmark_positions(model, unknowns, ROOT)
    flat = torch.stack([world[..., 0], -world[..., 1]], -1) / -world[..., 2:] * FOCAL + CENTRE
    seen = flat + torch.tensor([2.0, 1.0])  # right and down in the picture
    rows = IrisTerm(model, seen, torch.ones(1, 2)).rows(unknowns, ROOT, FOCAL, CENTRE, torch.tensor([40.0]), None)
    downhill = -(rows[2].mT @ rows[1][..., None])[0, 9:13, 0]
    assert (downhill > 0).all()  # pitch down, yaw towards +x, of both eyes

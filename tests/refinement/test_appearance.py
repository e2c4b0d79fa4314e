# SPDX-License-Identifier: Apache-2.0
"""What samples look like, which of them a picture shows, where irises are, and what a residual says of a region."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from blendsplat.geometry import harmonics
from blendsplat.heads.load import load_head
from blendsplat.landmarks import points as pts
from blendsplat.progress import Cancelled, Progress
from blendsplat.refinement import pictures as pictures_module
from blendsplat.refinement.appearance import learn_appearance
from blendsplat.refinement.confidence import confidences
from blendsplat.refinement.irises import find_irises
from blendsplat.refinement.pictures import read_pictures
from blendsplat.refinement.regions import REGIONS, regions_of_samples
from blendsplat.refinement.sight import see
from blendsplat.refinement.surface_samples import DENSITY, spread_samples


def lit_samples(frames: int = 20, count: int = 150) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """colours [F,N,3], normals [F,N,3], albedo [N,3], shade [F,N] of a turning ball under lights of their own."""
    generator = torch.Generator().manual_seed(2)
    albedo = 0.2 + 0.6 * torch.rand(count, 3, generator=generator)
    base = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    angle = torch.linspace(-0.5, 0.5, frames)
    turn = torch.zeros(frames, 3, 3)
    turn[:, 0, 0], turn[:, 2, 2], turn[:, 1, 1] = angle.cos(), angle.cos(), 1
    turn[:, 0, 2], turn[:, 2, 0] = angle.sin(), -angle.sin()
    normals = base @ turn.mT
    light = torch.zeros(frames, 9)
    light[:, 0], light[:, 1], light[:, 2] = 1 + 0.2 * torch.sin(torch.arange(frames) / 3), 0.2, 0.1
    shade = (harmonics(normals) @ light[..., None])[..., 0]
    return albedo * shade[..., None], normals, albedo, shade


def test_albedo_and_light_explain_what_was_seen() -> None:
    colours, normals, _, _ = lit_samples()
    noisy = colours + 0.01 * torch.randn(colours.shape, generator=torch.Generator().manual_seed(4))
    look = learn_appearance(noisy, normals, torch.ones(colours.shape[:2]))
    explained = look.albedo * look.shade(normals, slice(None))[..., None]
    assert (explained - colours).abs().mean() < 0.012
    assert look.noise.max() < 0.06


def test_a_hand_in_a_third_of_the_frames_leaves_no_trace() -> None:
    colours, normals, _, _ = lit_samples()
    spoiled = colours.clone()
    spoiled[:6, :40] = torch.tensor([0.9, 0.1, 0.9])
    look = learn_appearance(spoiled, normals, torch.ones(colours.shape[:2]))
    explained = look.albedo * look.shade(normals, slice(None))[..., None]
    assert (explained[6:] - colours[6:]).abs().mean() < 0.02
    assert look.noise.max() < 0.06


def test_what_moves_all_the_time_becomes_noise() -> None:
    colours, normals, _, _ = lit_samples()
    moving = colours.clone()
    moving[:, :40] += 0.2 * torch.randn(20, 40, 1, generator=torch.Generator().manual_seed(7))  # loose hair
    look = learn_appearance(moving, normals, torch.ones(colours.shape[:2]))
    assert look.noise[:40].median() > 2 * look.noise[40:].median()


def test_a_dark_person_is_seen_as_well_as_a_light_one() -> None:
    colours, normals, _, _ = lit_samples()
    weights = torch.ones(colours.shape[:2])
    light, dark = learn_appearance(colours, normals, weights), learn_appearance(colours * 0.4, normals, weights)
    torch.testing.assert_close(dark.noise / 0.4, light.noise, rtol=0.1, atol=0.0)


def test_what_was_never_seen_is_finite() -> None:
    colours, normals, _, _ = lit_samples()
    look = learn_appearance(colours, normals, torch.zeros(colours.shape[:2]))
    assert all(torch.isfinite(part).all() for part in (look.albedo, look.noise, look.light))
    assert look.seen.max() == 0


def test_samples_lie_in_named_regions_by_their_density() -> None:
    head = load_head("human")
    samples = spread_samples(head, 2000)
    assert len(samples) == 2000 and torch.equal(samples.faces, spread_samples(head, 2000).faces)
    assert set(samples.regions) <= set(DENSITY) and samples.region.min() >= 0
    assert (samples.barycentrics >= 0).all()
    torch.testing.assert_close(samples.barycentrics.sum(1), torch.ones(2000))
    eyeballs = {*head.regions["left_eyeball"], *head.regions["teeth_upper"], *head.regions["neck_ring"]}
    assert not eyeballs & set(samples.corners.flatten().tolist())
    counts = np.bincount(samples.region, minlength=len(samples.regions))
    assert counts[samples.regions.index("lips")] > 40 and counts[samples.regions.index("nose")] > 60


@pytest.mark.parametrize("yaw", [0.0, 0.9, -0.9])
def test_the_far_side_of_a_head_is_not_in_sight(yaw: float) -> None:
    head = load_head("human")
    head = head.personalise(torch.zeros(head.shape_count))
    samples = spread_samples(head, 1500)
    unknowns = torch.zeros(1, 15 + head.expression_count)
    unknowns[0, 1], unknowns[0, 5] = yaw, -0.6
    view = see(head, samples, unknowns, torch.zeros(3), torch.tensor(500.0), torch.tensor([128.0, 128.0]), (256, 256))
    ears = [view.sight[0, torch.as_tensor(samples.region == samples.regions.index(f"{side}_ear"))].sum()
            for side in ("left", "right")]  # fmt: skip
    if yaw == 0:
        nose = torch.as_tensor(samples.region == samples.regions.index("nose"))
        assert view.sight[0, nose].mean() > 0.4
    else:  # turned to its left, a head shows its right ear
        shown, hidden = (ears[1], ears[0]) if yaw > 0 else (ears[0], ears[1])
        assert shown > 3 and hidden < 0.1 * shown
    assert ((view.sight >= 0) & (view.sight <= 1)).all()
    torch.testing.assert_close(view.normals.norm(dim=-1), torch.ones_like(view.sight))


def eye_picture(offset: tuple[float, float], glint: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A face's two eyes, 80 pixels apart, irises moved by ``offset`` pixels -> image, landmarks, true centres."""
    big, scale = np.full((640, 1024, 3), (196, 150, 130), np.float32), 4
    landmarks = np.full((478, 2), 80.0)
    truth = []
    for lids, iris, x in ((pts.RIGHT_LIDS, pts.RIGHT_IRIS, 88.0), (pts.LEFT_LIDS, pts.LEFT_IRIS, 168.0)):
        angle = np.linspace(0, 2 * np.pi, len(lids), endpoint=False)
        outline = np.stack([x + 15 * np.cos(angle), 80 + 7 * np.sin(angle)], 1)
        order = np.argsort(np.arctan2(outline[:, 1] - 80, outline[:, 0] - x))
        mask = np.zeros(big.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(outline * scale).astype(np.int32)], (1,))
        centre = np.array([x, 80.0]) + offset
        eye = np.full(big.shape, 225.0, np.float32)
        cv2.circle(eye, tuple(np.round(centre * scale).astype(int)), int(7.5 * scale), (70, 50, 40), -1)
        if glint:
            spot = tuple(np.round((centre + [2, -2]) * scale).astype(int))
            cv2.circle(eye, spot, int(1.5 * scale), (255, 255, 255), -1)
        big[mask > 0] = eye[mask > 0]
        landmarks[list(lids)] = outline[order]
        landmarks[list(iris)] = [x, 80.0]
        truth.append(centre)
    image = cv2.resize(big, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
    return image.astype(np.uint8), landmarks, np.array(truth[::-1])


@pytest.mark.parametrize("offset", [(0.0, 0.0), (4.0, 0.5), (-5.0, -1.0), (2.0, 1.5)])
@pytest.mark.parametrize("glint", [False, True])
def test_irises_are_found_beyond_the_detectors_middle(offset: tuple[float, float], glint: bool) -> None:
    image, landmarks, truth = eye_picture(offset, glint)
    centres, sure = find_irises(image, landmarks)
    assert np.abs(centres[:, 0] - truth[:, 0]).max() < 0.6 and np.abs(centres[:, 1] - truth[:, 1]).max() < 1.2
    assert sure.min() > 0.9


def test_where_no_iris_is_nothing_is_said() -> None:
    image, landmarks, _ = eye_picture((0.0, 0.0))
    flat = np.full_like(image, 150)
    assert find_irises(flat, landmarks)[1].max() == 0
    spoiled = landmarks.copy()
    spoiled[100] = np.nan
    assert find_irises(image, spoiled)[1].max() == 0
    for beyond in (landmarks + 500, landmarks * 0 + 10):
        centres, sure = find_irises(image, beyond)
        assert np.isfinite(centres).all() and sure.max() == 0


def test_pictures_on_disk_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 40, 60, 3)).astype(np.uint8)
    mattes = np.random.default_rng(1).integers(0, 255, (5, 40, 60)).astype(np.uint8)

    def read() -> np.ndarray:
        with read_pictures(lambda n: frames[n], lambda n: mattes[n], np.array([4, 0, 2]), 0.5, Progress()) as found:
            assert found.scale == 0.5
            return np.array(found.planes)

    inside = read()
    monkeypatch.setattr(pictures_module, "IN_MEMORY", 0)
    np.testing.assert_array_equal(read(), inside)
    assert inside.shape == (3, 20, 30, 4)
    cancelled = Progress()
    cancelled.cancelled = True
    with pytest.raises(Cancelled), read_pictures(lambda n: frames[n], None, np.array([0, 1]), 1.0, cancelled):
        pass


def test_a_covered_mouth_is_not_confirmed_and_the_rest_is() -> None:
    samples = spread_samples(load_head("human"), 1000)
    missed, sight = torch.full((10, 1000), 0.03), torch.ones(10, 1000)
    region = regions_of_samples(load_head("human"), samples)
    missed[4, torch.as_tensor(region == REGIONS.index("mouth"))] = torch.inf
    missed[7] = 5.0  # nothing is where it should be
    sight[9] = 0.05  # hardly anything is seen
    frame, regions = confidences(missed, sight, region)
    order = list(REGIONS)
    assert regions[4, order.index("mouth")] < 0.1 and regions[4, order.index("nose")] > 0.95
    assert 0.6 < frame[4] < 0.9 and frame[0] > 0.95 and frame[7] < 0.1 and frame[9] < 0.3
    assert confidences(missed, torch.zeros_like(sight), region)[0].max() == 0


def test_a_soft_picture_among_sharp_ones_confirms_little() -> None:
    samples = spread_samples(load_head("human"), 400)
    region = regions_of_samples(load_head("human"), samples)
    missed, sight, sharp = torch.full((5, 400), 0.03), torch.ones(5, 400), torch.full((5,), 0.02)
    sharp[2] = 0.0005
    frame, regions = confidences(missed, sight, region, sharp)
    assert frame[2] < 0.15 and regions[2].max() < 0.15 and np.delete(frame, 2).min() > 0.99
    flat, _ = confidences(missed, sight, region, torch.zeros(5))
    assert flat.min() > 0.99, "a clip without any detail has no soft pictures"


def test_what_covers_a_quarter_is_not_taken_for_the_light_on_the_rest() -> None:
    """A black box over a quarter of the face in a third of the frames: the light elsewhere stays what it was."""
    rng = np.random.default_rng(3)
    normals = torch.nn.functional.normalize(torch.as_tensor(rng.normal(size=(300, 3)), dtype=torch.float32), dim=-1)
    normals[:, 2] = normals[:, 2].abs()
    albedo = torch.as_tensor(rng.uniform(0.4, 0.6, (300, 3)), dtype=torch.float32)
    colours = albedo.expand(12, 300, 3).clone() + 0.01 * torch.as_tensor(rng.normal(size=(12, 300, 3))).float()
    covered = normals[:, 1] < torch.quantile(normals[:, 1], 0.25)
    colours[4:8, covered] = 0.04
    every = normals.expand(12, 300, 3)
    look = learn_appearance(colours, every, torch.ones(12, 300))
    shade = look.shade(every[4:8], slice(4, 8))
    assert (shade[:, ~covered] - 1).abs().max() < 0.12

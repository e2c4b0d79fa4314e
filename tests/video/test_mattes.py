# SPDX-License-Identifier: Apache-2.0
"""Mattes: hair against the truth, before a known wall and one that moves; the clean plate; the person's colours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from blendsplat.errors import Cancelled
from blendsplat.progress import Progress
from blendsplat.video.clean_plate import learn_plate, plate_frames
from blendsplat.video.clip import frame_path, write_png
from blendsplat.video.color_matting import band_of, matte_by_color, surely_behind
from blendsplat.video.foreground import foreground
from blendsplat.video.matte import refine_matte
from blendsplat.video.shot_mattes import refine_shots
from blendsplat.video.spread import spread, weighted_means
from hairy_scene import Scene, band, hairy_scene


@pytest.fixture(scope="module")
def refined(still) -> tuple[np.ndarray, np.ndarray]:
    """Of the still scene: mattes by the guided filter, and with hair."""
    return fine(still)


@pytest.fixture(scope="module")
def still() -> Scene:
    return hairy_scene(14)


@pytest.fixture(scope="module")
def moving() -> Scene:
    return hairy_scene(12, moving_camera=True)


def guided(scene: Scene) -> np.ndarray:
    return np.stack([refine_matte(image, mask) for image, mask in zip(scene.images, scene.masks, strict=True)])


def plate_of(scene: Scene, mattes: np.ndarray):
    return learn_plate(scene.images, np.stack([surely_behind(matte) for matte in mattes]))


def fine(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    before = guided(scene)
    plate = plate_of(scene, before)
    return before, np.stack([matte_by_color(i, m, plate) for i, m in zip(scene.images, before, strict=True)])


def error(scene: Scene, mattes: np.ndarray) -> float:
    """Mean difference from the truth along the border, in 1/255."""
    pairs = zip(scene.alpha, mattes, strict=True)
    return float(np.mean([np.abs(a.astype(float) - m)[band(a)].mean() for a, m in pairs]))


def flicker(scene: Scene, mattes: np.ndarray) -> float:
    """The same of the change from frame to frame."""
    change = np.diff(mattes.astype(float), axis=0) - np.diff(scene.alpha.astype(float), axis=0)
    return float(np.mean([np.abs(c)[band(a)].mean() for c, a in zip(change, scene.alpha[1:], strict=True)]))


def test_hair_before_a_known_wall(still, refined):
    before, after = refined
    assert error(still, before) < error(still, still.masks * 255)
    assert error(still, after) < 0.8 * error(still, before)
    assert flicker(still, after) < 0.9 * flicker(still, before)


def test_a_moving_camera_is_noticed_and_makes_nothing_worse(moving, still, refined):
    before, after = fine(moving)
    assert not plate_of(moving, before).camera_stands_still and plate_of(still, refined[0]).camera_stands_still
    assert error(moving, after) < 1.02 * error(moving, before)


def test_what_is_sure_stays_exactly_that(refined):
    before, after = refined
    for matte, hairy in zip(before, after, strict=True):
        sure = band_of(matte)
        assert sure.person.sum() > 3000 and (hairy[sure.person] == 255).all()
        assert sure.background.sum() > 3000 and (hairy[sure.background] == 0).all()
        _, labels = cv2.connectedComponents((hairy > 60).astype(np.uint8), connectivity=8)
        sizes = np.bincount(labels.ravel())[1:]
        assert sizes.max() > 0.99 * sizes.sum(), "no islands beside the person"


def test_the_plate_is_the_wall_where_it_was_seen(still, refined):
    plate = plate_of(still, refined[0])
    known = plate.trust > 0.5
    assert 0.4 < known.mean() < 0.95
    assert np.abs(plate.picture - still.wall / 255.0)[known].mean() < 0.01
    # by turns before the left and the right of the head's border
    assert known[60, 34] and known[60, 126] and not known[70, 80]
    assert np.isfinite(plate.picture).all() and plate.picture.min() >= 0 and plate.picture.max() <= 1


def test_a_plate_of_frames_that_show_nothing():
    images = np.full((3, 40, 30, 3), 200, np.uint8)
    for behind in (np.zeros((3, 40, 30), bool), np.ones((3, 40, 30), bool)):
        plate = learn_plate(images, behind)
        assert (plate.trust == 0).all() and plate.camera_stands_still and np.isfinite(plate.picture).all()


def test_frames_for_a_plate_fit_into_memory():
    assert plate_frames(10, 11, 512, 512) == [10] and plate_frames(0, 5, 512, 512) == [0, 1, 2, 3, 4]
    chosen = plate_frames(7, 5000, 512, 512)
    assert len(chosen) == 32 and chosen[0] == 7 and chosen[-1] == 4999
    assert len(plate_frames(0, 5000, 4096, 4096)) == 8


@pytest.mark.parametrize("value", [0, 255, 128])
def test_pictures_without_a_border_keep_their_matte(value):
    image = np.random.default_rng(0).integers(0, 255, (50, 40, 3), np.uint8)
    matte = np.full((50, 40), value, np.uint8)
    plate = learn_plate(image[None], np.ones((1, 50, 40), bool))
    np.testing.assert_array_equal(matte_by_color(image, matte, plate), matte)
    np.testing.assert_array_equal(foreground(image, matte), (image * (value / np.float32(255)) + 0.5).astype(np.uint8))


@pytest.mark.parametrize("shape", [(33, 47), (8, 200), (2, 2)])
def test_odd_pictures_are_no_trouble(shape):
    rng = np.random.default_rng(1)
    image, matte = rng.integers(0, 255, (*shape, 3), np.uint8), np.zeros(shape, np.uint8)
    matte[:, : shape[1] // 2] = 255
    plate = learn_plate(image[None].repeat(5, 0), (matte == 0)[None].repeat(5, 0))
    assert matte_by_color(image, matte, plate).shape == foreground(image, matte).shape[:2] == shape


def test_the_persons_own_colours(still):
    image, alpha, own = still.images[5], still.alpha[5], still.own[5].astype(float)
    found = foreground(image, alpha)
    mixed = (alpha > 20) & (alpha < 235)
    multiplied = image * (alpha[..., None] / 255.0)
    assert np.abs(found - own)[mixed].mean() < 0.45 * np.abs(multiplied - own)[mixed].mean()
    np.testing.assert_array_equal(found[alpha == 255], image[alpha == 255])
    assert (found[alpha == 0] == 0).all() and (found <= alpha[..., None].astype(int) + 1).all()
    np.testing.assert_array_equal(found, foreground(image.copy(), alpha.copy()))


def test_spreading_keeps_what_is_known_and_asks_nothing_else():
    rng = np.random.default_rng(2)
    for channels, (height, width) in ((1, (17, 23)), (3, (64, 64)), (9, (33, 70))):
        values = rng.uniform(0, 1, (height, width, channels)).astype(np.float32)
        known = (rng.random((height, width)) < 0.1).astype(np.float32)
        filled = spread(values, known)
        np.testing.assert_allclose(filled[known == 1], values[known == 1], atol=1e-6)
        others = np.where(known[..., None] == 1, values, np.float32(1e6))
        np.testing.assert_allclose(spread(others, known), filled, atol=1e-6)
        assert filled.min() >= values.min() - 1e-5 and filled.max() <= values.max() + 1e-5
        np.testing.assert_allclose(spread(np.full_like(values, 0.3), known), 0.3, atol=1e-5)
        means, shares = weighted_means(values, np.ones_like(known), 4)
        assert means.shape[:2] == shares.shape and abs(float(means.mean() - values.mean())) < 0.05
    assert (spread(np.ones((9, 9, 3), np.float32), np.zeros((9, 9), np.float32)) == 0).all()


def write_stage(folder, scene: Scene, frames) -> None:
    for index, frame in enumerate(frames):
        for name, picture in (("images", scene.images[frame]), ("mattes", scene.masks[frame] * 255 + 0.5)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_png(frame_path(folder, name, index), picture.astype(np.uint8))


def read(folder, index: int) -> np.ndarray:
    return cv2.imread(str(frame_path(folder, "mattes", index)), cv2.IMREAD_GRAYSCALE)


def test_every_shot_has_a_plate_of_its_own(tmp_path, still):
    other = hairy_scene(6, seed=5)
    write_stage(tmp_path / "one", still, range(6))
    both = Scene(*(np.concatenate([a[:6], b]) for a, b in zip(vars(still).values(), vars(other).values(), strict=True)))
    write_stage(tmp_path / "both", both, range(12))
    with ThreadPoolExecutor(2) as pool:
        assert refine_shots(tmp_path / "one", [0], 6, pool, Progress()) == []
        assert refine_shots(tmp_path / "both", [0, 6], 12, pool, Progress()) == []
    for index in range(6):
        np.testing.assert_array_equal(read(tmp_path / "one", index), read(tmp_path / "both", index))


def test_a_moving_camera_is_said_and_one_frame_is_a_clip(tmp_path, moving, still):
    write_stage(tmp_path / "moving", moving, range(12))
    write_stage(tmp_path / "one", still, [3])
    with ThreadPoolExecutor(2) as pool:
        notes = refine_shots(tmp_path / "moving", [0], 12, pool, Progress())
        assert len(notes) == 1 and "camera" in notes[0]
        assert refine_shots(tmp_path / "one", [0], 1, pool, Progress()) == []
    alpha = still.alpha[3].astype(float)
    assert np.abs(read(tmp_path / "one", 0) - alpha).mean() < np.abs(still.masks[3] * 255 - alpha).mean()


def test_cancelling_while_mattes_are_refined(tmp_path, still):
    write_stage(tmp_path, still, range(6))

    class Stops(Progress):
        def update(self, stage, done, total, message="", **figures) -> None:
            if done >= 2:
                raise Cancelled("enough")

    with ThreadPoolExecutor(2) as pool, pytest.raises(Cancelled):
        refine_shots(tmp_path, [0], 6, pool, Stops())

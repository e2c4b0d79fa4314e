# SPDX-License-Identifier: Apache-2.0
"""The square around the head and the finding of cuts, without any video: properties over random faces and pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendsplat.errors import InputError
from blendsplat.landmarks.detector import Landmarks
from blendsplat.video.crop import Survey, clamp_crop, cropper, head_square, link_faces, tiles, without_phantoms
from blendsplat.video.shots import ShotFinder


def box(x: float, y: float, size: float) -> np.ndarray:
    return np.array([x - 0.4 * size, y - size / 2, x + 0.4 * size, y + size / 2])


@given(
    width=st.integers(64, 4000),
    height=st.integers(64, 4000),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    size=st.floats(0.05, 1.5),
    sway=st.floats(0, 0.5),
    seed=st.integers(0, 9),
)
def test_the_square_lies_in_the_picture_and_holds_the_face(width, height, x, y, size, sway, seed):
    rng = np.random.default_rng(seed)
    face = size * min(width, height)
    boxes = np.stack([box(x * width + sway * face * rng.normal(), y * height, face) for _ in range(20)])
    left, top, side = head_square(boxes, width, height)
    assert left >= 0 and top >= 0 and side > 0 and left + side <= width and top + side <= height
    assert side <= min(width, height)
    if side < min(width, height):  # there was room: hair and neck are in
        assert side >= 2.3 * face - 1


def test_the_square_holds_hair_and_neck_and_follows_movement():
    left, top, side = head_square(np.stack([box(960, 500, 200)] * 5), 1920, 1080)
    assert 2.2 * 200 <= side <= 2.6 * 200
    assert abs(left + side / 2 - 960) < 5 and top < 500 - 200 and top + side > 500 + 190
    moving = head_square(np.stack([box(800, 500, 200), box(1100, 500, 200)] * 10), 1920, 1080)
    assert moving[2] > side + 150
    outlier = head_square(np.stack([box(960, 500, 200)] * 99 + [box(100, 100, 90)]), 1920, 1080)
    assert abs(outlier[2] - side) < 5


def test_the_users_crop_is_moved_inside_and_nonsense_refused():
    notes: list[str] = []
    assert clamp_crop((10, 20, 100), 640, 480, notes) == (10, 20, 100) and not notes
    assert clamp_crop((600, -30, 100), 640, 480, notes) == (540, 0, 100)
    assert clamp_crop((-10, -10, 9000), 640, 480, notes) == (0, 0, 480)
    assert clamp_crop((0, 0, 500), 640, 480, notes) == (0, 0, 480)
    asked, done = (
        ("x=600 y=-30 size=100", "x=-10", "size=500"),
        ("was moved", "was shrunk and moved", "was shrunk into"),
    )
    assert len(notes) == 3 and all(a in note and d in note for a, d, note in zip(asked, done, notes, strict=True))
    for crop in ((0, 0, 5), (640, 0, 100), (0, -200, 100)):
        with pytest.raises(InputError, match="640x480"):
            clamp_crop(crop, 640, 480)


def test_resizing_keeps_places():
    image = np.zeros((300, 400, 3), np.uint8)
    image[:, 200:] = 255
    for size in (50, 100, 217, 400):
        row = cropper((100, 50, 200), size)(image)[size // 2, :, 0].astype(float)
        assert abs((255 - row).sum() / 255 - size / 2) < 0.6


@pytest.mark.parametrize("share", [1.0, 0.6, 0.4])
def test_tiles_cover_the_picture(share):
    seen = np.zeros((270, 480), bool)
    for x, y, side in tiles(0, 0, 480, 270, share):
        assert x >= 0 and y >= 0 and x + side <= 480 and y + side <= 270
        seen[y : y + side, x : x + side] = True
    assert seen.all()


def test_people_are_told_apart_by_place():
    samples = [(t / 10, [box(100 + 5 * t, 100, 60), box(400, 100, 120)][:: 1 if t % 2 else -1]) for t in range(10)]
    people = link_faces(samples)
    assert len(people) == 2 and all(len(times) == 10 for times, _ in people)
    assert np.allclose(people[0][1][:, 0], 352)


def with_others(count: int, others: dict[int, np.ndarray]) -> list[tuple[float, list[np.ndarray]]]:
    """Samples of one who stays, and beside him the boxes of others by sample."""
    return [(float(t), [box(100 + t, 100, 60), *([others[t]] if t in others else [])]) for t in range(count)]


def test_a_face_seen_once_in_the_grain_is_nobody():
    noise = with_others(24, {3: box(400, 300, 50), 11: box(500, 60, 80), 12: box(250, 250, 45)})
    kept, people = without_phantoms(noise)
    assert len(people) == 1 and [len(boxes) for _, boxes in kept] == [1] * 24
    assert np.array_equal(people[0][1], link_faces(with_others(24, {}))[0][1])
    one, two = without_phantoms(with_others(4, {2: box(400, 300, 50)}))[1], without_phantoms(noise[3:4])[1]
    assert len(one) == 1 and len(two) == 2, "of a single picture both may be faces"


def test_somebody_seen_several_times_is_a_second_person():
    passing = with_others(24, {t: box(400 + t, 300, 50) for t in (7, 8, 9)})
    kept, people = without_phantoms(passing)
    assert len(people) == 2 and max(len(boxes) for _, boxes in kept) == 2


def test_who_returns_elsewhere_for_a_moment_is_still_the_person():
    returned = [*with_others(24, {}), (24.0, [box(500, 300, 60)])]
    kept, people = without_phantoms(returned)
    assert kept == returned and len(people) == 2


def test_where_the_face_is_between_the_pictures():
    look = Survey((0, 0, 10), np.array([0.0, 1.0]), np.stack([box(0, 0, 10), box(10, 0, 10)]), 2, False, 1.0)
    np.testing.assert_allclose(look.box_at(0.5), box(5, 0, 10))
    assert look.box_at(4.0) is None


def test_cuts_by_colour_and_by_place():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (2, 64, 64, 3)).astype(np.int32)

    def shot(which, brightness=0):
        return np.clip(base[which] + rng.integers(-6, 6, (64, 64, 3)) + brightness, 0, 255).astype(np.uint8)

    finder = ShotFinder()
    cuts = [finder.is_cut(shot(0, 3 * i)) for i in range(12)]  # the exposure drifts
    assert not any(cuts)
    finder.jumped(Landmarks(np.full((478, 3), 5.0) + np.arange(478)[:, None] / 10))
    assert finder.is_cut(shot(1))
    assert not finder.is_cut(shot(1))
    near, far = (Landmarks(np.full((478, 3), at) + np.arange(478)[:, None] / 10) for at in (5.0, 95.0))
    assert not finder.jumped(near)
    assert not finder.jumped(near)
    assert finder.jumped(far) and not finder.jumped(None) and not finder.jumped(near)


def test_a_cut_between_alike_pictures_changes_all_of_them_and_a_quick_head_does_not():
    """Two people before the same grey wall; and a head that sways by a third of its width between two frames."""
    y, x = np.mgrid[:64, :64]

    def picture(centre, wall=90):
        image = np.full((64, 64, 3), wall, np.uint8)
        image[(x - centre) ** 2 + (y - 36) ** 2 < 12**2] = (190, 150, 130)
        return image

    finder = ShotFinder()
    assert not any(finder.is_cut(picture(30 + i % 2)) for i in range(10))
    assert not finder.is_cut(picture(39))
    other = np.clip(picture(31).astype(int) + (2 * np.sin(x / 9.0) * np.sin(y / 7.0))[..., None], 0, 255)
    finder.is_cut(picture(31))
    assert not finder.is_cut(picture(31))
    assert finder.is_cut(np.where((x < 32)[..., None], other + 13, other - 13).clip(0, 255).astype(np.uint8))


def room(which: int, brightness: int = 0) -> np.ndarray:
    """One of two places, softly coloured."""
    coarse = np.random.default_rng(which).integers(40, 180, (8, 8, 3)).astype(np.uint8)
    large = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_LINEAR).astype(int)
    return (large + brightness).clip(0, 255).astype(np.uint8)


def moving(frame: float, speed: float = 4.0, noise: float = 0.0) -> np.ndarray:
    """A striped picture that slides: every frame differs much from the one before. noise: of every pixel."""
    x = (np.arange(256) / 4) + speed * frame
    picture = np.broadcast_to((120 + 90 * np.sin(x / 4))[None, :, None], (256, 256, 3))
    picture = picture + np.random.default_rng(int(1e6 * noise) + int(frame)).normal(0, noise, picture.shape)
    return (picture + 0.5).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("times", [2, 3])
def test_frames_that_repeat_are_found_and_make_no_cuts(times):
    """30 frames a second made from 15, or from 10, of strong motion; the codec leaves a little of noise."""
    finder = ShotFinder()
    for frame in range(24 * times):
        finder.is_cut(moving(frame // times, noise=1 + frame / 1e4))
        finder.jumped(None)
    assert finder.starts == [0]
    assert finder.repeats == [frame for frame in range(24 * times) if frame % times]


def test_still_moments_are_no_repeats():
    finder = ShotFinder()
    for frame in range(60):  # moves, keeps still, moves
        finder.is_cut(moving(min(frame, 20) + max(0, frame - 40), 1.0, noise=2 + frame / 1e4))
    assert finder.repeats == [] and finder.starts == [0]


def test_a_cut_among_repeats_is_found():
    finder = ShotFinder()
    for frame in range(48):
        finder.is_cut(room(frame >= 24) // 4 * 3 + moving(frame // 2, 0.5) // 4)
    assert finder.starts == [0, 24]


def test_black_is_no_cut_but_what_follows_may_be_one():
    black = np.full((256, 256, 3), 5, np.uint8)
    for other in (0, 1):
        finder = ShotFinder()
        before, after = [room(0, 3 * i) for i in range(12)], [room(other, 36)] * 12
        for image in (*before, *[black] * 6, *after):
            finder.is_cut(image)
        assert finder.starts == ([0] if not other else [0, 18])

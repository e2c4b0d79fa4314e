# SPDX-License-Identifier: Apache-2.0
"""The head human's colours: what is where, for whom, and which looks are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from blendsplat.errors import InputError
from blendsplat.geometry import project_points
from blendsplat.heads.human import human_head
from blendsplat.heads.human.anatomy import PARTS, anatomy
from blendsplat.heads.human.appearance import Look, head_texture, paint_head, random_look
from blendsplat.heads.human.canvas import sheet
from blendsplat.heads.model import LEFT_EYE_JOINT, HeadModel
from blendsplat.heads.portrait import look_at
from blendsplat.heads.render import render_head
from blendsplat.heads.uv import texture_texels

SIZE = 512
PLAIN = Look(stubble=0.0, moles=0.0, age=0.1, blush=0.0)


@dataclasses.dataclass
class Painted:
    """A painted look and where its covered texels lie (mm)."""

    image: np.ndarray  # [S,S,3]
    colour: np.ndarray  # [N,3]
    point: np.ndarray  # [N,3]
    part: np.ndarray  # [N]

    def of(self, *names: str) -> np.ndarray:
        return np.isin(self.part, [PARTS.index(name) for name in names])

    def mean(self, mask: np.ndarray) -> np.ndarray:
        assert mask.sum() > 3, "nothing is there"
        return self.colour[mask].mean(0)


def painted(look: Look, size: int = SIZE) -> Painted:
    head = human_head()
    image = paint_head(look, size)
    texel, face, weights = texture_texels(head.uvs, head.uv_faces, size)
    points = head.template.numpy()[head.faces.numpy()[face]] * 1e3
    return Painted(image, image.reshape(-1, 3)[texel], (points * weights[:, :, None]).sum(1), anatomy().part[face])


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return human_head()


@pytest.fixture(scope="module")
def plain() -> Painted:
    return painted(PLAIN)


def patch(p: Painted, x: float, y: float, radius: float = 4.0) -> np.ndarray:
    """Skin before the head, round (x, y), on both sides of the nose."""
    x0, y0, z0 = np.abs(p.point[:, 0]), p.point[:, 1], p.point[:, 2]
    return p.of("skin") & (np.hypot(x0 - x, y0 - y) < radius) & (z0 > 40)


def luminance(colour: np.ndarray) -> float:
    return float(colour @ [0.3, 0.59, 0.11])


@pytest.mark.parametrize("size", [16, 33, 128])
def test_every_size_is_a_picture(size: int) -> None:
    image = paint_head(Look(freckles=1, moles=1, age=1, lipstick=1, eye_shadow=1, liner=1, stubble=1), size)
    assert image.shape == (size, size, 3) and image.dtype == np.float32
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


def test_random_people_are_pictures_and_differ() -> None:
    looks = [random_look(np.random.default_rng(seed)) for seed in range(40)]
    assert looks[3] == random_look(np.random.default_rng(3))
    assert len(set(looks)) == 40
    tones = [luminance(np.array(look.skin)) for look in looks]
    assert min(tones) < 0.35 and max(tones) > 0.65
    for look in looks[:12]:
        image = paint_head(look, 96)
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


def test_same_seed_same_picture() -> None:
    first = head_texture(Look(seed=1), 128)
    assert head_texture(Look(seed=1), 128) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0, 0] = 1
    paint_head(Look(seed=9, freckles=1, moles=1), 128)  # what others were painted before leaves no trace
    assert np.array_equal(first, paint_head(Look(seed=1), 128))
    assert not np.array_equal(first, paint_head(Look(seed=2), 128))
    assert np.isfinite(paint_head(Look(seed=-(2**70)), 64)).all()


def test_texels_between_islands_repeat_their_neighbours(head: HeadModel) -> None:
    """No texel inside an island is unpainted, and a border's bilinear neighbours carry its colours."""
    whole = sheet(SIZE)
    assert sum(len(rows) for rows, _ in whole.groups.values()) == whole.count
    rows = np.concatenate([rows for rows, _ in whole.groups.values()])
    assert np.array_equal(np.sort(rows), np.arange(whole.count)), "every covered texel is painted once"
    texel, _, _ = texture_texels(head.uvs, head.uv_faces, SIZE)
    assert np.array_equal(whole.shown[texel], np.arange(whole.count))
    image = paint_head(Look(skin=(0.9, 0.8, 0.7), scalp_hair="none"), SIZE)
    assert image[0].min() > 0.2, "the square's upper edge has skin"


def test_colours_are_where_they_belong(plain: Painted) -> None:
    skin = np.array(PLAIN.skin)
    cheek, forehead = plain.mean(patch(plain, 38, -40)), plain.mean(patch(plain, 12, 46))
    assert np.abs(cheek - skin).max() < 0.07 and np.abs(forehead - skin).max() < 0.07
    lower_lip = plain.mean(patch(plain, 5, -79, 3))
    assert lower_lip[0] - lower_lip[1] > (cheek[0] - cheek[1]) + 0.03, "lips are redder than skin"
    assert luminance(lower_lip) < luminance(cheek) - 0.1
    brow = plain.mean(patch(plain, 28, 16, 2.0))
    assert luminance(brow) < luminance(cheek) - 0.15
    assert luminance(plain.mean(patch(plain, 28, 30, 2.0))) > luminance(brow) + 0.15, "brows end"
    top = plain.of("skin") & (plain.point[:, 1] > 95)
    assert luminance(plain.mean(top)) < 0.3, "hair on top"
    nostrils = plain.of("skin") & (plain.colour.max(1) < 0.25) & (np.abs(plain.point[:, 1] + 48) < 9)
    nostrils &= plain.point[:, 2] > 85
    assert nostrils.sum() > 10 and (np.abs(plain.point[nostrils, 0]) < 16).all()
    enamel = plain.mean(plain.of("teeth_upper") & (np.abs(plain.point[:, 0]) < 10) & (plain.point[:, 2] > 84))
    assert enamel.min() > 0.5
    throat = plain.of("mouth") & (plain.point[:, 2] < 20)
    assert luminance(plain.mean(throat)) < 0.25


def test_brows_are_above_the_eyes_and_lashes_at_their_rim(plain: Painted) -> None:
    """The darkest skin of the front between eye and forehead is the brow; at the lids it is the upper rim's lashes."""
    for rim in anatomy().rims:
        mine = plain.of("skin") & (plain.point[:, 0] * rim.side > 14) & (plain.point[:, 2] > 60)
        above = mine & (plain.point[:, 1] > 10) & (plain.point[:, 1] < 40)
        dark = above & (plain.colour.mean(1) < 0.38)
        assert dark.sum() > 50
        height = plain.point[dark, 1]
        assert 12 < height.mean() < 23 and height.max() < 28
        near = np.linalg.norm(plain.point[:, None] - rim.points[None, ::4], axis=2).min(1) < 1.0
        middle = np.abs(plain.point[:, 0] - rim.centre[0]) < 8
        upper = plain.mean(mine & near & middle & (plain.point[:, 1] > 0))
        lower = plain.mean(mine & near & middle & (plain.point[:, 1] < 0))
        assert luminance(upper) < luminance(lower) - 0.15


def test_the_iris_lies_round_the_gaze_axis(head: HeadModel) -> None:
    blue = painted(dataclasses.replace(PLAIN, eyes=(0.1, 0.3, 0.9)))
    for joint, name in ((LEFT_EYE_JOINT, "left_eyeball"), (LEFT_EYE_JOINT + 1, "right_eyeball")):
        ball = blue.of(name)
        arm = blue.point[ball] - head.joints[joint].numpy() * 1e3
        away, colour = np.hypot(arm[:, 0], arm[:, 1]), blue.colour[ball]
        behind = arm[:, 2] < 0
        coloured = colour[:, 2] > colour[:, 0] + 0.1
        assert coloured.sum() > 100
        assert away[coloured].max() < 5.9 + 0.3 and not (coloured & behind).any()
        assert coloured[(away > 2.6) & (away < 4.5) & ~behind].mean() > 0.9
        assert colour[(away < 1.3) & ~behind].max() < 0.1, "a pupil"
        sclera = colour[(away > 7.2) & (away < 9) & ~behind]
        assert sclera.mean() > 0.45 and (sclera[:, 0] - sclera[:, 2]).mean() < 0.15


def test_tone_moves_skin_and_not_the_eyes(plain: Painted) -> None:
    dark = painted(dataclasses.replace(PLAIN, skin=(0.32, 0.21, 0.16), lips=(0.30, 0.17, 0.15)))
    for x, y in ((38, -40), (12, 46), (0, -105), (20, -90)):
        fair, deep = plain.mean(patch(plain, x, y)), dark.mean(patch(dark, x, y))
        assert luminance(fair) - luminance(deep) > 0.3
    for name in ("left_eyeball", "right_eyeball", "tongue"):
        assert np.array_equal(plain.colour[plain.of(name)], dark.colour[dark.of(name)])
    assert np.abs(dark.mean(patch(dark, 38, -40)) - (0.32, 0.21, 0.16)).max() < 0.06


def test_both_sides_are_alike(plain: Painted) -> None:
    """Averaged over patches of some mm, the left half is the right half; single hairs and pores are not."""
    for x, y in ((38, -40), (12, 46), (28, 17), (18, -75), (31, 7), (30, -13), (50, -60), (9, -50)):
        both = patch(plain, x, y, 5)
        left, right = plain.mean(both & (plain.point[:, 0] > 0)), plain.mean(both & (plain.point[:, 0] < 0))
        assert np.abs(left - right).max() < 0.06, (x, y)
    both = patch(plain, 38, -40, 5)
    assert plain.colour[both].std(0).max() > 0.004, "skin is not paint"


@pytest.mark.parametrize(
    ("change", "place", "darker"),
    [
        ({"stubble": 0.8}, (10, -106, 5), True),
        ({"lipstick": 1.0, "lipstick_colour": (0.3, 0.02, 0.05)}, (5, -79, 3), True),
        ({"eye_shadow": 1.0, "eye_shadow_colour": (0.1, 0.1, 0.2)}, (34, 6.5, 3), True),
        ({"brow_thickness": 1.0, "brow_density": 1.0}, (28, 16, 5), True),
        ({"freckles": 1.0}, (20, -26, 8), True),
        ({"age": 1.0}, (24, -16, 4), True),
        ({"scalp_hair": "none"}, (0, 108, 14), False),
    ],
)
def test_each_habit_shows_in_its_place_only(plain: Painted, change: dict, place: tuple, darker: bool) -> None:
    other = painted(dataclasses.replace(PLAIN, **change))
    x, y, radius = place
    where = plain.of("skin") & (np.hypot(np.abs(plain.point[:, 0]) - x, plain.point[:, 1] - y) < radius)
    where &= plain.point[:, 2] > (-200 if y > 100 else 40)
    step = luminance(plain.mean(where)) - luminance(other.mean(where))
    assert step > 0.012 if darker else step < -0.2
    if "age" not in change:  # age yellows eyes and teeth too
        inside = plain.of("left_eyeball", "right_eyeball", "mouth", "tongue", "teeth_lower")
        assert np.array_equal(plain.colour[inside], other.colour[inside])


def test_without_skin_eyes_and_mouth_are_the_same(plain: Painted) -> None:
    image = paint_head(PLAIN, SIZE, skin=False)
    texel, _, _ = texture_texels(human_head().uvs, human_head().uv_faces, SIZE)
    inside = texel[~plain.of("skin", "left_pocket", "right_pocket")]
    assert np.array_equal(image.reshape(-1, 3)[inside], plain.image.reshape(-1, 3)[inside])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("skin", (204, 150, 130)), ("skin", (0.5, 0.5)), ("eyes", (0.1, float("nan"), 0.1)), ("hair", "brown"),
        ("age", -0.1), ("age", float("inf")), ("stubble", 1.5), ("freckles", None), ("scalp_hair", "mohawk"),
        ("lips", None),
    ],
)  # fmt: skip
def test_impossible_looks_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        Look(**{field: value})  # type: ignore[arg-type]


def test_looks_from_arrays_are_plain_and_hashable() -> None:
    look = Look(skin=np.array([0.5, 0.4, 0.3], np.float32), age=np.float64(0.5), seed=np.int64(4))  # type: ignore[arg-type]
    assert hash(look) == hash(dataclasses.replace(look)) and type(look.skin[0]) is float and type(look.seed) is int
    with pytest.raises(InputError, match="size"):
        paint_head(look, 0)


def test_extremes_stay_people() -> None:
    """Black on black, white on white: still finite, in range, and with eyes and mouth apart from skin."""
    for tone in ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
        look = Look(skin=tone, hair=tone, eyes=tone, lips=tone, age=1, stubble=1, freckles=1, liner=1, moles=1)
        image = paint_head(look, 128)
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


def test_a_portrait_has_hair_eyes_and_hidden_teeth(head: HeadModel) -> None:
    size = 192
    view = torch.from_numpy(look_at(np.array([0, -0.02, 0.0]), 1.0, 0.0, 0.0)).float()
    K = torch.tensor([[size * 3.4, 0, size / 2], [0, size * 3.4, size / 2], [0, 0, 1.0]])
    texture = torch.from_numpy(paint_head(PLAIN, SIZE))
    params = head.neutral(3)
    params.expression[1, head.expression_names.index("eyeBlinkLeft")] = 1
    params.jaw_pose = params.jaw_pose.expand(3, 3).clone()
    params.jaw_pose[2, 0] = 0.3
    posed = head(params)
    images = render_head(head, posed, texture, view.expand(3, -1, -1), K.expand(3, -1, -1), size, size)
    assert torch.isfinite(images).all() and (images[..., :3] <= images[..., 3:] + 1e-6).all()
    spots = project_points(posed, view.expand(3, -1, -1), K.expand(3, -1, -1))

    def colour(frame: int, region: str) -> torch.Tensor:
        x, y = spots[frame, torch.from_numpy(head.regions[region])].mean(0).floor().long().tolist()
        return images[frame, y - 2 : y + 3, x - 2 : x + 3, :3].mean((0, 1))

    assert colour(0, "left_eyeball").mean() < 0.4, "iris and pupil look at the camera"
    assert colour(1, "left_eyeball").mean() > colour(0, "left_eyeball").mean() + 0.1, "a closed lid is skin"
    same = (images[0] - images[1]).abs().amax(-1)
    assert same[:, : size // 2 - 6].max() < 0.05, "the other half stays"
    lips = slice(int(spots[0, head.regions["lips"], 1].min()), int(spots[0, head.regions["lips"], 1].max()))
    middle = images[0, lips, size // 2 - 6 : size // 2 + 6, :3]
    assert (middle[..., 0] - middle[..., 1]).min() > 0.03, "no teeth between closed lips"
    assert colour(2, "teeth_lower").mean() != pytest.approx(colour(0, "teeth_lower").mean().item(), abs=0.02)

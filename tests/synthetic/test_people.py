# SPDX-License-Identifier: Apache-2.0
"""Random people: the same seed the same person, ages that go together, clothes without gaps, places in one light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blendsplat.heads import load_head
from blendsplat.heads.human import CHILD, human_head
from blendsplat.heads.portrait import look_at
from blendsplat.heads.render import Light, render_views
from blendsplat.synthetic import backdrops, clothes, eyewear
from blendsplat.synthetic.attached import posed, together
from blendsplat.synthetic.people import childhood, random_params, random_person, random_wardrobe
from blendsplat.synthetic.surface import anatomy


@pytest.fixture(scope="module")
def head():
    return human_head()


def picture_of(head, drawn, texture, props, light=Light(), size=96):
    viewmat = torch.tensor(look_at(np.array([0, -0.05, 0.02]), 1.0, 0.0, 0.0), dtype=torch.float32)[None]
    K = torch.tensor([[size / 0.42, 0, size / 2], [0, size / 0.42, size / 2], [0, 0, 1]])[None]
    return render_views(head, drawn, texture, viewmat, K, size, size, light, props=props)[0]


def test_the_same_seed_is_the_same_person_to_the_pixel(head):
    first, again, other = (random_person(head, np.random.default_rng(seed), 64) for seed in (3, 3, 4))
    pictures = [picture_of(head, p.drawn, p.texture, p.props, p.light) for p in (first, again, other)]
    assert torch.equal(pictures[0], pictures[1]) and not torch.equal(pictures[0], pictures[2])
    assert first.backdrop == again.backdrop and first.place == again.place != other.place


def test_about_one_in_eight_is_a_child_and_children_look_like_it(head):
    rng = np.random.default_rng(0)
    shapes = torch.cat([random_params(head, rng).shape for _ in range(400)])
    child = shapes[:, head.shape_names.index(CHILD)]
    assert 0.06 < float((child > 0).float().mean()) < 0.2
    assert child[child > 0].min() >= 0.6 and child.max() <= 1.1
    assert childhood(head, shapes[child.argmax()][None]) == 1.0
    for _ in range(60):
        young = random_wardrobe(rng, 1.0)
        assert young.look.age < 0.1 and young.look.stubble == 0 and young.hair.kind not in ("bald", "receding")
        assert young.outfit.shoulders < 0.18
    kinds = {random_wardrobe(rng).hair.kind for _ in range(400)}
    assert len(kinds) >= 12, kinds


def test_expressions_stay_in_range_and_move_both_sides(head):
    rng = np.random.default_rng(1)
    rows = torch.cat([random_params(head, rng).expression for _ in range(200)])
    assert rows.min() >= 0 and rows.max() <= 1 and (rows.amax(0) > 0.2).all()
    left, right = (rows[:, head.expression_names.index(f"mouthSmile{side}")] for side in ("Left", "Right"))
    assert torch.corrcoef(torch.stack([left, right]))[0, 1] > 0.7


def extreme_poses(head, shape):
    for turn in (
        (0.5, 0.0, 0.0),
        (-0.5, 0.0, 0.0),
        (0.0, 0.9, 0.0),
        (0.0, -0.9, 0.0),
        (0.0, 0.0, 0.5),
        (0.3, 0.6, -0.3),
    ):
        params = head.neutral()
        params.shape, params.neck_pose = shape, torch.tensor([turn])
        yield params


@pytest.mark.parametrize("kind", clothes.KINDS)
def test_nothing_gapes_between_the_neck_and_the_clothes(head, kind):
    """In every pose each vertex of the neck's ring lies on what begins there."""
    rng = np.random.default_rng(2)
    for child in (0.0, 1.0):
        shape = torch.tensor(0.8 * rng.standard_normal((1, head.shape_count)), dtype=torch.float32)
        shape[0, -1] = child
        body = anatomy(head, shape)
        skin = np.tile([0.8, 0.6, 0.5], (len(head.regions["neck_ring"]), 1))
        worn = together(clothes.clothes(body, clothes.Outfit(kind), skin))
        for params in extreme_poses(head, shape):
            ring = head(params)[0, torch.from_numpy(head.regions["neck_ring"])]
            props = posed(worn, head, params)
            assert torch.isfinite(props.points).all()
            away = torch.cdist(ring, props.points).amin(1)
            assert away.max() < 0.004, "a gap between neck and clothes"


def test_clothes_follow_the_body_not_the_head(head):
    body = anatomy(head, torch.zeros(1, head.shape_count))
    skin = np.tile([0.8, 0.6, 0.5], (len(head.regions["neck_ring"]), 1))
    worn = together(clothes.clothes(body, clothes.Outfit("t_shirt"), skin))
    params = head.neutral()
    params.neck_pose = torch.tensor([[0.0, 0.6, 0.0]])
    torch.testing.assert_close(posed(worn, head, params).points, worn.props.points, atol=1e-6, rtol=0)
    params.translation = torch.tensor([[0.1, 0.0, 0.2]])
    torch.testing.assert_close(
        posed(worn, head, params).points, worn.props.points + params.translation, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kind", eyewear.KINDS)
def test_glasses_sit_before_the_eyes_and_outside_of_the_head(head, kind):
    rng = np.random.default_rng(3)
    for _ in range(4):
        shape = torch.tensor(0.85 * rng.standard_normal((1, head.shape_count)), dtype=torch.float32)
        shape[0, -1] = 0
        body = anatomy(head, shape)
        points = eyewear.eyewear(body, eyewear.Glasses(kind)).props.points.numpy()
        over = body.skin(ears=False).height(points)[0]
        assert over.min() > -0.004 and np.quantile(over, 0.05) > 0
        lenses = points[points[:, 2] > body.eyes[2] + 0.015]
        assert lenses[:, 2].max() < body.eyes[2] + 0.055 and abs(lenses[:, 1].mean() - body.eyes[1]) < 0.012


@pytest.mark.parametrize("kind", backdrops.KINDS)
def test_places_are_pictures_in_the_colour_of_the_light(kind):
    warm, cold = (
        Light(sky=sky, key=key) for sky, key in (((0.9, 0.6, 0.3), (2, 1.4, 0.8)), ((0.3, 0.6, 0.9), (0.8, 1.4, 2)))
    )
    pictures = [backdrops.paint_backdrop(backdrops.Backdrop(kind, 5), light, 64) for light in (warm, cold)]
    for picture in pictures:
        assert picture.shape == (64, 64, 3) and picture.dtype == np.float32
        assert picture.min() >= 0 and picture.max() <= 1 and picture.std() > 0.01
    red, blue = (picture[..., 0].mean() - picture[..., 2].mean() for picture in pictures)
    assert red > blue + 0.05
    again = backdrops.paint_backdrop(backdrops.Backdrop(kind, 5), warm, 64)
    assert np.array_equal(again, pictures[0])
    assert not np.array_equal(backdrops.paint_backdrop(backdrops.Backdrop(kind, 6), warm, 64), again)


def test_a_camera_adds_faults_but_keeps_the_picture():
    picture = backdrops.paint_backdrop(backdrops.Backdrop("garden", 1, 0.9), Light(), 128)
    taken = backdrops.through_a_camera(picture, np.random.default_rng(0))
    assert taken.shape == picture.shape and taken.min() >= 0 and taken.max() <= 1
    assert 0.002 < np.abs(taken - picture).mean() < 0.05


def test_other_heads_have_people_too(test_data):
    ict = load_head(test_data("heads/ict_facekit/ict_facekit_packed.npz"), landmarks=False)
    person = random_person(ict, np.random.default_rng(5), 64)
    shown = picture_of(ict, person.drawn, person.texture, person.props)
    assert torch.isfinite(shown).all() and 0.1 < float((shown[..., 3] > 0.5).float().mean()) < 0.95


def test_a_head_of_few_regions_is_drawn_without_clothes(head):
    """What has no ring for a neck has no shirt; hair needs no region."""
    eyes = {name: head.regions[name] for name in ("left_eyeball", "right_eyeball")}
    bare = replace(head, regions=eyes, family="")
    person = random_person(bare, np.random.default_rng(1), 64)
    assert torch.isfinite(person.drawn).all() and torch.isfinite(person.props.points).all()

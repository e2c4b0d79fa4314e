# SPDX-License-Identifier: Apache-2.0
"""Hair of every kind on any identity: outside the skin, off the eyes and the mouth, and it goes with the skull."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads import load_head
from blendsplat.heads.human import CHILD, human_head
from blendsplat.heads.model import LEFT_EYE_JOINT, NECK_JOINT
from blendsplat.heads.portrait import look_at
from blendsplat.splatting import rasterize_mesh
from blendsplat.synthetic.attached import posed
from blendsplat.synthetic.hair import KINDS, HairStyle, ears_under_hair, hair, hairline, stain
from blendsplat.synthetic.surface import anatomy

SIZE = 256


@pytest.fixture(scope="module")
def head():
    return human_head()


def identity(head, seed, child=0.0):
    rng = np.random.default_rng(seed)
    shape = torch.tensor(rng.standard_normal((1, head.shape_count)), dtype=torch.float32)
    shape[0, head.shape_names.index(CHILD)] = child
    return shape


def covered(head, vertices, props, rows):
    """Share of the pixels that show the triangles of ``rows`` from the front and lose them to the props."""
    points = torch.from_numpy(vertices).float()
    eyes = points[torch.from_numpy(head.regions["left_eyeball"])].mean(0).numpy() * [0, 1, 1]
    viewmat = torch.tensor(look_at(eyes - [0, 0.03, 0.05], 1.0, 0.0, 0.0), dtype=torch.float32)[None]
    focal = SIZE / 0.34
    K = torch.tensor([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])[None]
    wanted = torch.isin(head.faces, torch.from_numpy(rows)).all(1)
    bare = rasterize_mesh(points[None], head.faces, viewmat, K, SIZE, SIZE)[0][0]
    everything, faces = torch.cat([points, props.points]), torch.cat([head.faces, props.faces + len(points)])
    dressed = rasterize_mesh(everything[None], faces, viewmat, K, SIZE, SIZE)[0][0]
    shown = (bare >= 0) & wanted[bare.clamp_min(0).long()]
    assert shown.sum() > 50
    return float((dressed[shown] != bare[shown]).float().mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_grows_on_anybody_outside_of_the_skin(head, kind):
    for seed, child in ((1, 0.0), (2, 0.0), (3, 1.1)):
        body = anatomy(head, identity(head, seed, child))
        grown = hair(body, HairStyle(kind), np.random.default_rng(seed))
        if kind == "bald":
            assert grown is None
            continue
        points = grown.props.points.numpy()
        assert np.isfinite(points).all() and torch.isfinite(grown.props.colors).all() and len(points) > 5000
        assert grown.props.colors.min() >= 0 and grown.props.colors.max() <= 1
        assert torch.isfinite(grown.props.normals).all() and torch.isfinite(grown.props.tangents).all()
        over = body.skin(ears=False).height(points[np.linspace(0, len(points) - 1, 4000).astype(int)])[0]
        assert np.quantile(over, 0.02) > -0.004, "strands run through the head"
        assert over.max() < 0.2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bald"])
def test_hair_leaves_eyes_and_mouth_free(head, kind):
    rows = np.concatenate([head.regions[name] for name in ("left_eyeball", "right_eyeball", "lips")])
    for seed in range(3):
        body = anatomy(head, identity(head, 10 + seed, 0.9 if seed == 2 else 0.0))
        grown = hair(body, HairStyle(kind, length=1.2), np.random.default_rng(seed))
        assert covered(head, ears_under_hair(body, HairStyle(kind)), grown.props, rows) < 0.03


@pytest.mark.parametrize(("kind", "least"), [("shaved", 0.03), ("crop", 0.6), ("bob", 0.85)])
def test_hair_covers_the_skull(head, kind, least):
    """Seen from behind; between short strands shows the skin that their shadow tints."""
    body = anatomy(head, identity(head, 4))
    grown = hair(body, HairStyle(kind), np.random.default_rng(0))
    top = head.regions["scalp"][body.rest[head.regions["scalp"], 1] > 30]
    back = top[body.normals[top, 2] < -0.7]
    points = torch.cat([torch.from_numpy(body.vertices).float(), grown.props.points])
    faces = torch.cat([head.faces, grown.props.faces + head.vertex_count])
    viewmat = torch.tensor(look_at(body.eyes, 1.0, np.pi, 0.0), dtype=torch.float32)[None]
    K = torch.tensor([[700.0, 0, SIZE / 2], [0, 700.0, SIZE / 2], [0, 0, 1]])[None]
    ids = rasterize_mesh(points[None], faces, viewmat, K, SIZE, SIZE)[0][0]
    mine = torch.isin(head.faces, torch.from_numpy(back)).all(1)
    skin = rasterize_mesh(points[None, : head.vertex_count], head.faces, viewmat, K, SIZE, SIZE)[0][0]
    seen = (skin >= 0) & mine[skin.clamp_min(0).long()]
    assert seen.sum() > 200 and float((ids[seen] >= len(head.faces)).float().mean()) > least


def test_hair_goes_with_the_skull_and_its_ends_with_the_body(head):
    shape = identity(head, 5)
    body = anatomy(head, shape)
    grown = hair(body, HairStyle("long"), np.random.default_rng(0))
    params = head.neutral()
    params.shape, params.neck_pose = shape, torch.tensor([[0.1, 0.5, 0.0]])
    moved = posed(grown, head, params)
    at_rest = head.neutral()
    at_rest.shape = shape
    joint = head.posed(at_rest)[1][0, NECK_JOINT, :3, 3]
    turned = (grown.props.points - joint) @ rotvec_to_matrix(params.neck_pose)[0].T + joint
    high = grown.props.points[:, 1] > body.eyes[1]
    torch.testing.assert_close(moved.points[high], turned[high], atol=1e-5, rtol=0)
    low = grown.share < 0.01
    assert low.any() and (moved.points[low] - grown.props.points[low]).abs().max() < 3e-3
    assert torch.equal(moved.colors, grown.props.colors)


def test_the_same_state_is_the_same_hair(head):
    body = anatomy(head, identity(head, 6))
    first, again, other = (hair(body, HairStyle("bob"), np.random.default_rng(seed)).props.points for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_strands_differ_in_colour_and_grey_ones_appear(head):
    body = anatomy(head, identity(head, 7))
    young = hair(body, HairStyle("crop", (0.3, 0.15, 0.05)), np.random.default_rng(0)).props.colors
    old = hair(body, HairStyle("crop", (0.3, 0.15, 0.05), grey=0.8), np.random.default_rng(0)).props.colors
    assert young.mean(1).std() > 0.02

    def greyness(colours):
        return float(((colours.amax(1) - colours.amin(1)) / colours.amax(1) < 0.1).float().mean())

    assert greyness(young) < 0.02 and greyness(old) > 0.15


def test_the_hairline_lies_where_people_have_it():
    """Millimetres from the eyes' middle: forehead and cheek are bare, crown and the back of the head are not."""
    places = np.array([[0, 40, 20], [60, -40, -20], [0, 105, -80], [0, 0, -178], [0, -110, -150]], float)
    above = hairline(places, HairStyle("crop", recess=0))
    assert (above > 0).tolist() == [False, False, True, True, False]
    assert hairline(np.array([[0, 105.0, -80]]), HairStyle("receding"))[0] < 0
    assert np.allclose(stain(places, HairStyle("bald")), 0) and stain(places, HairStyle("crop"))[2] > 0.8


def test_heads_without_a_scalp_and_ict_have_hair_too(test_data, head):
    ict = load_head(test_data("heads/ict_facekit/ict_facekit_packed.npz"), landmarks=False)
    for other in (ict, _without(head, "scalp", "left_ear", "right_ear")):
        body = anatomy(other, torch.zeros(1, other.shape_count))
        for kind in ("crop", "bob", "bun"):
            points = hair(body, HairStyle(kind), np.random.default_rng(0)).props.points
            assert torch.isfinite(points).all() and len(points) > 5000
            assert points[:, 1].max() > body.vertices[:, 1].max() - 0.01
        assert other.joints[LEFT_EYE_JOINT, 0] > 0


def _without(head, *names):
    return replace(head, regions={name: rows for name, rows in head.regions.items() if name not in names})

# SPDX-License-Identifier: Apache-2.0
"""The head that ships in motion, as a camera sees it: lips that close for everybody, lids that cover the eyes, a gaze
that they follow, a jaw that opens a mouth with teeth and tongue, a neck that stays put, expressions of one side."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from scipy.spatial import cKDTree

from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.arkit import ARKIT_JOINTS
from blendsplat.heads.human import human_head
from blendsplat.heads.model import JAW_JOINT, JOINTS, HeadModel
from human_views import AHEAD, PIXEL, faces_of, longest_run, posed, random_shapes, seen, shows

SIDES = ("left", "right")
INSIDE = ("teeth_upper", "teeth_lower", "tongue", "mouth_interior")
SPECK = 12  # pixels: 0.1 mm^2
PEOPLE = [None, *random_shapes(6, seed=0)]
# shapes that keep the lips together, at full strength
CLOSED = (
    "mouthPucker", "mouthSmileLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthStretchRight", "mouthPressLeft",
    "mouthRollUpper", "mouthRollLower", "mouthShrugLower", "mouthLeft", "cheekPuff", "jawForward",
)  # fmt: skip
WHOLE_MOUTH = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")  # their sides say where to


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return human_head()


def mouth(head: HeadModel, vertices: torch.Tensor, yaw: float = 0.0, *of: str) -> np.ndarray:
    """Pixels about the lips that show what lies inside of the mouth."""
    middle = vertices[head.regions["lips"]].mean(0)
    return shows(seen(vertices, middle, 0.09, yaw), faces_of(head, *(of or INSIDE)))


def eyeball(head: HeadModel, vertices: torch.Tensor, side: str, yaw: float = 0.0) -> np.ndarray:
    """Pixels about an eye that show its ball."""
    ball = f"{side}_eyeball"
    return shows(seen(vertices, vertices[head.regions[ball]].mean(0), 0.05, yaw), faces_of(head, ball))


def blink(amount: float) -> dict[str, float]:
    return {"eyeBlinkLeft": amount, "eyeBlinkRight": amount}


def moved(head: HeadModel, vertices: torch.Tensor, region: str) -> torch.Tensor:
    """How far each vertex of a region is from where it rests, metres."""
    return (vertices - head.template)[head.regions[region]].norm(dim=1)


@pytest.mark.parametrize("shape", PEOPLE)
def test_lips_are_closed_at_rest_and_hide_what_is_behind_them(head: HeadModel, shape: torch.Tensor | None) -> None:
    # the mean's lips are shut; at two deviations the mouth's lining may come through below them by a millimetre
    run, most = (4, 50) if shape is None else (20, 600)
    for yaw in (-0.6, 0.0, 0.6):
        inside = mouth(head, posed(shape), yaw)
        assert longest_run(inside) <= run, "pixels; four are 0.3 mm"
        assert inside.sum() < most


@pytest.mark.parametrize("name", CLOSED)
def test_lips_stay_together_where_they_should(head: HeadModel, name: str) -> None:
    for yaw in (-0.6, 0.0, 0.6):
        hard = mouth(head, posed(**{name: 1.0}), yaw, "teeth_upper", "teeth_lower", "tongue")
        # pixels, a hundred a square millimetre; under the source's jawForward a line of lower teeth shows, 0.2 mm high
        assert hard.sum() < (1500 if name == "jawForward" else 300)


@pytest.mark.parametrize("shape", PEOPLE)
def test_a_blink_closes_over_the_whole_eyeball(head: HeadModel, shape: torch.Tensor | None) -> None:
    """Identity and expression are both linear, so a blink is the same for every eye: large ones may keep a slit."""
    opened = {side: eyeball(head, posed(shape), side).sum() for side in SIDES}
    assert min(opened.values()) > 6000, "open, it is there"
    slit = 0 if shape is None else 0.08
    for gaze, at_most in (
        (AHEAD, SPECK),
        ((0.25, 0.3, 0.0), SPECK),
        ((-0.45, 0.0, 0.0), 100),
        ((0.0, -0.55, 0.0), 100),
    ):
        vertices = posed(shape, eyes=(gaze, gaze), **blink(1.0))
        for side in SIDES:
            for yaw in (-0.5, 0.0, 0.5):
                assert eyeball(head, vertices, side, yaw).sum() < at_most + slit * opened[side], (side, gaze, yaw)


@pytest.mark.parametrize("shape", PEOPLE)
@pytest.mark.parametrize("gaze", [AHEAD, (0.4, 0.0, 0.0), (-0.4, 0.3, 0.0), (0.0, 0.5, 0.0)])
def test_on_its_way_the_eye_shows_between_the_lids_and_nowhere_else(
    head: HeadModel, shape: torch.Tensor | None, gaze: tuple[float, float, float]
) -> None:
    """One opening: a ball that came through a lid would show above or below it, or as an island."""
    for amount in (0.0, 0.25, 0.5, 0.75):
        vertices = posed(shape, eyes=(gaze, gaze), **blink(amount))
        for side in SIDES:
            ball = eyeball(head, vertices, side)
            begins = (np.diff(ball.astype(int), axis=0, prepend=0) == 1).sum(0)
            assert (begins > 1).sum() <= 3, "columns with two openings"
            islands = np.sort(np.bincount(label(ball)[0].ravel())[1:])
            assert islands[:-1].sum() < 2 * SPECK or ball.sum() < 2000, "a slit that is nearly shut may show in parts"


def test_a_blink_closes_steadily(head: HeadModel) -> None:
    sizes = [eyeball(head, posed(**blink(b)), "left").sum() for b in (0, 0.2, 0.4, 0.6)]
    assert all(a > 1.2 * b for a, b in pairwise(sizes)) and sizes[-1] > 0


@pytest.mark.parametrize("name", [name for name in ARKIT_JOINTS if name.startswith("eyeLook")])
def test_the_gaze_turns_the_iris_where_arkit_says_and_the_lids_follow(head: HeadModel, name: str) -> None:
    """eyeLookUp looks up, In towards the nose, Out away from it; each eye about its own middle."""
    joint, turn = ARKIT_JOINTS[name]
    side, other = joint.split("_")[0], "right" if joint.startswith("left") else "left"
    vertices = posed(eyes=(turn, AHEAD) if side == "left" else (AHEAD, turn))
    ball = head.regions[f"{side}_eyeball"]
    pole = ball[head.template[ball, 2].argmax()]
    outwards = 1 if side == "left" else -1
    axis, sign = {"Up": (1, 1), "Down": (1, -1), "In": (0, -outwards), "Out": (0, outwards)}[name[7 : -len(side)]]
    assert (vertices - head.template)[pole, axis] * sign > 0.005
    middle = head.joints[JOINTS.index(joint)]
    assert (vertices[pole] - middle).norm() == pytest.approx((head.template[pole] - middle).norm().item(), abs=1e-6)
    lids = (vertices - head.template)[head.regions[f"{side}_eyelids"]]
    if axis == 1:
        assert (lids[:, 1] * sign).max() > 0.0015, "the lids follow"
    else:
        assert lids.norm(dim=1).max() < 0.003, "they hardly do sideways"
    assert max(moved(head, vertices, f"{other}_{part}").max() for part in ("eyelids", "eyeball")) < 1e-6


def test_lids_leave_the_eye_open_in_every_gaze(head: HeadModel) -> None:
    for _, turn in ARKIT_JOINTS.values():
        if turn[0] < 0.3:
            assert eyeball(head, posed(eyes=(turn, turn)), "left").sum() > 6000


def test_the_jaw_takes_the_lower_teeth_and_leaves_the_upper(head: HeadModel) -> None:
    vertices = posed(jaw=ARKIT_JOINTS["jawOpen"][1])
    assert moved(head, vertices, "teeth_upper").max() < 1e-6
    assert 0.028 < moved(head, vertices, "teeth_lower").max() < 0.034
    assert moved(head, vertices, "teeth_lower").min() > 0.010, "all of them, in one piece"
    for region in ("neck_ring", "scalp", "left_eyeball", "right_eyelids", "left_ear"):
        assert moved(head, vertices, region).max() < 0.004, region
    lower = head.regions["teeth_lower"]
    apart = (head.template[lower, None] - head.template[lower]).norm(dim=-1)
    assert torch.allclose((vertices[lower, None] - vertices[lower]).norm(dim=-1), apart, atol=1e-4), "they are stiff"


def test_an_open_mouth_shows_its_inside_and_no_hole(head: HeadModel) -> None:
    vertices = posed(jaw=ARKIT_JOINTS["jawOpen"][1])
    for name, least in (("teeth_upper", 1000), ("teeth_lower", 2000), ("tongue", 4000)):
        assert mouth(head, vertices, 0.0, name).sum() > least, name
    assert mouth(head, vertices, 0.6, "mouth_interior").sum() > 2000
    middle = vertices[head.regions["lips"]].mean(0)
    assert (seen(vertices, middle, 0.06) >= 0).all(), "no hole to see through"


def test_mouth_close_brings_the_lips_together_over_an_open_jaw(head: HeadModel) -> None:
    """ARKit's: at mouthClose = jawOpen the lips meet."""
    jaw = ARKIT_JOINTS["jawOpen"][1]
    assert longest_run(mouth(head, posed(jaw=jaw))) * PIXEL > 0.02
    assert longest_run(mouth(head, posed(jaw=jaw, mouthClose=1.0))) * PIXEL < 0.002


def test_the_tongue_comes_out_and_moves_no_teeth(head: HeadModel) -> None:
    for name in (name for name in head.expression_names if name.startswith("tongue")):
        vertices = posed(**{name: 1.0})
        assert max(moved(head, vertices, name).max() for name in ("teeth_upper", "teeth_lower")) < 1e-6
        assert moved(head, vertices, "tongue").max() > 0.01


@pytest.mark.parametrize("open_by", [0.15, 0.25, 0.38])
def test_the_tongue_comes_out_between_the_lips(head: HeadModel, open_by: float) -> None:
    """From the front one patch of tongue, above the lower lip's edge where it leaves the mouth: no skin over it."""
    vertices = posed(jaw=(open_by, 0.0, 0.0), tongueOut=1.0)
    tongue = mouth(head, vertices, 0.0, "tongue")
    assert tongue.sum() > 4000, "40 square millimetres"
    column = tongue[:, tongue.shape[1] // 2]
    assert longest_run(column[:, None]) == column.sum(), "no lip across the tongue"
    tip = head.regions["tongue"][vertices[head.regions["tongue"], 2].argmax()]
    lips = head.regions["lips"]
    lower = lips[(head.skin_weights[lips, JAW_JOINT] > 0.5).numpy()]
    assert vertices[tip, 2] > vertices[lower, 2].max(), "its tip is before the lower lip"


def test_the_neck_ring_goes_with_the_root_in_one_piece(head: HeadModel) -> None:
    for neck in ((0.4, 0.0, 0.0), (0.0, 0.8, 0.0), (0.0, 0.0, 0.4)):
        vertices = posed(neck=neck)
        assert moved(head, vertices, "neck_ring").max() < 1e-6
        assert moved(head, vertices, "nose").min() > 0.01
    params = head.neutral()
    params.root_pose[0], params.neck_pose[0] = torch.tensor([0.3, 0.4, 0.1]), torch.tensor([0.2, 0.3, 0.1])
    ring = head.regions["neck_ring"]
    turned = (head.template[ring] - head.joints[0]) @ rotvec_to_matrix(params.root_pose)[0].T + head.joints[0]
    assert (head(params)[0, ring] - turned).abs().max() < 1e-6


def test_nodding_and_turning_go_the_right_way(head: HeadModel) -> None:
    nose = head.regions["nose"]
    assert (posed(neck=(0.3, 0.0, 0.0)) - head.template)[nose, 1].max() < 0, "positive x nods down"
    assert (posed(neck=(0.0, 0.3, 0.0)) - head.template)[nose, 0].min() > 0, "positive y turns to the person's left"


def test_every_expression_moves_its_own_place_and_side(head: HeadModel) -> None:
    x = head.template[:, 0]
    faults = []
    for name, direction in zip(head.expression_names, head.expression_directions, strict=True):
        size = direction.norm(dim=-1)
        assert size.max() > 0.002, f"{name} moves nothing"
        assert (size > 0.1 * size.max()).float().mean() < 0.4, f"{name} is not local"
        for region in ("neck_ring", "left_eyeball", "right_eyeball", "teeth_upper"):
            assert size[head.regions[region]].max() == 0, (name, region)
        if not name.endswith(("Left", "Right")) or name in WHOLE_MOUTH:
            continue
        own, other = (x > 0.012, x < -0.012) if name.endswith("Left") else (x < -0.012, x > 0.012)
        at_most = 0.0035 if name.startswith("mouth") else 0.0012  # lips are one muscle
        if size[other].max() > at_most or size[own].square().sum() < 5 * size[other].square().sum():
            faults.append(f"{name} moves the other side by {1000 * size[other].max():.1f} mm")
    assert not faults, faults


def test_pairs_are_mirror_images(head: HeadModel) -> None:
    names, points = head.expression_names, head.template.numpy()
    _, twin = cKDTree(points).query(points * [-1, 1, 1])
    faults = []
    for name in names:
        if name.endswith("Right"):
            continue
        other = name.removesuffix("Left") + "Right" if name.endswith("Left") else name
        here, there = (head.expression_directions[names.index(one)].numpy() for one in (name, other))
        apart = 1000 * np.linalg.norm(here - there[twin] * [-1, 1, 1], axis=1).max()
        if apart > 0.3:
            faults.append(f"{name}: {apart:.1f} mm")
    assert not faults, faults


def test_a_smile_lifts_the_corner_of_its_side(head: HeadModel) -> None:
    lips = head.regions["lips"]
    corner = lips[head.template[lips, 0].argmax()]
    smile = head.expression_directions[head.expression_names.index("mouthSmileLeft")][corner]
    assert smile[1] > 0.003 and smile[0] > 0.003

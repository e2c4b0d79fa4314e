# SPDX-License-Identifier: Apache-2.0
"""The built-in head in motion: lids that cover the eyes, a jaw that opens a mouth with teeth, a neck that stays put."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from blendsplat.heads.builtin import ARKIT_JOINTS, builtin_head
from blendsplat.heads.builtin.expressions import JAW_OPEN_ANGLE, MOUTH_CLOSE_ANGLE
from blendsplat.heads.builtin.skin import neutral_mesh
from blendsplat.splatting import rasterize_mesh

SIZE = 700


@pytest.fixture(scope="module")
def head():
    return builtin_head()


def posed(
    head, jaw=(0.0, 0.0, 0.0), eyes=(0.0, 0.0, 0.0), neck=(0.0, 0.0, 0.0), shape=None, **expression: float
) -> torch.Tensor:
    params = head.neutral()
    for name, value in expression.items():
        params.expression[0, head.expression_names.index(name)] = value
    params.jaw_pose[0], params.neck_pose[0], params.eyes_pose[0, :] = map(torch.tensor, (jaw, neck, eyes))
    if shape is not None:
        params.shape = shape[None]
    return head(params)[0]


def front_camera(target: torch.Tensor, yaw: float, focal: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A camera half a metre before a point, turned round it by yaw."""
    c, s = math.cos(yaw), math.sin(yaw)
    rotation = torch.tensor([[c, 0, s], [0, -1, 0], [s, 0, -c]])
    viewmat = torch.eye(4)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = torch.tensor([0, 0, 0.5]) - rotation @ target
    return viewmat, torch.tensor([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])


def seen_eyeball(head, vertices: torch.Tensor, side: str, yaw: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that show the eyeball, and pixels inside the opening between the lids."""
    joint = head.joints[3 if side == "left" else 4]
    viewmat, K = front_camera(joint + torch.tensor([0, 0, 0.01]), yaw, 7000.0)
    ids, _, _ = rasterize_mesh(vertices[None], head.faces, viewmat[None], K[None], SIZE, SIZE)
    ids = ids[0].numpy()
    is_ball = np.zeros(head.vertex_count, bool)
    is_ball[head.regions[f"{side}_eyeball"]] = True
    ball = (ids >= 0) & is_ball[head.faces.numpy()].all(1)[ids]
    ring = vertices[neutral_mesh().named[f"{side}_lid_ring"]]
    camera = ring @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixels = (camera[:, :2] / camera[:, 2:] * 7000.0 + SIZE / 2).numpy()
    canvas = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in pixels], fill=1)
    return ball, binary_dilation(np.array(canvas, bool), iterations=2)  # 0.15 mm: its border is a matter of rounding


@pytest.mark.parametrize("yaw", [-0.5, 0.0, 0.5])
@pytest.mark.parametrize("side", ["left", "right"])
def test_closed_lids_cover_the_eye(head, side, yaw):
    name = f"eyeBlink{side.capitalize()}"
    for gaze in ((0.0, 0.0, 0.0), (0.25, 0.3, 0.0)):
        ball, _ = seen_eyeball(head, posed(head, eyes=gaze, **{name: 1.0}), side, yaw)
        assert ball.sum() < 12, f"{ball.sum()} pixels of the eye show through the lids"
    ball, _ = seen_eyeball(head, posed(head), side, yaw)
    assert ball.sum() > 15_000, "open, it is there"


@pytest.mark.parametrize("blink", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("gaze", [(0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (-0.3, 0.3, 0.0), (0.0, -0.5, 0.0)])
def test_eye_shows_between_the_lids_and_nowhere_else(head, blink, gaze):
    for side in ("left", "right"):
        vertices = posed(head, eyes=gaze, eyeBlinkLeft=blink, eyeBlinkRight=blink)
        ball, opening = seen_eyeball(head, vertices, side, 0.0)
        assert (ball & ~opening).sum() < 12


def test_blink_closes_steadily(head):
    sizes = [seen_eyeball(head, posed(head, eyeBlinkLeft=b), "left", 0.0)[0].sum() for b in (0, 0.25, 0.5, 0.75, 1)]
    assert all(a > b * 1.15 for a, b in pairwise(sizes))


def test_lids_follow_the_gaze(head):
    mesh = neutral_mesh()
    upper = mesh.named["left_eye_upper"][5]
    rest = posed(head)[upper, 1]
    assert posed(head, eyes=(0.3, 0, 0))[upper, 1] < rest - 0.001
    assert posed(head, eyes=(-0.3, 0, 0))[upper, 1] > rest + 0.0007


def test_eyes_turn_where_arkit_says(head):
    """eyeLookUp looks up, In towards the nose, Out away from it; each eye about its own centre."""
    pole = {
        s: head.regions[f"{s}_eyeball"][head.template[head.regions[f"{s}_eyeball"], 2].argmax()]
        for s in ("left", "right")
    }
    for name, (joint, rotation) in ARKIT_JOINTS.items():
        if joint == "jaw":
            continue
        side = joint.split("_")[0]
        moved = (posed(head, eyes=rotation) - head.template)[pole[side]]
        outwards = 1 if side == "left" else -1
        expected = {"Up": (1, 1), "Down": (1, -1), "In": (0, -outwards), "Out": (0, outwards)}
        axis, sign = expected[name.removeprefix("eyeLook").removesuffix("Left").removesuffix("Right")]
        assert moved[axis] * sign > 0.003, name
    iris = head.template[pole["left"]] - head.joints[3]
    turned = posed(head, eyes=(0.2, 0.4, 0.0))[pole["left"]] - head.joints[3]
    assert turned.norm() == pytest.approx(iris.norm().item(), abs=1e-6)


def test_lips_touch_and_do_not_interpenetrate_at_rest(head):
    mesh = neutral_mesh()
    upper, lower = head.template[mesh.named["mouth_upper"]], head.template[mesh.named["mouth_lower"]]
    assert torch.equal(upper, lower)
    columns = np.abs(mesh.points[:, 0]) < 20
    above, under = (head.template[(np.abs(mesh.height - h) < 0.02) & mesh.of("skin") & columns] for h in (-66.3, -67.7))
    above, under = (rows[rows[:, 2] > 0.06] for rows in (above, under))
    assert above[:, 1].min() > under[:, 1].max()


def test_teeth_stay_behind_closed_lips(head):
    viewmat, K = front_camera(torch.tensor([0.0, -0.067, 0.09]), 0.0, 3000.0)
    ids, _, _ = rasterize_mesh(head.template[None], head.faces, viewmat[None], K[None], SIZE, SIZE)
    hidden = np.concatenate([head.regions[n] for n in ("teeth_upper", "teeth_lower", "tongue", "mouth_interior")])
    is_hidden = np.isin(head.faces.numpy(), hidden).all(1)
    assert not is_hidden[ids[ids >= 0].numpy()].any()


def test_jaw_opens_the_mouth_and_takes_only_the_lower_teeth(head):
    moved = posed(head, jaw=ARKIT_JOINTS["jawOpen"][1]) - head.template
    upper, lower = (moved[head.regions[name]].norm(dim=1) for name in ("teeth_upper", "teeth_lower"))
    assert upper.max() < 1e-6
    assert lower.min() > 0.008
    mesh = neutral_mesh()
    gap = (moved[mesh.named["mouth_upper"]] - moved[mesh.named["mouth_lower"]])[:, 1]
    assert 0.022 < gap.max() < 0.045
    assert gap[0] == gap[-1] == 0, "the corners hold together"
    still = (mesh.points[:, 1] > 5) & mesh.of("skin")
    assert moved[torch.from_numpy(still)].norm(dim=1).max() < 1e-5


def test_an_open_mouth_shows_its_inside(head):
    vertices = posed(head, jaw=(JAW_OPEN_ANGLE, 0, 0))
    viewmat, K = front_camera(torch.tensor([0.0, -0.08, 0.09]), 0.0, 3000.0)
    ids, _, _ = rasterize_mesh(vertices[None], head.faces, viewmat[None], K[None], SIZE, SIZE)
    ids = ids[0].numpy()
    faces = head.faces.numpy()
    for name, least in (("teeth_upper", 1500), ("teeth_lower", 700), ("mouth_interior", 1500), ("tongue", 500)):
        visible = np.isin(faces, head.regions[name]).all(1)[ids[ids >= 0]].sum()
        assert visible > least, name
    lips = vertices[neutral_mesh().named["mouth_upper"], 1].min() - 0.008
    row = int((-0.08 - lips) * 3000 / 0.41 + SIZE / 2)
    assert (ids[row, SIZE // 2 - 60 : SIZE // 2 + 60] >= 0).all(), "no hole to see through"


def test_mouth_close_brings_the_lips_together_over_an_open_jaw(head):
    mesh = neutral_mesh()
    upper, lower = mesh.named["mouth_upper"], mesh.named["mouth_lower"]

    def gap(**kwargs) -> float:
        vertices = posed(head, **kwargs)
        return (vertices[upper] - vertices[lower])[:, 1].max().item()

    jaw = (MOUTH_CLOSE_ANGLE, 0.0, 0.0)
    assert gap(jaw=jaw) > 0.010
    assert gap(jaw=jaw, mouthClose=1.0) < 0.002


def test_neck_ring_stays_when_the_neck_turns(head):
    for neck in ((0.4, 0, 0), (0, 0.8, 0), (0, 0, 0.4)):
        moved = posed(head, neck=neck) - head.template
        assert moved[head.regions["neck_ring"]].norm(dim=1).max() < 1e-6
        assert moved[head.regions["nose"]].norm(dim=1).min() > 0.01


def test_nodding_and_turning_go_the_right_way(head):
    nose = head.regions["nose"]
    assert (posed(head, neck=(0.3, 0, 0)) - head.template)[nose, 1].max() < 0, "positive x nods down"
    assert (posed(head, neck=(0, 0.3, 0)) - head.template)[nose, 0].min() > 0, "positive y turns to the person's left"


def test_every_expression_moves_its_own_place_and_side(head):
    x = head.template[:, 0]
    for name, direction in zip(head.expression_names, head.expression_directions, strict=True):
        size = direction.norm(dim=-1)
        assert size.max() > 0.001, f"{name} moves nothing"
        assert (size > 0.1 * size.max()).float().mean() < 0.5, f"{name} is not local"
        assert size[head.regions["neck_ring"]].max() < 1e-7, name
        assert size[head.regions["left_eyeball"]].max() == 0, name
        energy_left, energy_right = (size[x > 0] ** 2).sum(), (size[x < 0] ** 2).sum()
        if name.startswith(("jaw", "tongue", "mouthLeft", "mouthRight")):
            continue
        if name.endswith("Left"):
            assert energy_left > 8 * energy_right, name
        elif name.endswith("Right"):
            assert energy_right > 8 * energy_left, name
        else:
            torch.testing.assert_close(energy_left, energy_right, rtol=1e-3, atol=1e-9)


def test_pairs_are_mirror_images(head):
    names, points = head.expression_names, head.template.numpy()
    _, twin = cKDTree(points).query(points * [-1, 1, 1])
    mesh = neutral_mesh()
    # Slit vertices coincide in pairs, so their twin is ambiguous; leave them out.
    single = ~np.isin(
        np.arange(len(points)), np.concatenate([mesh.named[n] for n in mesh.named if n.endswith(("_upper", "_lower"))])
    )
    for name in names:
        if not name.endswith("Left") or name in ("jawLeft", "mouthLeft", "tongueLeft"):
            continue
        left = head.expression_directions[names.index(name)].numpy()
        right = head.expression_directions[names.index(name.removesuffix("Left") + "Right")].numpy()[twin] * [-1, 1, 1]
        assert np.abs(left - right)[single].max() < 2e-6, name


def test_expressions_do_not_tear_the_skin(head):
    """Neighbours stay together: no edge of the skin grows by more than 12 mm, open mouth aside."""
    mesh = neutral_mesh()
    faces = mesh.faces[mesh.of("skin")[mesh.faces].all(1)]
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    rest = np.linalg.norm(mesh.points[pairs[:, 0]] - mesh.points[pairs[:, 1]], axis=1)
    for name, direction in zip(head.expression_names, head.expression_directions.numpy() * 1000, strict=True):
        vertices = mesh.points + direction
        length = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1)
        assert (length - rest).max() < 12, name


def test_left_smile_lifts_the_left_corner(head):
    mesh = neutral_mesh()
    corner = mesh.named["mouth_upper"][mesh.points[mesh.named["mouth_upper"], 0].argmax()]
    smile = head.expression_directions[head.expression_names.index("mouthSmileLeft")][corner]
    assert smile[1] > 0.004
    assert smile[0] > 0.003


def test_other_people_blink_and_keep_their_mouths_shut_too(head):
    """Identity and expression are both linear, so a blink is the same for every eye: wide eyes may leave a slit."""
    generator = torch.Generator().manual_seed(0)
    hidden = np.concatenate([head.regions[n] for n in ("teeth_upper", "teeth_lower", "tongue")])
    is_hidden = np.isin(head.faces.numpy(), hidden).all(1)
    viewmat, K = front_camera(torch.tensor([0.0, -0.067, 0.09]), 0.0, 3000.0)
    for _ in range(6):
        shape = torch.randn(head.shape_count, generator=generator).clamp(-1.5, 1.5)
        open_eye, opening = seen_eyeball(head, posed(head, shape=shape), "left", 0.0)
        closed, _ = seen_eyeball(head, posed(head, shape=shape, eyeBlinkLeft=1.0), "left", 0.0)
        assert closed.sum() < 0.06 * open_eye.sum()
        assert (open_eye & ~opening).sum() < 0.01 * open_eye.sum()
        ids, _, _ = rasterize_mesh(posed(head, shape=shape)[None], head.faces, viewmat[None], K[None], SIZE, SIZE)
        assert is_hidden[ids[ids >= 0].numpy()].sum() < 200, "square 0.14 mm"


@pytest.mark.parametrize(
    "name",
    [
        *("mouthPucker", "mouthSmileLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthStretchRight", "mouthPressLeft"),
        *("mouthRollUpper", "mouthRollLower", "mouthShrugLower", "mouthShrugUpper", "mouthLeft", "lipsTighten"),
        *("cheekPuff", "cheekSuck", "jawForward"),
    ],
)
def test_lips_stay_together_where_they_should(head, name):
    hidden = np.concatenate([head.regions[n] for n in ("teeth_upper", "teeth_lower", "tongue")])
    is_hidden = np.isin(head.faces.numpy(), hidden).all(1)
    for yaw in (-0.6, 0.0, 0.6):
        viewmat, K = front_camera(torch.tensor([0.0, -0.067, 0.09]), yaw, 3000.0)
        ids, _, _ = rasterize_mesh(posed(head, **{name: 1.0})[None], head.faces, viewmat[None], K[None], SIZE, SIZE)
        assert is_hidden[ids[ids >= 0].numpy()].sum() < 25

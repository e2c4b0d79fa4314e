# SPDX-License-Identifier: Apache-2.0
"""What tells how wide a face is: the detector's outline, and where bare skin meets the background."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from blendsplat.fitting.face_outline import make_outline
from blendsplat.fitting.fit import FitOptions, fit_clip
from blendsplat.fitting.landmark_model import NECK, TRANSLATION, LandmarkModel, restrict_to_landmarks
from blendsplat.fitting.skin_border import POINTS, find_skin_border, make_border_term, padded
from blendsplat.fitting.solver import ShapeTerm
from blendsplat.heads import load_head
from blendsplat.heads.human import CHILD
from blendsplat.heads.model import HeadModel
from blendsplat.landmarks import points as pts

SIZE, FOCAL = 512, 1000.0


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


def unknowns_of(model: LandmarkModel, yaw: float = 0.1) -> Tensor:
    start = torch.zeros(1, model.parameter_count)
    start[:, NECK] = torch.tensor([0.05, yaw, 0.08])
    start[:, TRANSLATION] = torch.tensor([0.01, -0.02, -0.9])
    return start


def projected(points: Tensor) -> np.ndarray:
    """World points [...,3] -> pixels [...,2] of the solver's camera at the origin."""
    flat = torch.stack([points[..., 0], -points[..., 1]], -1) / -points[..., 2:] * FOCAL + SIZE / 2
    return flat.numpy()


def posed(head: HeadModel, shape: Tensor, yaw: float = 0.0) -> Tensor:
    """Vertices [V,3] before that camera."""
    params = head.neutral()
    params.shape = shape[None]
    params.neck_pose = torch.tensor([[0.0, yaw, 0.0]])
    params.translation = torch.tensor([[0.0, 0.0, -0.9]])
    return head(params)[0]


def broad(head: HeadModel, amount: float = 2.0) -> Tensor:
    """An adult's shape [S] that is wider by ``amount``, in standard deviations of a single direction."""
    return amount * 2**0.5 * widening(head)


def beside(head: HeadModel) -> Tensor:
    """The face's vertices at cheeks and jaw."""
    rows = torch.from_numpy(head.regions["face"])
    return rows[(head.template[rows, 1] < 0) & (head.template[rows, 0].abs() > 0.035)]


def width(head: HeadModel, shape: Tensor) -> float:
    """How far cheeks and jaw are apart, on average, millimetres."""
    rows = beside(head)
    return 2000 * float((posed(head, shape)[rows, 0] * head.template[rows, 0].sign()).mean())


def widening(head: HeadModel) -> Tensor:
    """[S], length 1: what of an adult's shape widens face and jaw most against their height."""
    rows = beside(head)
    moves, at = head.shape_directions[:, rows], head.template[rows]
    wider = (moves[..., 0] * at[:, 0].sign()).mean(1) - 0.5 * (moves[..., 1] * at[:, 1].sign()).mean(1)
    wider = torch.where(torch.tensor([name != CHILD for name in head.shape_names]), wider, 0.0)
    return wider / wider.norm()


def doubled(term: ShapeTerm) -> ShapeTerm:
    """The term in double precision, for finite differences."""
    values = {f.name: getattr(term, f.name) for f in fields(term)}  # type: ignore[arg-type]
    model = values["model"]
    parts = {f.name: getattr(model, f.name).double() for f in fields(model)}
    values |= {name: v.double() for name, v in values.items() if isinstance(v, Tensor)}
    return replace(term, **{**values, "model": replace(model, **parts)})  # type: ignore[type-var]


def check_derivatives(term: ShapeTerm, unknowns: Tensor, shape_count: int) -> None:
    """The cost's slope is twice the residuals' rows: the weights of a robust loss are chosen so."""
    root, eyes = torch.zeros(3, dtype=torch.float64), torch.tensor([60.0], dtype=torch.float64)
    centre, focal = torch.full((2,), SIZE / 2, dtype=torch.float64), torch.tensor(FOCAL, dtype=torch.float64)
    rng = np.random.default_rng(0)
    shape = torch.as_tensor(rng.normal(size=shape_count) * 0.1)
    start = unknowns.double()

    def cost(frame: Tensor, clip: Tensor) -> float:
        return float(term.rows(frame, root, focal, centre, eyes, clip)[0])

    _, values, by_frame, by_clip = term.rows(start, root, focal, centre, eyes, shape)
    assert by_clip is not None and float(values.abs().max()) > 1e-3
    for derivative, move in ((by_frame, "frame"), (by_clip[..., :-1], "clip")):
        slope = 2 * (derivative * values[..., None]).sum((0, 1))
        way = torch.as_tensor(rng.normal(size=len(slope)))
        step = 1e-6 * way
        if move == "frame":
            measured = (cost(start + step, shape) - cost(start - step, shape)) / 2e-6
        else:
            measured = (cost(start, shape + step) - cost(start, shape - step)) / 2e-6
        assert measured == pytest.approx(float(slope @ way), rel=2e-4)


# --- the outline


def test_the_outlines_derivatives(head: HeadModel) -> None:
    model = restrict_to_landmarks(head)
    pixels = torch.as_tensor(projected(head.landmarks_of(posed(head, broad(head))[None])))
    term = make_outline(model, pixels, torch.eye(3)[None], 6.0)
    check_derivatives(doubled(term), unknowns_of(model), head.shape_count)


def test_the_outline_does_not_see_sliding(head: HeadModel) -> None:
    """Points moved along the outline change nothing, points moved outwards do."""
    model = restrict_to_landmarks(head)
    pixels = torch.as_tensor(projected(head.landmarks_of(posed(head, torch.zeros(head.shape_count))[None])))
    ring = torch.tensor(pts.OVAL)
    slid, wider = pixels.clone(), pixels.clone()
    slid[:, ring] = 0.7 * pixels[:, ring] + 0.3 * pixels[:, ring.roll(1)]
    wider[:, ring, 0] += 0.1 * (pixels[:, ring, 0] - SIZE / 2)
    reach, moved, wide = (make_outline(model, p, torch.eye(3)[None], 6.0).reach for p in (pixels, slid, wider))
    assert (moved - reach).abs().mean() < 1 and (wide - reach).min() > 3


def test_a_turned_heads_outline_is_not_believed(head: HeadModel) -> None:
    model = restrict_to_landmarks(head)
    turn = torch.tensor([[np.cos(0.9), 0, np.sin(0.9)], [0, 1, 0], [-np.sin(0.9), 0, np.cos(0.9)]])
    term = make_outline(model, torch.rand(1, pts.COUNT, 2), turn[None].float(), 6.0)
    assert float(term.weights.abs().max()) == 0


def test_broad_and_narrow_faces_are_told_apart(head: HeadModel) -> None:
    """Landmarks of the outline alone (inside the face they are the mean face's) widen and narrow the jaw."""
    plain = projected(head.landmarks_of(posed(head, torch.zeros(head.shape_count))[None]))
    found = {}
    for amount in (-2.0, 2.0):
        seen = plain.copy()
        ring = list(pts.OVAL)
        seen[:, ring] = projected(head.landmarks_of(posed(head, broad(head, amount))[None]))[:, ring]
        for outline in (False, True):
            options = FitOptions(focal=FOCAL, smoothing=0, offsets=False, outline=outline, shared_bias=3.0)
            fit = fit_clip(head, seen, np.ones(1, bool), np.zeros(1), SIZE, SIZE, options)
            found[amount, outline] = width(head, torch.from_numpy(fit.shape))
    assert found[2.0, True] > found[2.0, False] + 0.05 and found[-2.0, True] < found[-2.0, False] - 0.05


# --- skin against the background


def drawn_face(hair: str = "none") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An ellipse of skin 240 x 320 with eyes' distance 110, before blue; hair: "none", "left" (of the image), "all".
    -> image, matte, landmarks [478,2]."""
    rng = np.random.default_rng(3)
    image = np.full((SIZE, SIZE, 3), (60, 90, 160), np.uint8)
    matte = np.zeros((SIZE, SIZE), np.uint8)
    centre = (256, 256)
    if hair != "none":
        box = (centre, (330, 400), 0)
        cv2.ellipse(image, box, (40, 30, 25), -1)
        cv2.ellipse(matte, box, 255, -1)
        if hair == "left":
            image[:, 256:], matte[:, 256:] = (60, 90, 160), 0
    cv2.ellipse(image, (centre, (240, 320), 0), (205, 150, 125), -1)
    cv2.ellipse(matte, (centre, (240, 320), 0), 255, -1)
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    points = rng.uniform([200, 200], [312, 330], (pts.COUNT, 2))
    angles = np.linspace(0, 2 * np.pi, len(pts.OVAL), endpoint=False)
    points[list(pts.OVAL)] = np.stack([256 + 116 * np.sin(angles), 256 - 155 * np.cos(angles)], 1)
    for rows, x in ((pts.RIGHT_LIDS, 201), (pts.RIGHT_IRIS, 201), (pts.LEFT_LIDS, 311), (pts.LEFT_IRIS, 311)):
        points[list(rows)] = (x, 220)
    points[[70, 300]] = [[201, 190], [311, 190]]
    return image, matte, points.astype(np.float64)


def test_the_border_of_skin_is_where_it_is(head: HeadModel) -> None:
    points, normals = find_skin_border(*drawn_face())
    assert 30 < len(points) <= POINTS
    off = (((points - 256) / [120, 160]) ** 2).sum(1) ** 0.5
    assert np.abs(off - 1).max() < 0.015  # two pixels of 120
    outward = (points - 256) / [120**2, 160**2]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert ((normals * outward).sum(1) > 0.98).all()
    assert (points[:, 0] < 256).any() and (points[:, 0] > 256).any()
    assert points[:, 1].min() > 180  # no hairline, no forehead


def test_hair_is_no_border_of_skin() -> None:
    points, _ = find_skin_border(*drawn_face("left"))
    assert len(points) > 10 and points[:, 0].min() > 256
    assert not len(find_skin_border(*drawn_face("all"))[0])


@pytest.mark.parametrize("matte", [0, 255])
def test_an_empty_and_a_full_matte_have_no_border(matte: int) -> None:
    image, _, landmarks = drawn_face()
    assert not len(find_skin_border(image, np.full(image.shape[:2], matte, np.uint8), landmarks)[0])


def test_a_face_outside_the_picture_has_no_border() -> None:
    image, matte, landmarks = drawn_face()
    assert not len(find_skin_border(image, matte, landmarks + 5000)[0])


def border_of(head: HeadModel, shape: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Where the head's silhouette is beside the cheeks, as rows of the image show it."""
    sides = np.concatenate([head.regions[name] for name in ("face", "left_ear", "right_ear")])
    pixels = projected(posed(head, shape)[torch.as_tensor(sides)])
    rows = np.linspace(np.quantile(pixels[:, 1], 0.45), np.quantile(pixels[:, 1], 0.8), 20)
    found, normals = [], []
    for row in rows:
        near = pixels[np.abs(pixels[:, 1] - row) < 3]
        found += [near[near[:, 0].argmin()], near[near[:, 0].argmax()]]
        normals += [(-1.0, 0.0), (1.0, 0.0)]
    return np.array(found), np.array(normals)


def test_the_borders_derivatives(head: HeadModel) -> None:
    term = make_border_term(head, padded([border_of(head, broad(head))]), head.shape_count, None, 6.0)
    model = restrict_to_landmarks(head)
    check_derivatives(doubled(term), unknowns_of(model, 0.0), head.shape_count)


def test_the_border_widens_a_face_that_landmarks_leave_as_it_is(head: HeadModel) -> None:
    """Landmarks say the mean face; the border says a broader one."""
    seen = projected(head.landmarks_of(posed(head, torch.zeros(head.shape_count))[None]))
    want = projected(posed(head, broad(head)))
    widths = {}
    for border in (None, padded([border_of(head, broad(head))])):
        options = FitOptions(focal=FOCAL, smoothing=0, offsets=False, border=border, shared_bias=3.0)
        fit = fit_clip(head, seen, np.ones(1, bool), np.zeros(1), SIZE, SIZE, options)
        sides = torch.as_tensor(np.concatenate([head.regions["left_ear"], head.regions["right_ear"]]))
        widths[border is None] = np.ptp(projected(posed(head, torch.as_tensor(fit.shape)))[sides, 0])
    target = np.ptp(want[sides, 0])
    assert abs(widths[False] - target) < 0.7 * abs(widths[True] - target)


def test_a_clips_borders_are_asked_frame_by_frame_and_say_the_same(head: HeadModel) -> None:
    seen = projected(head.landmarks_of(posed(head, torch.zeros(head.shape_count))[None])).repeat(3, 0)
    found, asked = border_of(head, broad(head)), []

    def borders(frame: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(frame)
        return found

    options = FitOptions(focal=FOCAL, smoothing=0, offsets=False, shared_bias=3.0)
    told = FitOptions(focal=FOCAL, smoothing=0, offsets=False, shared_bias=3.0, border=padded([found] * 3))
    arguments = head, seen, np.ones(3, bool), np.arange(3) / 25, SIZE, SIZE
    fit = fit_clip(*arguments, options, borders=borders)
    assert sorted(set(asked)) == [0, 1, 2]
    np.testing.assert_allclose(fit.shape, fit_clip(*arguments, told).shape, atol=1e-5)
    assert np.abs(fit.shape - fit_clip(*arguments, options).shape).max() > 0.02

# SPDX-License-Identifier: Apache-2.0
"""Needles, strays, faint ones, holes and floaters are found where they were put, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from blendsplat.avatars.retarget import Reference
from blendsplat.evaluation.geometry_health import distances, geometry_health, percentiles
from blendsplat.evaluation.mean_frame import mean_frame
from blendsplat.evaluation.side_views import SIDE, bare_face, camera_at, side_views
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.load import load_head
from blendsplat.splatting.scene import Gaussians
from tiny_clip import tiny_camera, tiny_head, tiny_tracking

COUNT = 400


def sheet_points(count: int = COUNT) -> torch.Tensor:
    """Points [N,3] spread over the tiny head's surface."""
    head, rng = tiny_head(), np.random.default_rng(3)
    corners = head.template[head.faces[torch.from_numpy(rng.integers(0, len(head.faces), count))]]
    weights = torch.from_numpy(rng.dirichlet([1, 1, 1], count).astype(np.float32))
    return (corners * weights[:, :, None]).sum(1)


def gaussians(means: torch.Tensor, scale: float = 0.012) -> Gaussians:
    """Opaque grey balls, one image."""
    count = len(means)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(1, count, 4).clone()
    return Gaussians(
        means[None].clone(), quats, torch.full((1, count, 3), scale), torch.full((1, count), 0.99),
        torch.full((1, count, 3), 0.5),
    )  # fmt: skip


def health(which: Gaussians) -> dict:
    head = tiny_head()
    return geometry_health(which, head.template.double().numpy(), head.faces.numpy())


def test_balls_on_the_surface_are_healthy() -> None:
    figures = health(gaussians(sheet_points()))
    assert figures["needles"] == figures["faint"] == 0 and figures["gaussians"] == COUNT
    assert figures["needle"] == {"50": 1.0, "95": 1.0, "99": 1.0, "max": 1.0} == figures["flatness"]
    assert figures["distance_mm"]["max"] < 1e-3 and figures["length_mm"]["50"] == pytest.approx(12)


def test_a_needle_a_stray_and_faint_ones_are_counted() -> None:
    which = gaussians(sheet_points())
    which.scales[0, :8] = torch.tensor([0.02, 0.001, 0.001])  # needles
    which.scales[0, 8:16] = torch.tensor([0.0005, 0.00001, 0.00001])  # as thin, but nobody can see it
    which.scales[0, 16:24] = torch.tensor([0.02, 0.02, 0.001])  # discs
    which.means[0, 0, 2] += 1.0
    which.opacities[0, 300:] = 0.01
    which.scales[0, 300:] = torch.tensor([0.5, 0.001, 0.001])  # needles that are not seen
    figures = health(which)
    assert figures["faint"] == 0.25 and figures["needles"] == pytest.approx(8 / 300)
    assert figures["needle"]["max"] == pytest.approx(50) and figures["flatness"]["max"] == pytest.approx(20)
    assert 900 < figures["distance_mm"]["max"] <= 1000.01 and figures["distance_mm"]["95"] < 1e-3


def test_all_faint_is_no_error() -> None:
    which = gaussians(sheet_points())
    which.opacities[:] = 0
    figures = health(which)
    assert figures["needle"] is figures["distance_mm"] is None and figures["faint"] == 1


def test_distances_are_those_of_every_triangle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all points of a finely cut mesh, and the same however many are looked for at once."""
    head, rng = tiny_head(), np.random.default_rng(1)
    points = rng.normal(scale=0.1, size=(50, 3))
    vertices, faces = head.template.double().numpy(), head.faces.numpy()
    grid = np.array([(a, b, 60 - a - b) for a in range(61) for b in range(61 - a)]) / 60
    cloud = (grid @ vertices[faces]).reshape(-1, 3)
    naive = np.linalg.norm(points[:, None] - cloud[None], axis=-1).min(1)
    found = distances(points, vertices, faces)
    assert np.abs(found - naive).max() < 2e-3 and (found <= naive + 1e-12).all()
    monkeypatch.setattr("blendsplat.evaluation.geometry_health._POINTS_AT_ONCE", 7)
    np.testing.assert_array_equal(distances(points, vertices, faces), found)
    assert percentiles(np.zeros(0)) is None


def views(which: Gaussians, rotation: torch.Tensor | None = None, neck: np.ndarray | None = None) -> dict:
    head = tiny_head()
    turn = torch.eye(3) if rotation is None else rotation
    posed = replace(which, means=which.means @ turn.T)
    found = side_views(posed, head.template @ turn.T, head.faces, turn, tiny_camera(), neck)
    return {view.name: view for view in found}


def test_a_closed_head_has_no_holes_and_nothing_flies_around_it() -> None:
    for view in views(gaussians(sheet_points(3000))).values():
        assert view.image.shape == (SIDE, SIDE, 3) and (view.surface >= 0).mean() > 0.1
        assert view.share_of_holes < 0.01 and view.share_of_floaters == 0, view.name


def test_a_hole_and_a_floater_are_seen() -> None:
    whole = gaussians(sheet_points(3000))
    kept = whole.means[0, :, 0] < 0.03  # the person's left is missing
    holed = Gaussians(*(part[:, kept] for part in whole.tensors()))
    found = views(holed)
    assert 0.2 < found["from_front"].share_of_holes < 0.6 and not found["from_front"].floaters.any()
    left, right = found["from_left"], found["from_right"]
    assert left.share_of_holes > 0.3 > right.share_of_holes, (
        "the sheet turns its left away from who stands at its right"
    )
    flying = torch.cat([sheet_points(3000), torch.tensor([[0.0, 0.23, 0.0]])])
    for view in views(gaussians(flying)).values():
        assert view.share_of_floaters > 0 and view.floaters.any() and view.share_of_holes < 0.01


def test_who_looks_through_the_head_sees_a_hole() -> None:
    """What lies behind is opaque, too: alpha alone does not tell."""
    points = sheet_points(3000)
    behind = points - torch.tensor([0.0, 0.0, 0.1])
    seen = views(gaussians(torch.cat([points[points[:, 0] < 0.03], behind])))["from_front"]
    assert seen.alpha[seen.holes].min() > 0.9 and seen.share_of_holes > 0.2


def test_what_is_below_the_neck_is_not_missed() -> None:
    head, whole = tiny_head(), gaussians(sheet_points(3000))
    low = head.template[:, 1] < -0.02
    kept = whole.means[0, :, 1] > -0.03
    holed = Gaussians(*(part[:, kept] for part in whole.tensors()))
    neck = torch.nonzero(low)[:, 0].numpy()
    assert views(holed)["from_front"].share_of_holes > 0.2 > views(holed, neck=neck)["from_front"].share_of_holes


def test_what_sticks_out_of_the_bare_face_is_a_fringe() -> None:
    head, every = tiny_head(), np.arange(tiny_head().vertex_count)
    clean = gaussians(sheet_points(6000), scale=0.002)
    spikes = torch.tensor([[x, 0.132, 0.02] for x in np.linspace(-0.1, 0.1, 15)], dtype=torch.float32)
    ragged = gaussians(torch.cat([sheet_points(6000), spikes]), scale=0.002)

    def fringe(which: Gaussians, bare: np.ndarray | None) -> float | None:
        return side_views(which, head.template, head.faces, torch.eye(3), tiny_camera(), None, bare)[1].fringe

    smooth, rough = fringe(clean, every), fringe(ragged, every)
    assert smooth is not None and rough is not None and rough > smooth + 0.01 and smooth < 0.02
    low = np.flatnonzero(head.template[:, 1].numpy() < 0)
    assert fringe(ragged, low) == pytest.approx(fringe(clean, low), abs=1e-6), "the spikes are along the upper border"
    assert fringe(ragged, None) is None and fringe(ragged, np.zeros(0, int)) is None
    assert bare_face(head) is None


def test_the_bare_face_ends_at_the_brows_and_has_no_ears() -> None:
    head = load_head("human")
    bare, eyes = bare_face(head), head.joints[3:]
    assert bare is not None and set(bare) <= set(head.regions["face"]) and len(bare) > 1000
    assert not set(bare) & set(head.regions["left_ear"]) and set(bare) & set(head.regions["nose"])
    top = float(head.template[torch.from_numpy(bare), 1].max() - eyes[:, 1].mean())
    assert 0.01 < top < 0.03


def test_left_is_the_persons_and_turns_with_the_head() -> None:
    turn = rotvec_to_matrix(torch.tensor([0.2, 0.9, -0.1]))
    whole = gaussians(sheet_points(3000))
    whole.colors[0, whole.means[0, :, 0] > 0] = torch.tensor([1.0, 0, 0])  # the person's left is red
    for rotation in (torch.eye(3), turn):
        image = views(whole, rotation)["from_front"].image
        assert image[:, SIDE // 2 + 20 :, 0].sum() > 1.7 * image[:, : SIDE // 2 - 20, 0].sum(), (
            "it is on the right of us"
        )
    eye = camera_at(torch.zeros(3), turn, 45.0, 1.0, 0.1).viewmat
    place = turn.T @ (-eye[:3, :3].T @ eye[:3, 3])
    torch.testing.assert_close(place, torch.tensor([0.5**0.5, 0, 0.5**0.5]))
    torch.testing.assert_close(eye[:3, :3] @ eye[:3, :3].T, torch.eye(3))
    assert torch.linalg.det(eye[:3, :3]) > 0


def test_the_mean_frame_lies_in_the_middle() -> None:
    head = tiny_head()
    tracking = tiny_tracking(head, 20)
    tracking.valid[15:] = False
    tracking.expression[15:] = 100
    params = mean_frame(tracking)
    np.testing.assert_allclose(params.expression[0], tracking.expression[:15].mean(0), atol=1e-6)
    mean = Reference.of(tracking.params()[torch.arange(15)]).rotation
    torch.testing.assert_close(matrix_to_rotvec(mean)[None], params.neck_pose, atol=1e-5, rtol=0)
    assert params.eyes_pose.shape == (1, 2, 3) and params.batch == 1

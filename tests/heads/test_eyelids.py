# SPDX-License-Identifier: Apache-2.0
"""Lids from geometry: on exact spheres they close, slide over the eyeball and leave all else alone; on a published head
they close as its own blink does; and a FLAME that has eyes gets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.heads.eyelids import eyelid_directions
from blendsplat.heads.flame import load_flame
from blendsplat.heads.ict import load_ict
from blendsplat.heads.topology import edges
from eye import ABOVE, AROUND, RADIUS, SKIN, WIDTH, eye
from make_pickles import flame_arrays, flame_arrays_with_eyes, write_flame

LEFT, RIGHT = np.array([0.031, 0.02, 0.07]), np.array([-0.031, 0.02, 0.07])


class Face:
    """Two exact eyes."""

    def __init__(self, pocket: bool) -> None:
        parts = [eye(centre, pocket) for centre in (LEFT, RIGHT)]
        count = len(parts[0][0])
        self.vertices = np.concatenate([part[0] for part in parts])
        self.faces = np.concatenate([parts[0][1], parts[1][1] + count])
        self.balls = (parts[0][2], parts[1][2] + count)
        self.edge = parts[0][3]
        self.left = np.arange(len(self.vertices)) < count
        self.skin = ~np.isin(np.arange(len(self.vertices)), np.concatenate(self.balls))
        self.lids = eyelid_directions(self.vertices, self.faces, self.balls)


@pytest.fixture(scope="module", params=[False, True], ids=["hole", "pocket"])
def face(request: pytest.FixtureRequest) -> Face:
    return Face(request.param)


def gap(face: Face, weight: float) -> np.ndarray:
    """How far the upper edge lies above the lower one, over the middle of the slit, metres."""
    x, y, _ = (face.vertices + weight * face.lids[0] - LEFT)[face.edge].T
    upper, lower = slice(1, AROUND // 2), slice(AROUND // 2 + 1, None)
    at = np.linspace(-0.7 * WIDTH, 0.7 * WIDTH, 15)
    order = np.argsort(x[upper])
    return np.interp(at, x[upper][order], y[upper][order]) - np.interp(at, x[lower], y[lower])


def test_one_is_closed_and_a_half_is_half_closed(face: Face) -> None:
    whole = gap(face, 0)
    assert whole.max() > 0.009
    assert np.abs(gap(face, 1)).max() < 0.0005
    assert np.abs(gap(face, 0.5) / whole - 0.5).max() < 0.06


def test_left_comes_first_and_is_the_persons_left(face: Face) -> None:
    moved = np.linalg.norm(face.lids, axis=2) > 1e-9
    assert moved[0].any() and not moved[0][~face.left].any()
    assert moved[1].any() and not moved[1][face.left].any()
    mirror = face.lids[1][~face.left] * [-1, 1, 1]
    assert np.abs(np.linalg.norm(mirror, axis=1).max() - np.linalg.norm(face.lids[0], axis=1).max()) < 1e-4


def test_only_upper_lids_move_and_they_move_down(face: Face) -> None:
    offsets = face.vertices - LEFT
    length = np.linalg.norm(face.lids[0], axis=1)
    assert not length[~face.skin].any()
    below = face.left & (offsets[:, 1] < -0.0041)
    assert length[below].max() == 0
    far = face.left & (np.linalg.norm(offsets, axis=1) > 1.9 * RADIUS)
    assert far.any() and length[far].max() == 0
    assert (face.lids[0][:, 1] <= 1e-12).all()
    assert length[face.edge[AROUND // 4]] > 0.9 * (ABOVE + 0.004)


def test_lids_slide_over_the_eyeball_at_every_weight(face: Face) -> None:
    outer = face.skin & face.left & (np.linalg.norm(face.vertices - LEFT, axis=1) > 0.999 * SKIN)
    for weight in np.linspace(0, 1, 11):
        distance = np.linalg.norm(face.vertices + weight * face.lids[0] - LEFT, axis=1)
        assert distance[outer].min() > 1.0 * RADIUS, weight


def test_neighbours_move_alike(face: Face) -> None:
    pairs = edges(face.faces[face.skin[face.faces].all(1)])
    apart = np.linalg.norm(face.lids[0][pairs[:, 0]] - face.lids[0][pairs[:, 1]], axis=1)
    length = np.linalg.norm(face.vertices[pairs[:, 0]] - face.vertices[pairs[:, 1]], axis=1)
    assert (apart / length).max() < 2.5


def test_skin_without_a_slit_keeps_zeros() -> None:
    """Skin that covers the eye, skin far away, and an eyeball that sticks out of everything."""
    face = Face(False)
    whole = np.concatenate([face.faces, [[face.edge[0], face.edge[k], face.edge[k + 1]] for k in range(1, AROUND - 1)]])
    assert not eyelid_directions(face.vertices, whole, face.balls)[0].any()
    no_skin = face.faces[~face.skin[face.faces].all(1)]
    assert not eyelid_directions(face.vertices, no_skin, face.balls).any()
    arrays = flame_arrays()
    eyes = tuple(np.flatnonzero(arrays["weights"][:, joint] > 0.5) for joint in (3, 4))
    assert not eyelid_directions(arrays["v_template"], arrays["f"].astype(int), eyes).any()  # type: ignore[arg-type]


def test_a_published_head_closes_as_its_own_blink_does(test_data) -> None:
    """ICT-FaceKit has sculpted blinks: what is computed moves what they move, as far at half-closed lids."""
    head = load_ict(test_data("heads/ict_facekit/ict_facekit_packed.npz"))
    vertices, faces = head.template.double().numpy(), head.faces.numpy()
    lids = eyelid_directions(vertices, faces, (head.regions["left_eyeball"], head.regions["right_eyeball"]))
    for side, name in zip(lids, ("eyeBlinkLeft", "eyeBlinkRight"), strict=True):
        blink = head.expression_directions[head.expression_names.index(name)].double().numpy()
        strong = np.linalg.norm(blink, axis=1) > 0.006
        ours, theirs = side[strong], blink[strong]
        assert (ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum()) > 0.93
        assert 0.8 < np.linalg.norm(ours, axis=1).mean() / np.linalg.norm(theirs, axis=1).mean() < 1.25


def test_a_flame_with_eyes_gets_lids(tmp_path: Path) -> None:
    write_flame(tmp_path / "generic_model.pkl", flame_arrays_with_eyes())
    head = load_flame(tmp_path / "generic_model.pkl", identities=6)
    assert head.eyelid_directions.shape == (2, head.vertex_count, 3) and head.eyelid_directions.any(2).any(1).all()
    params = head.neutral()
    params.eyelids = torch.tensor([[1.0, 0.0]])
    moved = (head(params)[0] - head.template).norm(dim=1).numpy()
    assert moved[head.template[:, 0].numpy() < 0].max() < 1e-6
    assert moved.max() > 0.008 and (head.template[moved > 0.008, 1] > 0.02).all()
    teeth = np.concatenate([head.regions["teeth_upper"], head.regions["teeth_lower"]])
    assert moved[teeth].max() < 1e-6

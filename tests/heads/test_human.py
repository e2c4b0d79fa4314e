# SPDX-License-Identifier: Apache-2.0
"""The head that ships: its arrays, symmetry, faces, UV layout, regions and weights; people stay people at two standard
deviations; a file that is damaged is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from blendsplat.errors import FormatError
from blendsplat.files import write_npz
from blendsplat.heads import human
from blendsplat.heads.human import CHILD, FORMAT, HEAD_FILE, VERSION, human_head
from blendsplat.heads.model import JOINTS, LEFT_EYE_JOINT, RIGHT_EYE_JOINT, ROOT_JOINT, HeadModel
from blendsplat.splatting import rasterize_mesh
from human_views import faces_of, random_shapes

REGIONS = {
    "face", "scalp", "neck", "lips", "left_eyeball", "right_eyeball", "left_ear", "right_ear", "nose", "neck_ring",
    "teeth_upper", "teeth_lower", "tongue", "mouth_interior", "left_eyelids", "right_eyelids",
}  # fmt: skip
PARTS = ("left_eyeball", "right_eyeball", "teeth_upper", "teeth_lower", "tongue")
EYES = {"left_eyeball": LEFT_EYE_JOINT, "right_eyeball": RIGHT_EYE_JOINT}


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return human_head()


def normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals [F,3], twice as long as the faces are large."""
    corners = vertices[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def signed_uv_areas(head: HeadModel) -> np.ndarray:
    a, b, c = head.uvs[head.uv_faces].double().numpy().transpose(1, 0, 2)
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1])


def test_array_shapes_and_types_fit_the_contract(head: HeadModel) -> None:
    v, f, s, e = head.vertex_count, len(head.faces), head.shape_count, head.expression_count
    assert 6000 <= v <= 9000 and s >= 81 and e == 43
    assert head.faces.dtype == head.uv_faces.dtype == torch.int64 and head.uv_faces.shape == (f, 3)
    assert head.shape_directions.shape == (s, v, 3) and head.expression_directions.shape == (e, v, 3)
    assert head.pose_directions.shape == (36, v, 3) and head.eyelid_directions.shape == (2, v, 3)
    assert head.joints.shape == (len(JOINTS), 3) and head.joint_shape_directions.shape == (s, 5, 3)
    assert len(set(head.shape_names)) == s and len(set(head.expression_names)) == e
    assert head.shape_names[-1] == CHILD and head.expression_range == (0.0, 1.0)
    for array in (head.template, head.shape_directions, head.expression_directions, head.pose_directions, head.joints):
        assert array.dtype == torch.float32 and torch.isfinite(array).all()
    assert set(head.faces.ravel().tolist()) == set(range(v)), "every vertex belongs to a face"
    assert set(head.uv_faces.ravel().tolist()) == set(range(len(head.uvs)))


def test_it_is_a_head_of_human_size_about_its_own_middle(head: HeadModel) -> None:
    low, high = head.template.amin(0), head.template.amax(0)
    ears = head.template[np.concatenate([head.regions["left_ear"], head.regions["right_ear"]])]
    assert 0.14 < (ears.amax(0) - ears.amin(0))[0] < 0.20
    assert 0.26 < (high - low)[1] < 0.36
    assert head.template[head.regions["nose"], 2].max() == head.template[:, 2].max(), "the nose leads"
    eyes = head.joints[[LEFT_EYE_JOINT, RIGHT_EYE_JOINT]]
    assert eyes[0, 0] > 0.027 and eyes[1, 0] < -0.027, "the left eye is at +x"
    assert eyes[:, 1].abs().max() < 1e-4, "the origin lies at the height of the eyes"


def test_the_template_is_its_own_mirror_image(head: HeadModel) -> None:
    vertices = head.template.numpy()
    distance, twin = cKDTree(vertices).query(vertices * [-1, 1, 1])
    assert distance.max() < 1e-6 and (twin[twin] == np.arange(len(twin))).all()
    there, here = ({tuple(sorted(face)) for face in faces.tolist()} for faces in (twin[head.faces.numpy()], head.faces))
    assert len(there & here) > 0.9 * len(here), "most quads are cut alike"


def test_faces_are_sound_and_wound_outwards(head: HeadModel) -> None:
    vertices, faces = head.template.double().numpy(), head.faces.numpy()
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges), "neighbours are wound alike"
    assert np.unique(np.sort(edges, 1), axis=0, return_counts=True)[1].max() == 2
    assert np.linalg.norm(normals(vertices, faces), axis=1).min() > 1e-9, "no face is degenerate (m^2)"
    for part, joint in EYES.items():
        own = faces_of(head, part)
        away = vertices[faces[own]].mean(1) - head.joints[joint].double().numpy()
        assert ((normals(vertices, faces)[own] * away).sum(1) > 0).all(), part
    for part in ("teeth_upper", "teeth_lower", "tongue"):
        own = faces_of(head, part)
        away = vertices[faces[own]].mean(1) - vertices[head.regions[part]].mean(0)
        assert ((normals(vertices, faces)[own] * away).sum(1) > 0).mean() > 0.7, part
    outside = np.isin(faces, head.regions["scalp"]).all(1)
    assert ((normals(vertices, faces) * vertices[faces].mean(1)).sum(1)[outside] > 0).all()


def test_the_skin_is_open_at_the_neck_and_behind_the_lids_only(head: HeadModel) -> None:
    faces = head.faces.numpy()
    edges, counts = np.unique(
        np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1), axis=0, return_counts=True
    )
    border = edges[counts == 1]
    parts = np.concatenate([head.regions[part] for part in PARTS])
    skin = border[~np.isin(border, parts).any(1)]
    ring, lids = head.regions["neck_ring"], np.concatenate([head.regions[f"{s}_eyelids"] for s in ("left", "right")])
    at_neck = np.isin(skin, ring).all(1)
    assert at_neck.sum() == len(ring) and np.isin(skin[~at_neck], lids).all()


def test_uv_triangles_are_in_the_square_not_flipped_and_do_not_overlap(head: HeadModel) -> None:
    """Triangles that overlapped would have more area together than they cover."""
    areas, size = signed_uv_areas(head), 2048
    assert head.uvs.min() >= 0 and head.uvs.max() <= 1 and areas.min() > 1e-8
    plane = torch.cat([head.uvs, torch.ones(len(head.uvs), 1)], 1)
    K = torch.diag(torch.tensor([size, size, 1.0]))
    ids, _, _ = rasterize_mesh(plane[None], head.uv_faces, torch.eye(4)[None], K[None], size, size)
    covered = float((ids >= 0).float().mean())
    assert covered == pytest.approx(areas.sum(), abs=1e-3) and covered > 0.75
    assert areas[np.isin(head.faces.numpy(), head.regions["face"]).any(1)].sum() > 0.35, "the face is large"


def test_weights_sum_to_one_and_the_neck_ring_is_the_torsos(head: HeadModel) -> None:
    assert head.skin_weights.min() >= 0
    torch.testing.assert_close(head.skin_weights.sum(1), torch.ones(head.vertex_count))
    assert (head.skin_weights[head.regions["neck_ring"], ROOT_JOINT] == 1).all()
    for part, joint in EYES.items():
        assert (head.skin_weights[head.regions[part], joint] == 1).all()


def test_regions_are_complete_and_say_what_they_mean(head: HeadModel) -> None:
    assert set(head.regions) >= REGIONS
    for name, rows in head.regions.items():
        assert rows.dtype == np.int64 and len(rows) > 5 and len(set(rows.tolist())) == len(rows), name
        assert rows.min() >= 0 and rows.max() < head.vertex_count
    x = head.template[:, 0].numpy()
    for part in ("eyeball", "ear", "eyelids"):
        assert (x[head.regions[f"left_{part}"]] > 0).all() and (x[head.regions[f"right_{part}"]] < 0).all()
        assert len(head.regions[f"left_{part}"]) == len(head.regions[f"right_{part}"])
    assert not set(head.regions["face"]) & set(head.regions["neck"])


def test_the_neck_ring_is_an_ordered_loop_at_the_bottom(head: HeadModel) -> None:
    ring = head.regions["neck_ring"]
    edges = {
        tuple(sorted(pair)) for face in head.faces.tolist() for pair in zip(face, face[1:] + face[:1], strict=True)
    }
    assert all(tuple(sorted(pair)) in edges for pair in zip(ring.tolist(), np.roll(ring, -1).tolist(), strict=True))
    assert head.template[ring, 1].max() < head.template[head.regions["face"], 1].min()


def test_identities_are_independent_and_of_plausible_size(head: HeadModel) -> None:
    """Principal components: at right angles to each other in the face, the largest first; a standard deviation of one
    vertex stays below a centimetre or so."""
    people = head.shape_directions[:-1].double()
    unit = people.reshape(len(people), -1)
    unit = unit / unit.norm(dim=1, keepdim=True)
    singular = torch.linalg.svdvals(unit)
    assert singular[-1] > 0.05, "no direction is nearly a mixture of the others"
    largest = people.norm(dim=-1).amax(1)
    assert largest.min() > 0.0001 and largest.max() < 0.02
    size = people.square().sum((1, 2)).sqrt()
    assert size[0] > 4 * size[-1] and size[:10].mean() > 2 * size[-10:].mean()


def test_a_childs_face_has_larger_eyes_and_a_narrower_mouth(head: HeadModel) -> None:
    child = head.template + head.shape_directions[-1]

    def width(vertices: torch.Tensor, region: str) -> float:
        rows = vertices[head.regions[region], 0]
        return float(rows.max() - rows.min())

    eyes, mouth = (width(child, name) / width(head.template, name) for name in ("left_eyeball", "lips"))
    assert eyes > 1.02 and mouth < 0.97


@pytest.mark.parametrize("shape", random_shapes(6, seed=5))
def test_joints_follow_the_identity(head: HeadModel, shape: torch.Tensor) -> None:
    """An eye's joint is the middle of its ball, whose back is a sphere; the neck's end goes with the root."""
    params = head.neutral()
    params.shape = shape[None]
    vertices, transforms = head.posed(params)
    for part, joint in EYES.items():
        ball, middle = vertices[0, head.regions[part]], transforms[0, joint, :3, 3]
        back = ball[ball[:, 2] < middle[2]]
        radii = (back - middle).norm(dim=1) * 1000
        assert radii.max() - radii.min() < 0.4 and 10 < radii.mean() < 19, part
    ring = vertices[0, head.regions["neck_ring"]].mean(0)
    assert (ring - transforms[0, ROOT_JOINT, :3, 3])[1:].norm() < 1e-4, "its middle; joints of the middle stay at x = 0"


@pytest.mark.parametrize("shape", random_shapes(8, seed=3))
def test_no_face_of_a_persons_skin_turns_over(head: HeadModel, shape: torch.Tensor) -> None:
    params = head.neutral()
    params.shape = shape[None]
    faces = head.faces.numpy()
    before, after = normals(head.template.numpy(), faces), normals(head(params)[0].numpy(), faces)
    turned = np.flatnonzero((before * after).sum(1) < 0)
    where = {name: int(np.isin(faces[turned], rows).any(1).sum()) for name, rows in head.regions.items()}
    assert len(turned) < 0.002 * len(faces), {name: count for name, count in where.items() if count}


def test_it_is_the_same_every_time(head: HeadModel) -> None:
    assert human_head() is head
    human_head.cache_clear()
    again = human_head()
    for name in ("template", "shape_directions", "expression_directions", "pose_directions"):
        assert torch.equal(getattr(again, name), getattr(head, name))


def test_what_ships_is_small_and_says_where_it_comes_from() -> None:
    assert HEAD_FILE.stat().st_size < 3e6
    notice = HEAD_FILE.with_name("NOTICE.md").read_text(encoding="utf-8")
    assert "MakeHuman" in notice and "CC0" in notice


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b[:-200]])
def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage) -> None:
    path = tmp_path / "human_head.npz"
    path.write_bytes(damage(HEAD_FILE.read_bytes()))
    with pytest.raises(FormatError, match="human_head"):
        read_from(path, monkeypatch)


def test_a_file_of_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "human_head.npz"
    write_npz(path, {"format": FORMAT, "version": VERSION + 1}, {})
    with pytest.raises(FormatError, match="update Blendsplat"):
        read_from(path, monkeypatch)
    path.unlink()
    with pytest.raises(FormatError, match="does not exist"):
        read_from(path, monkeypatch)


def read_from(path: Path, monkeypatch: pytest.MonkeyPatch) -> HeadModel:
    monkeypatch.setattr(human, "HEAD_FILE", path)
    return human_head.__wrapped__()

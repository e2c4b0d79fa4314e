# SPDX-License-Identifier: Apache-2.0
"""FLAME pickles made here (the real ones are licensed): the published forward pass, UVs, teeth, regions, bad files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from blendsplat import geometry
from blendsplat.errors import FormatError, InputError
from blendsplat.heads import load_head, topology
from blendsplat.heads.flame import load_flame
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.unwrap import unwrap_head
from blendsplat.heads.uv import rasterize_uv, uv_overlap
from make_pickles import flame_arrays, write_flame

IDENTITIES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("flame folder ü")
    write_flame(path / "generic_model.pkl")
    return path


@pytest.fixture(scope="module")
def head(folder: Path) -> HeadModel:
    return load_flame(folder / "generic_model.pkl", identities=IDENTITIES)


def random_params(head: HeadModel, batch: int) -> HeadParams:
    torch.manual_seed(3)
    params = head.neutral(batch)
    for name, value in vars(params).items():
        setattr(params, name, torch.randn_like(value) * 0.4)
    params.eyelids = params.eyelids * 0
    return params


def published_forward(arrays: dict, params: HeadParams, row: int) -> np.ndarray:
    """FLAME as published, in float64: joints are regressed from the shaped template, pose features are R - I."""
    get = {name: value[row].double().numpy() for name, value in vars(params).items()}
    betas = np.concatenate([get["shape"], get["expression"]])
    shaped = arrays["v_template"] + arrays["shapedirs"] @ betas
    joints = arrays["J_regressor"].toarray() @ shaped
    poses = np.stack([get["root_pose"], get["neck_pose"], get["jaw_pose"], *get["eyes_pose"]])
    rotations = Rotation.from_rotvec(poses).as_matrix()
    posed = shaped + arrays["posedirs"] @ (rotations[1:] - np.eye(3)).ravel()
    world: list[np.ndarray] = []
    for j in range(5):
        parent = int(arrays["kintree_table"][0, j]) if j else -1
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = joints[j] - (joints[parent] if j else 0)
        world.append(world[parent] @ local if j else local)
    out = np.zeros_like(posed)
    for j in range(5):
        moved = (posed - joints[j]) @ world[j][:3, :3].T + world[j][:3, 3]
        out += arrays["weights"][:, j : j + 1] * moved
    return out + get["translation"]


def test_forward_is_as_published(head: HeadModel) -> None:
    arrays = flame_arrays()
    params = random_params(head, 3)
    vertices = head(params)
    for row in range(3):
        expected = published_forward(arrays, params, row)
        np.testing.assert_allclose(vertices[row, : len(expected)], expected, atol=2e-6)


@pytest.mark.parametrize(("chumpy", "protocol"), [(True, 2), (False, 2), (True, 0), (False, 4)])
def test_every_way_of_writing_gives_the_same_head(head: HeadModel, tmp_path: Path, chumpy: bool, protocol: int) -> None:
    write_flame(tmp_path / "flame2023_Open.pkl", chumpy=chumpy, protocol=protocol)
    other = load_flame(tmp_path / "flame2023_Open.pkl", identities=IDENTITIES)
    assert other.name == "flame2023_Open" and head.name == "generic_model"
    assert torch.equal(other.template, head.template) and torch.equal(other.shape_directions, head.shape_directions)


def test_counts_and_extra_keys(tmp_path: Path) -> None:
    arrays = flame_arrays() | {"supr_expression_metadata": {"version": 1.0}}
    write_flame(tmp_path / "f.pkl", arrays, chumpy=False)
    head = load_flame(tmp_path / "f.pkl", identities=IDENTITIES)
    assert (head.shape_count, head.expression_count, len(head.expression_names)) == (6, 4, 4)
    assert head.pose_directions.shape == (36, head.vertex_count, 3)
    assert load_flame(tmp_path / "f.pkl", identities=IDENTITIES, teeth=False).vertex_count == head.vertex_count - 60


def test_computed_uvs_do_not_overlap(head: HeadModel) -> None:
    uvs, uv_faces = head.uvs.numpy(), head.uv_faces.numpy()
    assert uvs.min() >= 0 and uvs.max() <= 1
    for resolution in (64, 256, 512):
        assert uv_overlap(uvs, uv_faces, resolution) == 0
    triangles, _ = rasterize_uv(head, 128)
    assert len(np.unique(triangles)) > 0.75 * len(head.faces)  # hardly a triangle without a Gaussian
    corners = uvs[uv_faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.abs(area) > 1e-12).all()


def test_unwrap_keeps_the_surface_together() -> None:
    """Neighbouring faces share their UV edge everywhere but at the seam and between the halves of the eyes."""
    arrays = flame_arrays()
    faces = arrays["f"].astype(int)
    uvs, uv_faces = unwrap_head(arrays["v_template"], faces)
    inside = len(topology.edges(faces))
    apart = len(topology.edges(uv_faces)) - inside
    assert 0 < apart < 0.1 * inside
    assert len(uvs) == uv_faces.max() + 1


def write_obj(path: Path, faces: np.ndarray, uvs: np.ndarray, uv_faces: np.ndarray, count: int) -> None:
    lines = ["mtllib x.mtl"] + ["v 0 0 0"] * count + [f"vt {u} {v}" for u, v in uvs]
    lines += [
        "f " + " ".join(f"{v + 1}/{t + 1}" for v, t in zip(f, uf, strict=True))
        for f, uf in zip(faces, uv_faces, strict=True)
    ]
    path.write_text("\n".join(lines))


def test_template_obj_brings_uvs_in_any_order(folder: Path, tmp_path: Path) -> None:
    arrays = write_flame(tmp_path / "generic_model.pkl")
    faces = arrays["f"].astype(int)
    rng = np.random.default_rng(0)
    uvs = rng.random((faces.size, 2)).round(6)  # every corner its own texture vertex: a mix-up cannot hide
    uv_faces = np.arange(faces.size).reshape(-1, 3)
    order, turn = rng.permutation(len(faces)), rng.integers(0, 3, len(faces))
    shuffled = np.stack([np.roll(f, -t) for f, t in zip(faces[order], turn, strict=True)])
    texels = np.stack([np.roll(f, -t) for f, t in zip(uv_faces[order], turn, strict=True)])
    write_obj(tmp_path / "head_template.obj", shuffled, uvs, texels, len(arrays["v_template"]))
    (tmp_path / "broken.obj").write_text("f 1 2 3 4 5 6")
    head = load_flame(tmp_path / "generic_model.pkl", identities=IDENTITIES)
    np.testing.assert_allclose(head.uvs[head.uv_faces[: len(faces)]], uvs[uv_faces], atol=1e-6)
    write_obj(tmp_path / "head_template.obj", shuffled[:-1], uvs, texels[:-1], len(arrays["v_template"]))
    computed = load_flame(tmp_path / "generic_model.pkl", identities=IDENTITIES)  # not the same mesh: not used
    assert len(computed.uvs) != len(head.uvs)


def test_teeth(head: HeadModel) -> None:
    upper, lower = head.regions["teeth_upper"], head.regions["teeth_lower"]
    assert len(upper) == len(lower) == 30 and lower.max() == head.vertex_count - 1
    teeth_faces = head.faces[(head.faces >= upper.min()).all(1)]
    assert len(teeth_faces) == 56
    normals = geometry.face_normals(head.template[None], teeth_faces)[0]
    assert (normals[:, 2] > 0).all()  # they face the lips
    params = head.neutral()
    params.jaw_pose = torch.tensor([[0.3, 0.0, 0.0]])
    params.expression = params.expression + 1
    moved = (head(params)[0] - head.template).norm(dim=1)
    assert (moved[upper] < 1e-6).all() and (moved[lower] > 1e-3).all()
    params = head.neutral()
    params.shape[0, 0] = 3
    shift = (head(params)[0] - head.template)[upper.tolist() + lower.tolist()]
    assert shift.norm(dim=1).min() > 0 and torch.allclose(shift, shift[:1].expand_as(shift), atol=1e-6)
    strip = head.uvs[head.uv_faces[-56:]].reshape(-1, 2)
    assert strip[:, 0].min() > 0.249 and strip[:, 0].max() < 0.751
    assert strip[:, 1].min() > 0.954 and strip[:, 1].max() < 0.996


def test_regions_by_geometry_and_by_masks(head: HeadModel, tmp_path: Path) -> None:
    for name in ("face", "scalp", "neck", "left_eyeball", "right_eyeball", "neck_ring"):
        assert len(head.regions[name]), name
    for name in ("lips", "nose", "left_ear", "right_ear"):
        assert name in head.regions
    assert (head.template[head.regions["left_eyeball"], 0] > 0).all()
    ring = head.regions["neck_ring"]
    assert len(ring) == 20 and (head.template[ring, 1] < -0.08).all()
    write_flame(tmp_path / "generic_model.pkl")
    masks = {"lips": np.array([130, 131, 99999]), "face": np.arange(50), "left_eye_region": np.arange(280, 300)}
    (tmp_path / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, 2))
    masked = load_flame(tmp_path / "generic_model.pkl", identities=IDENTITIES)
    assert masked.regions["face"].tolist() == list(range(50))
    assert masked.regions["lips"].tolist() == head.regions["lips"].tolist()


def test_landmark_embedding_places_the_teeth(tmp_path: Path) -> None:
    arrays = write_flame(tmp_path / "generic_model.pkl")
    middle = np.array([60, 62, 64, 66, 68, 70, 72, 74])
    embedding = {"static_lmk_faces_idx": np.arange(51), "static_lmk_bary_coords": np.tile([1.0, 0, 0], (51, 1))}
    embedding["static_lmk_faces_idx"][43:51] = middle
    np.save(tmp_path / "landmark_embedding.npy", np.array(embedding, dtype=object), allow_pickle=True)
    head = load_flame(tmp_path / "generic_model.pkl", identities=IDENTITIES)
    points = arrays["v_template"][arrays["f"].astype(int)[middle, 0]]
    edge = head.template[head.regions["teeth_upper"][22]].numpy()
    np.testing.assert_allclose(edge[:2], (points[2] + points[6])[:2] / 2 - [0, 0.002], atol=1e-6)


BROKEN = {
    "lacks": lambda a: a.pop("posedirs"),
    "shape": lambda a: a.update(weights=a["weights"][:, :4]),
    "shape of the directions": lambda a: a.update(shapedirs=a["shapedirs"][:-1]),
    "bones": lambda a: a.update(kintree_table=np.array([[0, 0, 1, 2, 3], [0, 1, 2, 3, 4]])),
    "finite": lambda a: a["v_template"].__setitem__((0, 0), np.nan),
    "faces": lambda a: a["f"].__setitem__((0, 0), 10**6),
    "numbers": lambda a: a.update(v_template="text"),
    "eye": lambda a: a.update(weights=np.eye(5)[np.zeros(len(a["weights"]), int)]),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_a_wrong_model_is_refused_by_name(tmp_path: Path, what: str) -> None:
    arrays = flame_arrays()
    BROKEN[what](arrays)
    path = tmp_path / "SMPL model.pkl"
    path.write_bytes(pickle.dumps(arrays, 2))
    with pytest.raises(FormatError, match=r"SMPL model\.pkl"):
        load_flame(path, identities=IDENTITIES)


def test_load_head_names_the_way_out(folder: Path, tmp_path: Path) -> None:
    assert load_head(folder / "generic_model.pkl", landmarks=False).name == "generic_model"
    (tmp_path / "x.txt").write_text("")
    for source in (tmp_path / "none.pkl", tmp_path / "x.txt", tmp_path, "bultin"):
        with pytest.raises(InputError, match=r"human|FaceXModel"):
            load_head(source)

# SPDX-License-Identifier: Apache-2.0
"""ICT-FaceKit as a head: real data where it is there; the OBJ folder and the packed file must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat import geometry
from blendsplat.errors import FormatError, InputError
from blendsplat.heads import load_head, topology
from blendsplat.heads.ict import arkit_name, load_ict
from blendsplat.heads.model import HeadModel
from blendsplat.heads.obj import read_obj
from blendsplat.heads.uv import rasterize_uv, uv_overlap

PACKED = "heads/ict_facekit/ict_facekit_packed.npz"


@pytest.fixture(scope="module")
def packed(test_data) -> Path:
    return test_data(PACKED)


@pytest.fixture(scope="module")
def head(packed: Path) -> HeadModel:
    return load_ict(packed)


def test_size_and_place(head: HeadModel) -> None:
    assert head.expression_range == (0.0, 1.0) and head.shape_count == 100 and head.expression_count == 55
    size = head.template.max(0).values - head.template.min(0).values
    assert 0.14 < size[0] < 0.19 and 0.2 < size[1] < 0.3  # metres, without shoulders
    assert head.template[head.regions["nose"], 2].max() == head.template[:, 2].max()  # the face looks along +z
    assert {"eyeBlinkLeft", "jawOpen", "mouthSmileRight", "browInnerUpLeft"} <= set(head.expression_names)
    assert arkit_name("browDown_L") == "browDownLeft" and arkit_name("mouthLeft") == "mouthLeft"


def test_faces_wind_outwards(head: HeadModel) -> None:
    skin = np.zeros(head.vertex_count, bool)
    skin[np.concatenate([head.regions[name] for name in ("face", "scalp", "neck")])] = True
    faces = head.faces[torch.from_numpy(skin[head.faces.numpy()].all(1))]
    normals = geometry.face_normals(head.template[None], faces)[0]
    outwards = head.template[faces].mean(1) * torch.tensor([1.0, 0, 1.0])
    assert ((normals * outwards).sum(1) > 0).float().mean() > 0.9
    for eye in ("left_eyeball", "right_eyeball"):
        own = head.faces[torch.from_numpy(np.isin(head.faces.numpy(), head.regions[eye]).all(1))]
        middle = head.template[head.regions[eye]].mean(0)
        facing = (geometry.face_normals(head.template[None], own)[0] * (head.template[own].mean(1) - middle)).sum(1)
        assert (facing > 0).all()


def test_every_shape_is_that_of_the_file(head: HeadModel, packed: Path) -> None:
    """Vertices are a subset of FaceKit's: match them by place, then compare some directions."""
    from scipy.spatial import cKDTree

    with np.load(packed) as archive:
        vertices, names = archive["v"] / 100, [str(name) for name in archive["expr_names"]]
        deltas, identities = archive["expr_delta"], archive["id_delta"]
        mine = np.setdiff1d(head.regions["face"], head.regions["neck_ring"])
        distance, index = cKDTree(vertices).query(head.template.numpy()[mine])
        assert distance.max() < 1e-6
        for name in ("jawOpen", "eyeBlink_L", "mouthSmile_R"):
            have = head.expression_directions[head.expression_names.index(arkit_name(name))][mine]
            np.testing.assert_allclose(have, deltas[names.index(name)][index] / 100, atol=1e-6)
        np.testing.assert_allclose(head.shape_directions[7][mine], identities[7][index].astype(float) / 100, atol=1e-6)


def test_left_and_right(head: HeadModel) -> None:
    for side, sign in (("left", 1), ("right", -1)):
        for name in (f"{side}_eyeball", f"{side}_ear", f"{side}_eyelids"):
            assert (head.template[head.regions[name], 0] * sign > 0).all(), name
        blink = head.expression_directions[head.expression_names.index(f"eyeBlink{side.title()}")].norm(dim=1)
        assert head.template[blink.argmax(), 0] * sign > 0
    assert head.joints[3, 0] > 0 > head.joints[4, 0]


def test_uvs_give_one_gaussian_per_texel(head: HeadModel) -> None:
    uvs, uv_faces = head.uvs.numpy(), head.uv_faces.numpy()
    assert uvs.min() >= 0 and uvs.max() <= 1
    for resolution in (256, 1024):
        assert uv_overlap(uvs, uv_faces, resolution) == 0
    triangles, barycentrics = rasterize_uv(head, 256)
    assert 40_000 < len(triangles) < 65_536 and float(barycentrics.min()) >= 0
    eyes = {
        name: np.isin(head.faces.numpy(), head.regions[name]).all(1)[triangles].sum()
        for name in ("left_eyeball", "right_eyeball")
    }
    assert min(eyes.values()) > 500  # each eye has texels of its own


def test_eyes_turn_about_their_centres(head: HeadModel) -> None:
    params = head.neutral()
    params.eyes_pose = torch.tensor([[[0.0, 0.4, 0.0], [-0.3, 0.0, 0.0]]])
    params.expression = params.expression + 0.5  # no expression moves an eyeball
    vertices = head(params)[0]
    for joint, eye in ((3, "left_eyeball"), (4, "right_eyeball")):
        before = (head.template[head.regions[eye]] - head.joints[joint]).norm(dim=1)
        after = (vertices[head.regions[eye]] - head.joints[joint]).norm(dim=1)
        np.testing.assert_allclose(after, before, atol=1e-6)
        white = before.sort().values[: len(before) // 2]
        assert white.std() < 3e-4  # the centre is that of the ball, not of its bulging front
    front = vertices[head.regions["left_eyeball"]][head.template[head.regions["left_eyeball"], 2].argmax()]
    assert front[0] > head.joints[3, 0] + 0.003  # positive about y: towards the person's left


def test_identity_carries_the_eye_joint_along(head: HeadModel) -> None:
    params = head.neutral()
    params.shape[0, :10] = torch.linspace(-2, 2, 10)
    vertices, joints = head.posed(params)
    for joint, eye in ((3, "left_eyeball"), (4, "right_eyeball")):
        radius = (vertices[0, head.regions[eye]] - joints[0, joint, :3, 3]).norm(dim=1)
        assert radius.sort().values[: len(radius) // 2].std() < 5e-4


def test_neck(head: HeadModel) -> None:
    ring = head.regions["neck_ring"]
    edges = {tuple(edge) for edge in topology.edges(head.faces).tolist()}
    assert all(tuple(sorted(pair)) in edges for pair in zip(ring.tolist(), np.roll(ring, -1).tolist(), strict=True))
    params = head.neutral()
    params.neck_pose = torch.tensor([[0.1, 0.5, 0.0]])
    moved = (head(params)[0] - head.template).norm(dim=1)
    assert moved[ring].max() == 0
    skull, joints = np.concatenate([head.regions["left_ear"], head.regions["nose"]]), head.posed(params)[1]
    rigid = (head.template[skull] - head.joints[1]) @ joints[0, 1, :3, :3].T + joints[0, 1, :3, 3]
    np.testing.assert_allclose(head(params)[0, skull], rigid, atol=1e-5)
    np.testing.assert_allclose(head.skin_weights.sum(1), 1, atol=1e-6)
    assert head.skin_weights[:, 2].sum() == 0  # the jaw moves by shapes


def write_obj(path: Path, vertices: np.ndarray, archive: dict[str, np.ndarray] | None = None) -> None:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
    if archive is not None:
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in archive["vt"].tolist()]
        material = ""
        for face, texels, name in zip(
            archive["f"].tolist(), archive["ft"].tolist(), archive["materials"].tolist(), strict=True
        ):
            lines += [f"usemtl {name}"] if name != material else []
            material = name
            lines.append("f " + " ".join(f"{v + 1}/{t + 1}" for v, t in zip(face, texels, strict=True) if v >= 0))
    path.write_text("\n".join(lines))


def test_folder_and_packed_file_agree(head: HeadModel, packed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "FaceXModel ü"
    folder.mkdir()
    with np.load(packed) as raw:
        archive = {name: raw[name] for name in raw.files}
    write_obj(folder / "generic_neutral_mesh.obj", archive["v"], archive)
    names = [str(name) for name in archive["expr_names"]]
    for name in ("jawOpen", "eyeBlink_L"):
        write_obj(folder / f"{name}.obj", archive["v"] + archive["expr_delta"][names.index(name)])
    for i in range(2):
        write_obj(folder / f"identity{i:03d}.obj", archive["v"] + archive["id_delta"][i])
    other = load_ict(tmp_path)  # a folder that holds the folder
    assert other.expression_names == ("eyeBlinkLeft", "jawOpen")
    np.testing.assert_allclose(other.template, head.template, atol=1e-7)
    assert torch.equal(other.faces, head.faces) and torch.equal(other.uv_faces, head.uv_faces)
    jaw = head.expression_directions[head.expression_names.index("jawOpen")]
    np.testing.assert_allclose(other.expression_directions[1], jaw, atol=2e-7)
    np.testing.assert_allclose(other.shape_directions, head.shape_directions[:2], atol=2e-7)
    (folder / "identity001.obj").write_text("v 0 0 0")
    with pytest.raises(FormatError, match="identity001"):
        load_ict(folder)


def test_bad_sources(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"generic_neutral_mesh\.obj"):
        load_head(tmp_path)
    path = tmp_path / "x.npz"
    np.savez(path, v=np.zeros((3, 3)))
    with pytest.raises(FormatError, match="lacks"):
        load_head(path)
    path.write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(FormatError, match="damaged"):
        load_head(path)
    with np.load(packed) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays | {"expr_names": np.frombuffer(b" " * 8, "<U1")})  # code points that no letter has
    with pytest.raises(FormatError, match="no words"):
        load_head(path)


@pytest.mark.parametrize(
    "text",
    [
        "v 0 0 0\nf 1 2 3",
        "v 0 0\n",
        "v 0 0 nan",
        "v a b c",
        "v 0 0 0\nf 1 1",
        "v 0 0 0\nf 1/2 1/2 1/2",
        "v 0 0 0\nf 1 1 1 1 1",
    ],
)
def test_bad_objs(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.obj").write_text(text)
    with pytest.raises(FormatError, match=r"x\.obj"):
        read_obj(tmp_path / "x.obj")


def test_obj_indices(tmp_path: Path) -> None:
    (tmp_path / "x.obj").write_text(
        "v 0 0 0\nv 1 0 0 1 1 1\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 1 0\n"
        "f 1/1/1 2/2/1 3/1/1 4/2/1\nusemtl A b\nf -4 -3 -2\n"
    )
    mesh = read_obj(tmp_path / "x.obj")
    assert mesh.faces.tolist() == [[0, 1, 2, 3], [0, 1, 2, -1]] and mesh.materials.tolist() == ["", "A b"]
    assert mesh.uv_faces.tolist() == [[0, 1, 0, 1], [-1, -1, -1, -1]] and mesh.uvs.shape == (2, 2)

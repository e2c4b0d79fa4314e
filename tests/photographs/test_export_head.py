# SPDX-License-Identifier: Apache-2.0
"""Exported heads read back: by the library that wrote them, posed by glTF's own rules, and by Blender's importers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from blendsplat.errors import InputError
from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.obj import read_obj
from blendsplat.heads.performance import Performance
from blendsplat.photographs.export_head import export_head

_IMPORT = """
import json, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
path = sys.argv[-1]
(bpy.ops.import_scene.gltf if path.endswith("glb") else bpy.ops.wm.obj_import)(filepath=path)
told = {}
for item in bpy.context.scene.objects:
    if item.type == "ARMATURE":
        told["bones"] = sorted(bone.name for bone in item.data.bones)
    if item.type == "MESH" and len(item.data.vertices) > 1000:
        keys = item.data.shape_keys
        told["keys"] = {k.name: k.value for k in keys.key_blocks} if keys else {}
        told["uvs"] = len(item.data.uv_layers)
        nodes = [n for m in item.data.materials if m and m.use_nodes for n in m.node_tree.nodes]
        images = [n.image for n in nodes if n.type == "TEX_IMAGE" and n.image]
        told["textures"] = [[*image.size, *image.pixels[:3]] for image in images]  # the pixel at u = v = 0
        drawn = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
        told["points"] = [list(drawn.matrix_world @ v.co) for v in drawn.data.vertices]
print("TOLD" + json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


@pytest.fixture(scope="module")
def tracking(head: HeadModel) -> Performance:
    rng = np.random.default_rng(5)
    expression = np.zeros((1, head.expression_count), np.float32)
    expression[0, [3, 10, 20]] = 0.6, 0.3, 0.8
    return Performance(
        head="human", head_source="human", width=64, height=48, timestamps=np.zeros(1), valid=np.ones(1, bool),
        shape=rng.normal(size=head.shape_count).astype(np.float32),
        vertex_offsets=np.zeros((head.vertex_count, 3), np.float32), expression=expression,
        root_pose=np.array([[0.0, 0.2, 0.0]], np.float32), neck_pose=np.array([[0.1, 0.3, -0.2]], np.float32),
        jaw_pose=np.array([[0.2, 0.0, 0.0]], np.float32),
        eyes_pose=np.array([[[0.1, 0.2, 0.0], [0.1, 0.2, 0.0]]], np.float32), eyelids=np.zeros((1, 2), np.float32),
        translation=np.array([[0.02, -0.05, 0.1]], np.float32), K=np.eye(3, dtype=np.float32),
        viewmat=np.eye(4, dtype=np.float32), expression_names=tuple(head.expression_names),
    )  # fmt: skip


def expected(tracking: Performance, head: HeadModel) -> np.ndarray:
    """Vertices without pose correctives, which glTF cannot hold."""
    plain = replace(head, pose_directions=torch.zeros_like(head.pose_directions))
    return plain(tracking.params())[0].numpy()


def test_glb_means_the_same_head_by_gltfs_rules(tracking: Performance, head: HeadModel, tmp_path: Path) -> None:
    import pygltflib

    told = export_head(tracking, head, tmp_path / "h.glb")
    file = pygltflib.GLTF2().load(str(tmp_path / "h.glb"))
    assert file is not None
    blob = file.binary_blob()

    def array(index: int) -> np.ndarray:
        accessor = file.accessors[index]
        view = file.bufferViews[accessor.bufferView]
        kind = {5126: np.float32, 5121: np.uint8, 5125: np.uint32}[accessor.componentType]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor.type]
        start = view.byteOffset + (accessor.byteOffset or 0)
        return np.frombuffer(blob, kind, accessor.count * width, start).reshape(accessor.count, width)

    mesh, skin = file.meshes[0], file.skins[0]
    part = mesh.primitives[0]
    points = array(part.attributes.POSITION).astype(float)
    for weight, target in zip(mesh.weights, part.targets, strict=True):
        index = target["POSITION"] if isinstance(target, dict) else target.POSITION
        points = points + weight * array(index)
    world: dict[int, np.ndarray] = {}

    def visit(number: int, above: np.ndarray) -> None:
        node, local = file.nodes[number], np.eye(4)
        local[:3, :3] = Rotation.from_quat(node.rotation).as_matrix()
        local[:3, 3] = node.translation
        world[number] = above @ local
        for child in node.children:
            visit(child, world[number])

    visit(skin.joints[0], np.eye(4))
    inverse = array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
    matrices = np.stack([world[joint] @ inverse[n] for n, joint in enumerate(skin.joints)])
    weights, joints = array(part.attributes.WEIGHTS_0), array(part.attributes.JOINTS_0)
    assert np.allclose(weights.sum(1), 1, atol=1e-6)
    homogeneous = np.column_stack([points, np.ones(len(points))])
    posed = np.einsum("nj,njab,nb->na", weights, matrices[joints], homogeneous)[:, :3]

    faces = array(part.indices).reshape(-1, 3)
    assert faces.shape == head.faces.shape and told["shape_keys"] == len(mesh.extras["targetNames"])
    assert np.abs(posed[faces] - expected(tracking, head)[head.faces.numpy()]).max() < 2e-5
    uvs = array(part.attributes.TEXCOORD_0)[faces]
    assert np.allclose(1 - uvs[..., 1], head.uvs.numpy()[head.uv_faces.numpy()][..., 1], atol=1e-6)
    normals = array(part.attributes.NORMAL)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)


def test_obj_is_the_posed_head(tracking: Performance, head: HeadModel, tmp_path: Path) -> None:
    export_head(tracking, head, tmp_path / "h.obj")
    mesh = read_obj(tmp_path / "h.obj")
    assert np.allclose(mesh.vertices, head(tracking.params())[0].numpy(), atol=2e-6)
    assert np.array_equal(mesh.faces[:, :3], head.faces.numpy())
    assert np.array_equal(mesh.uv_faces[:, :3], head.uv_faces.numpy())


def test_another_ending_is_refused(tracking: Performance, head: HeadModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"h\.fbx cannot be written"):
        export_head(tracking, head, tmp_path / "h.fbx")


@pytest.fixture()
def texture(tmp_path: Path) -> Path:
    """Green, with one red quarter where u and v are small."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 1] = 255
    image[32:, :32] = (255, 0, 0)
    Image.fromarray(image).save(tmp_path / "texture.png")
    return tmp_path / "texture.png"


def test_a_damaged_texture_is_told_and_nothing_is_written(
    tracking: Performance, head: HeadModel, texture: Path, tmp_path: Path
) -> None:
    texture.write_bytes(texture.read_bytes()[:60])
    for name in ("h.glb", "h.obj"):
        with pytest.raises(InputError, match="cannot be read; fit the photograph again"):
            export_head(tracking, head, tmp_path / name, texture)
    assert [p.name for p in tmp_path.iterdir()] == ["texture.png"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["glb", "obj"])
def test_blender_reads_it(tracking: Performance, head: HeadModel, tmp_path: Path, suffix: str, texture: Path) -> None:
    path = tmp_path / f"a head.{suffix}"
    export_head(tracking, head, path, texture)
    texture.unlink()  # what was written must not need it
    done = subprocess.run([sys.executable, "-c", _IMPORT, str(path)], capture_output=True, text=True, timeout=300)
    if "No module named 'bpy'" in done.stderr:
        pytest.skip("the bpy module is not installed")
    lines = [line for line in done.stdout.splitlines() if line.startswith("TOLD")]
    assert lines, done.stderr[-2000:]
    told = json.loads(lines[0][4:])
    points = np.array(told["points"])
    want = expected(tracking, head) if suffix == "glb" else head(tracking.params())[0].numpy()
    want = want[:, [0, 2, 1]] * [1, -1, 1]  # Blender's z is up
    from scipy.spatial import cKDTree

    assert cKDTree(points).query(want)[0].max() < 1e-4 and cKDTree(want).query(points)[0].max() < 1e-4
    assert told["uvs"] == 1
    assert len(told["textures"]) == 1 and told["textures"][0][:2] == [64, 64]
    assert np.allclose(told["textures"][0][2:], [1, 0, 0], atol=0.02)
    if suffix == "glb":
        assert told["bones"] == sorted(["root", "neck", "jaw", "left_eye", "right_eye"])
        assert told["keys"][head.expression_names[3]] == pytest.approx(0.6, abs=1e-5)
        assert set(head.expression_names) <= set(told["keys"])

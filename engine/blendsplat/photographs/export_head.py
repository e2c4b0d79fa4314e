# SPDX-License-Identifier: Apache-2.0
"""A fitted head as a file for other programs: GLB with UVs, shape keys, skeleton and texture, or a plain posed OBJ.

The GLB holds the neutral person, the fit's expression as shape key values, and its pose as the joints' rotations: what
other programs may change. Pose correctives have no place in glTF and stay behind.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from blendsplat.errors import InputError
from blendsplat.files import atomic_path, write_bytes
from blendsplat.geometry import matrix_to_quat, rotvec_to_matrix, vertex_normals
from blendsplat.heads.model import JOINTS, PARENTS, HeadModel
from blendsplat.heads.performance import Performance

LIDS = ("eyelid_left", "eyelid_right")


@dataclass
class _Corners:
    """The mesh with one vertex for each pair of position and UV, as glTF wants it."""

    vertices: np.ndarray  # [N] into the head's vertices
    uvs: np.ndarray  # [N,2]
    faces: np.ndarray  # [F,3] into the above


def export_head(tracking: Performance, head: HeadModel, path: Path, texture: Path | None = None) -> dict[str, int]:
    """Write ``tracking``'s first frame as .glb or .obj -> {vertices, faces, shape_keys, joints}.

    texture: a picture of the head's UV square; the GLB holds it, beside the OBJ it lies as NAME_skin.png with NAME.mtl.
    Raises InputError for another ending or a texture that is no picture.
    """
    suffix = path.suffix.lower()
    if suffix not in (".obj", ".glb"):
        raise InputError(f"{path.name} cannot be written; choose a .glb or .obj file.")
    image = None if texture is None else _read_texture(texture)
    return (_write_obj if suffix == ".obj" else _write_glb)(tracking, head, path, image)


def _read_texture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"The texture {path} cannot be read; fit the photograph again.", repr(error)) from error


def _write_obj(tracking: Performance, head: HeadModel, path: Path, texture: Image.Image | None) -> dict[str, int]:
    vertices = head(tracking.select([0]).params(), torch.as_tensor(tracking.vertex_offsets))[0].numpy()
    lines = [f"# {head.name}"]
    if texture is not None:
        beside = path.with_name(f"{path.stem}_skin.png")
        with atomic_path(beside) as temporary:
            texture.save(temporary, format="PNG")
        material = f"newmtl skin\nKd 1 1 1\nKs 0 0 0\nmap_Kd {beside.name}\n"
        write_bytes(path.with_suffix(".mtl"), material.encode())
        lines.append(f"mtllib {path.stem}.mtl")
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in head.uvs.numpy()]
    lines += ["usemtl skin"] if texture is not None else []
    for face, texels in zip(head.faces.numpy() + 1, head.uv_faces.numpy() + 1, strict=True):
        lines.append("f " + " ".join(f"{v}/{t}" for v, t in zip(face, texels, strict=True)))
    write_bytes(path, ("\n".join(lines) + "\n").encode())
    return {"vertices": len(vertices), "faces": len(head.faces), "shape_keys": 0, "joints": 0}


def _split_at_seams(head: HeadModel) -> _Corners:
    pairs = np.stack([head.faces.numpy().ravel(), head.uv_faces.numpy().ravel()], 1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    uvs = head.uvs.numpy()[unique[:, 1]] * [1, -1] + [0, 1]  # glTF's v points down
    return _Corners(unique[:, 0], uvs.astype(np.float32), inverse.reshape(-1, 3).astype(np.uint32))


def shape_keys(tracking: Performance, head: HeadModel) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names [K], displacements [K,V,3] and the fit's values [K]: expressions, and lids where the head has such."""
    names = [str(name) for name in head.expression_names]
    directions, values = head.expression_directions.numpy(), tracking.expression[0]
    if bool(head.eyelid_directions.any()):
        names += list(LIDS)
        directions = np.concatenate([directions, head.eyelid_directions.numpy()])
        values = np.concatenate([values, tracking.eyelids[0]])
    return names, directions, values


def _write_glb(tracking: Performance, head: HeadModel, path: Path, texture: Image.Image | None) -> dict[str, int]:
    import pygltflib as gltf

    person = head.personalise(torch.as_tensor(tracking.shape), torch.as_tensor(tracking.vertex_offsets))
    corners = _split_at_seams(person)
    names, directions, values = shape_keys(tracking, person)
    buffer = _Buffer(gltf.GLTF2())
    positions = person.template.numpy()
    weights, joints = _four_joints(person.skin_weights.numpy())
    attributes = gltf.Attributes(
        POSITION=buffer.add(positions[corners.vertices], "VEC3", vertices=True),
        NORMAL=buffer.add(_normals(person)[corners.vertices], "VEC3", vertices=True),
        TEXCOORD_0=buffer.add(corners.uvs, "VEC2", vertices=True),
        JOINTS_0=buffer.add(joints[corners.vertices], "VEC4", vertices=True),
        WEIGHTS_0=buffer.add(weights[corners.vertices], "VEC4", vertices=True),
    )
    targets = [{"POSITION": buffer.add(d[corners.vertices], "VEC3", vertices=True)} for d in directions]
    indices = buffer.add(corners.faces.ravel(), "SCALAR", vertices=False)
    primitive = gltf.Primitive(attributes=attributes, indices=indices, targets=targets, material=0)
    file = buffer.file
    file.meshes = [
        gltf.Mesh(name=head.name, primitives=[primitive], weights=values.tolist(), extras={"targetNames": names})
    ]
    file.materials = [_skin(buffer, texture)]
    _add_skeleton(tracking, person, buffer)
    file.scenes, file.scene = [gltf.Scene(nodes=[0, len(JOINTS)])], 0
    file.asset = gltf.Asset(version="2.0", generator="blendsplat")
    buffer.finish()
    with atomic_path(path) as temporary:
        file.save_binary(str(temporary))
    return {
        "vertices": len(corners.vertices), "faces": len(corners.faces), "shape_keys": len(names),
        "joints": len(JOINTS),
    }  # fmt: skip


def _skin(buffer: _Buffer, texture: Image.Image | None) -> Any:
    """The material: the texture, embedded as JPEG, or a skin colour."""
    import pygltflib as gltf

    skin = gltf.PbrMetallicRoughness(baseColorFactor=[0.8, 0.6, 0.5, 1.0], metallicFactor=0.0, roughnessFactor=0.6)
    if texture is not None:
        encoded = io.BytesIO()
        texture.save(encoded, format="JPEG", quality=93, subsampling=0)
        file = buffer.file
        file.images = [gltf.Image(bufferView=buffer.add_bytes(encoded.getvalue()), mimeType="image/jpeg", name="skin")]
        file.samplers = [
            gltf.Sampler(magFilter=gltf.LINEAR, minFilter=gltf.LINEAR_MIPMAP_LINEAR, wrapS=gltf.CLAMP_TO_EDGE,
                         wrapT=gltf.CLAMP_TO_EDGE)
        ]  # fmt: skip
        file.textures = [gltf.Texture(source=0, sampler=0)]
        skin.baseColorFactor, skin.baseColorTexture = [1.0, 1.0, 1.0, 1.0], gltf.TextureInfo(index=0)
    return gltf.Material(name="skin", pbrMetallicRoughness=skin, doubleSided=True)


def _add_skeleton(tracking: Performance, person: HeadModel, buffer: _Buffer) -> None:
    """Nodes 0-4 are the joints in the fit's pose, node 5 is the mesh."""
    import pygltflib as gltf

    pose = np.concatenate(
        [tracking.root_pose[:1], tracking.neck_pose[:1], tracking.jaw_pose[:1], tracking.eyes_pose[0]]
    )
    wxyz = matrix_to_quat(rotvec_to_matrix(torch.as_tensor(pose, dtype=torch.float32))).numpy()
    rest = person.joints.numpy()
    nodes = []
    for joint, parent in enumerate(PARENTS):
        place = rest[joint] - (rest[parent] if parent >= 0 else -tracking.translation[0])
        children = [child for child, its in enumerate(PARENTS) if its == joint]
        nodes.append(
            gltf.Node(
                name=JOINTS[joint],
                translation=place.astype(float).tolist(),
                rotation=wxyz[joint, [1, 2, 3, 0]].astype(float).tolist(),
                children=children,
            )
        )
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(JOINTS), 1, 1))
    inverse[:, 3, :3] = -rest  # glTF stores matrices by columns
    buffer.file.skins = [
        gltf.Skin(
            joints=list(range(len(JOINTS))),
            skeleton=0,
            inverseBindMatrices=buffer.add(inverse.reshape(-1, 16), "MAT4", vertices=None),
        )
    ]
    buffer.file.nodes = [*nodes, gltf.Node(name="head", mesh=0, skin=0)]


def _four_joints(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Skinning weights [V,5] -> the four largest [V,4] float32 that sum to 1, and their joints [V,4] uint8."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    four = np.take_along_axis(weights, joints, 1)
    joints[four == 0] = 0
    return (four / four.sum(1, keepdims=True)).astype(np.float32), joints.astype(np.uint8)


def _normals(person: HeadModel) -> np.ndarray:
    return vertex_normals(person.template[None], person.faces)[0].numpy()


class _Buffer:
    """The file's one binary buffer: arrays go in, accessors' numbers come out."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self._data = bytearray()

    def add(self, values: np.ndarray, kind: str, vertices: bool | None) -> int:
        """vertices: True for attributes, False for indices, None for neither."""
        import pygltflib as gltf

        component = {"f": gltf.FLOAT, "u1": gltf.UNSIGNED_BYTE, "u4": gltf.UNSIGNED_INT}
        values = np.ascontiguousarray(values.astype(np.float32) if values.dtype.kind == "f" else values)
        target = {True: gltf.ARRAY_BUFFER, False: gltf.ELEMENT_ARRAY_BUFFER, None: None}[vertices]
        view = self.add_bytes(values.tobytes(), target)
        bounded = kind == "VEC3"  # which positions must have
        self.file.accessors.append(
            gltf.Accessor(
                bufferView=view,
                count=len(values),
                type=kind,
                componentType=component["f" if values.dtype.kind == "f" else f"u{values.itemsize}"],
                min=values.min(0).tolist() if bounded else None,
                max=values.max(0).tolist() if bounded else None,
            )
        )
        return len(self.file.accessors) - 1

    def add_bytes(self, data: bytes, target: int | None = None) -> int:
        """-> the number of the buffer view."""
        import pygltflib as gltf

        view = gltf.BufferView(buffer=0, byteOffset=len(self._data), byteLength=len(data), target=target)
        self._data += data
        self._data += bytes(-len(self._data) % 4)
        self.file.bufferViews.append(view)
        return len(self.file.bufferViews) - 1

    def finish(self) -> None:
        """Put the buffer into the file."""
        import pygltflib as gltf

        self.file.buffers = [gltf.Buffer(byteLength=len(self._data))]
        self.file.set_binary_blob(bytes(self._data))

# SPDX-License-Identifier: Apache-2.0
"""ICT-FaceKit (Li et al. 2020, "Learning Formation of Physically-Based Face Attributes") as a HeadModel.

Reads the user's FaceXModel folder of OBJ files, or one packed .npz of the same arrays. Kept are the skin down to the
base of the neck, the mouth's inside, gums, tongue, teeth and the eyeballs' outer shells. Dropped are shoulders, inner
irises, tear film, occlusion shells and lashes: hidden or thin layers on which an avatar would put Gaussians that no
pixel ever sees. The jaw moves by shapes (its joint has no weights), the eyes turn by joints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from blendsplat.errors import FormatError, InputError
from blendsplat.files import opened_npz
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.families import ICT
from blendsplat.heads.model import HeadModel
from blendsplat.heads.obj import read_obj
from blendsplat.heads.topology import boundary_loops, connected_components, triangulate_quads

VERTICES = 26719
_PACKED = ("v", "vt", "f", "ft", "expr_names", "expr_delta", "id_delta")  # arrays of the packed file
# FaceKit's fixed order of vertices (its README): [first, last) of each part used here. The face's own material also
# holds the front of the neck.
_FACE, _HEAD, _MOUTH, _SOCKETS, _GUMS, _TEETH = (
    (0, 9409),
    (9409, 11248),
    (11248, 13294),
    (13294, 14062),
    (14062, 17039),
    (17039, 21451),
)
_LOWER_TEETH = 19247
_LEFT_EYE, _RIGHT_EYE = (21451, 22221), (23021, 23791)  # the outer shells
_KEPT = (_FACE, _HEAD, _MOUTH, _SOCKETS, _GUMS, _TEETH, _LEFT_EYE, _RIGHT_EYE)
# landmark vertices (FaceKit's vertex_indices.json) that outline the lips and name the nose and the lids' corners
_LIP_OUTLINE = (5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841)
_NOSE_POINTS = (978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360)

# metres. A plane tilted like a collar cuts the neck: "height" below is y + TILT z.
_TILT, _CUT, _RIGID = 0.33, -0.115, -0.062
_NECK_JOINT, _ROOT_JOINT = (0.0, -0.080, -0.012), (0.0, -0.115, -0.012)
_JAW_JOINT = (0.0, 0.010, 0.020)

# where each part's own UV square goes: (u0, v0, u1, v1). The face, which the camera sees, gets the most texels.
_UV_BOXES = {
    "face": (0.005, 0.385, 0.615, 0.995),
    "head": (0.630, 0.385, 0.995, 0.995),
    "left_eye": (0.005, 0.195, 0.180, 0.370),
    "right_eye": (0.005, 0.005, 0.180, 0.180),
    "mouth": (0.195, 0.195, 0.370, 0.370),
    "sockets": (0.195, 0.005, 0.370, 0.180),
    "gums": (0.385, 0.005, 0.615, 0.370),
    "teeth": (0.630, 0.005, 0.995, 0.370),
}


@dataclass
class IctArrays:
    """FaceKit's arrays as published: centimetres, quads with -1 in the fourth place of a triangle."""

    vertices: np.ndarray  # [26719,3]
    uvs: np.ndarray  # [T,2]
    faces: np.ndarray  # [Q,4]
    uv_faces: np.ndarray  # [Q,4]
    identity_deltas: np.ndarray  # [100,26719,3]
    expression_deltas: np.ndarray  # [E,26719,3]
    expression_names: tuple[str, ...]  # FaceKit's own: browDown_L, ...


def load_ict(source: Path | str) -> HeadModel:
    """FaceXModel folder (or a folder holding one), or packed .npz -> HeadModel "ict", without landmark embedding.

    About 17,000 vertices, 100 identity directions (unit variance), 55 expressions in [0,1] with ARKit's names where
    they are ARKit's. Raises InputError when the files are not there, FormatError when they are not FaceKit's.
    """
    source = Path(source)
    arrays = _read_folder(source) if source.is_dir() else _read_packed(source)
    if arrays.vertices.shape != (VERTICES, 3):
        raise FormatError(
            f"{source} has {len(arrays.vertices)} vertices where ICT-FaceKit has {VERTICES}: use its own files."
        )
    return _build(arrays)


def arkit_name(name: str) -> str:
    """FaceKit's name -> ARKit's way of writing it: browDown_L -> browDownLeft."""
    return re.sub(r"_([LR])$", lambda match: "Left" if match[1] == "L" else "Right", name)


def _read_packed(path: Path) -> IctArrays:
    try:
        with opened_npz(path) as archive:
            get = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist. Give the FaceXModel folder of ICT-FaceKit or its packed .npz."
        ) from error
    except FormatError:
        raise
    except Exception as error:  # zip, zlib and numpy each raise their own on damaged input
        raise FormatError(
            f"{path} is damaged or not a packed ICT-FaceKit file; fetch it again.", repr(error)
        ) from error
    missing = set(_PACKED) - set(get)
    if missing:
        raise FormatError(f"{path} is not a packed ICT-FaceKit file: it lacks {', '.join(sorted(missing))}.")
    if not all(isinstance(get[name], np.ndarray) and get[name].ndim for name in _PACKED):
        raise FormatError(f"{path} is damaged: it has parts that are no lists of numbers; fetch it again.")
    try:
        names = tuple(str(name) for name in get["expr_names"])
    except (ValueError, SystemError) as error:  # code points that are no letters
        raise FormatError(f"{path} is damaged: its names are no words; fetch it again.", repr(error)) from error
    for name, want in (
        ("expr_delta", (len(names), len(get["v"]), 3)),
        ("id_delta", (len(get["id_delta"]), len(get["v"]), 3)),
    ):
        if get[name].shape != want:
            raise FormatError(f"{path}: {name} has shape {get[name].shape} instead of {want}; fetch the file again.")
    return IctArrays(get["v"], get["vt"], get["f"], get["ft"], get["id_delta"], get["expr_delta"], names)


def _read_folder(folder: Path) -> IctArrays:
    found = next(iter(sorted(folder.rglob("generic_neutral_mesh.obj"), key=lambda path: len(path.parts))), None)
    if found is None:
        raise InputError(f"{folder} holds no generic_neutral_mesh.obj: choose the FaceXModel folder of ICT-FaceKit.")
    neutral = read_obj(found)
    identities = sorted(found.parent.glob("identity*.obj"))
    others = sorted(path for path in found.parent.glob("*.obj") if path != found and path not in identities)
    if not identities or not others:
        raise InputError(
            f"{found.parent} holds no identity or no expression OBJ files: copy the whole FaceXModel folder."
        )

    def deltas(paths: list[Path]) -> np.ndarray:
        out = np.empty((len(paths), *neutral.vertices.shape), np.float32)
        for row, path in zip(out, paths, strict=True):
            vertices = read_obj(path, positions_only=True).vertices
            if vertices.shape != neutral.vertices.shape:
                raise FormatError(
                    f"{path} has {len(vertices)} vertices and {found.name} {len(neutral.vertices)}; fetch it again."
                )
            row[:] = vertices - neutral.vertices
        return out

    return IctArrays(
        neutral.vertices, neutral.uvs, neutral.faces, neutral.uv_faces,
        deltas(identities), deltas(others), tuple(path.stem for path in others),
    )  # fmt: skip


def _build(arrays: IctArrays) -> HeadModel:
    vertices = arrays.vertices.astype(np.float64) / 100
    kept = np.concatenate([np.arange(*part) for part in _KEPT])
    skin_cut = (kept >= _HEAD[1]) | (_height(vertices[kept]) > _CUT)
    inside = np.zeros(VERTICES, bool)
    inside[kept[skin_cut]] = True
    quad_inside = np.where(arrays.faces >= 0, inside[arrays.faces], True).all(1)
    triangles, _ = triangulate_quads(arrays.faces[quad_inside].astype(np.int64))
    uv_triangles, _ = triangulate_quads(arrays.uv_faces[quad_inside].astype(np.int64))
    if (
        (uv_triangles < 0).any()
        or triangles.max(initial=-1) >= VERTICES
        or uv_triangles.max(initial=-1) >= len(arrays.uvs)
    ):
        raise FormatError("The ICT-FaceKit faces have corners without texture coordinates; use the unchanged files.")
    part = _largest_skin_piece(triangles)
    triangles, uv_triangles = triangles[part], uv_triangles[part]

    old = np.unique(triangles)
    new = np.full(VERTICES, -1)
    new[old] = np.arange(len(old))
    uvs, uv_faces = _pack_uvs(arrays.uvs.astype(np.float64), triangles, uv_triangles)
    faces = new[triangles]
    template = vertices[old]
    ring = _neck_ring(faces, template)
    all_triangles, _ = triangulate_quads(arrays.faces.astype(np.int64))
    skin = all_triangles[(all_triangles < _HEAD[1]).all(1)]
    template[ring] = _onto_cut(template[ring], vertices, skin)

    names = [
        name for name in arrays.expression_names if not name.startswith("PupilDilate")
    ]  # moves the inner iris only
    rows = [arrays.expression_names.index(name) for name in names]
    expressions = arrays.expression_deltas[rows][:, old].astype(np.float32) / 100
    identities = arrays.identity_deltas[:, old].astype(np.float32) / 100
    texels = np.zeros((VERTICES, 2))
    texels[triangles] = arrays.uvs[uv_triangles]
    regions = _regions(old, new, template, ring, texels[old], expressions, names)
    for eye in ("left_eyeball", "right_eyeball"):
        expressions[:, regions[eye]] = 0

    joints, joint_identities = _joints(template, identities, regions)
    return HeadModel(
        name="ict",
        template=_tensor(template),
        faces=torch.from_numpy(faces),
        uvs=_tensor(uvs),
        uv_faces=torch.from_numpy(uv_faces),
        shape_directions=_tensor(identities),
        expression_directions=_tensor(expressions),
        expression_names=tuple(arkit_name(name) for name in names),
        eyelid_directions=torch.zeros(2, len(old), 3),
        pose_directions=torch.zeros(36, len(old), 3),
        joints=_tensor(joints),
        joint_shape_directions=_tensor(joint_identities),
        joint_expression_directions=torch.zeros(len(expressions), 5, 3),
        skin_weights=_tensor(_skin_weights(template, regions)),
        regions=regions,
        expression_range=(0.0, 1.0),
        shape_names=tuple(f"identity{i:03d}" for i in range(len(identities))),
        family=ICT,
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _height(points: np.ndarray) -> np.ndarray:
    """Height [N] along the collar's tilt."""
    return points[:, 1] + _TILT * points[:, 2]


def _onto_cut(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Points [N,3] slid along the uncut surface to the collar's plane, so that the neck ends in an even ring."""
    normal = np.array([0.0, 1.0, _TILT]) / np.hypot(1, _TILT)
    moved = points
    for _ in range(8):
        moved = moved - ((_height(moved) - _CUT) / np.hypot(1, _TILT))[:, None] * normal
        face, weights, _ = closest_on_mesh(moved, vertices, faces)
        moved = (vertices[faces[face]] * weights[:, :, None]).sum(1)
    return moved


def _largest_skin_piece(triangles: np.ndarray) -> np.ndarray:
    """Mask [F]: without the small islands that the cut leaves of the skin."""
    _, labels = connected_components(triangles, VERTICES)
    label = labels[triangles[:, 0]]
    skin = triangles[:, 0] < _SOCKETS[1]
    largest = np.bincount(label[skin]).argmax()
    return ~skin | (label == largest)


def _neck_ring(faces: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The border loop that lies lowest, ordered."""
    return min(boundary_loops(faces), key=lambda loop: _height(template[loop]).mean())


def _pack_uvs(uvs: np.ndarray, triangles: np.ndarray, uv_triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FaceKit's tiles, one per material and both eyes on the same one -> one unit square without overlaps.

    Returns (uvs [T,2], uv_faces [F,3]). Texture vertices are renewed per part, since parts share some.
    """
    tile = np.floor(uvs[uv_triangles].mean(1)[:, 0]).astype(int)
    first = triangles.min(1)
    eye = first >= _TEETH[1]
    members = {
        "face": (tile == 0) & ~eye,
        "mouth": (tile == 1) & (first >= _MOUTH[0]) & (first < _MOUTH[1]),
        "sockets": (tile == 1) & (first >= _SOCKETS[0]) & (first < _SOCKETS[1]),
        "gums": tile == 2,
        "teeth": tile == 3,
        "left_eye": eye & (first < _RIGHT_EYE[0]),
        "right_eye": eye & (first >= _RIGHT_EYE[0]),
    }
    # the head's tile also shows the mouth's and the sockets' inside; their rims are shared with the face, so ask for
    # any vertex of theirs, and leave what remains to the head
    for name, (low, high) in (("mouth", _MOUTH), ("sockets", _SOCKETS)):
        members[name] |= (tile == 1) & ((triangles >= low) & (triangles < high)).any(1)
    members["head"] = (tile == 1) & ~members["mouth"] & ~members["sockets"]
    packed, uv_faces, count = [], np.full_like(uv_triangles, -1), 0
    for name, (u0, v0, u1, v1) in _UV_BOXES.items():
        used, index = np.unique(uv_triangles[members[name]], return_inverse=True)
        low, high = uvs[used].min(0), uvs[used].max(0)
        packed.append((uvs[used] - low) / (high - low) * [u1 - u0, v1 - v0] + [u0, v0])
        uv_faces[members[name]] = index.reshape(-1, 3) + count
        count += len(used)
    return np.concatenate(packed), uv_faces


def _regions(
    old: np.ndarray, new: np.ndarray, template: np.ndarray, ring: np.ndarray,
    texels: np.ndarray, expressions: np.ndarray, names: list[str],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Vertex lists by FaceKit's order, its landmark vertices, its UV tile (ears) and what its shapes move (lids)."""
    x, y, z = template.T
    height = _height(template)

    def between(*parts: tuple[int, int]) -> np.ndarray:
        return np.any([(old >= low) & (old < high) for low, high in parts], axis=0)

    def moved_by(name: str) -> np.ndarray:
        length = np.linalg.norm(expressions[names.index(name)], axis=1) if name in names else np.zeros(len(old))
        return length > 0.2 * max(length.max(), 1e-9)

    skin, nose, outline = between(_FACE, _HEAD), template[new[list(_NOSE_POINTS)]], template[new[list(_LIP_OUTLINE)]]
    lips = between(_FACE, _MOUTH) & (z > outline[:, 2].mean() - 0.016) & _within_outline(template, outline, 0.0015)
    neck = skin & (height < _RIGID + 0.012)
    in_ear_tile = (np.abs(texels[:, 0] - 0.5) > 0.405) & (texels[:, 1] > 0.395) & (texels[:, 1] < 0.695)
    sticks_out = (np.abs(x) > 0.0765) | (between(_FACE) & in_ear_tile & (np.abs(x) > 0.067))
    ear = skin & sticks_out & (y > -0.035) & (y < 0.040)
    bridge_y, base_y = nose[0, 1], nose[4:, 1].min()
    nose_width = 0.006 + 0.016 * np.clip((bridge_y - y) / (bridge_y - base_y), 0, 1)
    on_nose = between(_FACE) & (y < bridge_y) & (y > base_y - 0.003) & (np.abs(x) < nose_width) & (z > 0.095)
    back = between(_HEAD) & ~neck
    teeth = between(_TEETH)
    masks = {
        "face": between(_FACE) & ~neck & ~ear,
        "scalp": back & ~ear,
        "neck": neck,
        "lips": lips,
        "left_eyeball": between(_LEFT_EYE),
        "right_eyeball": between(_RIGHT_EYE),
        "left_ear": ear & (x > 0),
        "right_ear": ear & (x < 0),
        "nose": on_nose,
        "left_eyelids": between(_FACE) & moved_by("eyeBlink_L"),
        "right_eyelids": between(_FACE) & moved_by("eyeBlink_R"),
        "mouth_interior": between(_MOUTH, _GUMS),
        "teeth_upper": teeth & (old < _LOWER_TEETH),
        "teeth_lower": teeth & (old >= _LOWER_TEETH),
    }
    return {name: np.flatnonzero(mask) for name, mask in masks.items()} | {"neck_ring": ring}


def _within_outline(points: np.ndarray, outline: np.ndarray, margin: float) -> np.ndarray:
    """Mask [N]: points that seen from the front lie inside a star-shaped outline [P,3] grown by ``margin`` metres."""
    centre = outline.mean(0)

    def polar(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        across, up = array[:, 0] - centre[0], array[:, 1] - centre[1]
        return np.arctan2(up, across), np.hypot(across, up)

    angles, radii = polar(outline)
    angle, radius = polar(points)
    order = np.argsort(angles)
    return radius < np.interp(angle, angles[order], radii[order], period=2 * np.pi) + margin


def _joints(
    template: np.ndarray, identities: np.ndarray, regions: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(joints [5,3], their identity directions [S,5,3]): fixed ones, and the centres of the eyeballs' spheres."""
    joints = np.array([_ROOT_JOINT, _NECK_JOINT, _JAW_JOINT, (0, 0, 0), (0, 0, 0)], np.float64)
    directions = np.zeros((len(identities), 5, 3))
    for joint, eye in ((3, "left_eyeball"), (4, "right_eyeball")):
        points = template[regions[eye]]
        joints[joint] = _sphere_centre(points)
        # an identity moves and scales an eyeball: its affine part, evaluated at the centre
        basis = np.concatenate([points - joints[joint], np.ones((len(points), 1))], 1)
        moved = identities[:, regions[eye]].astype(np.float64)  # [S,P,3]
        solution = np.linalg.lstsq(basis, moved.transpose(1, 0, 2).reshape(len(points), -1), rcond=None)[0]
        directions[:, joint] = solution[3].reshape(len(identities), 3)
    return joints, directions


def _sphere_centre(points: np.ndarray) -> np.ndarray:
    """Least-squares centre of the eyeball without its front, where the cornea bulges."""
    rear = points[points[:, 2] < np.quantile(points[:, 2], 0.6)]
    solution = np.linalg.lstsq(np.concatenate([2 * rear, np.ones((len(rear), 1))], 1), (rear**2).sum(1), rcond=None)[0]
    return solution[:3]


def _skin_weights(template: np.ndarray, regions: dict[str, np.ndarray]) -> np.ndarray:
    """[V,5]: the ring stays with the root, the skull follows the neck joint, smooth between; eyeballs are rigid."""
    along = np.clip((_height(template) - _CUT) / (_RIGID - _CUT), 0, 1)
    neck = along * along * (3 - 2 * along)
    neck[regions["neck_ring"]] = 0
    weights = np.stack([1 - neck, neck, 0 * neck, 0 * neck, 0 * neck], 1)
    for joint, eye in ((3, "left_eyeball"), (4, "right_eyeball")):
        weights[regions[eye]] = np.eye(5)[joint]
    return weights

# SPDX-License-Identifier: Apache-2.0
"""FLAME (Li et al. 2017) from the user's own pickle: 2020, 2023 or 2023 Open, without chumpy and without running it.

Beside the pickle may lie the template OBJ (texture coordinates), FLAME_masks.pkl (regions), landmark_embedding.npy (the
lips) and l_eyelid.npy with r_eyelid.npy (lids that close, which FLAME lacks); what is missing is computed from the
geometry. Teeth are added as RGBAvatar does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from blendsplat.errors import BlendsplatError, FormatError
from blendsplat.heads.eyelids import eyelid_directions
from blendsplat.heads.families import FLAME
from blendsplat.heads.flame_companions import read_eyelids, read_lips, read_masks
from blendsplat.heads.flame_regions import geometric_regions, neck_ring, regions_from_masks
from blendsplat.heads.foreign_files import load_pickle
from blendsplat.heads.model import (
    JAW_JOINT,
    LEFT_EYE_JOINT,
    NECK_JOINT,
    PARENTS,
    RIGHT_EYE_JOINT,
    HeadModel,
)
from blendsplat.heads.obj import read_obj
from blendsplat.heads.teeth import Mouth, Teeth, find_mouth, make_teeth, mouth_of_landmarks
from blendsplat.heads.topology import triangulate_quads
from blendsplat.heads.unwrap import unwrap_head

IDENTITIES = 300  # of the 400 shape directions; the rest are expressions
_KEYS = ("f", "v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")


@dataclass
class FlameArrays:
    """The pickle's content, checked: float64, J = 5 joints."""

    vertices: np.ndarray  # [V,3]
    faces: np.ndarray  # [F,3] int64
    directions: np.ndarray  # [V,3,S+E]
    pose_directions: np.ndarray  # [V,3,36]
    regressor: np.ndarray  # [5,V]
    weights: np.ndarray  # [V,5]


def load_flame(path: Path | str, identities: int = IDENTITIES, teeth: bool = True) -> HeadModel:
    """FLAME pickle -> HeadModel named after the file, without landmark embedding.

    identities: how many of the shape directions are identity (FLAME: 300); the others are expressions. Raises
    UnsafeFileError, FormatError and InputError, each naming the file.
    """
    path = Path(path)
    arrays = _checked(load_pickle(path), path)
    identities = min(identities, arrays.directions.shape[2])
    eyes = _eyeballs(arrays, path)
    skin = ~np.isin(np.arange(len(arrays.vertices)), np.concatenate(list(eyes.values())))
    joints = arrays.regressor @ arrays.vertices
    mouth = _mouth(arrays, path, joints, skin)
    regions = geometric_regions(arrays.vertices, arrays.weights, joints, mouth)
    masks = read_masks(path)
    if masks is not None:
        regions |= regions_from_masks(masks, arrays.vertices, joints)
    regions |= eyes
    regions["neck_ring"] = neck_ring(arrays.faces, arrays.vertices)
    uvs, uv_faces = _texture_coordinates(arrays, path, regions)
    head = _assemble(path.stem, arrays, identities, uvs, uv_faces, regions)
    lids = read_eyelids(path, arrays.vertices, joints[[LEFT_EYE_JOINT, RIGHT_EYE_JOINT]])
    if lids is None:
        lids = eyelid_directions(arrays.vertices, arrays.faces, (eyes["left_eyeball"], eyes["right_eyeball"]))
    head.eyelid_directions = _tensor(lids)
    return _with_teeth(head, make_teeth(mouth), mouth) if teeth else head


def _checked(content: Any, path: Path) -> FlameArrays:
    if not isinstance(content, dict) or any(key not in content for key in _KEYS):
        missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
        raise FormatError(
            f"{path} is not a FLAME model: it lacks {', '.join(missing)}. Use generic_model.pkl or flame2023*.pkl."
        )
    try:
        regressor = content["J_regressor"]
        arrays = FlameArrays(
            np.asarray(content["v_template"], np.float64),
            np.asarray(content["f"]).astype(np.int64),
            np.asarray(content["shapedirs"], np.float64),
            np.asarray(content["posedirs"], np.float64),
            np.asarray(regressor.toarray() if sp.issparse(regressor) else regressor, np.float64),
            np.asarray(content["weights"], np.float64),
        )
        tree = np.asarray(content["kintree_table"])
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path} holds something else than numbers where FLAME has arrays.", repr(error)) from error
    count = len(arrays.vertices) if arrays.vertices.ndim == 2 else -1
    for name, have, want in (
        ("v_template", arrays.vertices.shape, (count, 3)),
        ("f", arrays.faces.shape, (len(arrays.faces), 3)),
        (
            "shapedirs",
            arrays.directions.shape,
            (count, 3, arrays.directions.shape[-1] if arrays.directions.ndim else 0),
        ),
        ("posedirs", arrays.pose_directions.shape, (count, 3, 36)),
        ("J_regressor", arrays.regressor.shape, (5, count)),
        ("weights", arrays.weights.shape, (count, 5)),
        ("kintree_table", tree.shape, (2, 5)),
    ):
        if have != want:
            raise FormatError(f"{path}: {name} has shape {have} instead of {want}; this is not a FLAME head model.")
    # the root's parent is written as a huge unsigned number, or -1: only the others are compared
    if not np.array_equal(tree[0, 1:].astype(np.int64), PARENTS[1:]):
        raise FormatError(f"{path} joins its bones otherwise than FLAME (root, neck, jaw and two eyes).")
    finite = (arrays.vertices, arrays.directions, arrays.pose_directions, arrays.regressor, arrays.weights)
    if not all(np.isfinite(array).all() for array in finite):
        raise FormatError(f"{path} holds values that are not finite; fetch it again.")
    if not len(arrays.faces) or not 0 <= arrays.faces.min() <= arrays.faces.max() < count:
        raise FormatError(f"{path} has faces that name vertices it does not have; fetch it again.")
    return arrays


def _eyeballs(arrays: FlameArrays, path: Path) -> dict[str, np.ndarray]:
    """Eyeballs are what the eye joints carry."""
    eyes = {
        name: np.flatnonzero(arrays.weights[:, joint] > 0.5)
        for joint, name in ((LEFT_EYE_JOINT, "left_eyeball"), (RIGHT_EYE_JOINT, "right_eyeball"))
    }
    if any(len(vertices) == 0 for vertices in eyes.values()):
        raise FormatError(f"{path} has no vertices that follow its eye joints; this is not a FLAME head model.")
    return eyes


def _mouth(arrays: FlameArrays, path: Path, joints: np.ndarray, skin: np.ndarray) -> Mouth:
    unit = float(np.linalg.norm(joints[LEFT_EYE_JOINT] - joints[RIGHT_EYE_JOINT]))
    lips = read_lips(path, arrays.vertices, arrays.faces)
    if lips is not None:
        return mouth_of_landmarks(lips, arrays.vertices, skin, unit)
    return find_mouth(
        arrays.vertices, arrays.weights[:, JAW_JOINT], skin, unit, float(joints[LEFT_EYE_JOINT:, 1].mean())
    )


def _texture_coordinates(
    arrays: FlameArrays, path: Path, regions: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """From an OBJ of the same faces beside the pickle, else computed, with the face twice as dense as the rest."""
    for found in sorted(path.parent.glob("*.obj")):
        try:
            mesh = read_obj(found)
        except BlendsplatError:
            continue
        triangles, _ = triangulate_quads(mesh.faces)
        texels, _ = triangulate_quads(mesh.uv_faces)
        matched = _match_faces(arrays.faces, triangles, texels) if (texels >= 0).all() else None
        if matched is not None:
            return mesh.uvs, matched
    importance = np.ones(len(arrays.vertices))
    importance[regions["face"]] = 2.0
    importance[regions["lips"]] = 3.0
    try:
        return unwrap_head(arrays.vertices, arrays.faces, importance)
    except ValueError as error:
        raise FormatError(
            f"{path} could not be given texture coordinates; put FLAME's template OBJ beside it.", repr(error)
        ) from error


def _match_faces(faces: np.ndarray, other: np.ndarray, texels: np.ndarray) -> np.ndarray | None:
    """Texture vertices [F,3] of ``faces`` when ``other`` holds the same triangles in any order, else None."""
    if faces.shape != other.shape:
        return None

    def ordered(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners = np.argsort(triangles, 1, kind="stable")
        rows = np.take_along_axis(triangles, corners, 1)
        return np.lexsort(rows.T[::-1]), corners

    mine, my_corners = ordered(faces)
    theirs, their_corners = ordered(other)
    if not np.array_equal(np.sort(faces, 1)[mine], np.sort(other, 1)[theirs]):
        return None
    matched = np.empty_like(faces)
    rows = np.repeat(mine, 3)
    matched[rows, my_corners[mine].ravel()] = np.take_along_axis(texels, their_corners, 1)[theirs].ravel()
    return matched


def _assemble(
    name: str,
    arrays: FlameArrays,
    identities: int,
    uvs: np.ndarray,
    uv_faces: np.ndarray,
    regions: dict[str, np.ndarray],
) -> HeadModel:
    directions = arrays.directions.transpose(2, 0, 1)  # [S+E,V,3]
    joint_directions = np.einsum("jv,kvc->kjc", arrays.regressor, directions)
    expressions = len(directions) - identities
    return HeadModel(
        name=name,
        template=_tensor(arrays.vertices),
        faces=torch.from_numpy(arrays.faces),
        uvs=_tensor(uvs),
        uv_faces=torch.from_numpy(uv_faces.astype(np.int64)),
        shape_directions=_tensor(directions[:identities]),
        expression_directions=_tensor(directions[identities:]),
        expression_names=tuple(f"expression{i:03d}" for i in range(expressions)),
        eyelid_directions=torch.zeros(2, len(arrays.vertices), 3),
        pose_directions=_tensor(arrays.pose_directions.transpose(2, 0, 1)),
        joints=_tensor(arrays.regressor @ arrays.vertices),
        joint_shape_directions=_tensor(joint_directions[:identities]),
        joint_expression_directions=_tensor(joint_directions[identities:]),
        skin_weights=_tensor(arrays.weights),
        regions=regions,
        shape_names=tuple(f"shape{i:03d}" for i in range(identities)),
        family=FLAME,
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _with_teeth(head: HeadModel, teeth: Teeth, mouth: Mouth) -> HeadModel:
    """The head with 60 vertices more; joints are those of the head without them."""
    count, extra = head.vertex_count, len(teeth.vertices)
    lips = torch.from_numpy(mouth.lips)
    shapes = head.shape_directions[:, lips].mean(1, keepdim=True) if len(lips) else head.shape_directions[:, :1] * 0
    half = extra // 2
    weights = torch.zeros(extra, 5)
    weights[:half, NECK_JOINT] = 1
    weights[half:, JAW_JOINT] = 1

    def still(directions: torch.Tensor) -> torch.Tensor:
        return torch.cat([directions, directions.new_zeros(len(directions), extra, 3)], 1)

    head.template = torch.cat([head.template, _tensor(teeth.vertices)])
    head.faces = torch.cat([head.faces, torch.from_numpy(teeth.faces) + count])
    head.uv_faces = torch.cat([head.uv_faces, torch.from_numpy(teeth.faces) + len(head.uvs)])
    head.uvs = torch.cat([head.uvs, _tensor(teeth.uvs)])
    head.shape_directions = torch.cat([head.shape_directions, shapes.expand(-1, extra, -1)], 1)
    head.expression_directions = still(head.expression_directions)
    head.eyelid_directions = still(head.eyelid_directions)
    head.pose_directions = still(head.pose_directions)
    head.skin_weights = torch.cat([head.skin_weights, weights])
    head.regions["teeth_upper"] = np.arange(count, count + half)
    head.regions["teeth_lower"] = np.arange(count + half, count + extra)
    return head

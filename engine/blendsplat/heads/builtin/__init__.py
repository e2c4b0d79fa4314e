# SPDX-License-Identifier: Apache-2.0
"""A head from nothing but code: it ships with the project, so no licence stands before a user's first avatar.

How it is made, in the order of the files:

- ``curves``: fades, bumps, spots, tables, the only drawing tools.
- ``skull``: the bare form over (angle, height); ``relief``: the face's features as depth in front view; ``eyes``,
  ``mouth``, ``ears``: the parts, lids included; ``skin``: the grid over all that, cut open at eyes and mouth.
- ``mesh``: assembles parts and gives every part a rectangle of the UV square.
- ``chart``: what the following see of the mesh; ``rig``: joints, weights, pose correctives; ``identity`` and
  ``expressions``: named displacement fields.
- ``appearance``: colours per texel, for pictures and the demo; ``blendsplat.heads.render`` draws them.

Conventions beyond HeadModel's: identity coefficients are standard deviations, expression coefficients run from 0 to 1.
The jaw *joint* opens the mouth and the eye joints turn the eyes (lids follow by pose correctives), so ARKit's jawOpen
and eyeLook* are not among the shapes; ``ARKIT_JOINTS`` maps them to rotations. eyeBlink* closes the lids completely,
and ``eyelid_directions`` are zero. UVs have v = 0 at the bottom. Units inside the package are millimetres.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from blendsplat.heads.builtin.chart import JOINTS_MM, make_chart
from blendsplat.heads.builtin.expressions import ARKIT_JOINTS, expression_directions
from blendsplat.heads.builtin.identity import identity_directions
from blendsplat.heads.builtin.mesh import Mesh
from blendsplat.heads.builtin.relief import MOUTH_X, MOUTH_Y
from blendsplat.heads.builtin.rig import pose_directions, skin_weights
from blendsplat.heads.builtin.skin import hair_mask, neutral_mesh
from blendsplat.heads.families import BUILTIN
from blendsplat.heads.model import HeadModel

__all__ = ["ARKIT_JOINTS", "builtin_head"]

_METRES = 1e-3


@cache
def builtin_head() -> HeadModel:
    """The project's own head (float32, CPU; the same object every time, so treat it as read-only)."""
    mesh = neutral_mesh()
    weights = skin_weights(mesh)
    jaw = weights[:, 2]
    chart = make_chart(mesh, jaw)
    shape_names, shapes, joint_shapes = identity_directions(mesh, chart)
    expression_names, expressions = expression_directions(mesh, chart)
    return HeadModel(
        name="builtin",
        template=_tensor(mesh.points * _METRES),
        faces=torch.from_numpy(mesh.faces.astype(np.int64)),
        uvs=_tensor(mesh.uvs),
        uv_faces=torch.from_numpy(mesh.uv_faces.astype(np.int64)),
        shape_directions=_tensor(shapes * _METRES),
        expression_directions=_tensor(expressions * _METRES),
        expression_names=expression_names,
        eyelid_directions=torch.zeros(2, len(mesh.points), 3),
        pose_directions=_tensor(pose_directions(mesh, chart) * _METRES),
        joints=_tensor(JOINTS_MM * _METRES),
        joint_shape_directions=_tensor(joint_shapes * _METRES),
        joint_expression_directions=torch.zeros(len(expression_names), 5, 3),
        skin_weights=_tensor(weights),
        regions=_regions(mesh),
        expression_range=(0.0, 1.0),
        shape_names=shape_names,
        family=BUILTIN,
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _regions(mesh: Mesh) -> dict[str, np.ndarray]:
    x, y, _ = mesh.points.T
    ax, angle = np.abs(x), np.abs(mesh.angle)
    skin, rims = mesh.of("skin"), mesh.of("lid_rims")
    lids = (skin & (np.hypot((ax - 31.5) / 18, y / 11) < 1) & (angle < 60)) | rims
    lips = skin & (ax < MOUTH_X + 2) & (np.abs(y - MOUTH_Y) < 10) & (angle < 50)
    masks = {
        "face": (skin & (mesh.height > -115) & (mesh.height < 60) & (angle < 80)) | rims,
        "scalp": skin & (hair_mask(mesh.angle, mesh.height) > 0.5),
        "neck": skin & (mesh.height < -117),
        "lips": lips,
        "nose": skin & (ax < 20) & (y < 6) & (y > -49) & (angle < 40),
        "left_eyelids": lids & (x > 0),
        "right_eyelids": lids & (x < 0),
        "mouth_interior": mesh.of("mouth"),
    }
    parts = ("left_eyeball", "right_eyeball", "left_ear", "right_ear", "teeth_upper", "teeth_lower", "tongue")
    masks |= {part: mesh.of(part) for part in parts}
    regions = {name: np.flatnonzero(mask).astype(np.int64) for name, mask in masks.items()}
    return regions | {"neck_ring": mesh.named["neck_ring"].astype(np.int64)}

# SPDX-License-Identifier: Apache-2.0
"""What carries an RGBAvatar's Gaussians through the frames: the posed mesh's triangles, or the head's joints alone.

Both are the same three arrays, so that the kernels that bind Gaussians to a surface serve both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from blendsplat.geometry import matrix_to_quat
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.tangent_frames import tangent_frames


@dataclass
class Surface:
    """A head's posed surface in B frames: vertices [B,V,3], a frame [B,F,3,3] of every triangle, its rotation [B,F,4]
    wxyz."""

    vertices: Tensor
    frames: Tensor
    quats: Tensor

    @classmethod
    def empty(cls, head: HeadModel, batch: int) -> Surface:
        """Buffers for ``batch`` frames of a head."""
        new, faces = head.template.new_zeros, len(head.faces)
        return cls(new(batch, head.vertex_count, 3), new(batch, faces, 3, 3), new(batch, faces, 4))

    def __getitem__(self, rows: list[int]) -> Surface:
        """Some of the frames."""
        return Surface(self.vertices[rows], self.frames[rows], self.quats[rows])


def tangent_surface(head: HeadModel, vertices: Tensor) -> Surface:
    """The tangent frames of posed vertices [B,V,3] (RGBAvatar, section 7.1): the mesh's deformation carries."""
    return Surface(vertices, *tangent_frames(vertices, head.faces, head.uvs, head.uv_faces))


def joint_surface(head: HeadModel, params: HeadParams) -> Surface:
    """The neutral head as joint poses alone move it in B frames (section 8.1, "w/o tangent space"): linear blend
    skinning of a personalised head without expression, lids and pose correctives, whose joints stay where the neutral
    head has them.

    A triangle's frame is the blend of its corners' joint rotations: at rest the world's own axes. The skinning of a
    Gaussian beside the surface is so that of its place on it, as in GaussianBlendshapes.
    """
    none = params.expression.new_zeros
    still = replace(params, shape=none(1, 0), expression=none(1, head.expression_count), eyelids=none(1, 2))
    skinning = head.skinning(still)[0][:, :, :3]  # [B,5,3,4]
    batch = len(skinning)
    of_vertex = (head.skin_weights @ skinning.flatten(2)).reshape(batch, -1, 3, 4)
    vertices = (of_vertex[..., :3] @ head.template[..., None])[..., 0] + of_vertex[..., 3]
    of_face = head.skin_weights[head.faces].mean(1)  # [F,5]
    frames = (of_face @ skinning[..., :3].flatten(2)).reshape(batch, -1, 3, 3)
    return Surface(
        (vertices + params.translation[:, None]).contiguous(), frames.contiguous(), matrix_to_quat(_rotation(frames))
    )


def _rotation(frames: Tensor) -> Tensor:
    """A mean of rotations [...,3,3] is none itself; made one again, its third column first."""
    z = normalize(frames[..., 2], dim=-1)
    x = normalize(frames[..., 0] - z * (z * frames[..., 0]).sum(-1, keepdim=True), dim=-1)
    return torch.stack([x, torch.cross(z, x, dim=-1), z], -1)

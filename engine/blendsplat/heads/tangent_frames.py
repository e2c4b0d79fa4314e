# SPDX-License-Identifier: Apache-2.0
"""Tangent frames of a head's triangles: how a Gaussian that lives in UV space is carried by the moving surface.

docs/formats.md holds the definition; Blender's Geometry Nodes evaluate the same one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from blendsplat.geometry import matrix_to_quat
from blendsplat.splatting.tangent_frames import fused_tangent_frames, fused_tangent_frames_backward


def tangent_frames(vertices: Tensor, faces: Tensor, uvs: Tensor, uv_faces: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices [B,V,3], faces [F,3], uvs [T,2], uv_faces [F,3] -> (TBN [B,F,3,3], quats wxyz [B,F,4]).

    The columns of TBN are t, b, n: the UV gradients' directions and the normal, each normalised and not made
    perpendicular (RGBAvatar, section 3.2). The quaternions are of the orthonormal frame with z = n and x = t made
    perpendicular to n (y = z cross x). A triangle without area in space or in UV gets some finite frame, not NaN.
    Gradients flow to the vertices; float32 is done by kernels in a tenth of the time, there and back.
    """
    edges = uv_edges(uvs, uv_faces)
    if vertices.dtype != torch.float32 or vertices.device.type not in ("cpu", "cuda"):
        return tangent_frames_reference(vertices, faces, edges)
    result: tuple[Tensor, Tensor] = _TangentFrames.apply(vertices.contiguous(), faces.contiguous(), edges)
    return result


class _TangentFrames(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, faces: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        images, count = vertices.shape[0], len(faces)
        frames, quats = vertices.new_empty(images, count, 3, 3), vertices.new_empty(images, count, 4)
        fused_tangent_frames(vertices, faces, edges, frames, quats)
        ctx.save_for_backward(vertices, edges)
        ctx.faces = faces  # as it is: the lists of its corners are kept for this very tensor
        ctx.set_materialize_grads(False)
        return frames, quats

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_frames: Tensor | None, grad_quats: Tensor | None) -> tuple[Tensor | None, None, None]:
        vertices, edges = ctx.saved_tensors
        grads = (None if grad is None else grad.contiguous() for grad in (grad_frames, grad_quats))
        return fused_tangent_frames_backward(vertices, ctx.faces, edges, *grads), None, None


def tangent_frames_into(vertices: Tensor, faces: Tensor, edges: Tensor, frames: Tensor, quats: Tensor) -> None:
    """tangent_frames into given buffers, contiguous float32, without gradients; edges [F,4] of uv_edges."""
    if vertices.device.type in ("cpu", "cuda"):
        fused_tangent_frames(vertices, faces, edges, frames, quats)
    else:
        for target, value in zip((frames, quats), tangent_frames_reference(vertices, faces, edges), strict=True):
            target.copy_(value)


def uv_edges(uvs: Tensor, uv_faces: Tensor) -> Tensor:
    """[F,4]: both edges of every UV triangle, at unit size, turned where the triangle is mirrored.

    Only the sign of their determinant survives the frame's normalisation, so tiny UV triangles cannot overflow.
    """
    texels = uvs[uv_faces]
    d1, d2 = texels[:, 1] - texels[:, 0], texels[:, 2] - texels[:, 0]
    determinant = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
    sign = torch.where(determinant < 0, -1.0, 1.0).to(uvs.dtype)[:, None]
    size = torch.maximum(d1.abs().amax(1), d2.abs().amax(1)).clamp_min(1e-20)[:, None]
    return torch.cat([d1, d2], 1) / size * sign


def tangent_frames_reference(vertices: Tensor, faces: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """tangent_frames in plain torch with gradients, on any device and in any precision; edges [F,4] of uv_edges."""
    corners = vertices[:, faces]  # [B,F,3,3]
    edge1, edge2 = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    d1, d2 = edges.to(vertices.dtype).split(2, 1)
    tangent = _unit(edge1 * d2[:, 1:] - edge2 * d1[:, 1:])
    bitangent = _unit(edge2 * d1[:, :1] - edge1 * d2[:, :1])
    normal = _unit(torch.cross(edge1, edge2, dim=-1))
    frames = torch.stack([tangent, bitangent, normal], -1)

    across = tangent - normal * (normal * tangent).sum(-1, keepdim=True)
    x = torch.where(across.detach().norm(dim=-1, keepdim=True) > 1e-6, _unit(across), _any_perpendicular(normal))
    z = torch.where(normal.detach().norm(dim=-1, keepdim=True) > 0.5, normal, _any_perpendicular(x))
    return frames, matrix_to_quat(torch.stack([x, torch.cross(z, x, dim=-1), z], -1))


def _unit(vectors: Tensor) -> Tensor:
    """Unit vectors, with zero (and a zero gradient) for those without length. Square millimetres are long enough."""
    size = vectors.detach().abs().amax(-1, keepdim=True)
    long_enough = size > 1e-18
    scaled = torch.where(long_enough, vectors / torch.where(long_enough, size, 1.0), torch.zeros_like(vectors))
    return scaled / torch.where(long_enough, scaled, torch.ones_like(scaled)).norm(dim=-1, keepdim=True)


def _any_perpendicular(vectors: Tensor) -> Tensor:
    """Some unit vector perpendicular to each of [...,3]; for a zero vector, some unit vector."""
    x, y, z = vectors.detach().unbind(-1)
    flat = x.abs() < 0.9
    other = torch.stack([torch.where(flat, 0 * x, -y), torch.where(flat, z, x), torch.where(flat, -y, 0 * x)], -1)
    fallback = torch.zeros_like(other)
    fallback[..., 0] = 1
    return torch.where(other.norm(dim=-1, keepdim=True) > 1e-6, normalize(other, dim=-1), fallback)

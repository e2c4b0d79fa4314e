# SPDX-License-Identifier: Apache-2.0
"""Rotations and cameras, differentiable, batched over any leading axes. Quaternions are wxyz, angles in radians."""

from __future__ import annotations

import torch
from torch import Tensor


def rotvec_to_matrix(rotvec: Tensor) -> Tensor:
    """Rotation vectors [...,3] -> matrices [...,3,3] (Rodrigues; smooth at zero)."""
    squared = (rotvec * rotvec).sum(-1)[..., None, None]
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    skew = skew_matrix(rotvec)
    identity = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return identity + sine * skew + cosine * (skew @ skew)


def skew_matrix(vector: Tensor) -> Tensor:
    """Vectors [...,3] -> cross-product matrices [...,3,3]."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape[:-1], 3, 3)


def matrix_to_rotvec(matrix: Tensor) -> Tensor:
    """Rotation matrices [...,3,3] -> rotation vectors [...,3] (angle in [0, pi])."""
    quat = matrix_to_quat(matrix)
    quat = torch.where(quat[..., :1] < 0, -quat, quat)
    vector = quat[..., 1:]
    norm = vector.norm(dim=-1, keepdim=True)
    scalar = quat[..., :1]
    angle_over_norm = 2 * torch.atan2(norm, scalar) / norm.clamp_min(1e-12)
    factor = torch.where(norm < 1e-7, 2 / scalar.clamp_min(1e-7), angle_over_norm)
    return vector * factor


def matrix_to_quat(matrix: Tensor) -> Tensor:
    """Rotation matrices [...,3,3] -> unit quaternions wxyz [...,4], through the best conditioned of four formulas."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    w, x, y, z = 1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22
    rows = [
        [w, m21 - m12, m02 - m20, m10 - m01],
        [m21 - m12, x, m01 + m10, m02 + m20],
        [m02 - m20, m01 + m10, y, m12 + m21],
        [m10 - m01, m02 + m20, m12 + m21, z],
    ]
    candidates = torch.stack([torch.stack(row, -1) for row in rows], -2)
    diagonal = torch.diagonal(candidates, dim1=-2, dim2=-1)
    best = diagonal.argmax(-1)[..., None, None].expand(*diagonal.shape[:-1], 1, 4)
    return torch.nn.functional.normalize(candidates.gather(-2, best)[..., 0, :], dim=-1)


def quat_to_matrix(quat: Tensor) -> Tensor:
    """Quaternions wxyz [...,4] (normalised here) -> rotation matrices [...,3,3]."""
    w, x, y, z = torch.nn.functional.normalize(quat, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*quat.shape[:-1], 3, 3)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of quaternions wxyz [...,4]: the rotation b, then a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def matrix_to_6d(matrix: Tensor) -> Tensor:
    """Rotation matrices [...,3,3] -> their first two rows [...,6]."""
    return matrix[..., :2, :].reshape(*matrix.shape[:-2], 6)


def project_points(points: Tensor, viewmats: Tensor, Ks: Tensor) -> Tensor:
    """World points [B,P,3] -> pixels [B,P,2] (x right, y down); viewmats [B,4,4] world-to-camera, Ks [B,3,3]."""
    camera = points @ viewmats[:, :3, :3].transpose(-1, -2) + viewmats[:, None, :3, 3]
    image = camera @ Ks.transpose(-1, -2)
    return image[..., :2] / image[..., 2:]


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals [B,F,3] of vertices [B,V,3], as long as twice the face's area (not normalised)."""
    corners = vertices[:, faces]
    return torch.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0], dim=-1)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals [B,V,3]: the area-weighted mean over a vertex's faces. Zero where a vertex has no area around it."""
    normals = face_normals(vertices, faces)
    summed = torch.zeros_like(vertices)
    for corner in range(3):
        summed = summed.index_add(1, faces[:, corner], normals)
    return torch.nn.functional.normalize(summed, dim=-1, eps=1e-20)


def harmonics(normals: Tensor) -> Tensor:
    """Unit normals [...,3] -> the nine real spherical harmonics up to order 2 [...,9], without their constants."""
    x, y, z = normals.unbind(-1)
    one = torch.ones_like(x)
    return torch.stack([one, x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], -1)

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
    factor = torch.where(norm < 1e-7, 2 / quat[..., :1].clamp_min(1e-7), 2 * torch.atan2(norm, quat[..., :1]) / norm.clamp_min(1e-12))
    return vector * factor


def matrix_to_quat(matrix: Tensor) -> Tensor:
    """Rotation matrices [...,3,3] -> unit quaternions wxyz [...,4], through the best conditioned of four formulas."""
    m = matrix
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    one = torch.ones_like(trace)
    candidates = torch.stack(
        [
            torch.stack([one + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1),
            torch.stack([m[..., 2, 1] - m[..., 1, 2], one + 2 * m[..., 0, 0] - trace, m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0]], -1),
            torch.stack([m[..., 0, 2] - m[..., 2, 0], m[..., 0, 1] + m[..., 1, 0], one + 2 * m[..., 1, 1] - trace, m[..., 1, 2] + m[..., 2, 1]], -1),
            torch.stack([m[..., 1, 0] - m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1], one + 2 * m[..., 2, 2] - trace], -1),
        ],
        -2,
    )
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

# SPDX-License-Identifier: Apache-2.0
"""The head restricted to its 478 embedded landmarks, with the analytic derivative of every pixel position.

A fit only sees the landmarks, so each becomes one vertex of a tiny head (its directions and skinning weights are the
barycentric mixture of its triangle's): a frame's residuals and Jacobian cost well under a millisecond.

Unknowns of a frame, P = 15 + E: neck_pose 3, translation 3, jaw_pose 3, left eye (pitch, yaw), right eye (pitch, yaw),
eyelids 2, expression E. Rotations are rotation vectors, so every unknown lives in a plain vector space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.geometry import rotvec_to_matrix, skew_matrix
from blendsplat.heads.model import (
    JAW_JOINT,
    JOINTS,
    LEFT_EYE_JOINT,
    NECK_JOINT,
    PARENTS,
    POSE_FEATURES,
    RIGHT_EYE_JOINT,
    ROOT_JOINT,
    HeadModel,
    HeadParams,
)

NECK, TRANSLATION, JAW, EYES, EYELIDS, EXPRESSION = (
    slice(0, 3),
    slice(3, 6),
    slice(6, 9),
    slice(9, 13),
    slice(13, 15),
    slice(15, None),
)
DEPTH = TRANSLATION.stop - 1  # the unknown along the camera's axis
BLENDED = slice(EYELIDS.start, None)  # what moves points linearly: the coefficients of LandmarkModel.directions
LIDS = EYELIDS.stop - EYELIDS.start
FIXED_PARAMETERS = EXPRESSION.start
_TURNING = (NECK_JOINT, JAW_JOINT, LEFT_EYE_JOINT, RIGHT_EYE_JOINT)  # the order of the rotations' derivatives
_NECK_TURN, _JAW_TURN = slice(0, 3), slice(3, 6)
_EYE_TURNS = [6, 7, 9, 10]  # pitch and yaw of the left eye, then of the right: their rolls, 8 and 11, do not exist


@dataclass
class LandmarkModel:
    """Arrays of the L = 478 landmarks (or other points).

    C = 2 + E blendable coefficients (eyelids, expression); S shape coefficients.
    """

    points: Tensor  # [L,3]
    directions: Tensor  # [L,3,C]
    shape_directions: Tensor  # [L,3,S]
    pose_directions: Tensor  # [36,L,3]
    joints: Tensor  # [5,3]
    joint_directions: Tensor  # [5,3,C]
    joint_shape_directions: Tensor  # [5,3,S]
    skin_weights: Tensor  # [L,5]
    normals: Tensor  # [L,3] of the neutral head
    usable: Tensor  # [L] the embedding's weight

    @property
    def parameter_count(self) -> int:
        return BLENDED.start + self.directions.shape[-1]

    def shaped(self, shape: Tensor) -> LandmarkModel:
        """The model with shape [S] built in (S stays, so that it can be moved further)."""
        return replace(
            self,
            points=self.points + self.shape_directions @ shape,
            joints=self.joints + self.joint_shape_directions @ shape,
        )

    def without_shape(self) -> LandmarkModel:
        """The model whose shape is final: S = 0."""
        return replace(
            self,
            shape_directions=self.shape_directions[..., :0],
            joint_shape_directions=self.joint_shape_directions[..., :0],
        )

    def selected(self, rows: Tensor) -> LandmarkModel:
        """Only some landmarks."""
        return replace(
            self,
            points=self.points[rows],
            directions=self.directions[rows],
            shape_directions=self.shape_directions[rows],
            pose_directions=self.pose_directions[:, rows],
            skin_weights=self.skin_weights[rows],
            normals=self.normals[rows],
            usable=self.usable[rows],
        )


def restrict_to_landmarks(head: HeadModel, shape_count: int | None = None) -> LandmarkModel:
    """Build the landmark model of ``head`` (its first ``shape_count`` shape directions). Needs head.landmarks."""
    if head.landmarks is None:
        raise InputError(
            f"The head {head.name!r} has no landmark embedding yet; make one with blendsplat.heads.embed_head."
        )
    corners = head.faces[head.landmarks.faces]  # [L,3]
    return restrict_to_points(head, corners, head.landmarks.barycentrics, head.landmarks.weights, shape_count)


def restrict_to_vertices(head: HeadModel, vertices: Tensor, shape_count: int | None = None) -> LandmarkModel:
    """The same for some of the head's own vertices [L]."""
    whole = torch.zeros(len(vertices), 3)
    whole[:, 0] = 1
    return restrict_to_points(head, vertices[:, None].expand(-1, 3), whole, torch.ones(len(vertices)), shape_count)


def restrict_to_points(
    head: HeadModel, corners: Tensor, mix: Tensor, usable: Tensor, shape_count: int | None = None
) -> LandmarkModel:
    """The model of L points, each a mixture [L,3] of three vertices [L,3]."""

    def at(values: Tensor) -> Tensor:
        """[..., V, X] -> [..., L, X]."""
        return (values[..., corners, :] * mix[..., None]).sum(-2)

    triangle = head.template[corners]
    normals = torch.linalg.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    shape_count = head.shape_count if shape_count is None else min(shape_count, head.shape_count)
    blend = torch.cat([head.eyelid_directions, head.expression_directions])
    still = head.joint_expression_directions.new_zeros(LIDS, len(JOINTS), 3)
    joint_blend = torch.cat([still, head.joint_expression_directions])
    return LandmarkModel(
        points=at(head.template),
        directions=at(blend).permute(1, 2, 0).contiguous(),
        shape_directions=at(head.shape_directions[:shape_count]).permute(1, 2, 0).contiguous(),
        pose_directions=at(head.pose_directions).contiguous(),
        joints=head.joints,
        joint_directions=joint_blend.permute(1, 2, 0).contiguous(),
        joint_shape_directions=head.joint_shape_directions[:shape_count].permute(1, 2, 0).contiguous(),
        skin_weights=at(head.skin_weights),
        normals=torch.nn.functional.normalize(normals, dim=-1),
        usable=usable.to(head.template.dtype),
    )


def pack(params: HeadParams) -> Tensor:
    """HeadParams of B frames -> unknowns [B,P] (an eye's roll is dropped)."""
    batch = params.batch
    parts = (
        params.neck_pose,
        params.translation,
        params.jaw_pose,
        params.eyes_pose[..., :2].reshape(-1, 4),
        params.eyelids,
        params.expression,
    )
    return torch.cat([part.expand(batch, -1) for part in parts], 1)


@dataclass
class _Pose:
    """World rotations of the joints and what moves with them, per frame."""

    rotations: Tensor  # [B,5,3,3] joint -> world
    origins: Tensor  # [B,5,3] joint positions in the world, before translation
    rest_origins: Tensor  # [B,5,3] joints of the shaped, expressive rest head
    matrices: Tensor  # [B,5,3,3] local rotations
    jacobians: Tensor  # [B,5,3,3] d(left perturbation) / d(rotation vector)


def _left_jacobian(rotvec: Tensor) -> Tensor:
    """SO(3)'s left Jacobian [...,3,3]: exp(r + dr) = exp(J dr) exp(r)."""
    squared = (rotvec * rotvec).sum(-1)[..., None, None]
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    second = torch.where(small, 1 / 6 - squared / 120, (angle - angle.sin()) / (safe * angle))
    skew = skew_matrix(rotvec)
    return torch.eye(3, dtype=rotvec.dtype) + first * skew + second * (skew @ skew)


def _pose(model: LandmarkModel, unknowns: Tensor, root: Tensor) -> _Pose:
    batch = unknowns.shape[0]
    eyes = torch.nn.functional.pad(unknowns[:, EYES].reshape(batch, 2, 2), (0, 1))
    rotvecs = torch.cat([unknowns[:, None, NECK], unknowns[:, None, JAW], eyes], 1)
    local = rotvec_to_matrix(torch.cat([root.expand(batch, 1, 3), rotvecs], 1))
    rest = model.joints + torch.einsum("jkc,bc->bjk", model.joint_directions, unknowns[:, BLENDED])
    world, origins = [local[:, ROOT_JOINT]], [rest[:, ROOT_JOINT]]
    for joint in _TURNING:
        parent = PARENTS[joint]
        world.append(world[parent] @ local[:, joint])
        origins.append(origins[parent] + (world[parent] @ (rest[:, joint] - rest[:, parent])[..., None])[..., 0])
    jacobians = torch.cat([torch.zeros_like(local[:, :NECK_JOINT]), _left_jacobian(rotvecs)], 1)
    return _Pose(torch.stack(world, 1), torch.stack(origins, 1), rest, local, jacobians)


def landmark_positions(model: LandmarkModel, unknowns: Tensor, root: Tensor) -> Tensor:
    """World positions [B,L,3] of the landmarks for unknowns [B,P] and the clip's root rotation vector [3]."""
    pose = _pose(model, unknowns, root)
    shaped = _shaped_points(model, unknowns, pose)
    return _skinned(model, pose, shaped).sum(2) + unknowns[:, None, TRANSLATION]


def _shaped_points(model: LandmarkModel, unknowns: Tensor, pose: _Pose) -> Tensor:
    count = model.points.shape[0]
    shaped = unknowns[:, BLENDED] @ model.directions.reshape(count * 3, -1).T
    feature = (pose.matrices[:, NECK_JOINT:] - torch.eye(3, dtype=unknowns.dtype)).reshape(-1, POSE_FEATURES)
    corrected = feature @ model.pose_directions.reshape(POSE_FEATURES, -1)
    return model.points + (shaped + corrected).reshape(-1, count, 3)


def _skinned(model: LandmarkModel, pose: _Pose, shaped: Tensor) -> Tensor:
    """Each joint's weighted share of every point [B,L,5,3], without the translation."""
    local = shaped[:, None] - pose.rest_origins[:, :, None]  # [B,5,L,3]
    moved = local @ pose.rotations.transpose(-1, -2) + pose.origins[:, :, None]
    return (moved * model.skin_weights.T[None, :, :, None]).transpose(1, 2)


def project_with_jacobian(
    model: LandmarkModel, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor, with_shape: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pixels [B,L,2], their derivative by the frame's unknowns [B,L,2,P] and, if wanted, by the clip's [B,L,2,S+1].

    The camera stands at the world's origin and looks along -z, y up: u = cx - f x / z, v = cy + f y / z with z < 0.
    The clip's unknowns are the model's shape coefficients and log(focal).
    """
    pose = _pose(model, unknowns, root)
    shares = _skinned(model, pose, _shaped_points(model, unknowns, pose))
    points = shares.sum(2) + unknowns[:, None, TRANSLATION]
    depth = (-points[..., 2]).clamp_min(0.02)
    offset = torch.stack([points[..., 0], -points[..., 1]], -1) * (focal / depth)[..., None]
    zero = torch.zeros_like(depth)
    to_pixel = torch.stack(
        [
            torch.stack([focal / depth, zero, offset[..., 0] / depth], -1),
            torch.stack([zero, -focal / depth, offset[..., 1] / depth], -1),
        ],
        -2,
    )  # [B,L,2,3]: d(pixel) / d(point)

    blend = (model.skin_weights @ pose.rotations.flatten(-2)).unflatten(-1, (3, 3))  # [B,L,3,3]
    pixel_of_shaped = to_pixel @ blend  # [B,L,2,3]: d(pixel) / d(point of the rest head)
    correctives = model.pose_directions.permute(1, 2, 0)  # [L,3,36]
    linear = _per_landmark(pixel_of_shaped, torch.cat([correctives, model.directions], -1))
    coefficients = linear[..., POSE_FEATURES:]
    rotations = _rotation_jacobian(model, pose, shares, to_pixel, linear[..., :POSE_FEATURES])
    by_clip = None
    moving_joints = bool(model.joint_directions.any())
    if with_shape or moving_joints:
        carried = _joint_carry(model, pose, to_pixel).transpose(2, 3).flatten(-2)  # [B,L,2,15]
    if moving_joints:
        coefficients = coefficients + carried @ model.joint_directions.flatten(0, 1)
    if with_shape:
        by_joints = carried @ model.joint_shape_directions.flatten(0, 1)
        shape = _per_landmark(pixel_of_shaped, model.shape_directions) + by_joints
        by_clip = torch.cat([shape, offset[..., None]], -1)
    neck, jaw, eyes = rotations[..., _NECK_TURN], rotations[..., _JAW_TURN], rotations[..., _EYE_TURNS]
    return offset + centre, torch.cat([neck, to_pixel, jaw, eyes, coefficients], -1), by_clip


def _per_landmark(pixel_of_shaped: Tensor, directions: Tensor) -> Tensor:
    """[B,L,2,3] times [L,3,C] -> [B,L,2,C], as one product per landmark."""
    batch, count = pixel_of_shaped.shape[:2]
    rows = pixel_of_shaped.transpose(0, 1).reshape(count, batch * 2, 3)
    return torch.bmm(rows, directions).reshape(count, batch, 2, -1).transpose(0, 1)


def _joint_carry(model: LandmarkModel, pose: _Pose, to_pixel: Tensor) -> Tensor:
    """d(pixel) / d(rest joint) [B,L,5,2,3]: moving a joint of the rest head moves what turns about it."""
    weights, rotations = model.skin_weights, pose.rotations
    identity = torch.eye(3, dtype=weights.dtype)
    head = weights[:, NECK_JOINT:].sum(1)
    carry = []
    for joint, above in enumerate(PARENTS):
        if joint == ROOT_JOINT:
            matrix = (identity - rotations[:, ROOT_JOINT])[:, None].expand(-1, weights.shape[0], -1, -1)
        else:
            parent = rotations[:, above]
            share = head if joint == NECK_JOINT else weights[:, joint]
            matrix = share[None, :, None, None] * (parent - rotations[:, joint])[:, None]
        carry.append(to_pixel @ matrix)
    return torch.stack(carry, 2)


def _rotation_jacobian(
    model: LandmarkModel, pose: _Pose, shares: Tensor, to_pixel: Tensor, by_correctives: Tensor
) -> Tensor:
    """d(pixel) / d(rotation vectors of neck, jaw, left eye, right eye) [B,L,2,12].

    by_correctives [B,L,2,36]: d(pixel) / d(entries of the local rotations), through the pose correctives.
    """
    columns = []
    by_correctives = by_correctives.flatten(1, 2)  # one copy of what lies strewn
    for turn, joint in enumerate(_TURNING):
        parent = pose.rotations[:, PARENTS[joint]]
        if joint == NECK_JOINT:  # carries jaw and eyes with it
            weight, lever = model.skin_weights[:, NECK_JOINT:].sum(1), shares[:, :, NECK_JOINT:].sum(2)
        else:
            weight, lever = model.skin_weights[:, joint], shares[:, :, joint]
        lever = lever - weight[None, :, None] * pose.origins[:, None, joint]
        # A left perturbation d of the local rotation moves a point by (parent d) x lever; a . (d x l) = d . (l x a).
        turned = torch.linalg.cross(lever[:, :, None].expand_as(to_pixel), to_pixel).flatten(1, 2) @ (
            parent @ pose.jacobians[:, joint]
        )
        change = _rotation_change(pose.matrices[:, joint]) @ pose.jacobians[:, joint]
        corrected = by_correctives[..., 9 * turn : 9 * (turn + 1)] @ change
        columns.append(turned + corrected)
    return torch.cat(columns, -1).unflatten(1, (-1, 2))


def _rotation_change(matrices: Tensor) -> Tensor:
    """d(entries of R) / d(left perturbation) [B,9,3] of local rotations [B,3,3]."""
    generators = skew_matrix(torch.eye(3, dtype=matrices.dtype))
    return (generators[None] @ matrices[:, None]).reshape(-1, 3, 9).transpose(1, 2)

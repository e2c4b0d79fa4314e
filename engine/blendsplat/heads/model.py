# SPDX-License-Identifier: Apache-2.0
"""The parametric head: one set of arrays and one forward pass for every head (human, flame, ict, personalised rigs).

vertices = skin(template + shape + expression + eyelids + pose correctives; joints) + translation, FLAME's structure
(Li et al. 2017, eq. 1-5): joints root -> neck -> {jaw, left eye, right eye}. Metres, y up, face towards +z; the
person's left is +x. Loaders in this package fill the arrays; nothing else differs between heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.families import model_id

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 1, 1)
ROOT_JOINT, NECK_JOINT, JAW_JOINT, LEFT_EYE_JOINT, RIGHT_EYE_JOINT = range(len(JOINTS))
POSE_FEATURES = 9 * (len(JOINTS) - 1)  # entries of R - I of the joints that pose correctives hear of: all but the root


@dataclass
class HeadParams:
    """Parameters of B frames. Every field has B rows, or 1 row that holds for all of them. Rotations are rotvecs."""

    shape: Tensor  # [B,S]
    expression: Tensor  # [B,E]
    root_pose: Tensor  # [B,3]
    neck_pose: Tensor  # [B,3]
    jaw_pose: Tensor  # [B,3]
    eyes_pose: Tensor  # [B,2,3] left, right
    eyelids: Tensor  # [B,2] left, right; 0 open, 1 closed (only heads with eyelid directions)
    translation: Tensor  # [B,3]

    @property
    def batch(self) -> int:
        """B: the largest leading size among the fields."""
        return max(getattr(self, item.name).shape[0] for item in fields(self))

    def __getitem__(self, index: slice | list[int] | Tensor) -> HeadParams:
        """Select frames; fields that hold for all frames (one row) stay as they are."""
        return HeadParams(
            **{f.name: v if (v := getattr(self, f.name)).shape[0] == 1 else v[index] for f in fields(self)}
        )

    def to(self, *args: Any, **kwargs: Any) -> HeadParams:
        """Like Tensor.to, on every field."""
        return HeadParams(**{f.name: getattr(self, f.name).to(*args, **kwargs) for f in fields(self)})

    def detach(self) -> HeadParams:
        """Every field detached."""
        return HeadParams(**{f.name: getattr(self, f.name).detach() for f in fields(self)})


@dataclass
class LandmarkEmbedding:
    """Where each of L = 478 MediaPipe points lies: face [L], barycentrics [L,3], weight [L] (0 = unusable)."""

    faces: Tensor
    barycentrics: Tensor
    weights: Tensor


@dataclass
class HeadModel:
    """A head's arrays (float32 unless said; V vertices, F faces, S shape, E expression, J = 5 joints)."""

    name: str  # for people: "human", "flame2023_Open", "ict", ...; what a head is, family and model_id say
    template: Tensor  # [V,3]
    faces: Tensor  # [F,3] int64, counter-clockwise seen from outside
    uvs: Tensor  # [T,2] in [0,1]
    uv_faces: Tensor  # [F,3] int64 into uvs
    shape_directions: Tensor  # [S,V,3]
    expression_directions: Tensor  # [E,V,3]
    expression_names: tuple[str, ...]  # E
    eyelid_directions: Tensor  # [2,V,3] left, right; zeros when the expressions hold the lids
    pose_directions: Tensor  # [36,V,3]: for joints neck, jaw, eyes: the 9 entries of R - I, row-major
    joints: Tensor  # [5,3] of the template
    joint_shape_directions: Tensor  # [S,5,3]
    joint_expression_directions: Tensor  # [E,5,3]
    skin_weights: Tensor  # [V,5]
    regions: dict[str, np.ndarray] = field(default_factory=dict)  # name -> vertex indices (int64)
    landmarks: LandmarkEmbedding | None = None
    expression_range: tuple[float, float] = (-3.0, 3.0)  # (0, 1) for heads whose expressions are blendshapes
    shape_names: tuple[str, ...] = ()
    family: str = ""  # of heads.families; "": unknown

    @cached_property
    def model_id(self) -> str:
        """16 hexadecimal digits: equal for heads whose expressions mean the same (personalised or not)."""
        return model_id(self.faces.cpu().numpy(), self.expression_directions.detach().double().cpu().numpy())

    @property
    def vertex_count(self) -> int:
        return self.template.shape[0]

    @property
    def shape_count(self) -> int:
        return self.shape_directions.shape[0]

    @property
    def expression_count(self) -> int:
        return self.expression_directions.shape[0]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> HeadModel:
        """Copy with every tensor on ``device`` (and floating ones as ``dtype``)."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device, dtype if value.is_floating_point() else None)
            if isinstance(value, LandmarkEmbedding):
                return LandmarkEmbedding(move(value.faces), move(value.barycentrics), move(value.weights))
            return value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})

    def neutral(self, batch: int = 1) -> HeadParams:
        """Parameters of the neutral head, [batch] rows of zeros."""

        def zeros(*size: int) -> Tensor:
            return self.template.new_zeros(batch, *size)

        return HeadParams(
            zeros(self.shape_count),
            zeros(self.expression_count),
            zeros(3),
            zeros(3),
            zeros(3),
            zeros(2, 3),
            zeros(2),
            zeros(3),
        )

    def __call__(self, params: HeadParams, vertex_offsets: Tensor | None = None) -> Tensor:
        """Parameters of B frames -> vertices [B,V,3]. vertex_offsets [V,3] are added to the template (same for all)."""
        return self.posed(params, vertex_offsets)[0]

    def posed(self, params: HeadParams, vertex_offsets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Vertices [B,V,3] and the joints' world transforms [B,5,4,4] (joint frame -> world, translation included)."""
        self._check(params)
        batch = params.batch
        template = self.template if vertex_offsets is None else self.template + vertex_offsets
        shaped = _blend(params.shape, self.shape_directions) + _blend(params.expression, self.expression_directions)
        shaped = shaped + _blend(params.eyelids, self.eyelid_directions) + template
        skinning, feature, transforms = self.skinning(params)
        shaped = shaped + _blend(feature, self.pose_directions)
        per_vertex = (self.skin_weights @ skinning[:, :, :3].reshape(batch, 5, 12)).reshape(batch, -1, 3, 4)
        vertices = (per_vertex[..., :3] @ shaped.expand(batch, -1, -1)[..., None])[..., 0] + per_vertex[..., 3]
        moved = transforms.clone()
        moved[:, :, :3, 3] = moved[:, :, :3, 3] + params.translation[:, None]
        return vertices + params.translation[:, None], moved

    def skinning(self, params: HeadParams) -> tuple[Tensor, Tensor, Tensor]:
        """What poses the shaped head: transforms [B,5,4,4] from the joints at rest, the pose correctives' coefficients
        [B,36], and the joints' own transforms [B,5,4,4]; all before the translation."""
        batch = params.batch
        joints = self.joints + _blend(params.shape, self.joint_shape_directions)
        joints = joints + _blend(params.expression, self.joint_expression_directions)
        poses = torch.cat(
            [
                pose.reshape(pose.shape[0], -1, 3).expand(batch, -1, 3)
                for pose in (params.root_pose, params.neck_pose, params.jaw_pose, params.eyes_pose)
            ],
            1,
        )
        rotations = rotvec_to_matrix(poses)  # [B,5,3,3]
        identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        feature = (rotations[:, 1:] - identity).reshape(batch, -1)
        transforms = joint_transforms(rotations, joints.expand(batch, -1, -1))
        joints_h = torch.cat([joints, joints.new_zeros(*joints.shape[:2], 1)], -1).expand(batch, -1, -1)
        skinning = transforms.clone()
        skinning[..., 3] = skinning[..., 3] - (transforms @ joints_h[..., None])[..., 0]
        return skinning, feature, transforms

    def landmarks_of(self, vertices: Tensor) -> Tensor:
        """The embedded landmarks [B,478,3] on given vertices [B,V,3]."""
        if self.landmarks is None:
            raise InputError(
                f"The head {self.name!r} has no landmark embedding yet; make one with blendsplat.heads.embed_head."
            )
        corners = vertices[:, self.faces[self.landmarks.faces]]  # [B,L,3,3]
        return (corners * self.landmarks.barycentrics[None, :, :, None]).sum(2)

    def personalise(self, shape: Tensor, vertex_offsets: Tensor | None = None, name: str | None = None) -> HeadModel:
        """The same head with ``shape`` [S] and ``vertex_offsets`` [V,3] built into the template; S becomes 0."""
        template = self.template + torch.einsum("s,svc->vc", shape, self.shape_directions)
        if vertex_offsets is not None:
            template = template + vertex_offsets
        return replace(
            self,
            name=name or self.name,
            template=template,
            joints=self.joints + torch.einsum("s,sjc->jc", shape, self.joint_shape_directions),
            shape_directions=self.shape_directions[:0],
            joint_shape_directions=self.joint_shape_directions[:0],
            shape_names=(),
        )

    def _check(self, params: HeadParams) -> None:
        for what, have, want in (
            ("shape", params.shape.shape[-1], self.shape_count),
            ("expression", params.expression.shape[-1], self.expression_count),
        ):
            if have != want:
                raise InputError(f"The head {self.name!r} has {want} {what} parameters, but {have} were given.")


def joint_transforms(rotations: Tensor, joints: Tensor) -> Tensor:
    """Chain local rotations [B,5,3,3] at rest joints [B,5,3] along PARENTS -> world transforms [B,5,4,4]."""
    batch = rotations.shape[0]
    bottom = rotations.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(batch, 1, 4)
    world: list[Tensor] = []
    for joint, parent in enumerate(PARENTS):
        offset = joints[:, joint] - (joints[:, parent] if parent >= 0 else 0)
        local = torch.cat([torch.cat([rotations[:, joint], offset[..., None]], -1), bottom], 1)
        world.append(local if parent < 0 else world[parent] @ local)
    return torch.stack(world, 1)


def _blend(coefficients: Tensor, directions: Tensor) -> Tensor:
    """Coefficients [B,C], directions [C,V,3] -> [B,V,3] as one matrix product."""
    flat = coefficients.to(directions.dtype) @ directions.flatten(1)
    return flat.reshape(coefficients.shape[0], *directions.shape[1:])


def part_of(head: HeadModel, vertices: torch.Tensor) -> HeadModel:
    """The head with only some of its vertices (its faces no longer mean anything; its regions are renumbered)."""
    return replace(
        head,
        template=head.template[vertices],
        shape_directions=head.shape_directions[:, vertices],
        expression_directions=head.expression_directions[:, vertices],
        eyelid_directions=head.eyelid_directions[:, vertices],
        pose_directions=head.pose_directions[:, vertices],
        skin_weights=head.skin_weights[vertices],
        regions={
            name: np.flatnonzero(np.isin(vertices.cpu().numpy(), region)) for name, region in head.regions.items()
        },
    )

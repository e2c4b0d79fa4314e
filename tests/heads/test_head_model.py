# SPDX-License-Identifier: Apache-2.0
"""The head's forward pass against a plain loop over vertices and joints, and its promises (gradients, personalise)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from blendsplat.errors import InputError
from blendsplat.heads.model import PARENTS, HeadModel, HeadParams, LandmarkEmbedding
from small_head import small_head


def random_params(head: HeadModel, batch: int, seed: int = 1, scale: float = 0.5) -> HeadParams:
    torch.manual_seed(seed)
    params = head.neutral(batch)
    for name in vars(params):
        setattr(params, name, torch.randn_like(getattr(params, name)) * scale)
    return params


def loop_forward(head: HeadModel, params: HeadParams, row: int, offsets: np.ndarray | None = None):
    """Li et al. 2017, eq. 1-5, one vertex at a time."""
    get = {name: value[min(row, len(value) - 1)].numpy() for name, value in vars(params).items()}
    poses = [get["root_pose"], get["neck_pose"], get["jaw_pose"], *get["eyes_pose"]]
    rotations = [Rotation.from_rotvec(pose).as_matrix() for pose in poses]
    joints = head.joints.numpy().copy()
    for i, value in enumerate(get["shape"]):
        joints += value * head.joint_shape_directions[i].numpy()
    for i, value in enumerate(get["expression"]):
        joints += value * head.joint_expression_directions[i].numpy()
    world = []
    for j, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    out = []
    for v in range(head.vertex_count):
        point = head.template[v].numpy().copy()
        if offsets is not None:
            point += offsets[v]
        for name, directions in (("shape", head.shape_directions), ("expression", head.expression_directions)):
            for i, value in enumerate(get[name]):
                point += value * directions[i, v].numpy()
        for i in range(2):
            point += get["eyelids"][i] * head.eyelid_directions[i, v].numpy()
        k = 0
        for j in range(1, 5):
            for a in range(3):
                for b in range(3):
                    point += (rotations[j][a, b] - (a == b)) * head.pose_directions[k, v].numpy()
                    k += 1
        skinned = np.zeros(3)
        for j in range(5):
            skinned += head.skin_weights[v, j].item() * (world[j][:3, :3] @ (point - joints[j]) + world[j][:3, 3])
        out.append(skinned + get["translation"])
    for transform in world:
        transform[:3, 3] += get["translation"]
    return np.array(out), np.array(world)


def test_forward_is_the_loop() -> None:
    head = small_head()
    params = random_params(head, 3)
    offsets = torch.randn_like(head.template) * 0.01
    vertices, transforms = head.posed(params, offsets)
    for row in range(3):
        expected, world = loop_forward(head, params, row, offsets.numpy())
        np.testing.assert_allclose(vertices[row], expected, atol=1e-12)
        np.testing.assert_allclose(transforms[row], world, atol=1e-12)


def test_one_row_holds_for_all_frames() -> None:
    head = small_head()
    params = random_params(head, 4)
    params.shape, params.root_pose, params.eyelids = params.shape[:1], params.root_pose[:1], params.eyelids[:1]
    vertices = head(params)
    assert vertices.shape == (4, head.vertex_count, 3)
    np.testing.assert_allclose(vertices[2], loop_forward(head, params, 2)[0], atol=1e-12)
    one = head(params[2:3])
    np.testing.assert_allclose(one[0], vertices[2], atol=1e-12)


def test_neutral_is_the_template() -> None:
    head = small_head()
    np.testing.assert_allclose(head(head.neutral(2))[1], head.template, atol=1e-15)


def test_rotating_the_root_moves_everything_rigidly_about_it() -> None:
    head = small_head()
    params = head.neutral()
    params.root_pose = torch.tensor([[0.3, -0.5, 0.2]], dtype=torch.float64)
    rotation = Rotation.from_rotvec(params.root_pose[0].numpy()).as_matrix()
    expected = (head.template - head.joints[0]).numpy() @ rotation.T + head.joints[0].numpy()
    np.testing.assert_allclose(head(params)[0], expected, atol=1e-12)


def test_gradients() -> None:
    head = small_head(shape=2, expression=2)
    params = random_params(head, 1)
    names = list(vars(params))
    inputs = [getattr(params, name).requires_grad_() for name in names]

    def few(*values: torch.Tensor) -> torch.Tensor:
        return head(HeadParams(**dict(zip(names, values, strict=True))))[:, ::40]

    assert torch.autograd.gradcheck(few, inputs)


def test_gradient_at_rest_is_finite() -> None:
    head = small_head()
    params = head.neutral()
    params.neck_pose.requires_grad_()
    head(params).sum().backward()
    assert params.neck_pose.grad is not None and torch.isfinite(params.neck_pose.grad).all()
    assert params.neck_pose.grad.abs().sum() > 0


def test_personalise_is_the_same_head() -> None:
    head = small_head()
    params = random_params(head, 3)
    params.shape = params.shape[:1]
    offsets = torch.randn_like(head.template) * 0.01
    person = head.personalise(params.shape[0], offsets, "person")
    assert person.name == "person" and person.shape_count == 0
    person_params = HeadParams(**{**vars(params), "shape": params.shape[:, :0]})
    for have, want in zip(person.posed(person_params), head.posed(params, offsets), strict=True):
        np.testing.assert_allclose(have, want, atol=1e-12)


def test_landmarks_follow_the_surface() -> None:
    head = small_head()
    with pytest.raises(InputError, match="embedding"):
        head.landmarks_of(head.template[None])
    weights = torch.rand(478, 3, dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)
    index = torch.randint(len(head.faces), (478,))
    head.landmarks = LandmarkEmbedding(index, weights, torch.ones(478))
    points = head.landmarks_of(head.template[None])
    expected = sum(weights[7, i] * head.template[head.faces[index[7], i]] for i in range(3))
    np.testing.assert_allclose(points[0, 7], expected, atol=1e-15)
    moved = head.to("cpu", torch.float32)
    assert moved.template.dtype == torch.float32 and moved.faces.dtype == torch.int64
    assert moved.landmarks is not None and moved.landmarks.barycentrics.dtype == torch.float32


def test_wrong_counts_are_named() -> None:
    head = small_head(expression=3)
    params = head.neutral()
    params.expression = torch.zeros(1, 5, dtype=torch.float64)
    with pytest.raises(InputError, match="3 expression parameters, but 5"):
        head(params)

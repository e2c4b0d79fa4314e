# SPDX-License-Identifier: Apache-2.0
"""The texture of a fitted head against a known one: a painted head is photographed, and its paint is to come back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.portrait import region_mask
from blendsplat.heads.uv import texture_texels
from blendsplat.photographs.face_texture import EYES, INSIDE_MOUTH, View, project_texture
from blendsplat.splatting import rasterize_mesh

SIDE, SIZE = 500, 512
K = np.array([[1100, 0, SIDE / 2], [0, 1100, SIDE / 2], [0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


def paint(points: np.ndarray, symmetric: bool) -> np.ndarray:
    """Smooth colours [P,3], 0..255, of points of the resting head [P,3] (metres)."""
    x = np.abs(points[:, :1]) if symmetric else points[:, :1]
    rest = np.concatenate([x, points[:, 1:]], 1)
    return 127 + 90 * np.sin(rest @ np.array([[40, 0, 25], [10, 45, -20], [0, 15, 30.0]]) + [0, 1, 2])


def before_camera(head: HeadModel, yaw: float) -> np.ndarray:
    """Vertices [V,3] in camera axes: the head a metre away, turned by ``yaw`` degrees."""
    points = head(head.neutral())[0] - head.template[torch.from_numpy(head.regions["face"])].mean(0)
    turned = points @ rotvec_to_matrix(torch.tensor([0.0, float(np.radians(yaw)), 0.0])).T
    return (turned * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.0, 0.0, 1.0])).float().numpy()


def photograph(head: HeadModel, vertices: np.ndarray, symmetric: bool, backdrop: tuple[int, int, int]) -> View:
    ids, weights, _ = rasterize_mesh(
        torch.from_numpy(vertices)[None], head.faces, torch.eye(4)[None], torch.from_numpy(K)[None], SIDE, SIDE
    )
    shown = ids[0].numpy() >= 0
    image = np.full((SIDE, SIDE, 3), backdrop, np.uint8)
    corners = head.template.numpy()[head.faces.numpy()[ids[0].numpy()[shown]]]
    rest = (corners * weights[0].numpy()[shown][:, :, None]).sum(1)
    image[shown] = paint(rest, symmetric).astype(np.uint8)
    return View(image, shown.astype(np.uint8) * 255, K)


def truth(head: HeadModel, symmetric: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the skin's texels: their numbers [N], true colours [N,3], resting places [N,3]."""
    texels, triangles, weights = texture_texels(head.uvs, head.uv_faces, SIZE)
    corners = head.faces.numpy()[triangles]
    skin = ~region_mask(head, *EYES, *INSIDE_MOUTH)[corners].any(1)
    rest = (head.template.numpy()[corners] * weights[:, :, None]).sum(1)[skin]
    return texels[skin], paint(rest, symmetric), rest


def errors(head: HeadModel, texture: np.ndarray, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    texels, want, rest = truth(head, symmetric)
    return np.abs(texture.reshape(-1, 3)[texels].astype(float) - want).max(1), rest


def test_what_the_camera_saw_comes_back(head: HeadModel) -> None:
    vertices = before_camera(head, 0)
    texture = project_texture(photograph(head, vertices, False, (0, 255, 0)), vertices, head, SIZE)
    assert texture.shape == (SIZE, SIZE, 3) and texture.dtype == np.uint8
    error, rest = errors(head, texture, False)
    front = (rest[:, 2] > np.quantile(rest[:, 2], 0.8)) & (rest[:, 1] > -0.11)  # the mask of the face
    assert np.median(error[front]) < 4 and np.quantile(error[front], 0.95) < 25


@pytest.mark.parametrize("yaw", [35, -35])
def test_the_hidden_side_is_the_seen_one_mirrored(head: HeadModel, yaw: float) -> None:
    vertices = before_camera(head, yaw)
    texture = project_texture(photograph(head, vertices, True, (0, 255, 0)), vertices, head, SIZE)
    error, rest = errors(head, texture, True)
    cheek = (rest[:, 0] * yaw < -0.045 * abs(yaw)) & (rest[:, 2] > 0.0) & (np.abs(rest[:, 1]) < 0.07)
    assert cheek.sum() > 500
    assert np.median(error[cheek]) < 12


def test_the_backdrop_is_nowhere_and_nothing_is_left_empty(head: HeadModel) -> None:
    vertices = before_camera(head, 20)
    view = photograph(head, vertices, True, (255, 0, 255))
    view.image[view.matte > 0] = (150, 120, 100)
    texture = project_texture(view, vertices, head, SIZE).astype(int)
    texels, _, _ = truth(head, True)
    skin = texture.reshape(-1, 3)[texels]
    assert np.abs(skin - [150, 120, 100]).max() < 30  # neither magenta from behind nor black
    assert np.abs(skin - [150, 120, 100]).mean() < 2
    assert texture.min() > 0


def test_there_is_no_seam_where_the_layout_is_cut(head: HeadModel) -> None:
    """Both sides of a UV cut show the same place of the head, so they must have the same colour."""
    vertices = before_camera(head, 25)
    texture = project_texture(photograph(head, vertices, True, (0, 0, 0)), vertices, head, SIZE)
    skin = ~region_mask(head, *EYES, *INSIDE_MOUTH)
    faces, uv_faces = head.faces.numpy(), head.uv_faces.numpy()
    places: dict[int, set[int]] = {}
    for vertex, uv in zip(faces.ravel(), uv_faces.ravel(), strict=True):
        if skin[vertex]:
            places.setdefault(int(vertex), set()).add(int(uv))
    pairs = np.array([sorted(uvs)[:2] for uvs in places.values() if len(uvs) > 1])
    assert len(pairs) > 20
    at = (head.uvs.numpy()[pairs] * [1, -1] + [0, 1]) * SIZE
    blurred = cv2.GaussianBlur(texture.astype(np.float32), (0, 0), 1.0)
    colours = cv2.remap(blurred, (at - 0.5).astype(np.float32), np.zeros(0), cv2.INTER_LINEAR)
    assert np.median(np.abs(colours[:, 0] - colours[:, 1]).max(1)) < 6


def test_a_face_outside_the_picture_is_still_textured(head: HeadModel) -> None:
    """Half of the head is cut off by the frame: no crash, no smeared border pixels as colours."""
    vertices = before_camera(head, 0)
    moved = vertices + np.array([0.2, 0, 0], np.float32)
    texture = project_texture(photograph(head, moved, True, (0, 255, 0)), moved, head, SIZE)
    error, rest = errors(head, texture, True)
    cut_off = (rest[:, 0] > 0.05) & (rest[:, 2] > 0.04)
    assert np.median(error[cut_off]) < 30

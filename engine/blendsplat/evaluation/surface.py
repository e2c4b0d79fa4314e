# SPDX-License-Identifier: Apache-2.0
"""What of a head's mesh is its outside: scans and heads have mouths, sockets and skulls inside, which no scanner sees
and no other head has, and distances to or from them say nothing of a face."""

from __future__ import annotations

import numpy as np
import torch

from blendsplat.heads.portrait import look_at
from blendsplat.splatting import rasterize_mesh

YAWS, PITCHES = (-90, -60, -30, 0, 30, 60, 90), (-50, -20, 0, 20, 50)  # degrees of the views, from the face's own front
SIDE, FOCAL = 384, 8.0  # pixels of a view, and focal length over it: nearly parallel
FEWEST = 3  # pixels of all views together in which a face must be seen
WIDE = 3.6  # what a view shows, in distances between the outer corners of the eyes


def outside_faces(vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """[F] bool: faces that can be seen from around the front of a head (vertices [V,3], faces [F,3], seven landmarks
    [7,3] as scans.LANDMARKS); what shines through a seam in single pixels is none."""
    frame = face_axes(landmarks)
    eyes = float(np.linalg.norm(landmarks[0] - landmarks[3]))
    turned = torch.as_tensor((vertices - landmarks.mean(0)) @ frame.T / eyes, dtype=torch.float32)
    K = torch.tensor([[FOCAL * SIDE, 0, SIDE / 2], [0, FOCAL * SIDE, SIDE / 2], [0, 0, 1]])
    pixels = np.zeros(len(faces), np.int64)
    triangles = torch.as_tensor(np.asarray(faces, np.int32))
    for yaw in YAWS:
        views = [look_at(np.zeros(3), FOCAL * WIDE, np.radians(yaw), np.radians(pitch)) for pitch in PITCHES]
        viewmats = torch.as_tensor(np.stack(views), dtype=torch.float32)
        count = len(views)
        ids, _, _ = rasterize_mesh(
            turned.expand(count, -1, -1), triangles, viewmats, K.expand(count, 3, 3), SIDE, SIDE
        )  # fmt: skip
        pixels += np.bincount(ids.numpy().ravel() + 1, minlength=len(faces) + 1)[1:]
    seen: np.ndarray = pixels >= FEWEST
    return seen


def with_rim(faces: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[F] bool: the chosen ones of faces [F,3] and those that share a vertex with one. What is measured against must
    have no hole where a face is smaller than a pixel; what is measured must hold nothing doubtful."""
    touched = np.zeros(int(faces.max()) + 1, bool)
    touched[faces[chosen]] = True
    rim: np.ndarray = touched[faces].any(1)
    return rim


def face_axes(landmarks: np.ndarray) -> np.ndarray:
    """Rotation [3,3] whose rows are a face's left, up and forward, from its seven landmarks [7,3]."""
    across = landmarks[2:4].mean(0) - landmarks[0:2].mean(0)
    up = landmarks[:4].mean(0) - landmarks[5:7].mean(0)
    x = across / np.linalg.norm(across)
    z = np.cross(x, up)
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z])

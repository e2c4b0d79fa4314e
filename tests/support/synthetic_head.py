# SPDX-License-Identifier: Apache-2.0
"""A small invented head whose 478 vertices are the landmarks themselves, and clips of it whose truth is known.

It needs no model file and no detector, so a wrong fit is the fit's own fault.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import Delaunay

from blendsplat.geometry import project_points
from blendsplat.heads.model import HeadModel, HeadParams, LandmarkEmbedding
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts

MM = 1e-3


def _surface(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth (mm) of a face over (x, y) mm: an ellipsoid with a nose."""
    round_part = 95 * np.sqrt(np.clip(1 - (x / 80) ** 2 - ((y + 15) / 120) ** 2, 0.02, None))
    return round_part + 24 * np.exp(-((x / 10) ** 2) - ((y + 32) / 20) ** 2)


def _ring(indices, centre, radii, start=np.pi, phase=0.0):
    angle = start - np.linspace(0, 2 * np.pi, len(indices), endpoint=False) + phase
    return {
        i: (centre[0] + radii[0] * np.cos(a), centre[1] + radii[1] * np.sin(a))
        for i, a in zip(indices, angle, strict=True)
    }


def _layout(rng: np.random.Generator) -> np.ndarray:
    """Positions [478,3] in mm; the person's left is +x, so 'right' indices have x < 0."""
    at = dict.fromkeys(range(pts.COUNT))
    at.update(_ring(pts.OUTER_LIPS, (0, -67), (26, 9)))
    at.update(_ring(pts.INNER_LIPS, (0, -67), (22, 1.2)))
    at.update(_ring(pts.RIGHT_LIDS, (-31, 0), (15, -5)))
    at.update(_ring(pts.LEFT_LIDS, (31, 0), (15, -5), start=0.0))
    at.update(
        {
            i: (s * (14 + 8 * (k % 5)), 19 + 5 * (k // 5))
            for s, brow in ((-1, pts.RIGHT_BROW), (1, pts.LEFT_BROW))
            for k, i in enumerate(brow)
        }
    )
    at.update(_ring(pts.OVAL, (0, -15), (72, 105), start=np.pi / 2))
    at.update(
        {
            33: (-46, 0),
            133: (-16, 0),
            362: (16, 0),
            263: (46, 0),
            168: (0, 6),
            6: (0, -4),
            197: (0, -14),
            195: (0, -22),
            5: (0, -28),
            4: (0, -36),
            1: (0, -39),
        }
    )
    for i in range(pts.COUNT):
        if at[i] is None:
            angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0.02, 0.8))
            at[i] = (66 * radius * np.cos(angle), -12 + 95 * radius * np.sin(angle))
    flat = np.array([at[i] for i in range(pts.COUNT)], float)
    points = np.column_stack([flat, _surface(flat[:, 0], flat[:, 1])])
    for iris, x in ((pts.RIGHT_IRIS, -31.5), (pts.LEFT_IRIS, 31.5)):
        around = np.array([[0, 0], [5.8, 0], [0, 5.8], [-5.8, 0], [0, -5.8]])
        points[list(iris)] = np.column_stack([x + around[:, 0], around[:, 1], 70 + np.sqrt(144 - (around**2).sum(1))])
    return points


def _fields(points: np.ndarray, centres: np.ndarray, radius: float, pushes: np.ndarray) -> np.ndarray:
    """Smooth displacement fields [C,V,3] (metres): field c pushes pushes[c] (mm) around centres[c] (mm)."""
    distance = ((points[None] - centres[:, None]) ** 2).sum(-1)
    return (np.exp(-distance / (2 * radius**2))[..., None] * pushes[:, None] * MM).astype(np.float32)


def make_head(seed: int = 0, shapes: int = 12, expressions: int = 16, bounded: bool = False) -> HeadModel:
    """478 landmark vertices + a neck ring of 24. Eyes and jaw turn; expressions lie around mouth, brows, lids."""
    rng = np.random.default_rng(seed)
    points = _layout(rng)
    skin = points[:468]
    triangles = Delaunay(skin[:, :2]).simplices
    corner = skin[triangles]
    flip = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])[:, 2] < 0
    triangles[flip] = triangles[flip][:, ::-1]
    eyes = np.array(
        [[i[0], i[a], i[b]] for i in (pts.RIGHT_IRIS, pts.LEFT_IRIS) for a, b in ((1, 2), (2, 3), (3, 4), (4, 1))]
    )
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.column_stack([58 * np.sin(angle), np.full(24, -165.0), 58 * np.cos(angle)])
    lower = np.array([[478 + k, 478 + (k + 1) % 24, 152] for k in range(24)])
    faces = np.concatenate([triangles, eyes, lower])
    every = np.concatenate([points, ring])
    V = len(every)

    home = np.zeros(pts.COUNT, int)
    for f, face in enumerate(faces):
        for v in face:
            if v < pts.COUNT:
                home[v] = f
    mix = (faces[home] == np.arange(pts.COUNT)[:, None]).astype(np.float32)
    weights = np.zeros((V, 5), np.float32)
    jaw = 1 / (1 + np.exp((every[:, 1] + 69) / 3)) * (every[:, 2] > 20)
    weights[:, 1], weights[:, 2] = 1 - 0.9 * jaw, 0.9 * jaw
    weights[list(pts.LEFT_IRIS)], weights[list(pts.RIGHT_IRIS)] = [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]
    weights[478:] = [0.9, 0.1, 0, 0, 0]
    eyeballs = [*pts.LEFT_IRIS, *pts.RIGHT_IRIS]

    shape = _fields(every, skin[rng.integers(0, 468, shapes)], 40, rng.normal(size=(shapes, 3)) * 3)
    places = np.array(
        [
            [0, -67, 85],
            [-20, -67, 80],
            [20, -67, 80],
            [-30, 22, 80],
            [30, 22, 80],
            [0, 25, 90],
            [-45, -40, 60],
            [45, -40, 60],
        ]
    )
    expression = _fields(
        every,
        places[np.arange(expressions) % len(places)] + rng.normal(size=(expressions, 3)) * 6,
        14,
        rng.normal(size=(expressions, 3)) * 5,
    )
    lids = np.zeros((2, V, 3), np.float32)
    for side, ids in enumerate((pts.LEFT_LIDS, pts.RIGHT_LIDS)):
        upper = [i for i in ids if points[i, 1] > 0.5]
        lids[side, upper, 1] = -2 * points[upper, 1] * MM
    shape[:, eyeballs], expression[:, eyeballs] = 0, 0
    t = torch.as_tensor
    return HeadModel(
        name="synthetic",
        template=t(every * MM, dtype=torch.float32),
        faces=t(faces, dtype=torch.int64),
        uvs=t(every[:, :2] / 400 + 0.5, dtype=torch.float32),
        uv_faces=t(faces, dtype=torch.int64),
        shape_directions=t(shape),
        expression_directions=t(expression),
        expression_names=tuple(f"e{i}" for i in range(expressions)),
        eyelid_directions=t(lids),
        pose_directions=t(rng.normal(size=(36, V, 3)) * 0.5 * MM, dtype=torch.float32),
        joints=t(
            np.array([[0, -165, -10], [0, -110, -10], [0, -18, 8], [31.5, 0, 70], [-31.5, 0, 70]]) * MM,
            dtype=torch.float32,
        ),
        joint_shape_directions=t(rng.normal(size=(shapes, 5, 3)) * 0.3 * MM, dtype=torch.float32),
        joint_expression_directions=t(rng.normal(size=(expressions, 5, 3)) * 0.1 * MM, dtype=torch.float32),
        skin_weights=t(weights),
        regions={
            "face": np.arange(468),
            "neck_ring": np.arange(478, 502),
            "left_eyeball": np.array(pts.LEFT_IRIS),
            "right_eyeball": np.array(pts.RIGHT_IRIS),
        },
        landmarks=LandmarkEmbedding(t(home), t(mix), torch.ones(pts.COUNT)),
        expression_range=(0.0, 1.0) if bounded else (-3.0, 3.0),
    )


def make_truth(
    head: HeadModel, frames: int = 40, seed: int = 1, fov: float = 30.0, size: int = 512, fps: float = 25.0
) -> Performance:
    """A clip of smooth, lively motion with two blinks. fov in degrees across the image."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / fps

    def wave(*shape: int, rate: float = 0.5) -> np.ndarray:
        phase, speed = rng.uniform(0, 2 * np.pi, shape), rate * rng.uniform(0.6, 1.4, shape)
        return np.sin(2 * np.pi * time.reshape(-1, *[1] * len(shape)) * speed + phase)

    focal = size / 2 / np.tan(np.radians(fov) / 2)
    distance = focal * 0.22 / (0.62 * size)
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], np.float32)
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    viewmat[2, 3] = distance
    expression = 0.5 * wave(head.expression_count, rate=1.2)
    if head.expression_range[0] == 0:
        expression = np.clip(expression, 0, 1)
    blink = sum(np.exp(-(((time - moment) / 0.07) ** 4)) for moment in (time[-1] * 0.3, time[-1] * 0.7))
    eyes = np.zeros((frames, 2, 3))
    eyes[:, :, :2] = wave(2)[:, None] * np.radians([6, 14])
    jaw = np.zeros((frames, 3))
    jaw[:, 0] = 0.12 * (1 + wave(rate=1.5))
    f32 = np.float32
    return Performance(
        head=head.name,
        head_source="synthetic",
        width=size,
        height=size,
        timestamps=time,
        valid=np.ones(frames, bool),
        shape=rng.normal(size=head.shape_count).astype(f32),
        vertex_offsets=np.zeros((head.vertex_count, 3), f32),
        expression=expression.astype(f32),
        root_pose=np.zeros((frames, 3), f32),
        neck_pose=(wave(3) * np.radians([8, 22, 6])).astype(f32),
        jaw_pose=jaw.astype(f32),
        eyes_pose=eyes.astype(f32),
        eyelids=np.repeat(blink[:, None], 2, 1).astype(f32),
        translation=(wave(3) * np.array([10, 6, 12]) * MM).astype(f32),
        K=K,
        viewmat=viewmat,
        expression_names=head.expression_names,
        head_model=head.model_id,
    )


def landmarks_of(head: HeadModel, truth: Performance) -> np.ndarray:
    """Exact projected landmarks [F,478,2] in pixels."""
    params: HeadParams = truth.params()
    world = head.landmarks_of(head(params, torch.as_tensor(truth.vertex_offsets)))
    F = truth.frame_count
    return project_points(
        world, torch.as_tensor(truth.viewmat).expand(F, 4, 4), torch.as_tensor(truth.K).expand(F, 3, 3)
    ).numpy()

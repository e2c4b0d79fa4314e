# SPDX-License-Identifier: Apache-2.0
"""Recordings as other trackers make them of a small "FLAME" before a moving camera, and where its vertices must be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from blendsplat.geometry import project_points
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance

FRAMES, WIDTH, HEIGHT = 6, 64, 48


def make_head(vertices: int) -> HeadModel:
    """A "FLAME" without pose correctives; every vertex belongs to the skull, the jaw or an eye."""
    generator = torch.Generator().manual_seed(0)

    def noise(*size: int, scale: float = 0.01) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64) * scale

    weights = torch.zeros(vertices, 5, dtype=torch.float64)
    weights[torch.arange(vertices), torch.randint(1, 5, (vertices,), generator=generator)] = 1
    corners = torch.arange(vertices // 3 * 3).reshape(-1, 3)
    return HeadModel(
        name="flame-small",
        template=noise(vertices, 3, scale=0.08),
        faces=corners,
        uvs=torch.zeros(vertices, 2),
        uv_faces=corners,
        shape_directions=noise(8, vertices, 3),
        expression_directions=noise(7, vertices, 3),
        expression_names=tuple("abcdefg"),
        eyelid_directions=noise(2, vertices, 3),
        pose_directions=torch.zeros(36, vertices, 3, dtype=torch.float64),
        joints=noise(5, 3, scale=0.05),
        joint_shape_directions=noise(8, 5, 3),
        joint_expression_directions=noise(7, 5, 3),
        skin_weights=weights,
    )


def parameters(rng: np.random.Generator, vertices: int = 30) -> dict[str, np.ndarray]:
    return {
        "translation": rng.normal(0, 0.05, (FRAMES, 3)),
        "rotation": rng.normal(0, 0.3, (FRAMES, 3)),
        "neck_pose": rng.normal(0, 0.2, (FRAMES, 3)),
        "jaw_pose": rng.normal(0, 0.1, (FRAMES, 3)),
        "eyes_pose": rng.normal(0, 0.2, (FRAMES, 6)),
        "shape": rng.normal(0, 1, 8),
        "expr": rng.normal(0, 1, (FRAMES, 7)),
        "static_offset": rng.normal(0, 0.003, (1, vertices, 3)),
    }


def head_params(values: dict[str, np.ndarray], eyelids=None) -> HeadParams:
    def tensor(value) -> torch.Tensor:
        return torch.as_tensor(np.asarray(value), dtype=torch.float64)

    return HeadParams(
        tensor(values["shape"])[None],
        tensor(values["expr"]),
        tensor(values["rotation"]),
        tensor(values["neck_pose"]),
        tensor(values["jaw_pose"]),
        tensor(values["eyes_pose"]).reshape(-1, 2, 3),
        tensor(np.zeros((FRAMES, 2)) if eyelids is None else eyelids),
        tensor(values["translation"]),
    )


def cameras(rng: np.random.Generator) -> np.ndarray:
    """World-to-camera matrices of a camera that moves a little, a metre in front of the face, OpenCV axes."""
    viewmats = np.repeat(np.diag([1.0, -1.0, -1.0, 1.0])[None], FRAMES, 0)
    viewmats[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.1, (FRAMES, 3))).as_matrix() @ viewmats[:, :3, :3]
    viewmats[:, :3, 3] = np.array([0.01, 0.02, 1.0]) + rng.normal(0, 0.03, (FRAMES, 3))
    return viewmats


K = np.array([[80.0, 0, 31], [0, 82, 25], [0, 0, 1]])


def projected(vertices: torch.Tensor, viewmats: np.ndarray) -> np.ndarray:
    camera = np.einsum("fij,fvj->fvi", viewmats[:, :3, :3], vertices.numpy()) + viewmats[:, None, :3, 3]
    pixels = camera @ K.T
    return pixels[..., :2] / pixels[..., 2:]


def tracked_pixels(tracking: Performance, head: HeadModel) -> np.ndarray:
    params = tracking.params().to(torch.float64)
    vertices = head(params, torch.as_tensor(tracking.vertex_offsets, dtype=torch.float64))
    viewmats = torch.as_tensor(tracking.viewmat, dtype=torch.float64)[None].expand(tracking.frame_count, -1, -1)
    intrinsics = torch.as_tensor(tracking.K, dtype=torch.float64)[None].expand(tracking.frame_count, -1, -1)
    return project_points(vertices, viewmats, intrinsics)[..., :2].numpy()


def write_pictures(folder, rng, alpha=False) -> list[str]:
    folder.mkdir(parents=True)
    names = []
    for index in range(FRAMES):
        names.append(f"{folder.name}/{index:05d}_00.png")
        channels = 4 if alpha else 3
        Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, channels), np.uint8)).save(folder.parent / names[-1])
    return names


def write_vhap(folder: Path, vertices: int = 30) -> tuple[Path, dict[str, np.ndarray], np.ndarray]:
    """VHAP's export of a moving camera (and one frame of another one): (folder, parameters, viewmats)."""
    rng = np.random.default_rng(1)
    values, viewmats = parameters(rng, vertices), cameras(rng)
    images, masks = write_pictures(folder / "images", rng), write_pictures(folder / "fg_masks", rng)
    (folder / "flame_param").mkdir()
    frames = []
    for index in range(FRAMES):
        name = f"flame_param/{index:05d}.npz"
        shared = {"shape": values["shape"], "static_offset": values["static_offset"]}
        np.savez(folder / name, **{k: v[index : index + 1] for k, v in values.items() if k not in shared}, **shared)
        opengl = np.linalg.inv(viewmats[index]) @ np.diag([1, -1, -1, 1])
        frames.append(
            {
                "timestep_index": index,
                "camera_index": 0,
                "cx": 31,
                "cy": 25,
                "fl_x": 80,
                "fl_y": 82,
                "h": HEIGHT,
                "w": WIDTH,
                "transform_matrix": opengl.tolist(),
                "file_path": images[index],
                "fg_mask_path": masks[index],
                "flame_param_path": name,
            }
        )
    other = {**frames[0], "camera_index": 3, "file_path": "images/missing.png"}
    (folder / "transforms.json").write_text(json.dumps({"frames": [*frames[::-1], other]}))
    return folder, values, viewmats

# SPDX-License-Identifier: Apache-2.0
"""Small made-up heads, avatars and performances in the engine's file formats, written with numpy alone.

They let the add-on's tests (and the fake engine) run where neither torch nor the engine is installed.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np

EXPRESSIONS = ("jawOpen", "mouthSmileLeft", 'odd "name" ä')


def grid_head(size: int = 12, seed: int = 3) -> tuple[dict, dict[str, np.ndarray]]:
    """(meta, rig arrays) of a bent sheet with all of a head's features: expressions that move joints, correctives."""
    rng = np.random.default_rng(seed)
    u, v = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    template = np.stack([0.2 * (u - 0.5), 0.25 * (v - 0.5), 0.1 - 0.3 * (u - 0.5) ** 2], -1).reshape(-1, 3)
    template += rng.normal(0, 0.002, template.shape)
    index = np.arange(size * size).reshape(size, size)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    uvs = np.stack([u, v], -1).reshape(-1, 2) + rng.normal(0, 0.01, (size * size, 2))
    uvs[:, 0] = np.where(uvs[:, 0] > 0.5, 1.5 - uvs[:, 0], uvs[:, 0])  # half of the layout is mirrored
    count = len(template)
    weights = rng.random((count, 5)) ** 4
    arrays = {
        "template": template, "faces": faces, "uvs": uvs, "uv_faces": faces,
        "expression_directions": rng.normal(0, 0.01, (len(EXPRESSIONS), count, 3)),
        "eyelid_directions": rng.normal(0, 0.005, (2, count, 3)),
        "pose_directions": rng.normal(0, 0.003, (36, count, 3)) * (np.arange(36) % 5 != 0)[:, None, None],
        "joints": np.array([[0, -0.1, 0], [0, -0.06, 0.0], [0, -0.02, 0.02], [0.03, 0.03, 0.06], [-0.03, 0.03, 0.06]]),
        "joint_expression_directions": rng.normal(0, 0.003, (len(EXPRESSIONS), 5, 3)),
        "skin_weights": weights / weights.sum(1, keepdims=True),
    }  # fmt: skip
    typed = {f"rig.{k}": np.asarray(a, np.int32 if "faces" in k else np.float32) for k, a in arrays.items()}
    return {"head": "grid", "expression_names": list(EXPRESSIONS), "expression_range": [0.0, 1.0]}, typed


def named_head(names: list[str], size: int = 8) -> tuple[dict, dict[str, np.ndarray]]:
    """As ``grid_head``, with expressions of these names that move no joint, and without lids of its own."""
    meta, arrays = grid_head(size)
    count = size * size
    moves = np.random.default_rng(1).normal(0, 0.01, (len(names), count, 3))
    arrays["rig.expression_directions"] = moves.astype(np.float32)
    arrays["rig.joint_expression_directions"] = np.zeros((len(names), 5, 3), np.float32)
    arrays["rig.eyelid_directions"] = np.zeros((2, count, 3), np.float32)
    return meta | {"expression_names": names}, arrays


def performance_arrays(frames: int = 20, seed: int = 5, fps: float = 25.0) -> dict[str, np.ndarray]:
    """The arrays of a tracking.npz; frame 3 has no face."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / fps
    wave = np.sin(2 * np.pi * time[:, None] * rng.uniform(0.3, 2, (1, 16)) + rng.uniform(0, 6, (1, 16)))
    valid = np.ones(frames, dtype=bool)
    if frames > 4:
        valid[3] = False
    width = 256.0
    view = np.diag([1.0, -1.0, -1.0, 1.0])
    view[:3, 3] = [0.01, -0.02, 1.0]
    arrays = {
        "timestamps": time, "valid": valid, "expression": 0.5 + 0.5 * wave[:, :3],
        "root_pose": np.zeros((frames, 3)) + [0.05, 0.1, 0],
        "neck_pose": 0.4 * wave[:, 3:6], "jaw_pose": 0.3 * wave[:, 6:9],
        "eyes_pose": 0.3 * wave[:, 9:15].reshape(frames, 2, 3),
        "eyelids": 0.5 + 0.5 * wave[:, [15, 14]], "translation": 0.02 * wave[:, :3], "shape": np.zeros(4),
        "vertex_offsets": np.zeros((144, 3)),
        "K": np.array([[500, 0, width / 2 - 7], [0, 500, width / 2 + 11], [0, 0, 1.0]]),
        "viewmat": view,
    }  # fmt: skip
    return {k: a if k in ("timestamps", "valid") else np.asarray(a, np.float32) for k, a in arrays.items()}


def write(path: Path, meta: dict, arrays: dict[str, np.ndarray]) -> Path:
    """An .npz with a JSON header, as blendsplat.files.write_npz makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with open(path, "wb") as file:
        np.savez(file, meta=header, **arrays)
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz."""
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files if name != "meta"}


def write_performance(path: Path, frames: int = 20, fps: float = 25.0, seed: int = 5, told: bool = True) -> Path:
    """A tracking.npz; ``told``: it says how good it is, worst at frame 14, next worst at frame 0."""
    arrays = performance_arrays(frames, seed, fps)
    if told:
        bad = np.exp(-0.5 * ((np.arange(frames) - 14) / 1.5) ** 2) + 0.6 * np.exp(-0.5 * (np.arange(frames) / 1.0) ** 2)
        arrays["landmark_errors"] = (0.03 + 0.02 * bad).astype(np.float32)
        arrays["confidence"] = (0.95 - 0.8 * np.clip(bad, 0, 1)).astype(np.float32)
        arrays["region_confidence"] = np.stack([arrays["confidence"], np.full(frames, 0.9, np.float32)], 1)
    return write_tracking(path, arrays)


def write_tracking(path: Path, arrays: dict[str, np.ndarray], **told: object) -> Path:
    """A tracking.npz of these arrays; told: more of its header."""
    meta = {
        "format": "blendsplat-tracking", "version": 1, "head": "grid", "head_source": "grid", "width": 256,
        "height": 256,
        "expression_names": list(EXPRESSIONS), "figures": {}, "regions": ["mouth", "left_eye"],
        **told,
    }  # fmt: skip
    return write(path, meta, arrays)


def write_png(path: Path, image: np.ndarray) -> Path:
    """An image [H,W,3] uint8 as a PNG file."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = image.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def write_fit(folder: Path, image: Path, warnings: list[str], person: int = 0) -> Path:
    """The folder of a fitted photograph."""
    write_performance(folder / "tracking.npz", frames=1, seed=5 + person)
    for name in ("overlay.png", "crop.png", "photograph.jpg"):  # a PNG under another name is still a picture
        write_png(folder / name, np.full((256, 256, 3), 90 + 20 * person, np.uint8))
    told = {
        "format": "blendsplat-fit", "version": 1, "image": str(image), "head": "grid", "method": "landmarks",
        "warnings": warnings, "width": 256, "height": 256, "scale": 1.0, "figures": {},
    }  # fmt: skip
    (folder / "fit.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def write_avatar(
    path: Path,
    gaussians: int = 500,
    blendshapes: int = 6,
    seed: int = 7,
    size: int = 12,
    rig: tuple[dict, dict] | None = None,
    preset: str = "draft",
    learned: dict[str, np.ndarray] | None = None,
    **header: object,
) -> Path:
    """An avatar file with random Gaussians on the grid head, or on another rig (meta, arrays); ``learned`` and
    ``header``: what else the file holds."""
    rng = np.random.default_rng(seed)
    meta, arrays = rig or grid_head(size)
    expressions = len(meta["expression_names"])
    n, k, d, h = gaussians, blendshapes, expressions + 6 * 4 + 2 + 3, 16
    barycentrics = rng.dirichlet([1, 1, 1], n)
    quats = rng.normal(size=(n, 4)) + [2, 0, 0, 0]
    extra = {
        "triangle": rng.integers(0, len(arrays["rig.faces"]), n).astype(np.int32), "barycentrics": barycentrics,
        "positions": rng.normal(0, 0.003, (n, 3)), "log_scales": np.log(rng.uniform(0.001, 0.004, (n, 3))),
        "quats": quats,
        "opacity_logits": rng.normal(1, 1, n), "colors": rng.normal(0, 1, (n, 3)),
        "delta_positions": rng.normal(0, 0.001, (k, n, 3)), "delta_quats": rng.normal(0, 0.1, (k, n, 4)),
        "delta_colors": rng.normal(0, 0.2, (k, n, 3)),
        "mlp.0.weight": rng.normal(0, 0.3, (h, d)), "mlp.0.bias": rng.normal(0, 0.3, h),
        "mlp.1.weight": rng.normal(0, 0.3, (h, h)),
        "mlp.1.bias": rng.normal(0, 0.3, h), "mlp.2.weight": rng.normal(0, 0.3, (k, h)),
        "mlp.2.bias": rng.normal(0, 0.3, k),
        "feature_origin": np.array([0.01, 0.02, -0.03]),
        "camera.K": np.array([[500, 0, 128], [0, 500, 128], [0, 0, 1.0]]),
        "camera.viewmat": np.eye(4), "camera.size": np.array([256, 256], np.int32),
    }  # fmt: skip
    arrays |= {name: a if a.dtype == np.int32 else a.astype(np.float32) for name, a in extra.items()}
    meta |= {
        "format": "blendsplat-avatar", "version": 1, "system": "rgbavatar", "name": "synthetic", "blendshapes": k,
        "gaussians": n,
        "feature_layout": [["expression", expressions], ["head_rotation", 6], ["jaw", 6], ["left_eye", 6],
        ["right_eye", 6],
                           ["eyelids", 2], ["translation", 3]],
        "background_trained": "random", "training": {"preset": preset}, "engine": "0",
    }  # fmt: skip
    return write(path, meta | header, arrays | (learned or {}))

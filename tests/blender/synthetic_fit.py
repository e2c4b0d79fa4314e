# SPDX-License-Identifier: Apache-2.0
"""Made-up fit-image folders on the grid head, as the engine would write them, and its answer to ``head.rig``."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import oracle

import synthetic

IDENTITIES = ("nose_length", 'jaw "wide" ü', "ear_size", "still")


def identity_head() -> tuple[dict, dict[str, np.ndarray]]:
    """(meta, rig arrays) of the grid head with directions of shape, of which the last moves nothing."""
    rng = np.random.default_rng(11)
    meta, arrays = synthetic.grid_head()
    count = len(IDENTITIES)
    shape, joints = rng.normal(0, 0.01, (count, 144, 3)), rng.normal(0, 0.003, (count, 5, 3))
    shape[-1], joints[-1] = 0, 0
    arrays |= {"rig.shape_directions": shape.astype("f4"), "rig.joint_shape_directions": joints.astype("f4")}
    return meta | {"shape_names": list(IDENTITIES)}, arrays


def person(arrays: dict[str, np.ndarray], shape: np.ndarray) -> dict[str, np.ndarray]:
    """The rig with the shape built in, for oracle.head_vertices."""
    moved = {
        "rig.template": arrays["rig.template"] + np.tensordot(shape, arrays["rig.shape_directions"].astype(float), 1),
        "rig.joints": arrays["rig.joints"] + np.tensordot(shape, arrays["rig.joint_shape_directions"].astype(float), 1),
    }
    return arrays | moved


def vertices(tracking: dict[str, np.ndarray]) -> np.ndarray:
    """Posed vertices [V,3] of a tracking's first frame, engine space."""
    return oracle.head_vertices(person(identity_head()[1], tracking["shape"].astype(float)), tracking, 0)


def head_rig(directory: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The engine's answer to ``head.rig`` with ``identity``."""
    tracking = read(Path(directory) / "tracking.npz")
    meta, arrays = identity_head()
    return meta, arrays | {"rig.shape": tracking["shape"], "vertices": vertices(tracking).astype(np.float32)}


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files if name != "meta"}


def write_fit(
    folder: Path, seed: int = 1, person_seed: int = 1, size: tuple[int, int] = (96, 64), image: str = "", texture=False,
    calm: float = 1.0,
) -> Path:  # fmt: skip
    """A fit folder: ``person_seed`` chooses the shape, ``seed`` what the face does, how much of it ``calm``."""
    width, height = size
    arrays = synthetic.performance_arrays(1, seed)
    rng = np.random.default_rng(100 + person_seed)
    arrays["shape"] = rng.normal(0, 1.5, len(IDENTITIES)).astype(np.float32)
    arrays["expression"] = np.random.default_rng(seed).random((1, 3)).astype(np.float32)
    for name in ("shape", "expression", "eyelids", "neck_pose", "jaw_pose", "eyes_pose"):
        arrays[name] *= np.float32(calm)
    arrays["K"] = np.array([[110, 0, width / 2 + 3], [0, 110, height / 2 - 2], [0, 0, 1]], np.float32)
    arrays["viewmat"][:3, 3] = [0.01, -0.02, 0.45]
    meta = {
        "format": "blendsplat-tracking", "version": 1, "head": "grid", "head_source": "grid", "width": width,
        "height": height, "expression_names": list(synthetic.EXPRESSIONS), "figures": {},
    }  # fmt: skip
    synthetic.write(folder / "tracking.npz", meta, arrays)
    (folder / "photograph.jpg").write_bytes(png(picture(width, height)))  # Blender looks at the content, not the name
    if texture:
        (folder / "texture.png").write_bytes(png(np.full((8, 8, 3), (30, 200, 40), np.uint8)))
    fit = {
        "format": "blendsplat-fit", "version": 1, "image": image or f"/pictures/{folder.name}.jpg",
        "method": "landmarks", "warnings": ["The mouth cannot be seen well."], "width": width, "height": height,
    }  # fmt: skip
    (folder / "fit.json").write_text(json.dumps(fit), encoding="utf-8")
    return folder


def picture(width: int, height: int) -> np.ndarray:
    """[H,W,3] uint8: red grows to the right, green downwards, blue is half."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return (np.stack([x, y, np.full_like(x, 0.5)], -1) * 255).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """A PNG file of [H,W,3] uint8, made with the standard library: Blender's Python has no Pillow."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians as a PLY in the layout of 3D Gaussian Splatting, which ordinary splat viewers open; a file a frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..render.gather import Gaussians
from .whole_files import whole

_SH0 = 0.28209479177387814
_FIELDS = (
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
    "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip


def write_ply(path: Path, g: Gaussians) -> None:
    """The usual layout: SH-DC colours, logit opacities, log scales, quaternions wxyz. Written whole or not at all.

    Raises OSError.
    """
    opacity = np.clip(g.opacities, 1e-6, 1 - 1e-6)
    quats = g.quats / np.maximum(np.linalg.norm(g.quats, axis=1, keepdims=True), 1e-12)
    columns = [
        g.means, np.zeros((len(g), 3)), (g.colors - 0.5) / _SH0, np.log(opacity / (1 - opacity))[:, None],
        np.log(np.maximum(g.scales, 1e-9)), quats,
    ]  # fmt: skip
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(g)}"]
    header += [f"property float {name}" for name in _FIELDS] + ["end_header", ""]
    with whole(path) as temporary:
        temporary.write_bytes("\n".join(header).encode() + np.concatenate(columns, 1).astype("<f4").tobytes())


def frame_path(path: Path, frame: int) -> Path:
    """The file of one frame of a sequence: ``name.ply`` -> ``name_0012.ply``; ``name_####.ply`` as Blender counts."""
    stem = path.stem
    marks = len(stem) - len(stem.rstrip("#"))
    return path.with_name(f"{stem.rstrip('#') if marks else stem + '_'}{frame:0{marks or 4}d}{path.suffix}")

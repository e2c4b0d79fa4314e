# SPDX-License-Identifier: Apache-2.0
"""World-space PLY of one frame in the layout that Gaussian-splat viewers read (x y z, f_dc, opacity, scale, rot).

The frame is frozen: blendshapes and the head's pose are applied, so any viewer shows what the renderer shows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from blendsplat.avatars.avatar import Gaussians
from blendsplat.errors import InputError
from blendsplat.files import atomic_path
from blendsplat.splatting.bind import SH_DC

_PROPERTIES = (
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
    "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip
_HALF_TURN = (0.0, 1.0, 0.0, 0.0)  # quaternion wxyz of 180 degrees about x: y up -> y down
_FAINTEST = 1 / 255  # the renderer skips what is fainter


def export_ply(path: Path | str, gaussians: Gaussians, *, y_down: bool = False) -> int:
    """Write the first frame of ``gaussians`` as binary PLY, atomically. Returns how many Gaussians were written.

    Coordinates are the engine's world (metres, y up, face towards +z); ``y_down`` turns them by 180 degrees about x for
    viewers that expect a camera's axes. Colours are clamped to [0,1], because many viewers let larger ones wrap around;
    Gaussians that are invisible or not finite are left out.
    """
    frame = {
        name: getattr(gaussians, name)[0].detach().cpu().double().numpy()
        for name in ("means", "quats", "scales", "opacities", "colors")
    }
    rows = _rows(**frame, y_down=y_down)
    if not len(rows):
        raise InputError(f"No Gaussian is visible in this frame, so {path} was not written; train the avatar longer.")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {name}" for name in _PROPERTIES] + ["end_header", ""]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join(header).encode("ascii") + rows.astype("<f4").tobytes())
    return len(rows)


def _rows(
    means: np.ndarray, quats: np.ndarray, scales: np.ndarray, opacities: np.ndarray, colors: np.ndarray, y_down: bool
) -> np.ndarray:
    """[M,17] values in the order of _PROPERTIES."""
    length = np.linalg.norm(quats, axis=1, keepdims=True)
    quats = np.where(length > 1e-12, quats / np.maximum(length, 1e-12), [1.0, 0, 0, 0])
    if y_down:
        means = means * [1, -1, -1]
        quats = _multiply(np.array(_HALF_TURN), quats)
    opacities = opacities.clip(1e-6, 1 - 1e-6)
    rows = np.concatenate(
        [
            means, np.zeros_like(means), (colors.clip(0, 1) - 0.5) / SH_DC,
            np.log(opacities / (1 - opacities))[:, None], np.log(scales.clip(1e-9, None)), quats,
        ], 1,
    )  # fmt: skip
    return rows[np.isfinite(rows).all(1) & (opacities >= _FAINTEST)]


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of quaternions wxyz: one [4] by many [N,4]."""
    aw, av, bw, bv = a[0], a[1:], b[:, :1], b[:, 1:]
    return np.concatenate([aw * bw - bv @ av[:, None], aw * bv + bw * av + np.cross(av[None], bv)], 1)


def read_ply(path: Path | str) -> Gaussians:
    """Read what export_ply wrote, as one frame of Gaussians."""
    data = Path(path).read_bytes()
    head, _, body = data.partition(b"end_header\n")
    names = [line.split()[-1] for line in head.decode("ascii", "replace").splitlines() if line.startswith("property")]
    if not head.startswith(b"ply") or tuple(names) != _PROPERTIES:
        raise InputError(f"{path} is not a splat PLY written by Blendsplat.")
    rows = torch.from_numpy(np.frombuffer(body, "<f4").reshape(-1, len(_PROPERTIES)).copy())[None]
    colors, opacities = SH_DC * rows[..., 6:9] + 0.5, rows[..., 9].sigmoid()
    return Gaussians(rows[..., :3], rows[..., 13:17], rows[..., 10:13].exp(), opacities, colors)

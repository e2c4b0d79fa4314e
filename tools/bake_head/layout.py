# SPDX-License-Identifier: Apache-2.0
"""The UV square: the skin opened along the back with a large face, the other pieces in a strip below it."""

from __future__ import annotations

import numpy as np

from blendsplat.heads.unwrap import unwrap_skin
from tools.bake_head.assemble import Assembly
from tools.bake_head.mouth import MOUTH

Box = tuple[float, float, float, float]  # u0, v0, u1, v1

SKIN_BOX: Box = (0.004, 0.194, 0.996, 0.996)
PART_BOXES: dict[str, Box] = {
    "left_eyeball": (0.004, 0.004, 0.184, 0.184), "right_eyeball": (0.192, 0.004, 0.372, 0.184),
    "mouth": (0.380, 0.004, 0.560, 0.184),
    "teeth_upper": (0.568, 0.098, 0.800, 0.184), "teeth_lower": (0.568, 0.004, 0.800, 0.090),
    "tongue": (0.808, 0.004, 0.900, 0.184),
    "left_pocket": (0.908, 0.098, 0.996, 0.184), "right_pocket": (0.908, 0.004, 0.996, 0.090),
}  # fmt: skip
# relative density of texels (areas) that the camera wants
IMPORTANCE = {"scalp": 0.30, "neck": 0.35, "ears": 1.0, "face": 1.5, "fine": 3.0}


def lay_out(head: Assembly, mean: np.ndarray, regions: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(uvs [T,2], uv_faces [F,3] for head.faces)."""
    island = head.skin.island
    wanted = np.full(len(mean), 0.8)
    for names, value in (
        (("scalp",), "scalp"), (("neck",), "neck"), (("face",), "face"), (("left_ear", "right_ear"), "ears"),
        (("lips", "left_eyelids", "right_eyelids"), "fine"),
    ):  # fmt: skip
        for name in names:
            wanted[regions[name]] = IMPORTANCE[value]
    wanted = _blurred(head.skin.faces, wanted, 6)
    uvs: list[np.ndarray] = []
    uv_faces = np.zeros_like(head.faces)
    count = 0

    def put(rows: np.ndarray, flat: np.ndarray, index: np.ndarray) -> None:
        nonlocal count
        uvs.append(flat)
        uv_faces[rows] = index + count
        count += len(flat)

    outside = np.flatnonzero((island == 0) | (island == 4))
    put(outside, *unwrap_skin(mean, head.skin.faces[outside], wanted, SKIN_BOX))
    for number, name in ((MOUTH, "mouth"), (2, "pocket"), (3, "pocket")):
        rows = np.flatnonzero(island == number)
        used, index = np.unique(head.skin.uv_faces[rows], return_inverse=True)
        if name == "pocket":
            name = "left_pocket" if mean[head.skin.faces[rows]].mean((0, 1))[0] > 0 else "right_pocket"
        put(rows, _into(head.skin.uvs[used], PART_BOXES[name]), index.reshape(-1, 3))
    for part in head.parts:
        put(head.face_rows(part.name), _into(part.uvs, PART_BOXES[part.name]), part.uv_faces)
    flat = np.concatenate(uvs)
    return flat, uv_faces


def _into(uvs: np.ndarray, box: Box) -> np.ndarray:
    """Coordinates [T,2] stretched to fill a box."""
    low, size = uvs.min(0), np.ptp(uvs, axis=0)
    return np.asarray((uvs - low) / size * [box[2] - box[0], box[3] - box[1]] + [box[0], box[1]])


def _blurred(faces: np.ndarray, values: np.ndarray, rounds: int) -> np.ndarray:
    """Values [V] averaged over neighbouring faces a few times: the layout's density may not jump."""
    weight = np.maximum(np.bincount(faces.ravel(), minlength=len(values)), 1)
    for _ in range(rounds):
        mean = np.repeat(values[faces].mean(1), 3)
        values = np.where(
            np.bincount(faces.ravel(), minlength=len(values)) > 0,
            np.bincount(faces.ravel(), mean, len(values)) / weight,
            values,
        )
    return values

# SPDX-License-Identifier: Apache-2.0
"""A FLAME folder of a real face's shape, put together from our own head: the pickle, and what users have beside it.

The real files are licensed. This one has their keys and layouts, skin and eyeballs only (FLAME has no teeth), and knows
where its lips are, so that a loader can be judged by them.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from blendsplat.heads import load_head
from blendsplat.heads.closest_point import closest_on_mesh
from blendsplat.heads.landmarks68 import landmarks68
from make_pickles import write_flame

SOURCE = "human"  # any head of ours with regions and an embedding
_INSIDE = ("teeth_upper", "teeth_lower", "tongue", "mouth_interior")
# What metrical-tracker, VHAP and FLAME's own page call their landmarks: the jaw line left out, with it, with eyes.
STATIC, STATIC_WITH_EYES, FULL, FULL_WITH_EYES = 51, 53, 68, 70


@dataclass
class FlamePerson:
    """A FLAME pickle's content and the truth about it; V vertices."""

    arrays: dict[str, Any]
    identities: int
    points: np.ndarray  # [70,3] the 68 landmarks, then the middle of either eye's front
    faces: np.ndarray  # [70] the face that each lies on
    barycentrics: np.ndarray  # [70,3]
    lips: np.ndarray  # vertices of the vermilion
    lids: np.ndarray  # [2,V,3] left, right

    def write(self, folder: Path, name: str = "flame2023.pkl") -> Path:
        """Write the pickle into ``folder`` -> its path."""
        write_flame(folder / name, self.arrays, chumpy=False)
        return folder / name

    def write_landmarks(self, folder: Path, count: int, name: str = "landmark_embedding.npy") -> Path:
        """Write the first ``count`` static points, counted as the programs do (51 and 53: without the jaw line)."""
        rows = slice(17, 17 + count) if count in (STATIC, STATIC_WITH_EYES) else slice(0, count)
        return self.write_embedding(folder / name, static=rows)

    def write_embedding(self, path: Path, **rows: slice | np.ndarray) -> Path:
        """Write landmarks under the keys ``static_...``, ``full_...``; the full ones have a row in front."""
        content: dict[str, np.ndarray] = {}
        for kind, which in rows.items():
            lead = (None,) if kind == "full" else ()
            content[f"{kind}_lmk_faces_idx"] = self.faces[which][lead]
            content[f"{kind}_lmk_bary_coords"] = self.barycentrics[which][lead]
        np.save(path, np.array(content, dtype=object), allow_pickle=True)
        return path

    def write_masks(self, folder: Path, lips: np.ndarray) -> None:
        """Write FLAME_masks.pkl with the given lips and the whole skin as face."""
        skin = np.flatnonzero(self.arrays["weights"][:, 3:].sum(1) < 0.5)
        (folder / "FLAME_masks.pkl").write_bytes(pickle.dumps({"lips": lips, "face": skin}, 2))

    def around_the_mouth(self, reach: float) -> np.ndarray:
        """Vertices within ``reach`` metres of the lips: FLAME's own mask is as generous."""
        vertices = self.arrays["v_template"]
        skin = self.arrays["weights"][:, 3:].sum(1) < 0.5
        away = np.min([np.linalg.norm(vertices - vertices[lip], axis=1) for lip in self.lips], 0)
        return np.flatnonzero(skin & (away < reach))


def flame_person(identities: int = 10, expressions: int = 10) -> FlamePerson:
    """The head SOURCE as a FLAME file."""
    head = load_head(SOURCE)
    inside = np.concatenate([head.regions[name] for name in _INSIDE if name in head.regions])
    inside = np.setdiff1d(inside, head.regions["lips"])
    kept = np.setdiff1d(np.arange(head.vertex_count), inside)
    number = np.full(head.vertex_count, -1)
    number[kept] = np.arange(len(kept))
    faces = number[head.faces.numpy()]
    faces = faces[(faces >= 0).all(1)]
    used = np.unique(faces)  # a vertex that no face has would belong to nothing
    number = np.full(len(kept), -1)
    number[used] = np.arange(len(used))
    faces, kept = number[faces], kept[used]

    def rows(directions: torch.Tensor) -> np.ndarray:
        return directions[:, kept].numpy().astype(np.float64).transpose(1, 2, 0)

    vertices = head.template[kept].numpy().astype(np.float64)
    shapes = np.concatenate([rows(head.shape_directions)[..., :identities], rows(_expressions(head, expressions))], 2)
    points = landmarks68(head, head.template[None])[0].numpy().astype(np.float64)
    eyes = [kept_eye[vertices[kept_eye, 2].argmax()] for kept_eye in _eyeballs(head, kept)]
    points = np.concatenate([points, vertices[eyes]])
    where, barycentrics, _ = closest_on_mesh(points, vertices, faces)
    arrays = {
        "f": faces.astype(np.uint32), "v_template": vertices, "shapedirs": shapes,
        "posedirs": rows(head.pose_directions), "J_regressor": sp.csc_matrix(_regressor(vertices, head.joints.numpy())),
        "J": head.joints.numpy().astype(np.float64), "weights": head.skin_weights[kept].numpy().astype(np.float64),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.int64),
        "bs_style": "lbs", "bs_type": "lrotmin",
    }  # fmt: skip
    lips = np.flatnonzero(np.isin(kept, head.regions["lips"]))
    return FlamePerson(arrays, identities, points, where, barycentrics, lips, _lids(vertices, arrays["weights"]))


def _expressions(head: Any, count: int) -> torch.Tensor:
    """The head's expressions that move the mouth most: FLAME's first ones do."""
    moved = head.expression_directions[:, head.regions["lips"]].norm(dim=2).sum(1)
    return head.expression_directions[moved.argsort(descending=True)[:count]]


def _eyeballs(head: Any, kept: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(np.isin(kept, head.regions[f"{side}_eyeball"])) for side in ("left", "right")]


def _regressor(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """[5,V]: the smallest weights that give the joints and sum to one."""
    conditions = np.concatenate([vertices, np.ones((len(vertices), 1))], 1)
    wanted = np.concatenate([joints, np.ones((len(joints), 1))], 1)
    return np.asarray(wanted @ np.linalg.pinv(conditions))


def _lids(vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Invented lids: skin just above either eye moves down by up to 9 mm."""
    lids = np.zeros((2, *vertices.shape))
    skin = weights[:, 3:].sum(1) < 0.5
    for side, joint in enumerate((3, 4)):
        eye = vertices[weights[:, joint] > 0.5].mean(0)
        x, y, z = (vertices - eye).T
        near = skin & (np.hypot(x, y - 0.008) < 0.012) & (z > 0)
        lids[side, near, 1] = -0.009
    return lids
